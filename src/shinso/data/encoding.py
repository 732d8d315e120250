"""Values to arrays, chunk by chunk, and the writing of those arrays as they come."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..columns.base import Array, Column, Values
from ..errors import DataError
from .store import Dense, Encoded, Ragged, Resident

HEADER = 256  # bytes before the data of a .npy file whose length is known only at the end
Piece = tuple[int, "Array | list[Array]"]  # the place of the first row, and the arrays from there on


@dataclass
class Failures:
    """Rows whose value could not be encoded: their place, why, and what stood there."""

    rows: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)


def encode_chunk(column: Column, values: Values, start: int, failures: Failures) -> Iterator[Piece]:
    """Encode values at once; where that fails, halve until the ones that cannot be encoded are found."""
    if not len(values):
        return
    try:
        encoded = column.encode_many(values)
    except DataError as error:
        if len(values) == 1:
            failures.rows.append(start)
            failures.reasons.append(str(error))
            failures.values.append(str(values[0]))
            return
    else:
        yield start, encoded
        return
    half = len(values) // 2
    yield from encode_chunk(column, values[:half], start, failures)
    yield from encode_chunk(column, values[half:], start + half, failures)


class Sink(ABC):
    """Takes encoded rows in any order. Rows that never come are zeros, or empty."""

    file: BinaryIO | None = None

    @abstractmethod
    def put(self, piece: Piece) -> None:
        """Add the arrays of rows that stand together."""

    @abstractmethod
    def finish(self) -> Encoded | None:
        """The column in memory, or None when it was written to files."""

    def close(self) -> None:
        """Close the file that is written to, finished or not."""
        if self.file is not None:
            self.file.close()


def make_sink(column: Column, count: int, place: Path | None) -> Sink:
    """Where `count` encoded rows go: to memory, or to files in the folder `place`."""
    if column.ragged:
        return RaggedMemory(count) if place is None else RaggedFile(count, place)
    return DenseMemory(count) if place is None else DenseFile(count, place)


def open_encoded(place: Path, resident: Resident, *, ragged: bool) -> Encoded:
    """The column that a sink wrote to `place`."""
    data = resident.open(place / "data.npy")
    if not ragged:
        return Dense(data, resident)
    starts, counts = (np.load(place / f"{name}.npy", allow_pickle=False) for name in ("starts", "counts"))
    return Ragged(data, starts, counts, resident)


class DenseMemory(Sink):
    """A stacked array."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.data: Array | None = None

    def put(self, piece: Piece) -> None:
        start, arrays = piece[0], np.asarray(piece[1])
        if self.data is None:
            self.data = np.zeros((self.count, *arrays.shape[1:]), arrays.dtype)
        self.data[start : start + len(arrays)] = arrays

    def finish(self) -> Encoded:
        assert self.data is not None, "a column without any readable row is refused before"
        return Dense(self.data)


class DenseFile(Sink):
    """`data.npy`, written at the places where rows belong; what is not written is a hole in the file."""

    def __init__(self, count: int, place: Path) -> None:
        self.count, self.path = count, place / "data.npy"
        self.file: BinaryIO | None = None
        self.kind: tuple[tuple[int, ...], np.dtype[Any]] | None = None

    def put(self, piece: Piece) -> None:
        start, arrays = piece[0], np.ascontiguousarray(piece[1])
        if self.file is None:
            self.kind = (arrays.shape[1:], arrays.dtype)
            self.file = self.path.open("wb")
            self.file.write(npy_header((self.count, *arrays.shape[1:]), arrays.dtype))
            self.file.truncate(HEADER + self.count * (arrays.nbytes // len(arrays)))
        assert self.kind == (arrays.shape[1:], arrays.dtype), "a column's arrays have one shape and type"
        self.file.seek(HEADER + start * (arrays.nbytes // len(arrays)))
        self.file.write(arrays.data)

    def finish(self) -> None:
        assert self.file is not None, "a column without any readable row is refused before"
        self.file.flush()


class RaggedMemory(Sink):
    """Arrays joined at the end."""

    def __init__(self, count: int) -> None:
        self.starts, self.counts = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.end = 0
        self.arrays: list[Array] = []

    def put(self, piece: Piece) -> None:
        start, arrays = piece[0], list(piece[1])
        self.end = place_arrays(self.starts, self.counts, start, arrays, self.end)
        self.arrays += arrays

    def finish(self) -> Encoded:
        return Ragged(np.concatenate(self.arrays), self.starts, self.counts)


class RaggedFile(Sink):
    """`data.npy` with all arrays in the order in which they came, `starts.npy` and `counts.npy`."""

    def __init__(self, count: int, place: Path) -> None:
        self.starts, self.counts = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.end = 0
        self.place = place
        self.file: BinaryIO | None = None
        self.kind: tuple[tuple[int, ...], np.dtype[Any]] | None = None

    def put(self, piece: Piece) -> None:
        start, arrays = piece[0], list(piece[1])
        joined = np.ascontiguousarray(np.concatenate(arrays))
        if self.file is None:
            self.kind = (joined.shape[1:], joined.dtype)
            self.file = (self.place / "data.npy").open("wb")
            self.file.write(bytes(HEADER))
        assert self.kind == (joined.shape[1:], joined.dtype), "a column's arrays have one shape and type"
        self.end = place_arrays(self.starts, self.counts, start, arrays, self.end)
        self.file.write(joined.data)

    def finish(self) -> None:
        assert self.file is not None and self.kind is not None
        self.file.seek(0)
        self.file.write(npy_header((self.end, *self.kind[0]), self.kind[1]))
        self.file.flush()
        np.save(self.place / "starts.npy", self.starts, allow_pickle=False)
        np.save(self.place / "counts.npy", self.counts, allow_pickle=False)


def place_arrays(
    starts: NDArray[np.int64], counts: NDArray[np.int64], row: int, arrays: list[Array], end: int
) -> int:
    """Note where the arrays of rows from `row` on lie when put after `end`; returns the new end."""
    lengths = np.array([len(array) for array in arrays], np.int64)
    rows = slice(row, row + len(arrays))
    counts[rows] = lengths
    starts[rows] = end + np.cumsum(lengths) - lengths
    return end + int(lengths.sum())


def npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """The first 256 bytes of a .npy file: the same size for any shape, so that it can be written last."""
    text = repr({"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    room = HEADER - 10
    assert len(text) < room
    return b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + text.ljust(room - 1).encode() + b"\n"
