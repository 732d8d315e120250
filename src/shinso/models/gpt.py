"""GPT: a text read from left to right, each token with those before it; as in GPT-2, or with later options.

Radford et al., "Language models are unsupervised multitask learners", 2019. The state dict of `Gpt` is that
of `GPT2Model` of transformers, whose linear layers are stored transposed (`rename` turns them). Options of
later models, all of them settings: rotary positions (Su et al. 2021, arXiv 2104.09864; `model.positions`),
RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467; `model.norm`), normalised queries and keys (Henry et al.
2020, arXiv 2010.04245; `model.qk_norm`), fewer heads for keys and values than for queries (Ainslie et al.
2023, arXiv 2305.13245; `model.kv_heads`).

| preset | width | layers | heads | parameters | FLOPs of 1,024 tokens |
|---|---|---|---|---|---|
| gpt | 128 | 2 | 4 | 2.5 M and 128 a token, which is spelled (spelling.py) | 0.8 G |
| gpt-modern | 128 | 2 | 4 of 2 | likewise, with all of the options | 0.7 G |
| gpt2 | 768 | 12 | 12 | 124.4 M | 213 G |
| gpt2-medium | 1024 | 24 | 16 | 354.8 M | 722 G |
| gpt2-large | 1280 | 36 | 20 | 774.0 M | 1.64 T |
| gpt2-xl | 1600 | 48 | 25 | 1,557.6 M | 3.34 T |

B rows, N tokens, D width, H heads, C size of a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..columns.text import Text
from ..config import ModelConfig
from ..errors import SettingError
from ..features import Features
from ..layers.masked import Missed
from .base import Encoder, Known, Published
from .spelling import Spelling, spells

EPSILON = 1e-5  # of the norms
DROPOUT = 0.1
MISSED = 0.3  # share of the tokens of a text that are not seen in training, without published weights
ROTARY_BASE = 10_000.0
OPTIONS = ("width", "depth", "heads", "positions", "norm", "qk_norm", "kv_heads")  # settings that it obeys
TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")


@dataclass(frozen=True, kw_only=True)
class GptSizes:
    """Sizes and options of a GPT."""

    width: int
    depth: int
    heads: int
    vocabulary: int = 50_257
    places: int = 1024  # tokens that are read
    positions: str = "learned"  # or "rotary"
    norm: str = "layer"  # or "rms"
    qk_norm: bool = False
    kv_heads: int | None = None  # as many as `heads` when None


PRESETS: dict[str, GptSizes] = {
    "gpt": GptSizes(width=128, depth=2, heads=4),
    "gpt-modern": GptSizes(
        width=128, depth=2, heads=4, positions="rotary", norm="rms", qk_norm=True, kv_heads=2
    ),
    "gpt2": GptSizes(width=768, depth=12, heads=12),
    "gpt2-medium": GptSizes(width=1024, depth=24, heads=16),
    "gpt2-large": GptSizes(width=1280, depth=36, heads=20),
    "gpt2-xl": GptSizes(width=1600, depth=48, heads=25),
}


class RootMeanSquare(nn.RMSNorm):
    """RMSNorm in the precision of its weights, whatever autocast gives it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.weight is None else x.to(self.weight.dtype))


def norm_of(sizes: GptSizes, width: int) -> nn.Module:
    """LayerNorm, or RMSNorm, which keeps the mean."""
    return RootMeanSquare(width, EPSILON) if sizes.norm == "rms" else nn.LayerNorm(width, EPSILON)


class Attention(nn.Module):
    """Causal attention: queries, keys and values from one product, seen in one fused call."""

    def __init__(self, sizes: GptSizes) -> None:
        super().__init__()
        self.heads, self.kv_heads = sizes.heads, sizes.kv_heads or sizes.heads
        self.size = sizes.width // sizes.heads
        self.rotary = sizes.positions == "rotary"
        self.c_attn = nn.Linear(sizes.width, sizes.width + 2 * self.kv_heads * self.size)
        self.c_proj = nn.Linear(sizes.width, sizes.width)
        self.q_norm, self.k_norm = (
            norm_of(sizes, self.size) if sizes.qk_norm else nn.Identity() for _ in "qk"
        )

    def forward(self, x_BND: Tensor) -> Tensor:
        parts = (self.heads, self.kv_heads, self.kv_heads)
        split = self.c_attn(x_BND).unflatten(-1, (-1, self.size)).transpose(1, 2).split(parts, 1)
        query_BHNC, key_BHNC, value_BHNC = self.q_norm(split[0]), self.k_norm(split[1]), split[2]
        if self.rotary:
            query_BHNC, key_BHNC = rotated(query_BHNC), rotated(key_BHNC)
        kind = value_BHNC.dtype  # a norm may give fp32 under autocast
        # What is padded stands behind all that is real, where no real token looks: no mask is needed.
        seen_BHNC = F.scaled_dot_product_attention(
            query_BHNC.to(kind), key_BHNC.to(kind), value_BHNC, is_causal=True,
            enable_gqa=self.kv_heads != self.heads,
        )  # fmt: skip
        return self.c_proj(seen_BHNC.transpose(1, 2).flatten(2))


def rotated(x_BHNC: Tensor) -> Tensor:
    """Each pair of numbers turned by an angle that grows with the token's place."""
    half = x_BHNC.shape[-1] // 2
    places_N = torch.arange(x_BHNC.shape[2], device=x_BHNC.device, dtype=torch.float32)
    speed_C = ROTARY_BASE ** (-torch.arange(half, device=x_BHNC.device, dtype=torch.float32) / half)
    angle_NC = places_N.unsqueeze(1) * speed_C
    cosine_NC, sine_NC = angle_NC.cos().to(x_BHNC.dtype), angle_NC.sin().to(x_BHNC.dtype)
    left, right = x_BHNC[..., :half], x_BHNC[..., half:]
    return torch.cat([left * cosine_NC - right * sine_NC, right * cosine_NC + left * sine_NC], -1)


class Mlp(nn.Module):
    """Two linear layers, the inner four times as wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x_BND: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x_BND), approximate="tanh"))


class Block(nn.Module):
    """Attention, then two linear layers; each reads what was normalised and is added."""

    def __init__(self, sizes: GptSizes, dropout: float) -> None:
        super().__init__()
        self.ln_1, self.attn = norm_of(sizes, sizes.width), Attention(sizes)
        self.ln_2, self.mlp = norm_of(sizes, sizes.width), Mlp(sizes.width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BND: Tensor) -> Tensor:
        x_BND = x_BND + self.dropout(self.attn(self.ln_1(x_BND)))
        return x_BND + self.dropout(self.mlp(self.ln_2(x_BND)))


class Gpt(nn.Module):
    """Token ids (B, N) to the last hidden states (B, N, D).

    >>> net = Gpt(GptSizes(width=16, depth=1, heads=2, vocabulary=10))
    >>> net.logits(net(torch.zeros(2, 5, dtype=torch.long))).shape
    torch.Size([2, 5, 10])
    """

    def __init__(self, sizes: GptSizes, dropout: float = 0.0) -> None:
        super().__init__()
        self.wte: nn.Module = nn.Embedding(sizes.vocabulary, sizes.width)
        self.wpe = nn.Embedding(sizes.places, sizes.width) if sizes.positions == "learned" else None
        self.drop = nn.Dropout(dropout)
        self.h = nn.ModuleList(Block(sizes, dropout) for _ in range(sizes.depth))
        self.ln_f = norm_of(sizes, sizes.width)
        for name, p in self.named_parameters():
            if p.ndim == 2:  # what is added to the tokens begins smaller, the deeper the network
                nn.init.normal_(p, std=0.02 / (2 * sizes.depth) ** (0.5 * name.endswith("c_proj.weight")))
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def forward(self, ids_BN: Tensor) -> Tensor:
        x_BND = self.wte(ids_BN)
        if self.wpe is not None:
            x_BND = x_BND + self.wpe.weight[: ids_BN.shape[1]]
        x_BND = self.drop(x_BND)
        for block in self.h:
            x_BND = block(x_BND)
        return self.ln_f(x_BND)

    def logits(self, hidden_BND: Tensor) -> Tensor:
        """(B, N, V): of the next token, by the table that the tokens were read with."""
        return F.linear(hidden_BND, self.get_parameter("wte.weight"))


class GptNet(Encoder):
    """int32 ids (B, N) to Features (B, N, D); tokens past the last place are not read."""

    def __init__(self, column: Text, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.missed = Missed(0.0 if options.weights else MISSED)
        sizes = sized(PRESETS[options.name or "gpt"], options)
        self.offset = column.offset
        sizes = replace(sizes, vocabulary=len(column.tokens) - self.offset)
        self.width, self.places = sizes.width, sizes.places
        self.gpt = Gpt(sizes, DROPOUT if options.dropout is None else options.dropout)
        if spells(column, options, published=(options.name or "gpt") in SIZES):
            self.gpt.wte = Spelling(column, sizes.width)

    def published(self) -> Published:
        """All of it."""
        return Published(self.gpt, {"transformers": rename})

    def forward(self, ids_BN: Tensor) -> Features:
        ids_BN = ids_BN[:, : self.places].long()
        mask_BN = ids_BN > 0 if self.attended else self.missed(ids_BN > 0)
        return Features(self.gpt((ids_BN - self.offset).clamp(min=0)), mask_BN)


def sized(sizes: GptSizes, options: ModelConfig) -> GptSizes:
    """A preset with the sizes and options that the user set."""
    chosen = {
        name: value for name, value in options.model_dump(include=set(OPTIONS)).items() if value is not None
    }
    sizes = replace(sizes, **chosen)
    kv_heads = sizes.kv_heads or sizes.heads
    even = sizes.positions == "learned" or (sizes.width // sizes.heads) % 2 == 0
    if sizes.width % sizes.heads or sizes.heads % kv_heads or not even:
        raise SettingError(
            f"model.width must be a multiple of model.heads (of two model.heads with rotary positions), and "
            f"model.heads one of model.kv_heads; received {sizes.width}, {sizes.heads} and {kv_heads}."
        )
    return sizes


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of transformers, of any of its GPT-2 classes, to that of `Gpt`."""
    found = {}
    for name, value in state.items():
        name = name.removeprefix("transformer.")
        if name == "lm_head.weight" or name.endswith((".attn.bias", ".attn.masked_bias")):
            continue  # the table of tokens again, and masks
        found[name] = value.T.contiguous() if name.endswith(TRANSPOSED) else value
    return found


# Parameters and FLOPs of 1,024 tokens, of what the presets are published as.
SIZES: dict[str, tuple[int, int]] = {
    "gpt2": (124_439_808, 212_600_881_152), "gpt2-medium": (354_823_168, 721_554_505_728),
    "gpt2-large": (774_030_080, 1_642_824_990_720), "gpt2-xl": (1_557_611_200, 3_342_021_427_200),
}  # fmt: skip


def known_of(name: str) -> Known:
    """The line of one preset."""
    parameters, flops = SIZES.get(name, (0, 0))
    return Known(
        title="GPT", paper="Radford et al. 2019", year=2019, encoders={"text": GptNet},
        parameters=parameters, flops=flops, input="1,024 tokens" if parameters else "",
        weights="transformers" if parameters else "", settings=frozenset(OPTIONS),
        reference=partial(reference_of, name) if parameters else None,
    )  # fmt: skip


def reference_of(name: str) -> Published:
    """A preset as it is published."""
    return Published(Gpt(PRESETS[name]), {"transformers": rename})


KNOWN: dict[str, Known] = {name: known_of(name) for name in PRESETS}
