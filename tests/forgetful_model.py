"""A reader with a state that no checkpoint keeps, for a test of the pre-flight."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from blind_model import Blind
from shinso.config import ModelConfig
from shinso.features import Features


class Forgetful(Blind):
    """Counts its steps in a plain attribute and weighs its token by them."""

    def __init__(self, column: Any, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.steps = 0

    def forward(self, image: Tensor) -> Features:
        self.steps += self.training
        found = super().forward(image)
        return Features.of(found.tokens * (1 + self.steps))
