"""Encoded columns as arrays, in memory or mapped from files. n = rows asked for, N = all rows."""

from __future__ import annotations

import mmap
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..columns.base import Array
from .notes import Bad

Rows = NDArray[np.int64]
Taken = dict[str, Array | list[Array]]
READ_AROUND = 1 << 16  # bytes that the system maps around a place that is read
MOST_RESIDENT = 512 << 20  # bytes of mapped files that stay in memory, where the files are larger than that
AHEAD = 48 << 20  # bytes of rows that are read ahead from such files, in the order in which they lie there
PIECE = 8_192  # rows that are read from them between two looks at how much is resident


class Encoded(ABC):
    """One encoded column."""

    @abstractmethod
    def take(self, rows: Rows | slice) -> Array | list[Array]:
        """Copies of the arrays of some rows: stacked (n, ...) for a dense column, a list for a ragged one."""

    @abstractmethod
    def lengths(self, rows: Rows | slice) -> NDArray[np.int64]:
        """(n,): the first dimension of each row's array; 1 for a dense column."""


class Resident:
    """Keeps what is mapped from counting as memory of the process without end."""

    def __init__(self, limit: int = MOST_RESIDENT) -> None:
        self.limit = limit
        self.mappings: list[mmap.mmap] = []
        self.total = 0
        self.touched = 0

    def open(self, path: Path) -> Array:
        """The array in a .npy file, mapped."""
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(file)
            offset = file.tell()
            if dtype.hasobject:
                raise ValueError(f"{path} holds objects")
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.mappings.append(mapping)
        self.total += len(mapping)
        return np.ndarray(shape, dtype, mapping, offset)

    @property
    def crowded(self) -> bool:
        """Whether the files are larger than what may stay in memory."""
        return self.total > self.limit

    def touch(self, size: int) -> None:
        """Count what was read; give the memory back once it is too much (the system keeps the pages)."""
        if not self.crowded:
            return
        self.touched += size
        if self.touched > self.limit and sys.platform != "win32":
            for mapping in self.mappings:
                mapping.madvise(mmap.MADV_DONTNEED)
            self.touched = 0


class Dense(Encoded):
    """Arrays of one shape."""

    def __init__(self, data: Array, resident: Resident | None = None) -> None:
        self.data = data
        self._resident = resident
        self._row_bytes = data.nbytes // max(1, len(data))

    def take(self, rows: Rows | slice) -> Array:
        """(n, ...): copies of the arrays of some rows."""
        if self._resident is None or not self._resident.crowded:
            return np.array(self.data[rows])
        numbers = np.arange(len(self.data))[rows] if isinstance(rows, slice) else rows
        taken = np.empty((len(numbers), *self.data.shape[1:]), self.data.dtype)
        for start in range(0, len(numbers), PIECE):
            piece = numbers[start : start + PIECE]
            taken[start : start + len(piece)] = self.data[piece]
            reach = (int(piece.max()) - int(piece.min()) + 1) * self._row_bytes + READ_AROUND
            self._resident.touch(min(reach, len(piece) * (self._row_bytes + READ_AROUND)))
        return taken

    def lengths(self, rows: Rows | slice) -> NDArray[np.int64]:
        """(n,) ones."""
        return np.ones(len(self.data[rows]), np.int64)


class Ragged(Encoded):
    """Arrays that differ in their first dimension, lying in `flat` one after another."""

    def __init__(
        self,
        flat: Array,
        starts: NDArray[np.int64],
        counts: NDArray[np.int64],
        resident: Resident | None = None,
    ) -> None:
        self.flat, self.starts, self.counts = flat, starts, counts
        self._resident = resident

    def take(self, rows: Rows | slice) -> list[Array]:
        """Copies of the arrays of some rows."""
        starts, counts = self.starts[rows], self.counts[rows]
        pairs = zip(starts.tolist(), counts.tolist(), strict=True)
        taken = [np.array(self.flat[start : start + count]) for start, count in pairs]
        if self._resident is not None:
            self._resident.touch(sum(READ_AROUND + array.nbytes for array in taken))
        return taken

    def lengths(self, rows: Rows | slice) -> NDArray[np.int64]:
        """(n,): the first dimension of each row's array."""
        return np.asarray(self.counts[rows])


@dataclass(frozen=True)
class Store:
    """The encoded columns of a table's rows; what could not be encoded is zeros, and not `usable`."""

    columns: dict[str, Encoded]
    usable: NDArray[np.bool_]  # (N,)
    bad: tuple[Bad, ...] = field(default=())
    crowded: bool = False  # the files are larger than what may stay in memory

    def __getitem__(self, name: str) -> Encoded:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.usable)

    def batches(self, order: Sequence[Rows], names: Sequence[str]) -> Iterator[Taken]:
        """For each batch of `order`, what `take` gives of the columns `names`.

        From files larger than memory, rows of many batches are read at once in the order in which they lie
        there, which touches every page once in place of once a row.
        """
        ahead = self._rows_ahead(names) if self.crowded else 0
        for window in _windows(order, ahead):
            if len(window) == 1:
                yield {name: self[name].take(window[0]) for name in names}
                continue
            together = np.concatenate(window)
            lying = np.argsort(together)
            place = np.empty_like(lying)
            place[lying] = np.arange(len(lying))
            near = {name: self[name].take(together[lying]) for name in names}
            for part in np.split(place, np.cumsum([len(rows) for rows in window])[:-1]):
                yield {name: _pick(taken, part) for name, taken in near.items()}

    def _rows_ahead(self, names: Sequence[str]) -> int:
        sample = np.linspace(0, len(self) - 1, 64).astype(np.int64)
        size = sum(np.asarray(array).nbytes for name in names for array in self[name].take(sample))
        return AHEAD * len(sample) // max(1, size)


def _windows(order: Sequence[Rows], most: int) -> Iterator[list[Rows]]:
    """Batches that follow each other, together at most `most` rows, but at least one batch."""
    window: list[Rows] = []
    count = 0
    for rows in order:
        if window and count + len(rows) > most:
            yield window
            window, count = [], 0
        window.append(rows)
        count += len(rows)
    if window:
        yield window


def _pick(taken: Array | list[Array], rows: NDArray[np.intp]) -> Array | list[Array]:
    return taken[rows] if isinstance(taken, np.ndarray) else [taken[i] for i in rows.tolist()]
