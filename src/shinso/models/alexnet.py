"""AlexNet (Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
Networks", 2012), in the form for one processor (Krizhevsky, "One weird trick", 2014, arXiv 1404.5997).

The state dict matches torchvision's `alexnet`. For pictures below 63 pixels the first filters are 5 x 5 with
stride 1 and pooling keeps the borders, as in the author's networks for CIFAR.

B rows, C channels, H, W cells, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn

from ..config import ModelConfig
from .base import Architecture, Backbone, Family, Reading, Size, chosen, same

LEAST = 63  # pixels whose grid survives the reference's strides
FULL_FROM = 128  # pixels from which something is left to see after them
GRID = 6  # cells of the pooled grid


@dataclass(frozen=True, kw_only=True)
class AlexNetConfig(Architecture):
    """Sizes: hidden layers of `width`; `small` for small pictures; `grid` cells a side before them."""

    width: int = 4096
    small: bool = False
    grid: int = GRID
    dropout: float = 0.5

    def build(self) -> AlexNet:
        return AlexNet(self)

    def suited(self, size: tuple[int, int], options: ModelConfig) -> AlexNetConfig:
        config = chosen(self, options, ("width", "stem"))
        small = options.stem in ("half", "small") or not (
            options.stem or options.weights or min(size) >= FULL_FROM
        )
        grid = min(GRID, -(-min(size) // 8)) if small else GRID
        dropout = self.dropout if options.dropout is None else options.dropout
        return replace(config, small=small, grid=grid, dropout=dropout)

    def least(self) -> int:
        return 8 if self.small else LEAST


class AlexNet(Backbone):
    """(B, C, H, W) -> logits (B, classes). The one token is the last hidden layer."""

    channels = (64, 192, 256)
    last = "classifier.6"

    def __init__(self, config: AlexNetConfig) -> None:
        super().__init__()
        self.width = config.width
        first = (5, 1, 2) if config.small else (11, 4, 2)
        margin = 1 if config.small else 0
        self.features = nn.Sequential(
            nn.Conv2d(config.channels, 64, *first), nn.ReLU(), nn.MaxPool2d(3, 2, margin),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, margin),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, margin),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(config.grid)
        self.classifier = nn.Sequential(
            nn.Dropout(config.dropout), nn.Linear(256 * config.grid**2, self.width), nn.ReLU(),
            nn.Dropout(config.dropout), nn.Linear(self.width, self.width), nn.ReLU(),
            *([nn.Linear(self.width, config.classes)] if config.classes else []),
        )  # fmt: skip

    def read(self, x_BCHW: Tensor) -> Reading:
        one, two, rest = self.features[:3], self.features[3:6], self.features[6:]
        first = one(x_BCHW)
        second = two(first)
        third = rest(second)
        hidden_BD = self.classifier[:6](self.avgpool(third).flatten(1))
        return Reading((first, second, third), hidden_BD.unsqueeze(1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        tokens = self.read(x_BCHW).tokens
        assert tokens is not None
        out: Tensor = self.classifier[6:](tokens[:, 0])
        return out


PRESETS = {"alexnet": AlexNetConfig()}
SIZES = {
    "alexnet": Size(61_100_840, 1_428_376_960, 224),
}
FAMILY = Family(
    title="AlexNet",
    paper="Krizhevsky et al. 2012; arXiv 1404.5997",
    year=2012,
    default="alexnet",
    presets=PRESETS,
    sizes=SIZES,
    weights="torchvision alexnet",
    layouts={"torchvision": same},
    settings=frozenset({"width", "stem"}),
)
