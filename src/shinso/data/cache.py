"""Encoded columns, decoded once: in memory when small, else as memory maps keyed by content.

One folder per column: `<cache>/<key>/` with `meta.json`, `data.npy`, for ragged columns `offsets.npy`, and
`usable.npy`. The folder is written beside its place and renamed into it, so that a reader sees all or nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..columns.base import Array, Column, Values
from ..errors import DataError
from .notes import MOST_LISTED, Bad, shorten
from .table import Table

FORMAT = 1
CHUNK = 65_536
Rows = NDArray[np.int64]
Progress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    """No progress is shown."""


class Encoded(ABC):
    """One encoded column: row i is row `rows[i]` of the table."""

    @abstractmethod
    def take(self, rows: Rows | slice) -> Array | list[Array]:
        """The arrays of some rows: stacked (n, ...) for a dense column, a list for a ragged one."""

    @abstractmethod
    def lengths(self, rows: Rows | slice) -> NDArray[np.int64]:
        """(n,): the first dimension of each row's array (1 for a dense column)."""


class Dense(Encoded):
    """Arrays of one shape."""

    def __init__(self, data: Array) -> None:
        self.data = data

    def take(self, rows: Rows | slice) -> Array:
        """(n, ...): the arrays of some rows, as a copy."""
        return np.array(self.data[rows])

    def lengths(self, rows: Rows | slice) -> NDArray[np.int64]:
        """(n,) ones."""
        return np.ones(len(self.data[rows]), np.int64)


class Ragged(Encoded):
    """Arrays that differ in their first dimension, one after another in `flat`."""

    def __init__(self, flat: Array, offsets: NDArray[np.int64]) -> None:
        self.flat, self.offsets = flat, offsets

    def take(self, rows: Rows | slice) -> list[Array]:
        """The arrays of some rows, as copies."""
        starts, ends = self.offsets[:-1][rows], self.offsets[1:][rows]
        return [np.array(self.flat[start:end]) for start, end in zip(starts, ends, strict=True)]

    def lengths(self, rows: Rows | slice) -> NDArray[np.int64]:
        """(n,): the first dimension of each row's array."""
        return np.asarray(self.offsets[1:][rows] - self.offsets[:-1][rows])


@dataclass(frozen=True)
class Store:
    """The encoded columns of the rows of a table."""

    columns: dict[str, Encoded]
    usable: NDArray[np.bool_]  # False where a column could not be encoded
    bad: tuple[Bad, ...] = field(default=())

    def __getitem__(self, name: str) -> Encoded:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.usable)


@dataclass
class _Failures:
    """Rows whose value could not be encoded: place among the rows encoded, reason, value."""

    rows: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)

    def add(self, row: int, error: DataError, value: object) -> None:
        self.rows.append(row)
        self.reasons.append(str(error))
        self.values.append(shorten(str(value)))


def encode_table(
    table: Table, columns: Sequence[Column], rows: Rows | None = None, *, folder: Path | None = None,
    fingerprint: str | None = None, workers: int = 1, progress: Progress = _silent,
) -> Store:  # fmt: skip
    """Encode `columns` for `rows` (all when None), so that row i of the store is row `rows[i]` of the table."""
    usable = np.ones(len(table) if rows is None else len(rows), np.bool_)
    encoded: dict[str, Encoded] = {}
    bad: list[Bad] = []
    for column in columns:
        failures = _Failures()
        encoded[column.name] = _encode_in_memory(table, column, rows, failures)
        usable[failures.rows] = False
        bad += _bad(table, column.name, rows, failures)
    progress(len(usable), len(usable))
    return Store(encoded, usable, tuple(bad))


def _encode_in_memory(table: Table, column: Column, rows: Rows | None, failures: _Failures) -> Encoded:
    count = len(table) if rows is None else len(rows)
    pieces: list[tuple[int, Array | list[Array]]] = []
    for start in range(0, count, CHUNK):
        selected = slice(start, min(count, start + CHUNK)) if rows is None else rows[start : start + CHUNK]
        pieces += encode_chunk(column, table.values(column.name, selected), start, failures)
    if not pieces:
        raise DataError(f"No value of column {column.name!r} can be used. The first one: {failures.reasons[0]}")
    if column.ragged:
        return _gather_ragged(pieces, count)
    first = np.asarray(pieces[0][1])
    data = np.zeros((count, *first.shape[1:]), first.dtype)
    for start, arrays in pieces:
        data[start : start + len(arrays)] = arrays
    return Dense(data)


def _gather_ragged(pieces: list[tuple[int, Array | list[Array]]], count: int) -> Ragged:
    lengths = np.zeros(count, np.int64)
    for start, arrays in pieces:
        lengths[start : start + len(arrays)] = [len(array) for array in arrays]
    flat = np.concatenate([array for _, arrays in pieces for array in arrays])
    return Ragged(flat, np.concatenate([[0], np.cumsum(lengths)]))


def encode_chunk(
    column: Column, values: Values, start: int, failures: _Failures
) -> list[tuple[int, Array | list[Array]]]:
    """Encode values at once; where that fails, halve until the values that cannot be encoded are found."""
    try:
        return [(start, column.encode_many(values))] if len(values) else []
    except DataError as error:
        if len(values) == 1:
            failures.add(start, error, values[0])
            return []
    half = len(values) // 2
    first = encode_chunk(column, values[:half], start, failures)
    return first + encode_chunk(column, values[half:], start + half, failures)


def _bad(table: Table, name: str, rows: Rows | None, failures: _Failures) -> list[Bad]:
    listed = zip(failures.rows[:MOST_LISTED], failures.reasons, failures.values, strict=False)
    found = []
    for place, reason, value in listed:
        row = place if rows is None else int(rows[place])
        found.append(Bad(table.file(row), table.keys(np.asarray([row]))[0], name, reason, value))
    return found
