"""What every column type can do. NumPy and codecs only: serving an exported model must not need torch."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, fields
from types import UnionType
from typing import Any, ClassVar, Self, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

Values = NDArray[
    Any
]  # 1-D: float64, int64, bool, datetime64[us], or object (str, Path, bytes, list, array, None)
Value = (
    Any  # one element of Values, or what a request brings: str, int, float, bytes, Path, list, ndarray, None
)
Array = NDArray[Any]
LARGEST_INT, LARGEST_FLOAT = 2**53, 1e300  # of stored numbers


@dataclass(frozen=True, kw_only=True)
class Column(ABC):
    """A named, typed column. Its fields are what was learned from the training rows, and nothing else.

    Columns are equal by value and survive a JSON round trip (`to_dict`, `restore`). A raw value that is
    missing is None, NaN or NaT. A file on disk is always a `pathlib.Path`; a `str` is never opened as a file,
    so a request cannot name a file of the server.

    `encode` raises `DataError` naming the column, the value and the remedy; who calls it adds file and row.
    """

    kind: ClassVar[str]  # the name in schemas, tables and flags
    scalar: ClassVar[bool] = False  # True: read together with the other scalar columns by models/scalars.py
    ragged: ClassVar[bool] = False  # True: `encode` gives arrays of differing first dimension
    name: str

    @classmethod
    @abstractmethod
    def matches(cls, values: Values) -> float:
        """How sure, from 0 to 1, that `values` (a sample, missing ones among them) are of this type."""

    @classmethod
    @abstractmethod
    def examples(cls, rng: np.random.Generator, n: int) -> Values:
        """Made-up raw values: for the contract tests, the documentation and the demo form."""

    def fit(self, values: Values) -> Self:
        """Return a copy that has learned its vocabulary or statistics from `values` (training rows only)."""
        return self

    @abstractmethod
    def encode(self, value: Value) -> Array:
        """One raw value, as found in a file or a request, to one array (0-d for a scalar)."""

    def encode_many(self, values: Values) -> Array | list[Array]:
        """All of `values` at once, equal to `[encode(v) for v in values]`; stacked unless `ragged`."""
        arrays = [self.encode(value) for value in values]
        return arrays if self.ragged else np.stack(arrays)

    def collate(self, arrays: Sequence[Array]) -> Array:
        """Encoded values to one batch array (B, ...); ragged columns pad here."""
        return np.stack(list(arrays))

    def decode(self, array: Array) -> Value:
        """What a head predicted for one row, to a raw value (only columns that can be predicted)."""
        raise DataError(f"Column {self.name!r} is of type {self.kind}, which cannot be predicted yet.")

    def parts(self, value: Value) -> list[Hashable]:
        """The pieces that an explanation speaks of: words, patches, spans. One piece by default."""
        return ["value"]

    def hide(self, value: Value, part: Hashable) -> Value:
        """`value` with one of its parts made uninformative, by something learned from the training rows."""
        return None

    def summary(self, values: Values) -> dict[str, Any]:
        """Plain JSON facts about `values` for the report and for drift: counts, quantiles, lengths."""
        missing = count_missing(values)
        return {"rows": len(values), "missing": missing}

    def show(self, value: Value) -> str:
        """`value` as a short piece of safe HTML."""
        return html.escape(str(value))

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of one value in a request."""
        return {"title": self.name}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, `kind` included."""
        return {"kind": self.kind, **asdict(self)}

    @classmethod
    def restore(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_dict` (without `kind`). Lists become tuples, all the way down.

        Raises `DataError` where a value is not of the declared type: what is stored may come from a stranger.
        """
        values = {key: _tuples(value) for key, value in data.items()}
        declared = get_type_hints(cls)
        for one in fields(cls):
            if one.name in values and not _fits(values[one.name], declared[one.name]):
                raise DataError(
                    f"The stored column {str(values.get('name'))!r} has {one.name} = "
                    f"{str(values[one.name])[:60]!r}; expected {one.type}. Restore the file from a copy."
                )
        return cls(**values)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _fits(value: Any, hint: Any) -> bool:
    """Whether plain data is of a declared type; numbers are finite and of a size that arithmetic bears."""
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        if not isinstance(value, tuple):
            return False
        if inner[-1:] == (Ellipsis,):
            return all(_fits(v, inner[0]) for v in value)
        return len(value) == len(inner) and all(map(_fits, value, inner))
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, h) for h in get_args(hint))
    if hint is float:
        return type(value) in (int, float) and abs(value) <= LARGEST_FLOAT
    if hint is int:
        return type(value) is int and abs(value) <= LARGEST_INT
    return hint is Any or type(value) is hint


def is_missing(value: Value) -> bool:
    """True for None, NaN and NaT.

    >>> [is_missing(v) for v in (None, float("nan"), np.datetime64("NaT"), 0, "")]
    [True, True, True, False, False]
    """
    if value is None:
        return True
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    if isinstance(value, np.datetime64):
        return bool(np.isnat(value))
    return False


def missing_mask(values: Values) -> NDArray[np.bool_]:
    """(n,) bool: where `values` are missing."""
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind == "M":
        return np.isnat(values)
    if values.dtype.kind == "O":
        return np.fromiter((is_missing(v) for v in values), bool, len(values))
    return np.zeros(len(values), bool)


def count_missing(values: Values) -> int:
    """How many of `values` are missing."""
    return int(missing_mask(values).sum())


def object_array(values: Sequence[Any]) -> Values:
    """A 1-D object array, also where the elements are lists or arrays of equal length."""
    out = np.empty(len(values), object)
    for i, value in enumerate(values):
        out[i] = value
    return out
