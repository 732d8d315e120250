"""What every reader gives: Arrow columns and where each row came from."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..columns.base import Values
from .arrow import from_numpy
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
        return np.asarray(indices + 1 + np.searchsorted(gaps, indices + 1, side="right"))

    def without(self, indices: NDArray[np.int64]) -> Span:
        """The span less its rows `indices`."""
        skipped = sorted({*self.skipped, *self.numbers(indices).tolist()})
        return replace(self, count=self.count - len(indices), skipped=tuple(skipped))


@dataclass(frozen=True)
class Loaded:
    """Rows as read, before they become a `Table`."""

    data: pa.Table
    spans: tuple[Span, ...]
    fingerprint: str
    notes: tuple[Note, ...] = ()
    quarantine: tuple[Bad, ...] = ()
    parts: NDArray[np.int8] | None = None
    key: str | None = None  # column whose text names the row (folders of files); None: rows are numbered
    objects: dict[str, Values] = field(default_factory=dict)  # columns that Arrow cannot hold
    folders: dict[str, Path] = field(
        default_factory=dict
    )  # columns of file names -> the folder they start from
    mapping: mmap.mmap | None = None  # of rows that lie on disk
    order: tuple[str, ...] = ()  # of the columns, where some of them are objects

    def __len__(self) -> int:
        return sum(span.count for span in self.spans)

    def named(self, fingerprint: str) -> Loaded:
        """A copy with another fingerprint."""
        return replace(self, fingerprint=fingerprint)

    def adding(self, notes: Sequence[Note] = (), bad: Sequence[Bad] = ()) -> Loaded:
        """A copy with further notes and bad rows."""
        return replace(self, notes=(*self.notes, *notes), quarantine=(*self.quarantine, *bad))

    def without(self, rows: NDArray[np.int64]) -> Loaded:
        """A copy that lacks some rows."""
        keep = np.ones(len(self), np.bool_)
        keep[rows] = False
        starts = np.cumsum([0, *(span.count for span in self.spans)])
        spans = [
            span.without(rows[(rows >= start) & (rows < start + span.count)] - start)
            for span, start in zip(self.spans, starts[:-1], strict=True)
        ]
        return replace(
            self,
            data=self.data.filter(from_numpy(keep)),
            spans=tuple(spans),
            parts=None if self.parts is None else self.parts[keep],
            objects={name: values[keep] for name, values in self.objects.items()},
        )


def find_span(spans: Sequence[Span], row: int) -> tuple[Span, int]:
    """The span that holds a row of the table, and the row's place in it."""
    starts = np.cumsum([0, *(span.count for span in spans)])
    i = int(np.searchsorted(starts, row, side="right")) - 1
    return spans[i], row - int(starts[i])
