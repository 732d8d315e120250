"""EfficientNet (Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019,
arXiv 1905.11946): depthwise convolutions with squeeze and excitation, made wider and deeper together from B0
to B7.

The state dict matches torchvision's `efficientnet_b0` to `efficientnet_b7`, and timm's by `from_timm`. timm's
`tf_efficientnet_*` and transformers' have the same weights, but pad otherwise: their numbers differ a little.

B rows, C channels, H, W cells.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from .base import Architecture, Backbone, Family, Reading, Size, chosen, same

FULL_FROM = 96  # pixels from which the stem halves the grid


class Stage(NamedTuple):
    """A line of Table 1."""

    expand: int
    kernel: int
    stride: int
    width: int
    depth: int


STAGES = (
    Stage(1, 3, 1, 16, 1), Stage(6, 3, 2, 24, 2), Stage(6, 5, 2, 40, 2), Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3), Stage(6, 5, 2, 192, 4), Stage(6, 3, 1, 320, 1),
)  # fmt: skip
STEM, LAST = 32, 1280
# The grid is halved by the stem and by these stages: what stands before the next one is a map.
MAPS = (1, 2, 3, 5, 8)


@dataclass(frozen=True, kw_only=True)
class EfficientNetConfig(Architecture):
    """Sizes: factors of width and depth over B0."""

    wider: float = 1.0
    deeper: float = 1.0
    dropout: float = 0.2
    skip: float = 0.2  # share of the rows for which the last block is left out in training
    epsilon: float = 1e-5
    momentum: float = 0.1
    stride: int = 2  # of the stem
    width: int = 0  # 0 for the paper's

    def build(self) -> EfficientNet:
        return EfficientNet(self)

    def suited(self, size: tuple[int, int], options: ModelConfig) -> EfficientNetConfig:
        config = chosen(self, options, ("width", "stem"))
        wider = options.width / LAST if options.width else self.wider
        full = options.stem == "full" or (not options.stem and (options.weights or min(size) >= FULL_FROM))
        dropout = self.dropout if options.dropout is None else options.dropout
        return replace(config, wider=wider, stride=2 if full else 1, dropout=dropout)

    def least(self) -> int:
        return 32 if self.stride == 2 else 8


def divisible(width: float) -> int:
    """The nearest multiple of 8, at most a tenth below.

    >>> [divisible(w) for w in (3.0, 35.2, 52.8)]
    [8, 32, 56]
    """
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


class ConvNormAct(nn.Sequential):
    """Convolution, batch norm, and SiLU where `act` says so."""

    def __init__(
        self, sizes: tuple[int, int], kernel: int, stride: int, config: EfficientNetConfig, *,
        groups: int = 1, act: bool = True,
    ) -> None:  # fmt: skip
        layers: list[nn.Module] = [
            nn.Conv2d(*sizes, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(sizes[1], config.epsilon, config.momentum),
        ]
        super().__init__(*layers, *([nn.SiLU(inplace=True)] if act else []))


class SqueezeExcitation(nn.Module):
    """Every channel times a share that follows from the means of all (Hu et al. 2017, arXiv 1709.01507)."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(width, squeezed, 1), nn.Conv2d(squeezed, width, 1)
        self.activation, self.scale_activation = nn.SiLU(inplace=True), nn.Sigmoid()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        mean_BC11 = x_BCHW.mean((2, 3), keepdim=True)
        out: Tensor = self.scale_activation(self.fc2(self.activation(self.fc1(mean_BC11)))) * x_BCHW
        return out


class MBConv(nn.Module):
    """Widen, filter each channel, weigh the channels, narrow; around it a shortcut where shapes agree."""

    def __init__(self, inputs: int, stage: Stage, skip: float, config: EfficientNetConfig) -> None:
        super().__init__()
        inside = divisible(inputs * stage.expand)
        layers: list[nn.Module] = [ConvNormAct((inputs, inside), 1, 1, config)] if inside != inputs else []
        self.block = nn.Sequential(
            *layers,
            ConvNormAct((inside, inside), stage.kernel, stage.stride, config, groups=inside),
            SqueezeExcitation(inside, max(1, inputs // 4)),
            ConvNormAct((inside, stage.width), 1, 1, config, act=False),
        )
        self.residual = stage.stride == 1 and inputs == stage.width
        self.skip = skip

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y: Tensor = self.block(x_BCHW)
        return x_BCHW + left_out(y, self.skip if self.training else 0.0) if self.residual else y


def left_out(x_BCHW: Tensor, share: float) -> Tensor:
    """A share of the rows set to 0, the others scaled up (Huang et al. 2016, arXiv 1603.09382)."""
    if share <= 0:
        return x_BCHW
    kept_B = torch.rand(len(x_BCHW), 1, 1, 1, device=x_BCHW.device) >= share
    return x_BCHW * kept_B / (1 - share)


class EfficientNet(Backbone):
    """(B, C, H, W) -> logits (B, classes)."""

    last = "classifier.1"

    def __init__(self, config: EfficientNetConfig) -> None:
        super().__init__()
        widths = [divisible(stage.width * config.wider) for stage in STAGES]
        depths = [math.ceil(stage.depth * config.deeper) for stage in STAGES]
        stem = divisible(STEM * config.wider)
        self.width = 4 * widths[-1]
        layers: list[nn.Module] = [ConvNormAct((config.channels, stem), 3, config.stride, config)]
        inputs, done = stem, 0
        for stage, width, depth in zip(STAGES, widths, depths, strict=True):
            blocks = []
            for i in range(depth):
                sized = stage._replace(width=width, stride=stage.stride if i == 0 else 1)
                blocks.append(MBConv(inputs, sized, config.skip * (done + i) / sum(depths), config))
                inputs = width
            layers.append(nn.Sequential(*blocks))
            done += depth
        layers.append(ConvNormAct((inputs, self.width), 1, 1, config))
        self.features = nn.Sequential(*layers)
        self.channels = (widths[0], widths[1], widths[2], widths[4], self.width)
        self.classifier = nn.Sequential(
            nn.Dropout(config.dropout),
            *([nn.Linear(self.width, config.classes)] if config.classes else []),
        )
        initialise(self)

    def read(self, x_BCHW: Tensor) -> Reading:
        maps, x = [], x_BCHW
        for position, layer in enumerate(self.features):
            x = layer(x)
            if position in MAPS:
                maps.append(x)
        return Reading(tuple(maps), self.classifier[0](x.mean((2, 3))).unsqueeze(1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        tokens = self.read(x_BCHW).tokens
        assert tokens is not None
        out: Tensor = self.classifier[1:](tokens[:, 0])
        return out


def initialise(network: nn.Module) -> None:
    """Normal weights by fan-out."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of timm's `efficientnet_b*` to ours."""
    return {_ours(name): value for name, value in state.items()}


FIRST = {"conv_dw": "0.0", "bn1": "0.1", "se": "1", "conv_pw": "2.0", "bn2": "2.1"}  # stage without widening
OTHER = {
    "conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1", "se": "2", "conv_pwl": "3.0",
    "bn3": "3.1",
}  # fmt: skip
OUTER = {
    "conv_stem": "features.0.0", "bn1": "features.0.1", "conv_head": "features.8.0", "bn2": "features.8.1",
    "classifier": "classifier.1",
}  # fmt: skip


def _ours(name: str) -> str:
    place = re.match(r"blocks\.(\d+)\.(\d+)\.(\w+)\.(.*)", name)
    if not place:
        first, _, rest = name.partition(".")
        return f"{OUTER.get(first, first)}.{rest}" if rest else name
    table = FIRST if place[1] == "0" else OTHER
    rest = place[4].replace("conv_reduce.", "fc1.").replace("conv_expand.", "fc2.")
    return f"features.{int(place[1]) + 1}.{place[2]}.block.{table.get(place[3], place[3])}.{rest}"


# name: (wider, deeper, dropout, reference side)
SCALES = {
    "b0": (1.0, 1.0, 0.2, 224), "b1": (1.0, 1.1, 0.2, 240), "b2": (1.1, 1.2, 0.3, 260),
    "b3": (1.2, 1.4, 0.3, 300), "b4": (1.4, 1.8, 0.4, 380), "b5": (1.6, 2.2, 0.4, 456),
    "b6": (1.8, 2.6, 0.5, 528), "b7": (2.0, 3.1, 0.5, 600),
}  # fmt: skip
SIDES = {f"efficientnet_{name}": side for name, (_, _, _, side) in SCALES.items()}


def _preset(name: str) -> EfficientNetConfig:
    wider, deeper, dropout, _ = SCALES[name]
    large = name in ("b5", "b6", "b7")  # as torchvision has them
    return EfficientNetConfig(
        wider=wider, deeper=deeper, dropout=dropout,
        epsilon=1e-3 if large else 1e-5, momentum=0.01 if large else 0.1,
    )  # fmt: skip


PRESETS = {f"efficientnet_{name}": _preset(name) for name in SCALES}
SIZES = {
    "efficientnet_b0": Size(5_288_548, 771_629_504, 224),
    "efficientnet_b1": Size(7_794_184, 1_373_605_664, 240),
    "efficientnet_b2": Size(9_109_994, 1_987_123_744, 260),
    "efficientnet_b3": Size(12_233_232, 3_654_282_784, 300),
    "efficientnet_b4": Size(19_341_616, 8_787_542_048, 380),
    "efficientnet_b5": Size(30_389_784, 20_532_769_504, 456),
    "efficientnet_b6": Size(43_040_704, 38_135_187_072, 528),
    "efficientnet_b7": Size(66_347_960, 75_491_768_384, 600),
}
FAMILY = Family(
    title="EfficientNet",
    paper="Tan and Le 2019, arXiv 1905.11946",
    year=2019,
    default="efficientnet_b0",
    presets=PRESETS,
    sizes=SIZES,
    weights="torchvision and timm efficientnet_b*",
    layouts={"torchvision": same, "timm": from_timm},
    settings=frozenset({"width", "stem"}),
)
