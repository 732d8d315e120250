"""A reader that forgets to scale pixels, for a test of the doctor."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from shinso.config import ModelConfig
from shinso.features import Features
from shinso.models import Encoder


class Unscaled(Encoder):
    """A convolution of pixels from 0 to 255."""

    def __init__(self, column: Any, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.width = 8
        self.first = nn.Conv2d(column.channels, 8, 3)

    def forward(self, image_BHWC: Tensor) -> Features:
        seen_BCHW = self.first(image_BHWC.permute(0, 3, 1, 2).float()).relu()
        return Features.of(seen_BCHW.amax((2, 3))[:, None])
