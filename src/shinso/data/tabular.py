"""What every kind of table offers: `Table`, and the windows of a series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..columns.base import Values
from .notes import Bad, Note

Rows = NDArray[np.int64]


class Tabular(Protocol):
    """Rows with named columns, each row with a place in the user's data."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""

    @property
    def notes(self) -> tuple[Note, ...]:
        """What there is to say about the rows."""

    @property
    def quarantine(self) -> tuple[Bad, ...]:
        """Rows and cells that could not be read."""

    @property
    def key_name(self) -> str:
        """`row` or `file`: what `keys` are."""

    @property
    def parts(self) -> NDArray[np.int8] | None:
        """(n,) 0 train, 1 validation, 2 test, where the source says so."""

    @property
    def fingerprint(self) -> str:
        """A hash of the content."""

    def __len__(self) -> int: ...

    def values(self, name: str, rows: Rows | slice | None = None) -> Values:
        """The values of one column, all or some rows."""

    def check(self, name: str) -> None:
        """Raise `DataError` when there is no column `name`."""

    def describe(self) -> str:
        """The files, for messages."""

    def rows(self, indices: Sequence[int] | Rows) -> list[dict[str, Any]]:
        """Some rows as dicts, for showing."""

    def keys(self, rows: Rows | slice | None = None) -> list[int | str]:
        """What a user calls each row."""

    def where(self, row: int) -> str:
        """The place of a row, for messages."""

    def file(self, row: int) -> str:
        """The file that a row came from."""
