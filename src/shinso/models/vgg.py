"""VGG (Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014,
arXiv 1409.1556), with and without batch norm (Ioffe and Szegedy 2015).

The state dict matches torchvision's `vgg11` to `vgg19` and `vgg11_bn` to `vgg19_bn`, and timm's by
`from_timm`.

B rows, C channels, H, W cells, D width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from ..config import ModelConfig
from ..errors import SettingError
from ..layers.convolution import Conv3x3
from .base import Architecture, Backbone, Family, Reading, Size, chosen, same

COUNTS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # convolutions
WIDTHS = (64, 128, 256, 512, 512)
GRID = 7  # cells of the pooled grid at 224 pixels
HALVINGS = 32


@dataclass(frozen=True, kw_only=True)
class VGGConfig(Architecture):
    """Sizes: `depth` layers with weights, hidden layers of `width`, `grid` cells a side before them."""

    depth: int = 11
    width: int = 4096
    norm: bool = False
    grid: int = GRID
    dropout: float = 0.5

    def build(self) -> VGG:
        return VGG(self)

    def suited(self, size: tuple[int, int], options: ModelConfig) -> VGGConfig:
        config = chosen(self, options, ("width", "depth"))
        if config.depth not in COUNTS:
            raise SettingError(f"A VGG has 11, 13, 16 or 19 layers; received {config.depth}.")
        grid = GRID if options.weights else max(1, min(GRID, min(size) // HALVINGS))
        dropout = self.dropout if options.dropout is None else options.dropout
        return replace(config, grid=grid, dropout=dropout)

    def least(self) -> int:
        return 8


class VGG(Backbone):
    """(B, C, H, W) -> logits (B, classes). The one token is the last hidden layer."""

    channels = WIDTHS
    last = "classifier.6"

    def __init__(self, config: VGGConfig) -> None:
        super().__init__()
        self.width = config.width
        layers: list[nn.Module] = []
        self.ends: list[int] = []  # where each stage ends
        inputs = config.channels
        for width, count in zip(WIDTHS, COUNTS[config.depth], strict=True):
            for _ in range(count):
                layers += [Conv3x3(inputs, width, bias=True)]
                layers += [nn.BatchNorm2d(width)] if config.norm else []
                layers += [nn.ReLU()]
                inputs = width
            layers += [nn.MaxPool2d(2, 2, ceil_mode=config.grid < GRID)]  # no cell of a small grid is lost
            self.ends.append(len(layers))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(config.grid)
        self.classifier = nn.Sequential(
            nn.Linear(WIDTHS[-1] * config.grid**2, self.width), nn.ReLU(), nn.Dropout(config.dropout),
            nn.Linear(self.width, self.width), nn.ReLU(), nn.Dropout(config.dropout),
            *([nn.Linear(self.width, config.classes)] if config.classes else []),
        )  # fmt: skip
        initialise(self)

    def read(self, x_BCHW: Tensor) -> Reading:
        maps, start, x = [], 0, x_BCHW
        for end in self.ends:
            x = self.features[start:end](x)
            maps.append(x)
            start = end
        hidden_BD = self.classifier[:6](self.avgpool(x).flatten(1))
        return Reading(tuple(maps), hidden_BD.unsqueeze(1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        tokens = self.read(x_BCHW).tokens
        assert tokens is not None
        out: Tensor = self.classifier[6:](tokens[:, 0])
        return out


def initialise(network: nn.Module) -> None:
    """Normal weights, by fan-out for convolutions: without it the deep ones do not begin to learn."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of timm's `vgg*`, whose hidden layers are convolutions, to ours."""
    names = {r"^pre_logits\.fc1\.": "classifier.0.", r"^pre_logits\.fc2\.": "classifier.3."}
    names[r"^head\.fc\."] = "classifier.6."
    found = {}
    for name, value in state.items():
        for pattern, ours in names.items():
            name = re.sub(pattern, ours, name)
        found[name] = value.flatten(1) if name.startswith("classifier.") and value.ndim == 4 else value
    return found


PRESETS = {f"vgg{depth}": VGGConfig(depth=depth) for depth in COUNTS} | {
    f"vgg{depth}_bn": VGGConfig(depth=depth, norm=True) for depth in COUNTS
}
SIZES = {
    "vgg11": Size(132_863_336, 15_218_180_096, 224),
    "vgg13": Size(133_047_848, 22_616_932_352, 224),
    "vgg16": Size(138_357_544, 30_940_528_640, 224),
    "vgg19": Size(143_667_240, 39_264_124_928, 224),
    "vgg11_bn": Size(132_868_840, 15_218_180_096, 224),
    "vgg13_bn": Size(133_053_736, 22_616_932_352, 224),
    "vgg16_bn": Size(138_365_992, 30_940_528_640, 224),
    "vgg19_bn": Size(143_678_248, 39_264_124_928, 224),
}
FAMILY = Family(
    title="VGG",
    paper="Simonyan and Zisserman 2014, arXiv 1409.1556",
    year=2014,
    default="vgg11_bn",
    presets=PRESETS,
    sizes=SIZES,
    weights="torchvision and timm vgg*",
    layouts={"torchvision": same, "timm": from_timm},
    settings=frozenset({"depth", "width"}),
)
