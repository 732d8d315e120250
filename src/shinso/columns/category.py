"""Categories: one of a set of labels that is learned from the training rows."""

from __future__ import annotations

import html
import math
import numbers
import re
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .base import Array, Column, Value, Values, missing_mask, object_array

MOST_LABELS = 10_000
# As in tables that are read; other spellings, such as "none", may be labels.
MISSING_WORDS = frozenset({"", "?", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "None"})
WHOLE_FLOAT = re.compile(r"(-?\d+)\.0*")
TWINS = {"True": "1", "False": "0"}


@dataclass(frozen=True, kw_only=True)
class Category(Column):
    """One label a row. Encoded to a 0-d int64: label i to i, a label never met before to C, missing to -1.

    Labels are strings, sorted, numbers by value. 1, 1.0, "1" and " 1 " are one label; so is True, unless the
    column has the label "True". Of more than 10,000 labels the rarest are folded into "unseen".

    >>> column = Category(name="pet").fit(np.array(["dog", "cat", "dog"], object))
    >>> column.labels, column.encode("dog").item(), column.encode("cow").item(), column.encode(None).item()
    (('cat', 'dog'), 1, 2, -1)
    """

    kind: ClassVar[str] = "category"
    scalar: ClassVar[bool] = True
    labels: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()  # training rows of each label
    folded: int = 0  # labels of the training rows that were too rare to keep
    missing: float = 0.0  # share of the training rows that had no value

    @classmethod
    def matches(cls, values: Values) -> float:
        """Few, short, repeated values; .5 for whole numbers that could be labels (as a target they are)."""
        if values.dtype.kind == "b":
            return 0.95
        present = values[~missing_mask(values)]
        if not len(present):
            return 0.1
        if values.dtype.kind in "iuf":
            return 0.5 if _few_whole_numbers(present) else 0.0
        if not all(isinstance(v, str | bool | numbers.Number) for v in present):
            return 0.0
        return _repetition([label_of(v) or "" for v in present])

    @classmethod
    def examples(cls, rng: np.random.Generator, n: int) -> Values:
        """Cats, dogs and birds, a tenth of them missing."""
        drawn = rng.choice(np.array(["bird", "cat", "dog", None], object), n, p=[0.2, 0.3, 0.4, 0.1])
        return object_array(drawn.tolist())

    def fit(self, values: Values) -> Self:
        """Learn the labels and how often each stands in `values`."""
        found = Counter[str]()
        uniques, codes = _distinct(values)
        sizes = np.bincount(codes, minlength=len(uniques))
        for value, size in zip(uniques, sizes.tolist(), strict=True):
            label = self._label(value)
            if label is not None:
                found[label] += size
        found = _merge_twins(found)
        kept = sorted((label for label, _ in found.most_common(MOST_LABELS)), key=_natural)
        present = sum(found.values())
        return replace(
            self,
            labels=tuple(kept),
            counts=tuple(found[label] for label in kept),
            folded=len(found) - len(kept),
            missing=1 - present / len(values) if len(values) else 0.0,
        )

    def encode(self, value: Value) -> Array:
        """0-d int64: 0..C-1, C for a label never met, -1 for missing."""
        return np.asarray(self._index(value), np.int64)

    def encode_many(self, values: Values) -> Array:
        """(n,) int64."""
        uniques, codes = _distinct(values)
        indices = np.fromiter((self._index(v) for v in uniques), np.int64, len(uniques))
        return indices[codes] if len(uniques) else np.zeros(0, np.int64)

    def decode(self, array: Array) -> str:
        """Probabilities (C,) to the likeliest label."""
        return self.labels[int(np.argmax(array))]

    def hide(self, value: Value, part: Hashable) -> Value:
        """The most frequent label of the training rows."""
        return self.labels[int(np.argmax(self.counts))] if self.counts else None

    def summary(self, values: Values) -> dict[str, Any]:
        """Rows of each of the 50 most frequent labels, of those never met in training, and of none."""
        indices = self.encode_many(values)
        counts = np.bincount(indices[indices >= 0], minlength=len(self.labels) + 1)
        order = np.argsort(-counts[:-1], kind="stable")[:50]
        return {
            "rows": len(values),
            "missing": int((indices < 0).sum()),
            "labels": len(self.labels),
            "folded": self.folded,
            "unseen": int(counts[-1]),
            "counts": {self.labels[i]: int(counts[i]) for i in order if counts[i]},
        }

    def show(self, value: Value) -> str:
        """The label, escaped."""
        return html.escape(self._label(value) or "")

    def json_schema(self) -> dict[str, Any]:
        """A label, as a string, number or boolean; or null. No enum, since labels never met are allowed."""
        kinds = ["string", "number", "boolean", "null"]
        return {"title": self.name, "type": kinds, "examples": list(self.labels[:20])}

    @cached_property
    def _indices(self) -> dict[str, int]:
        indices = {label: i for i, label in enumerate(self.labels)}
        for word, digit in TWINS.items():
            for left, right in ((word, digit), (digit, word), (word.lower(), word), (word, word.lower())):
                if right in indices:
                    indices.setdefault(left, indices[right])
        return indices

    def _index(self, value: Value) -> int:
        label = self._label(value)
        return -1 if label is None else self._indices.get(label, len(self.labels))

    def _label(self, value: Value) -> str | None:
        try:
            return label_of(value)
        except TypeError:
            raise DataError(
                f"Column {self.name!r} holds one label a row (a string, a number or true/false); "
                f"received {type(value).__name__} {str(value)[:60]!r}."
            ) from None


def label_of(value: Value) -> str | None:
    """The label that a raw value means; None where missing; TypeError where it can be no label.

    >>> [label_of(v) for v in (1, 1.0, "1", " 1.0 ", True, 2.5, "", None)]
    ['1', '1', '1', '1', 'True', '2.5', None, None]
    """
    if isinstance(value, str):
        text = value.strip()
        whole = WHOLE_FLOAT.fullmatch(text)
        return None if text in MISSING_WORDS else whole[1] if whole else text
    if value is None:
        return None
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real):
        number = float(value)
        if math.isnan(number):
            return None
        return str(int(number)) if number.is_integer() else repr(number)
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(value)
    raise TypeError(value)


def _distinct(values: Values) -> tuple[list[Any], NDArray[np.int64]]:
    """The distinct raw values and for each row the index of its own; a label is made once a value."""
    if values.dtype.kind != "O":
        uniques, codes = np.unique(values, return_inverse=True)
        return uniques.tolist() if values.dtype.kind != "M" else list(uniques), codes.astype(np.int64)
    seen = _Numbering()
    try:
        codes = np.fromiter(map(seen.__getitem__, values.tolist()), np.int64, len(values))
        return list(seen), codes
    except TypeError:  # something that has no hash, such as a list: `encode` will say what is wrong
        return values.tolist(), np.arange(len(values))


class _Numbering(dict[Any, int]):
    """Gives every new key the next number."""

    def __missing__(self, key: Any) -> int:
        self[key] = number = len(self)
        return number


def _merge_twins(found: Counter[str]) -> Counter[str]:
    """Where true/false and 1/0 stand in one column they are the same two labels."""
    if not any(word in found and ("1" in found or "0" in found) for word in TWINS):
        return found
    merged = Counter[str]()
    for label, count in found.items():
        merged[TWINS.get(label, label)] += count
    return merged


def _natural(label: str) -> tuple[float, str]:
    """Sort numbers by value, before words."""
    try:
        number = float(label)
    except ValueError:
        number = math.inf
    return (math.inf if math.isnan(number) else number, label)


def _few_whole_numbers(present: Values) -> bool:
    uniques = np.unique(present)
    if (uniques != np.floor(uniques)).any() or len(uniques) * 4 > len(present):
        return False
    counting = uniques[0] in (0, 1) and uniques[-1] - uniques[0] == len(uniques) - 1
    return len(uniques) <= (20 if counting else 10)


def _repetition(labels: Iterable[str]) -> float:
    """How much a column of strings looks like labels: repeated, short, few."""
    found = Counter(label for label in labels if label)
    rows, distinct = sum(found.values()), len(found)
    if not rows:
        return 0.1
    length = sum(len(label) for label in found) / distinct
    if length > 60:
        return 0.0
    if distinct <= 2 and rows > distinct:
        return 0.9
    score = 0.9 if distinct * 5 <= rows else 0.6 if distinct * 2 <= rows else 0.1
    return score if length <= 30 else score * 0.7
