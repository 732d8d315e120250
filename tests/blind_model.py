"""A reader that sees nothing, for a test of the doctor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from shinso.config import ModelConfig
from shinso.features import Features
from shinso.models import Encoder


class Blind(Encoder):
    """The same token whatever the image is."""

    def __init__(self, column: Any, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.width = 8
        self.token = nn.Parameter(torch.ones(1, 1, 8))

    def forward(self, image: Tensor) -> Features:
        return Features.of(
            self.token.expand(len(image), 1, 8) + 0 * image.float().mean((1, 2, 3))[:, None, None]
        )
