"""What the server needs of a model: raw columns in, answers out. An export is one, a run can be made one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration
from ..schema import Schema

Columns = Mapping[str, Sequence[Any]]  # a list of raw values for each column
Arrays = Mapping[str, NDArray[Any]]


class Servable(Protocol):
    """A model that can be served. `forward` may be called from one thread at a time, the rest from any."""

    @property
    def version(self) -> str:
        """Which of several of one name."""

    @property
    def schema(self) -> Schema:
        """The typed columns."""

    @property
    def calibration(self) -> Mapping[str, Calibration]:
        """By predicted column: what turns outputs into probabilities, sets and intervals."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What was written beside it."""

    def check(self) -> None:
        """Raise `ShinsoError` where it does not answer as it did when it was made."""

    def encode(self, rows: Columns) -> Arrays:
        """Raw columns to arrays with a row each; `DataError` names the column."""

    def forward(self, inputs: Arrays) -> Arrays:
        """A batch through the network."""

    def decode(self, outputs: Arrays, *, coverage: float | None = None) -> dict[str, list[Any]]:
        """The table that `shinso predict` gives; with a coverage, also the set of possible labels."""


@runtime_checkable
class Embedding(Protocol):
    """A model that can also say what it answered from."""

    @property
    def space(self) -> str:
        """The graph that its vectors belong to;  where it gives none."""

    def embedded(self, inputs: Arrays) -> tuple[Arrays, NDArray[np.float32]]:
        """As `Servable.forward`, and one vector a row (B, E)."""
