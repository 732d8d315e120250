"""Between NumPy and Arrow by their buffers.

Pyarrow's own conversions, of a single number too, import pandas wherever it is installed: a third of a second
and 30 MB at the first of them, for nothing that is used here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

KINDS: dict[pa.DataType, str] = {
    pa.int8(): "int8", pa.int16(): "int16", pa.int32(): "int32", pa.int64(): "int64",
    pa.uint8(): "uint8", pa.uint16(): "uint16", pa.uint32(): "uint32", pa.uint64(): "uint64",
    pa.float32(): "float32", pa.float64(): "float64",
    pa.timestamp("us"): "datetime64[us]", pa.duration("us"): "timedelta64[us]",
}  # fmt: skip
TYPES = {np.dtype(kind): found for found, kind in KINDS.items()}


def from_numpy(values: NDArray[Any]) -> pa.Array:
    """Numbers, booleans or times; NaN and NaT become null.

    >>> from_numpy(np.array([True, False, True])).to_pylist(), from_numpy(np.arange(3)).to_pylist()
    ([True, False, True], [0, 1, 2])
    """
    if values.dtype.kind == "b":
        bits = pa.py_buffer(np.packbits(values, bitorder="little"))
        return pa.Array.from_buffers(pa.bool_(), len(values), [None, bits])
    absent = np.isnan(values) if values.dtype.kind in "fmM" else np.zeros(0, bool)
    present = pa.py_buffer(np.packbits(~absent, bitorder="little")) if absent.any() else None
    cells = pa.py_buffer(np.ascontiguousarray(values).view("u1"))
    return pa.Array.from_buffers(TYPES[values.dtype], len(values), [present, cells])


def scalar(value: float, kind: str) -> pa.Scalar:
    """A number for Arrow to compute with.

    >>> scalar(3, "int32").as_py()
    3
    """
    return from_numpy(np.array([value], kind))[0]


def missing(kind: pa.DataType) -> pa.Scalar:
    """Null of a kind."""
    return pa.nulls(1, kind)[0]


def from_texts(texts: Iterable[str | None], kind: pa.DataType | None = None) -> pa.Array:
    """Texts, as `string` if no other kind is asked for; None becomes null.

    >>> from_texts(["a", None]).null_count
    1
    """
    builder = pa.lib.StringBuilder()
    builder.append_values(texts)
    array = builder.finish()
    return array if kind is None else array.cast(kind)


def to_numpy(array: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """Numbers, booleans or times. Where one is missing: whole numbers become float64 with NaN, times NaT.

    >>> to_numpy(pa.array([1, None, 3])), to_numpy(pa.array([True, False]))
    (array([ 1., nan,  3.]), array([ True, False]))
    """
    chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    if not chunks:
        return np.empty(0, "bool" if pa.types.is_boolean(array.type) else KINDS[array.type])
    parts = [_cells(chunk) for chunk in chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _cells(array: pa.Array) -> NDArray[Any]:
    present, cells = array.buffers()
    if pa.types.is_boolean(array.type):
        if array.null_count:
            raise ValueError("a missing boolean has no place in NumPy")
        return _bits(cells, array.offset, len(array))
    kind = np.dtype(KINDS[array.type])
    if not len(array):
        return np.empty(0, kind)
    values = np.frombuffer(cells, kind, len(array), array.offset * kind.itemsize)
    if not array.null_count:
        return values
    absent = ~_bits(present, array.offset, len(array))
    values = values.astype(np.float64) if kind.kind in "iu" else values.copy()
    values[absent] = np.nan if values.dtype.kind == "f" else np.array("NaT", kind)
    return values


def _bits(buffer: pa.Buffer, offset: int, count: int) -> NDArray[np.bool_]:
    packed = np.frombuffer(buffer, np.uint8)
    first = offset // 8
    bits = np.unpackbits(packed[first : (offset + count + 7) // 8], bitorder="little")
    return bits[offset - 8 * first :][:count].astype(bool)
