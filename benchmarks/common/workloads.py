"""The modules that both sides of a measurement of speed train, on batches made up beforehand.

B rows, N steps, D width, H, W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

CLASSES = 10


class Perceptron(nn.Module):
    """Three layers of 512."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.Linear(512, 512), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(512, CLASSES))

    def forward(self, x_BD: Tensor) -> Tensor:
        return self.layers(x_BD)


class Convolutions(nn.Module):
    """Five 3x3 convolutions of 64 channels with batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(5):
            layers += [nn.Conv2d(64 if i else 3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()]
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(64, CLASSES)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.layers(x_BCHW).mean((2, 3)))


class Block(nn.Module):
    """A pre-norm transformer block (Radford et al., 2019), width 256, 4 heads."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(256), nn.LayerNorm(256)
        self.qkv, self.out = nn.Linear(256, 768), nn.Linear(256, 256)
        self.wide, self.narrow = nn.Linear(256, 1024), nn.Linear(1024, 256)
        self.head = nn.Linear(256, CLASSES)

    def forward(self, x_BND: Tensor) -> Tensor:
        parts = self.qkv(self.norm1(x_BND)).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (4, 64)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x_BND = x_BND + self.out(mixed.transpose(1, 2).flatten(2))
        x_BND = x_BND + self.narrow(F.gelu(self.wide(self.norm2(x_BND))))
        return self.head(x_BND.mean(1))


class Recurrence(nn.Module):
    """One LSTM of 128, read at its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(64, 128, batch_first=True), nn.Linear(128, CLASSES)

    def forward(self, x_BND: Tensor) -> Tensor:
        return self.head(self.lstm(x_BND)[0][:, -1])


@dataclass(frozen=True)
class Workload:
    """A module, the shape of its batch, and how many steps give a figure."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    steps: int

    def batches(self, count: int = 4) -> list[tuple[Tensor, Tensor]]:
        """(x, y) made of noise."""
        generator = torch.Generator().manual_seed(0)
        pairs = []
        for _ in range(count):
            x = torch.randn(self.shape, generator=generator)
            pairs.append((x, torch.randint(CLASSES, (self.shape[0],), generator=generator)))
        return pairs

    def operations(self) -> int:
        """Floating-point operations of one forward and backward pass of one batch."""
        module, (x, y) = self.make(), self.batches(1)[0]
        if isinstance(module, Recurrence):  # the counter does not know fused recurrent layers
            rows, steps, inputs = self.shape
            return 3 * 2 * rows * (steps * 4 * 128 * (inputs + 128) + 128 * CLASSES)
        with FlopCounterMode(display=False) as counter:
            F.cross_entropy(module(x), y).backward()
        return int(counter.get_total_flops())


WORKLOADS: dict[str, Workload] = {
    "mlp": Workload(Perceptron, (256, 512), 300),
    "convolution": Workload(Convolutions, (64, 3, 32, 32), 25),
    "transformer": Workload(Block, (32, 128, 256), 60),
    "lstm": Workload(Recurrence, (64, 64, 64), 120),
}
WARM = 5  # steps that are not timed
