"""Raw columns as tensors of the Open Inference Protocol, and back. n = rows, C = classes.

Text, labels and dates are BYTES (UTF-8), files are BYTES (the file; base64 text in JSON), numbers are FP64
with NaN where missing, pictures may be UINT8 (n, H, W) or (n, H, W, 3), series are FP64 (n, T) or (n, T, V).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ..columns import Column
from .natural import FILES, MOST_ROWS, Form, Output, plain
from .refusals import Refusal, missing_field, unknown_field

Array = NDArray[Any]
TYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"), "UINT8": np.dtype("<u1"), "UINT16": np.dtype("<u2"), "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"), "INT8": np.dtype("<i1"), "INT16": np.dtype("<i2"), "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"), "FP16": np.dtype("<f2"), "FP32": np.dtype("<f4"), "FP64": np.dtype("<f8"),
}  # fmt: skip
SCALARS = frozenset({"number", "category", "datetime"})  # kinds whose value may be a plain number
MOST_DIMENSIONS = 8


@dataclass(frozen=True)
class Tensor:
    """One named tensor: numbers as an array, BYTES as a flat list."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Array | list[bytes] | list[str]
    labels: tuple[str, ...] = ()  # of the classes, where the last dimension is over them


@dataclass(frozen=True)
class About:
    """Name, type and shape of a tensor, -1 where any size will do."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """As the protocol writes it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


def about_input(column: Column) -> About:
    """The tensor that a given column is sent as."""
    if column.kind == "number":
        return About(column.name, "FP64", (-1,))
    if column.kind == "series":
        variables = int(column.to_dict().get("variables", 1))
        return About(column.name, "FP64", (-1, -1) if variables == 1 else (-1, -1, variables))
    return About(column.name, "BYTES", (-1,))


def about_outputs(output: Output, keys: Sequence[str]) -> list[About]:
    """The tensors that a predicted column is answered as; `keys` are those of the model's own table."""
    found = [About(output.name, "FP64" if output.kind == "number" else "BYTES", (-1,))]
    if output.shares:
        found.append(About(f"{output.name}_probabilities", "FP64", (-1, len(output.labels))))
    if f"{output.name} low" in keys:
        found += [About(f"{output.name}_{end}", "FP64", (-1,)) for end in ("low", "high")]
    return found


def output_tensors(output: Output, table: Mapping[str, list[Any]]) -> list[Tensor]:
    """The answers about one predicted column."""
    values, n = table[output.name], len(table[output.name])
    if output.kind == "number":
        found = [Tensor(output.name, "FP64", (n,), np.asarray(values, np.float64))]
    else:
        found = [Tensor(output.name, "BYTES", (n,), [written(v) for v in values])]
    if output.shares:
        shares = np.array([table[key] for key in output.shares], np.float64).T
        name = f"{output.name}_probabilities"
        found.append(
            Tensor(name, "FP64", (n, len(output.shares)), np.ascontiguousarray(shares), output.labels)
        )
    if f"{output.name} low" in table:
        for end in ("low", "high"):
            ends = np.asarray(table[f"{output.name} {end}"], np.float64)
            found.append(Tensor(f"{output.name}_{end}", "FP64", (n,), ends))
    if f"{output.name} set" in table:
        listed = [orjson.dumps(one) for one in table[f"{output.name} set"]]
        found.append(Tensor(f"{output.name}_set", "BYTES", (n,), listed))
    return found


def written(value: Any) -> bytes:
    """An answer as BYTES: text as it is, the rest as JSON."""
    return value.encode() if isinstance(value, str) else orjson.dumps(plain(value), default=str)


def to_columns(tensors: Sequence[Tensor], form: Form) -> tuple[dict[str, list[Any]], int]:
    """Columns of raw values, and how many rows there are."""
    found: dict[str, list[Any]] = {}
    for tensor in tensors:
        if tensor.name not in form.known:
            raise unknown_field(tensor.name, form.names)
        if tensor.name in found:
            raise bad_tensor(tensor.name, "stands twice")
        found[tensor.name] = raw_values(tensor, form.kinds[tensor.name])
    for name in form.names:
        if name not in found:
            raise missing_field(name)
    counts = {len(values) for values in found.values()}
    if len(counts) != 1:
        raise bad_tensor(tensors[0].name, "has another number of rows than the others")
    count = counts.pop()
    if not 0 < count <= MOST_ROWS:
        raise Refusal(
            "no_rows", f"{count} rows were sent; a request takes 1 to {MOST_ROWS:,}.",
            "Send at least one row, and many in several requests.", field=tensors[0].name,
        )  # fmt: skip
    return {name: found[name] for name in form.names}, count


def raw_values(tensor: Tensor, kind: str) -> list[Any]:
    """The rows of a tensor as values of a column."""
    shape, data = tensor.shape, tensor.data
    if isinstance(data, np.ndarray):
        if kind in ("image", "mask") and len(shape) in (3, 4) and tensor.datatype == "UINT8":
            return list(data)
        if kind == "series" and len(shape) in (2, 3):
            return [row.tolist() for row in data]
        if kind in SCALARS:
            flat_shape(tensor)
            values: list[Any] = data.reshape(-1).tolist()
            return values
        raise bad_tensor(tensor.name, f"is {tensor.datatype} of shape {list(shape)}, which no {kind} is")
    flat_shape(tensor)
    if kind in FILES:
        return [value or None for value in data]
    return [text_of(tensor.name, value) for value in data]


def flat_shape(tensor: Tensor) -> None:
    """Raise `Refusal` unless a tensor has one value a row: (n,) or (n, 1)."""
    if len(tensor.shape) != 1 and (len(tensor.shape) != 2 or tensor.shape[1] != 1):
        raise bad_tensor(tensor.name, f"has the shape {list(tensor.shape)}; expected [n] or [n, 1]")


def text_of(name: str, value: bytes | str) -> str:
    """BYTES as text."""
    if isinstance(value, str):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise bad_tensor(name, "holds bytes that are no UTF-8") from None


def checked(name: Any, datatype: Any, shape: Any) -> tuple[str, str, tuple[int, ...], int]:
    """Name, type, shape and number of elements of a tensor that a client describes."""
    if not isinstance(name, str):
        raise bad_tensor(None, "has no name")
    if datatype != "BYTES" and (not isinstance(datatype, str) or datatype not in TYPES):
        raise bad_tensor(name, f"has the datatype {str(datatype)[:20]!r}; known: BYTES, {', '.join(TYPES)}")
    whole = isinstance(shape, list | tuple) and all(type(d) is int and 0 <= d < 2**31 for d in shape)
    if not whole or not 0 < len(shape) <= MOST_DIMENSIONS:
        raise bad_tensor(name, "has no shape of whole numbers, as in [1]")
    return name, datatype, tuple(shape), math.prod(shape)


def from_json(name: str, datatype: str, shape: tuple[int, ...], data: Any) -> Tensor:
    """A tensor whose elements stand in JSON, nested or flat."""
    flat: list[Any] = []
    flatten(data, flat, name, MOST_DIMENSIONS)
    if len(flat) != math.prod(shape):
        raise bad_tensor(name, f"has {len(flat)} elements; its shape {list(shape)} has {math.prod(shape)}")
    if datatype == "BYTES":
        if not all(isinstance(value, str) for value in flat):
            raise bad_tensor(name, "is BYTES, whose elements are strings in JSON")
        return Tensor(name, datatype, shape, flat)
    kinds = (bool,) if datatype == "BOOL" else (int, float) if datatype[0] == "F" else (int,)
    if not all(type(value) in kinds or (value is None and datatype[0] == "F") for value in flat):
        raise bad_tensor(name, f"is {datatype}, and holds something else")
    try:
        array = np.array(flat, TYPES[datatype])
    except (OverflowError, ValueError):
        raise bad_tensor(name, f"holds a number that no {datatype} can be") from None
    return Tensor(name, datatype, shape, array.reshape(shape))


def flatten(data: Any, out: list[Any], name: str, depth: int) -> None:
    """The elements of nested lists, in order."""
    if not isinstance(data, list) or depth == 0:
        raise bad_tensor(name, "has no list of elements under 'data'")
    for value in data:
        if isinstance(value, list):
            flatten(value, out, name, depth - 1)
        else:
            out.append(value)


def from_bytes(name: str, datatype: str, shape: tuple[int, ...], data: bytes) -> Tensor:
    """A tensor in the binary form: little-endian elements; each of BYTES behind its length in four bytes."""
    count = math.prod(shape)
    if datatype == "BYTES":
        return Tensor(name, datatype, shape, elements(name, data, count))
    expected = count * TYPES[datatype].itemsize
    if len(data) != expected:
        raise bad_tensor(name, f"has {len(data)} bytes; {datatype} of shape {list(shape)} has {expected}")
    return Tensor(name, datatype, shape, np.frombuffer(data, TYPES[datatype]).reshape(shape))


def elements(name: str, data: bytes, count: int) -> list[bytes]:
    """The elements of a BYTES tensor."""
    found: list[bytes] = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        end = at + 4 + size
        if end > len(data) or len(found) == count:
            raise bad_tensor(name, "has bytes that do not fit its shape")
        found.append(data[at + 4 : end])
        at = end
    if len(found) != count:
        raise bad_tensor(name, f"has {len(found)} elements; its shape has {count}")
    return found


def to_bytes(tensor: Tensor) -> bytes:
    """A tensor in the binary form."""
    if isinstance(tensor.data, np.ndarray):
        return tensor.data.astype(TYPES[tensor.datatype], copy=False).tobytes()
    parts = [value if isinstance(value, bytes) else value.encode() for value in tensor.data]
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)


def to_json(tensor: Tensor) -> list[Any]:
    """The elements of a tensor, flat, as JSON takes them."""
    if isinstance(tensor.data, np.ndarray):
        values: list[Any] = tensor.data.reshape(-1).tolist()
        return values
    return [value if isinstance(value, str) else value.decode("utf-8", "replace") for value in tensor.data]


def bad_tensor(name: str | None, why: str) -> Refusal:
    """The refusal of a tensor."""
    called = "A tensor" if name is None else f"The tensor {name[:80]!r}"
    remedy = "GET /v2/models/NAME says what the model takes."
    return Refusal("bad_tensor", f"{called} {why}.", remedy, field=name)
