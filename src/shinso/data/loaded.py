"""What every reader gives: Arrow columns and where each row came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..columns.base import Values
from .notes import Bad, Note


@dataclass(frozen=True)
class Span:
    """The rows of a table that came from one file, one after another."""

    file: str
    count: int
    skipped: tuple[int, ...] = ()  # numbers, from 1, of rows of the file that are not in the table
    line: Callable[[int], int | None] | None = None  # number of a row in the file -> its line

    def number(self, index: int) -> int:
        """The number in the file, counted from 1, of the span's row `index`."""
        return int(self.numbers(np.asarray([index]))[0])

    def numbers(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,): the numbers in the file of the span's rows `indices`."""
        gaps = np.asarray(self.skipped, np.int64) - np.arange(len(self.skipped))
        return indices + 1 + np.searchsorted(gaps, indices + 1, side="right")


@dataclass(frozen=True)
class Loaded:
    """Rows as read, before they become a `Table`."""

    data: pa.Table
    spans: tuple[Span, ...]
    fingerprint: str
    notes: tuple[Note, ...] = ()
    quarantine: tuple[Bad, ...] = ()
    parts: NDArray[np.int8] | None = None
    key: str | None = None  # column whose text names the row (image folders); None: rows are numbered
    objects: dict[str, Values] = field(default_factory=dict)  # columns that Arrow cannot hold
    folders: dict[str, Path] = field(default_factory=dict)  # columns of file names -> folder they are relative to
    folder: Path | None = None  # where a table's own file lies: its columns of file names are relative to it
    trusted: bool = True  # False: file names must stay inside `folder` (rows from an archive)

    def with_notes(self, *notes: Note) -> Loaded:
        """A copy with `notes` added."""
        return replace(self, notes=(*self.notes, *notes))
