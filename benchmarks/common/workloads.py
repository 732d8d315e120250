"""The modules that both sides of a measurement of speed train, on batches made up beforehand.

B rows, N steps, D width, H, W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

CLASSES = 10


class Perceptron(nn.Module):
    """Three layers of one width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.Linear(width, width), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, CLASSES))

    def forward(self, x_BD: Tensor) -> Tensor:
        return self.layers(x_BD)


class Convolutions(nn.Module):
    """Five 3x3 convolutions with batch normalisation."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(5):
            layers += [
                nn.Conv2d(width if i else inputs, width, 3, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(width, CLASSES)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.layers(x_BCHW).mean((2, 3)))


class Block(nn.Module):
    """A pre-norm transformer block (Radford et al., 2019), heads of 64."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x_BND: Tensor) -> Tensor:
        parts = self.qkv(self.norm1(x_BND)).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (-1, 64)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x_BND = x_BND + self.out(mixed.transpose(1, 2).flatten(2))
        x_BND = x_BND + self.narrow(F.gelu(self.wide(self.norm2(x_BND))))
        return self.head(x_BND.mean(1))


class Recurrence(nn.Module):
    """One LSTM, read at its last step."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(inputs, width, batch_first=True), nn.Linear(width, CLASSES)

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
            width = module.lstm.hidden_size
            return 3 * 2 * rows * (steps * 4 * width * (inputs + width) + width * CLASSES)
        with FlopCounterMode(display=False) as counter:
            F.cross_entropy(module(x), y).backward()
        return int(counter.get_total_flops())


WORKLOADS: dict[str, Workload] = {
    "mlp": Workload(partial(Perceptron, 2048), (2048, 2048), 12),
    "convolution": Workload(partial(Convolutions, 256, 256), (16, 256, 16, 16), 12),
    "transformer": Workload(partial(Block, 768), (16, 256, 768), 10),
    "lstm": Workload(partial(Recurrence, 512, 512), (256, 64, 512), 10),
}
WARM = 5  # steps that are not timed
