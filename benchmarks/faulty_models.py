"""Readers of small images, sound and ill, for benchmarks/faults.py. B rows, C channels, D size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from shinso.config import ModelConfig
from shinso.features import Features
from shinso.models import Encoder


class Plain(Encoder):
    """Two convolutions and a layer, as anybody would write them."""

    channels_of = (16, 32)

    def __init__(self, column: Any, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.width = 32
        first, second = self.channels_of
        self.first = nn.Conv2d(column.channels, first, 3, padding=1)
        self.second = nn.Conv2d(first, second, 3, padding=1)
        self.last = nn.Linear(second, self.width)
        self.register_buffer("mean", torch.tensor(column.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(column.std).view(1, -1, 1, 1), persistent=False)

    def read(self, image_BHWC: Tensor) -> Tensor:
        """(B, C, H, W), normalised by what the column learned."""
        assert isinstance(self.mean, Tensor) and isinstance(self.deviation, Tensor)
        return (image_BHWC.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.deviation

    def forward(self, image_BHWC: Tensor) -> Features:
        """One token."""
        seen = self.second(self.first(self.read(image_BHWC)).relu()).relu().amax((2, 3))
        return Features.of(self.last(seen).relu()[:, None])


class Frozen(Plain):
    """Its first layer is never trained."""

    def __init__(self, column: Any, options: ModelConfig) -> None:
        super().__init__(column, options)
        for parameter in self.first.parameters():
            parameter.requires_grad_(False)  # noqa: FBT003


class Cut(Plain):
    """A stray `detach` lets no gradient through to the first layers."""

    def forward(self, image_BHWC: Tensor) -> Features:
        """One token."""
        seen = self.second(self.first(self.read(image_BHWC)).relu()).relu().amax((2, 3))
        return Features.of(self.last(seen.detach()).relu()[:, None])


class Dead(Plain):
    """Biases so far below zero that no unit ever answers."""

    def __init__(self, column: Any, options: ModelConfig) -> None:
        super().__init__(column, options)
        nn.init.constant_(self.second.bias, -50.0)  # type: ignore[arg-type]


class Blind(Plain):
    """Forgets what it has read."""

    def forward(self, image_BHWC: Tensor) -> Features:
        """One token, the same for all rows."""
        return Features.of(super().forward(image_BHWC).tokens * 0 + 1)


class Narrow(Plain):
    """Too small for ten classes: a single number passes."""

    channels_of = (1, 1)


class Saturated(Plain):
    """Twelve layers of sigmoids."""

    def __init__(self, column: Any, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.deep = nn.Sequential(*(nn.Sequential(nn.Linear(32, 32), nn.Sigmoid()) for _ in range(12)))

    def forward(self, image_BHWC: Tensor) -> Features:
        """One token."""
        return Features.of(self.deep(super().forward(image_BHWC).tokens))


class Raw(Plain):
    """Pixels from 0 to 255, multiplied by a hundred, without normalisation."""

    def read(self, image_BHWC: Tensor) -> Tensor:
        """(B, C, H, W) as they are."""
        return image_BHWC.permute(0, 3, 1, 2).float() * 100
