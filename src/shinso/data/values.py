"""Between Arrow columns and the 1-D NumPy arrays that column types read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..columns.base import Value, Values, missing_mask, object_array
from ..errors import DataError
from .arrow import from_numpy, from_texts, scalar, to_numpy

SAMPLE = 1_000
SHORT = 100  # characters of a text that may be copied to compare it
Rows = NDArray[np.int64]


def to_values(array: pa.ChunkedArray, *, whole: bool, name: str) -> Values:
    """An Arrow column to float64, int64, bool, datetime64[us] or object values.

    `whole` says that the column, of which `array` may be a part, has no missing value: only then may the
    result be int64 or bool, so that every part of a column has the same type.
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        array, kind = array.cast(kind.value_type), kind.value_type
    if pa.types.is_null(kind):
        return np.full(len(array), np.nan)
    if pa.types.is_boolean(kind):
        return to_numpy(array) if whole else object_array(array.to_pylist())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _numbers(array, whole=whole)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _times(array)
    if pa.types.is_duration(kind):
        return to_numpy(array.cast(pa.duration("us"))).astype("float64") / 1e6
    if pa.types.is_time(kind):
        return object_array([None if value is None else value.isoformat() for value in array.to_pylist()])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _lists(array)
    if pa.types.is_struct(kind):
        return _structs(array, name)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _texts(array)
    return object_array(array.to_pylist())


def _numbers(array: pa.ChunkedArray, *, whole: bool) -> Values:
    if whole and pa.types.is_integer(array.type) and array.type != pa.uint64():
        return np.asarray(to_numpy(array), np.int64)
    values = to_numpy(array.cast(pa.float64(), safe=False))
    infinite = np.isinf(values)
    return np.where(infinite, np.nan, values) if infinite.any() else values


def _texts(array: pa.ChunkedArray) -> Values:
    """Strings; those that recur are one object, so that a category of many rows takes little memory."""
    sample = array[:SAMPLE]
    if len(sample.unique()) > len(sample) / 2:
        return object_array(array.to_pylist())
    encoded = array.combine_chunks().dictionary_encode()
    words = object_array([*encoded.dictionary.to_pylist(), None])
    codes: NDArray[np.int32] = to_numpy(encoded.indices.fill_null(scalar(len(words) - 1, "int32")))
    return words[codes]


def _times(array: pa.ChunkedArray) -> Values:
    if pa.types.is_timestamp(array.type) and array.type.tz is not None:
        array = pc.local_timestamp(array)  # hours and weekdays mean what the clock on the wall said
    return to_numpy(array.cast(pa.timestamp("us"), safe=False))


def _lists(array: pa.ChunkedArray) -> Values:
    kind = array.type.value_type
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    values = array.to_pylist()
    if numeric:
        return object_array([None if v is None else np.asarray(v, np.float64) for v in values])
    return object_array(values)


def _structs(array: pa.ChunkedArray, name: str) -> Values:
    """Structs as image data sets keep them: {"bytes": ..., "path": ...}."""
    fields = [array.type.field(i).name for i in range(array.type.num_fields)]
    if "bytes" not in fields:
        raise DataError(
            f"Column {name!r} holds nested records with the fields {fields}. Expected one value in each row. "
            f"Flatten it first, as in SELECT {name}.{fields[0] if fields else 'field'} FROM ...;"
        )
    return object_array([None if value is None else value["bytes"] for value in array.to_pylist()])


def take_rows(array: pa.ChunkedArray, rows: Rows) -> pa.ChunkedArray:
    """`array[rows]`, touching only the chunks that hold those rows (Arrow's `take` may join all chunks)."""
    if array.num_chunks <= 1:
        return array.take(from_numpy(rows))
    order = np.arange(len(rows)) if (rows[:-1] <= rows[1:]).all() else np.argsort(rows, kind="stable")
    ends = np.cumsum([len(chunk) for chunk in array.chunks])
    cuts = np.searchsorted(rows[order], ends)
    parts, start = [], 0
    for chunk, cut, end in zip(array.chunks, cuts, ends, strict=True):
        if cut > start:
            parts.append(chunk.take(from_numpy(rows[order[start:cut]] - (end - len(chunk)))))
        start = cut
    if not parts:
        return pa.chunked_array([], array.type)
    joined = pa.concat_arrays(parts)
    if (order[:-1] < order[1:]).all():
        return pa.chunked_array([joined])
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return pa.chunked_array([joined.take(from_numpy(inverse))])


def codes_of(values: Values) -> NDArray[np.int32] | None:
    """(n,) numbers from 0 on, equal for equal values, -1 where missing; None for values such as images.

    >>> codes_of(np.array(["b", None, "b"], object))
    array([ 0, -1,  0], dtype=int32)
    """
    if values.dtype.kind == "O":
        lengths = [len(value) for value in values[:SAMPLE] if isinstance(value, str)]
        if sum(lengths) > SHORT * len(lengths):
            return _hashed(values)  # without a copy of long texts
    try:
        array = from_texts(values) if values.dtype.kind == "O" else from_numpy(values)
    except (pa.ArrowInvalid, TypeError, UnicodeEncodeError):
        return _hashed(values)
    found = array.dictionary_encode().indices.fill_null(scalar(-1, "int32"))
    return to_numpy(found).astype(np.int32)


def whole_text(value: Any) -> Any:
    """A text with a question mark for each half of a character, which Arrow cannot hold; lists likewise.

    >>> whole_text("\\ud83d!"), whole_text([1, "a"])
    ('?!', [1, 'a'])
    """
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    return [whole_text(one) for one in value] if isinstance(value, list) else value


def _hashed(values: Values) -> NDArray[np.int32] | None:
    missing = missing_mask(values)
    there = values[~missing]
    if not all(isinstance(value, str | bool | int | float) for value in there):
        return None
    seen: dict[Value, int] = {}
    codes = np.full(len(values), -1, np.int32)
    codes[~missing] = [seen.setdefault(value, len(seen)) for value in there]
    return codes
