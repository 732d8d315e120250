"""What every encoder gives. One architecture a file; attribute names follow the public reference."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from ..config import ModelConfig

Rename = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]  # a published state dict to our names


class Encoder(nn.Module, ABC):
    """Reads one column (or, for scalars, a group of them) and gives `Features`."""

    width: int  # D, the size of the tokens it gives
    members: int = 0  # K of an ensemble whose members stand where tokens would; 0 for none
    rates: ClassVar[dict[str, float]] = {}  # parameter-name prefix -> multiplier of the learning rate

    def __init__(self, column: Any, options: ModelConfig) -> None:
        super().__init__()

    def published(self) -> Published | None:
        """The part that published weights fit; None where there are none."""
        return None


@dataclass(frozen=True)
class Published:
    """The part of an encoder that published weights fit, and the layouts that they come in."""

    module: nn.Module
    layouts: Mapping[str, Rename]  # by the library that writes it
    classifier: tuple[str, str] = ("", "")  # names of weight and bias of the layer that gives the classes
    fit: Rename = dict  # what is changed for this size, after renaming (position embeddings)
