"""ResNet (He et al., "Deep Residual Learning for Image Recognition", 2015, arXiv 1512.03385).

With stride 2 in the 3 x 3 convolution of a bottleneck ("v1.5"), as torchvision and timm have it. The state
dict matches torchvision's `resnet18` to `resnet152` and timm's of the same names. `plain18` and `plain34` are
the paper's networks without shortcuts, which it compares with.

B rows, C channels, H, W cells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from ..errors import SettingError
from ..layers.convolution import Conv1x1, Conv3x3
from .base import Architecture, Backbone, Family, Reading, Size, chosen, same

LAYERS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
Stem = Literal["full", "half", "small"]
BOTTLENECK_FROM = 50  # layers
FULL_FROM, HALF_FROM = 128, 24  # pixels from which the stem divides the grid by 4, by 2


@dataclass(frozen=True, kw_only=True)
class ResNetConfig(Architecture):
    """Sizes: `depth` layers, tokens of `width`, and how the stem begins."""

    depth: int = 18
    width: int = 0  # 0 for the paper's: 512, or 2048 with bottlenecks
    stem: Stem = "full"
    residual: bool = True

    def build(self) -> ResNet:
        return ResNet(self)

    def suited(self, size: tuple[int, int], options: ModelConfig) -> ResNetConfig:
        config = chosen(self, options, ("width", "depth", "stem"))
        if config.depth not in LAYERS:
            raise SettingError(f"A ResNet has 18, 34, 50, 101 or 152 layers; received {config.depth}.")
        if options.stem or options.weights or min(size) >= FULL_FROM:
            return config
        return replace(config, stem="half" if min(size) >= HALF_FROM else "small")

    def least(self) -> int:
        return {"full": 32, "half": 16, "small": 8}[self.stem]  # below, the last grids are one cell


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut around them."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, *, residual: bool) -> None:
        super().__init__()
        self.conv1 = Conv3x3(inputs, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = Conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(inputs, width, stride) if residual else None
        self.residual = residual

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x_BCHW)))
        y = self.bn2(self.conv2(y))
        if self.residual:
            y = y + (x_BCHW if self.downsample is None else self.downsample(x_BCHW))
        return F.relu(y, inplace=True)


class Bottleneck(nn.Module):
    """A 3 x 3 convolution on a quarter of the channels, between two of 1 x 1, and a shortcut around them."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, *, residual: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = Conv3x3(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(inputs, 4 * width, stride) if residual else None
        self.residual = residual

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x_BCHW)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        if self.residual:
            y = y + (x_BCHW if self.downsample is None else self.downsample(x_BCHW))
        return F.relu(y, inplace=True)


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """A projection where the shape changes; None where the identity will do."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(Conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))


class ResNet(Backbone):
    """(B, C, H, W) -> logits (B, classes)."""

    last = "fc"

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        block = Bottleneck if config.depth >= BOTTLENECK_FROM else BasicBlock
        base = max(1, (config.width or 512 * block.expansion) // (8 * block.expansion))
        kernel, stride = {"full": (7, 2), "half": (3, 2), "small": (3, 1)}[config.stem]
        self.conv1 = nn.Conv2d(config.channels, base, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(base)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if config.stem == "full" else nn.Identity()
        self.channels = tuple(base * block.expansion << level for level in range(4))
        self.width = self.channels[-1]
        inputs, stages = base, []
        for level, count in enumerate(LAYERS[config.depth]):
            blocks = [block(inputs, base << level, 2 if level else 1, residual=config.residual)]
            inputs = self.channels[level]
            blocks += [block(inputs, base << level, 1, residual=config.residual) for _ in range(count - 1)]
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(self.width, config.classes) if config.classes else nn.Identity()
        initialise(self)

    def read(self, x_BCHW: Tensor) -> Reading:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x_BCHW))))
        one = self.layer1(x)
        two = self.layer2(one)
        three = self.layer3(two)
        return Reading((one, two, three, self.layer4(three)))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.fc(self.read(x_BCHW).maps[-1].mean((2, 3)))
        return out


def initialise(network: nn.Module) -> None:
    """Normal weights by fan-out (He et al. 2015); the last norm of a branch at 0 (Goyal et al. 2017)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, BasicBlock) and module.residual:
            nn.init.zeros_(module.bn2.weight)
        elif isinstance(module, Bottleneck) and module.residual:
            nn.init.zeros_(module.bn3.weight)


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of transformers' `ResNetForImageClassification` (or `ResNetModel`) to ours."""
    return {_ours(name): value for name, value in state.items()}


def _ours(name: str) -> str:
    name = name.removeprefix("resnet.").replace("normalization.", "bn.").replace("convolution.", "conv.")
    name = re.sub(r"^embedder\.embedder\.(conv|bn)\.", r"\g<1>1.", name)
    name = re.sub(r"^classifier\.1\.", "fc.", name)
    place = re.match(r"encoder\.stages\.(\d+)\.layers\.(\d+)\.(.*)", name)
    if not place:
        return name
    rest = re.sub(r"^shortcut\.(conv|bn)\.", lambda m: f"downsample.{'01'[m[1] == 'bn']}.", place[3])
    rest = re.sub(r"^layer\.(\d+)\.(conv|bn)\.", lambda m: f"{m[2]}{int(m[1]) + 1}.", rest)
    return f"layer{int(place[1]) + 1}.{place[2]}.{rest}"


PRESETS = {
    "resnet18": ResNetConfig(depth=18),
    "resnet34": ResNetConfig(depth=34),
    "resnet50": ResNetConfig(depth=50),
    "resnet101": ResNetConfig(depth=101),
    "resnet152": ResNetConfig(depth=152),
}
PLAIN = {
    "plain18": ResNetConfig(depth=18, residual=False),
    "plain34": ResNetConfig(depth=34, residual=False),
}
SIZES = {
    "resnet18": Size(11_689_512, 3_628_146_688, 224),
    "resnet34": Size(21_797_672, 7_327_522_816, 224),
    "resnet50": Size(25_557_032, 8_178_368_512, 224),
    "resnet101": Size(44_549_160, 15_602_810_880, 224),
    "resnet152": Size(60_192_808, 23_027_253_248, 224),
    "plain18": Size(11_515_688, 3_589_611_520, 224),
    "plain34": Size(21_623_848, 7_288_987_648, 224),
}
FAMILY = Family(
    title="ResNet",
    paper="He et al. 2015, arXiv 1512.03385",
    year=2015,
    default="resnet18",
    presets=PRESETS,
    sizes=SIZES,
    weights="torchvision and timm resnet*, transformers microsoft/resnet-*",
    layouts={"torchvision": same, "transformers": from_transformers},
    settings=frozenset({"depth", "width", "stem"}),
)
PLAIN_FAMILY = replace(
    FAMILY, title="Plain network", default="plain18", presets=PLAIN, weights="", layouts={}, any_pixels=True
)
