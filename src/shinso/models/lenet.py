"""LeNet-5 (LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition",
Proceedings of the IEEE 86, 1998), layer by layer as in section II.B. There are no published weights;
tests/test_lenet_spiking.py compares with the paper's equations.

Subsampling has a coefficient and a bias for each map, the second convolution sees some of the maps only
(Table I), and everything passes through 1.7159 tanh(2/3 x). The output differs: the paper compares with drawn
digits; here a linear layer gives the classes.

B rows, C channels, H, W cells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from .base import Architecture, Backbone, Family, Reading, Size, chosen

SIDE = 32  # pixels; smaller pictures stand in the middle of so many
# Table I: the maps of S2 that each map of C3 sees.
TABLE = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LeNetConfig(Architecture):
    """One size."""

    channels: int = 1
    classes: int = 10

    def build(self) -> LeNet:
        return LeNet(self)

    def suited(self, size: tuple[int, int], options: ModelConfig) -> LeNetConfig:
        return replace(chosen(self, options, ()))


def squash(x: Tensor) -> Tensor:
    """1.7159 tanh(2/3 x), which is 1 at 1 (appendix A)."""
    return 1.7159 * torch.tanh(2 / 3 * x)


class Subsampling(nn.Module):
    """The sum of 2 x 2 cells times a coefficient plus a bias, one of each for every map."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.full((maps, 1, 1), 0.25))
        self.bias = nn.Parameter(torch.zeros(maps, 1, 1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return 4 * F.avg_pool2d(x_BCHW, 2) * self.coefficient + self.bias


class TableConv(nn.Conv2d):
    """A 5 x 5 convolution whose maps see what Table I says; the weights of all others are kept out."""

    def __init__(self) -> None:
        super().__init__(6, 16, 5)
        seen = torch.zeros(16, 6, 1, 1)
        for row, inputs in enumerate(TABLE):
            seen[row, list(inputs)] = 1
        self.register_buffer("seen", seen, persistent=False)

    seen: Tensor

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.conv2d(x_BCHW, self.weight * self.seen, self.bias)


class LeNet(Backbone):
    """(B, C, H, W) -> logits (B, classes). Pictures below 32 x 32 are framed; of larger ones, C5 sees all."""

    width = 84
    channels = (6, 16)
    last = "output"

    def __init__(self, config: LeNetConfig) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(config.channels, 6, 5)
        self.s2 = Subsampling(6)
        self.c3 = TableConv()
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, config.classes) if config.classes else nn.Identity()
        initialise(self)

    def read(self, x_BCHW: Tensor) -> Reading:
        down, across = (max(0, SIDE - side) for side in x_BCHW.shape[2:])
        x = F.pad(x_BCHW, (across // 2, across - across // 2, down // 2, down - down // 2))
        two = squash(self.s2(squash(self.c1(x))))
        four = squash(self.s4(squash(self.c3(two))))
        five_BC = squash(self.c5(four)).mean((2, 3))
        return Reading((two, four), squash(self.f6(five_BC)).unsqueeze(1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        tokens = self.read(x_BCHW).tokens
        assert tokens is not None
        out: Tensor = self.output(tokens[:, 0])
        return out


def initialise(network: LeNet) -> None:
    """Uniform, the wider the fewer inputs (appendix A); by their square root: theirs have variance 1 here."""
    sparse = (sum(map(len, TABLE)) / len(TABLE)) * 25
    for layer, inputs in ((network.c1, None), (network.c3, sparse), (network.c5, None), (network.f6, None)):
        bound = (3 / (inputs or layer.weight[0].numel())) ** 0.5
        nn.init.uniform_(layer.weight, -bound, bound)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)


PRESETS = {"lenet5": LeNetConfig()}
SIZES = {
    "lenet5": Size(61_750, 833_040, 32),
}
FAMILY = Family(
    title="LeNet",
    paper="LeCun et al. 1998, Proceedings of the IEEE 86",
    year=1998,
    default="lenet5",
    presets=PRESETS,
    sizes=SIZES,
)
