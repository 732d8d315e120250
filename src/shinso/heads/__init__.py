"""One file a kind of output: layer, loss, prediction. To add one: write the file, add it to HEADS."""

from __future__ import annotations

from .base import Head, HeadOptions, Loss
from .classify import Classify, Label
from .forecast import Forecast
from .paint import Paint
from .regress import Regress
from .segment import Segment
from .write import Write

HEADS: dict[str, type[Head]] = {
    "category": Classify,
    "labels": Label,
    "number": Regress,
    "datetime": Regress,
    "series": Forecast,
    "text": Write,
    "image": Paint,
    "mask": Segment,
}

POOLED = frozenset({"category", "labels", "number", "datetime"})  # heads that read `Features.pool()` only

__all__ = ["HEADS", "POOLED", "Head", "HeadOptions", "Loss"]
