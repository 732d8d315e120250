"""Encoded columns as arrays, in memory or mapped from files. n = rows asked for, N = all rows."""

from __future__ import annotations

import mmap
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..columns.base import Array
from .notes import Bad

Rows = NDArray[np.int64]
READ_AROUND = 1 << 16  # bytes that the system maps around a place that is read
MOST_RESIDENT = 1 << 30  # bytes of mapped files that stay in memory, where their files are larger than that


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

    def touch(self, size: int) -> None:
        """Count what was read; give the memory back once it is too much (the system keeps the pages)."""
        if self.total <= self.limit:
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
        self._row_bytes = max(READ_AROUND, data.nbytes // max(1, len(data)))

    def take(self, rows: Rows | slice) -> Array:
        """(n, ...): copies of the arrays of some rows."""
        taken = np.array(self.data[rows])
        if self._resident is not None:
            self._resident.touch(taken.nbytes if isinstance(rows, slice) else len(taken) * self._row_bytes)
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
            self._resident.touch(sum(max(READ_AROUND, array.nbytes) for array in taken))
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

    def __getitem__(self, name: str) -> Encoded:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.usable)
