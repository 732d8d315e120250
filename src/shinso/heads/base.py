"""What every head can do. B = rows, K = ensemble members."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from ..features import Features


class Loss(NamedTuple):
    """A sum and what it was summed over, so that accumulation normalises by true counts."""

    total: Tensor  # 0-d, fp32
    count: Tensor  # type: ignore[assignment]  # 0-d, fp32: rows, tokens or pixels with a target


@dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """What a run may say about a head's loss."""

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()  # one for each label, mean 1 over the training rows; () for none
    loss: str = ""  # "" for the head's own default
    maps: tuple[int, ...] = ()  # channels of the maps, fine to coarse; () for those of `ResidualNet`


class Head(nn.Module, ABC):
    """One kind of output: the layer, its loss and its prediction."""

    def __init__(self, column: Any, width: int, members: int, options: HeadOptions) -> None:
        super().__init__()

    @abstractmethod
    def loss(self, features: Features, target: Tensor) -> Loss:
        """The sum to minimise and its count; rows without a target count nothing. Sampling lives in here."""

    @abstractmethod
    def predict(self, features: Features) -> Tensor:
        """(B, ...): one array a row for `column.decode`. Decoding loops live in here."""
