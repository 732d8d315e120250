"""What every encoder gives. One architecture a file; attribute names follow the public reference."""

from __future__ import annotations

from abc import ABC
from typing import Any, ClassVar

from torch import nn

from ..config import ModelConfig


class Encoder(nn.Module, ABC):
    """Reads one column (or, for scalars, a group of them) and gives `Features`."""

    width: int  # D, the size of the tokens it gives
    members: int = 0  # K of an ensemble whose members stand where tokens would; 0 for none
    rates: ClassVar[dict[str, float]] = {}  # parameter-name prefix -> multiplier of the learning rate

    def __init__(self, column: Any, options: ModelConfig) -> None:
        super().__init__()
