"""Vision Transformer (Dosovitskiy et al., "An Image is Worth 16x16 Words", 2020, arXiv 2010.11929); the tiny
and small sizes are those of DeiT (Touvron et al. 2020, arXiv 2012.12877).

The state dict matches torchvision's `vit_b_16`, `vit_b_32`, `vit_l_16` and `vit_l_32`, and by `from_timm` and
`from_transformers` the `vit_*` and `deit_*` of those libraries (whose layers of one size have one layout).

B rows, C channels, H, W pixels, N patches, D width.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from ..errors import SettingError
from ..layers.selfattention import attend
from .base import Architecture, Backbone, Family, Input, Reading, Size, chosen

HEAD = 64  # channels of an attention head
LEAST_GRID = 7  # patches along the shorter side of a small picture


@dataclass(frozen=True, kw_only=True)
class ViTConfig(Architecture):
    """Sizes: `depth` layers on tokens of `width`, for pictures of `height` x `breadth` pixels."""

    width: int = 192
    depth: int = 12
    patch: int = 16
    height: int = 224
    breadth: int = 224
    dropout: float = 0.0

    def build(self) -> VisionTransformer:
        return VisionTransformer(self)

    def suited(self, size: tuple[int, int], options: ModelConfig) -> ViTConfig:
        config = chosen(self, options, ("width", "depth", "patch"))
        if config.width % heads(config.width):
            raise SettingError(f"model.width of a ViT must divide by its heads; received {config.width}.")
        patch = config.patch
        if not (options.patch or options.weights):
            while patch > 1 and min(size) < LEAST_GRID * patch:
                patch //= 2
        return replace(config, patch=patch, height=size[0], breadth=size[1], dropout=options.dropout or 0.0)

    def least(self) -> int:
        return self.patch

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across; what the last ones lack is filled up."""
        return -(-self.height // self.patch), -(-self.breadth // self.patch)


def heads(width: int) -> int:
    """Attention heads: of 64 channels each.

    >>> [heads(width) for width in (192, 384, 768, 1024)]
    [3, 6, 12, 16]
    """
    return max(1, width // HEAD)


class MLP(nn.Sequential):
    """Widen four times, GELU, narrow."""

    def __init__(self, width: int, dropout: float) -> None:
        inside = 4 * width
        super().__init__(
            nn.Linear(width, inside),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(inside, width),
            nn.Dropout(dropout),
        )


class EncoderBlock(nn.Module):
    """Attention among all tokens, then two layers on each, both around normalised inputs."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(width, heads(width), batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, dropout)

    def forward(self, x_BND: Tensor) -> Tensor:
        x_BND = x_BND + self.dropout(attend(self.self_attention, self.ln_1(x_BND)))
        out: Tensor = x_BND + self.mlp(self.ln_2(x_BND))
        return out


class Encoder(nn.Module):
    """Learned positions, the blocks, and a last normalisation."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        tokens = 1 + config.grid[0] * config.grid[1]
        self.pos_embedding = nn.Parameter(torch.empty(1, tokens, config.width).normal_(std=0.02))
        self.dropout = nn.Dropout(config.dropout)
        blocks = [
            (f"encoder_layer_{i}", EncoderBlock(config.width, config.dropout)) for i in range(config.depth)
        ]
        self.layers = nn.Sequential(OrderedDict(blocks))
        self.ln = nn.LayerNorm(config.width, eps=1e-6)

    def forward(self, x_BND: Tensor) -> Tensor:
        out: Tensor = self.ln(self.layers(self.dropout(x_BND + self.pos_embedding)))
        return out


class VisionTransformer(Backbone):
    """(B, C, H, W) -> logits (B, classes). The first token is the class token, the others are patches."""

    last = "heads.head"
    leads = True

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config, self.width, self.channels = config, config.width, (config.width,)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.conv_proj = nn.Conv2d(config.channels, config.width, config.patch, config.patch)
        self.encoder = Encoder(config)
        self.heads = nn.Sequential(
            OrderedDict([("head", nn.Linear(config.width, config.classes))] if config.classes else [])
        )
        initialise(self)

    def read(self, x_BCHW: Tensor) -> Reading:
        rows, columns = self.config.grid
        lacking = (
            0,
            columns * self.config.patch - x_BCHW.shape[3],
            0,
            rows * self.config.patch - x_BCHW.shape[2],
        )
        patches_BND = self.conv_proj(F.pad(x_BCHW, lacking)).flatten(2).transpose(1, 2)
        first_B1D = self.class_token.expand(x_BCHW.shape[0], -1, -1)
        tokens_BND = self.encoder(torch.cat([first_B1D, patches_BND], 1))
        return Reading((tokens_BND[:, 1:].transpose(1, 2).unflatten(2, (rows, columns)),), tokens_BND)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        tokens = self.read(x_BCHW).tokens
        assert tokens is not None
        out: Tensor = self.heads(tokens[:, 0])
        return out


def initialise(network: VisionTransformer) -> None:
    """As torchvision: truncated normal patches, uniform layers by fan-in and fan-out, an empty classifier."""
    projection = network.conv_proj
    nn.init.trunc_normal_(projection.weight, std=math.sqrt(1 / projection.weight[0].numel()))
    assert projection.bias is not None
    nn.init.zeros_(projection.bias)
    nn.init.trunc_normal_(network.class_token, std=0.02)
    for module in network.encoder.modules():
        if isinstance(module, MLP):
            for layer in (module[0], module[3]):
                assert isinstance(layer, nn.Linear)
                nn.init.xavier_uniform_(layer.weight)
                nn.init.normal_(layer.bias, std=1e-6)
    for layer in network.heads:
        assert isinstance(layer, nn.Linear)
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def resized(state: Mapping[str, Tensor], grid: tuple[int, int]) -> dict[str, Tensor]:
    """Position embeddings of another grid brought to `grid`, by bicubic interpolation (section 3.2)."""
    found = dict(state)
    name = "encoder.pos_embedding"
    if name not in found or found[name].shape[1] == 1 + grid[0] * grid[1]:
        return found
    side = math.isqrt(found[name].shape[1] - 1)
    if side * side != found[name].shape[1] - 1:
        return found
    first, rest = found[name][:, :1], found[name][:, 1:]
    square = rest.transpose(1, 2).unflatten(2, (side, side)).float()
    sized = F.interpolate(square, size=grid, mode="bicubic", align_corners=False)
    found[name] = torch.cat([first.float(), sized.flatten(2).transpose(1, 2)], 1)
    return found


def from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's own names; its files of 2022 call the layers of the MLP `linear_1` and `linear_2`."""
    return {
        name.replace("mlp.linear_1.", "mlp.0.").replace("mlp.linear_2.", "mlp.3."): v
        for name, v in state.items()
    }


TIMM = {
    "cls_token": "class_token", "pos_embed": "encoder.pos_embedding", "patch_embed.proj.": "conv_proj.",
    "norm.": "encoder.ln.", "head.": "heads.head.",
}  # fmt: skip
TIMM_BLOCK = {
    "norm1.": "ln_1.", "attn.qkv.": "self_attention.in_proj_", "attn.proj.": "self_attention.out_proj.",
    "norm2.": "ln_2.", "mlp.fc1.": "mlp.0.", "mlp.fc2.": "mlp.3.",
}  # fmt: skip


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of timm's `vit_*` and `deit_*` to ours."""
    found = {}
    for name, value in state.items():
        place = re.match(r"blocks\.(\d+)\.(.*)", name)
        if place:
            found[f"encoder.layers.encoder_layer_{place[1]}.{begins(place[2], TIMM_BLOCK)}"] = value
        else:
            found[begins(name, TIMM)] = value
    return found


HUGGING = {
    "embeddings.cls_token": "class_token", "embeddings.position_embeddings": "encoder.pos_embedding",
    "embeddings.patch_embeddings.projection.": "conv_proj.", "layernorm.": "encoder.ln.",
    "classifier.": "heads.head.",
}  # fmt: skip
HUGGING_BLOCK = {
    "layernorm_before.": "ln_1.", "attention.output.dense.": "self_attention.out_proj.",
    "layernorm_after.": "ln_2.", "intermediate.dense.": "mlp.0.", "output.dense.": "mlp.3.",
    "attention.o_proj.": "self_attention.out_proj.", "mlp.fc1.": "mlp.0.", "mlp.fc2.": "mlp.3.",
}  # fmt: skip
SPLIT = re.compile(r"attention\.(?:attention\.)?(query|key|value|q_proj|k_proj|v_proj)\.(weight|bias)")


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of transformers' `ViTForImageClassification` (or `ViTModel`) to ours."""
    found: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        name = name.removeprefix("vit.")
        place = re.match(r"(?:encoder\.layer|layers)\.(\d+)\.(.*)", name)
        if not place:
            found[begins(name, HUGGING)] = value
            continue
        prefix = f"encoder.layers.encoder_layer_{place[1]}."
        split = SPLIT.fullmatch(place[2])
        if split:
            parts.setdefault(f"{prefix}self_attention.in_proj_{split[2]}", {})[split[1][0]] = value
        else:
            found[prefix + begins(place[2], HUGGING_BLOCK)] = value
    whole = {name: three for name, three in parts.items() if set(three) == set("qkv")}
    return found | {name: torch.cat([three[c] for c in "qkv"]) for name, three in whole.items()}


def begins(name: str, table: Mapping[str, str]) -> str:
    """`name` with its beginning replaced by the table."""
    for theirs, ours in table.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def pixels(layout: str, state: Mapping[str, Tensor]) -> Input:
    """What the weights expect: their side by the position embeddings, their colours by who published them.

    Google's weights, which timm and transformers hold, saw pixels of -1 to 1; torchvision's, ImageNet's mean.
    """
    side = (
        math.isqrt(max(0, state["encoder.pos_embedding"].shape[1] - 1)) * state["conv_proj.weight"].shape[-1]
    )
    return Input(side, *(IMAGENET if layout == "torchvision" else HALF))


PRESETS = {
    "vit_ti": ViTConfig(width=192),
    "vit_s": ViTConfig(width=384),
    "vit_b": ViTConfig(width=768),
    "vit_l": ViTConfig(width=1024, depth=24),
}
SIZES = {
    "vit_ti": Size(5_717_416, 2_507_366_400, 224),
    "vit_s": Size(22_050_664, 9_197_764_608, 224),
    "vit_b": Size(86_567_656, 35_127_656_448, 224),
    "vit_l": Size(304_326_632, 123_109_425_152, 224),
}
FAMILY = Family(
    title="ViT",
    paper="Dosovitskiy et al. 2020, arXiv 2010.11929",
    year=2020,
    default="vit_ti",
    presets=PRESETS,
    sizes=SIZES,
    weights="torchvision vit_b_*, vit_l_*; timm vit_*, deit_*; transformers google/vit-*",
    layouts={"torchvision": from_torchvision, "timm": from_timm, "transformers": from_transformers},
    settings=frozenset({"width", "depth", "patch"}),
    pixels=pixels,
)
