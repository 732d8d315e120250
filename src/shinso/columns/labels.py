"""Several categories at once: tags, topics, findings."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from ..errors import DataError
from .base import Array, Column, Value, Values, is_missing, missing_mask, object_array
from .category import label_of

MOST_LABELS = 1_000
SEPARATORS = ("|", ";", ",")
OFTEN = 0.1  # share of the texts that a separator splits


@dataclass(frozen=True, kw_only=True)
class Labels(Column):
    """Any number of labels a row: a list, or a string such as "sport|politics".

    Encoded to float32 (C,), 1 where the label is there; all NaN where the value is missing; an empty list is
    no label at all. Labels that training never met are left out.

    >>> column = Labels(name="tags").fit(np.array(["a|b", "b", ""], object))
    >>> column.encode(["b"]).tolist(), column.decode(np.array([0.9, 0.7]))
    ([0.0, 1.0], ['a', 'b'])
    """

    kind: ClassVar[str] = "labels"
    scalar: ClassVar[bool] = True
    labels: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()  # training rows that had each label
    folded: int = 0  # labels of the training rows that were too rare to keep
    separator: str = "|"

    @classmethod
    def matches(cls, values: Values) -> float:
        """Lists of strings; strings that a bar or a semicolon splits into few repeated labels."""
        if values.dtype.kind != "O":
            return 0.0
        present = values[~missing_mask(values)]
        if not len(present):
            return 0.0
        if all(_is_list(v) for v in present):
            return 0.95 if all(isinstance(label, str) for v in present for label in v) else 0.0
        if not all(isinstance(v, str) for v in present):
            return 0.0
        return max(_split_score(present.tolist(), separator) for separator in SEPARATORS[:2])

    @classmethod
    def examples(cls, rng: np.random.Generator, n: int) -> Values:
        """Some of three topics, a tenth of the rows missing."""
        topics = ("art", "music", "sport")
        rows = [[t for t in topics if rng.random() < 0.4] for _ in range(n)]
        return object_array([None if rng.random() < 0.1 else row for row in rows])

    def fit(self, values: Values) -> Self:
        """Learn the separator, the labels, and how many rows have each."""
        texts = [v for v in values if isinstance(v, str)]
        split = {s: sum(s in text for text in texts) for s in SEPARATORS}
        # The first that is common, not the most common: a comma may stand inside of a label.
        common = [s for s in SEPARATORS if split[s] >= max(1, OFTEN * len(texts))]
        best = next(iter(common or [s for s in SEPARATORS if split[s]]), self.separator)
        column = replace(self, separator=best)
        found = Counter(label for v in values for label in dict.fromkeys(column._split(v) or ()))
        kept = sorted(label for label, _ in found.most_common(MOST_LABELS))
        counts = tuple(found[label] for label in kept)
        return replace(column, labels=tuple(kept), counts=counts, folded=len(found) - len(kept))

    def encode(self, value: Value) -> Array:
        """(C,) float32 of zeros and ones; all NaN where missing."""
        names = self._split(value)
        if names is None:
            return np.full(len(self.labels), np.nan, np.float32)
        hot = np.zeros(len(self.labels), np.float32)
        hot[[self._indices[name] for name in names if name in self._indices]] = 1
        return hot

    def encode_many(self, values: Values) -> Array:
        """(n, C) float32."""
        out = np.zeros((len(values), len(self.labels)), np.float32)
        for row, value in zip(out, values, strict=True):
            row[:] = self.encode(value)
        return out

    def decode(self, array: Array) -> list[str]:
        """Probabilities (C,) to the labels of one half or more."""
        return [label for label, p in zip(self.labels, np.asarray(array), strict=True) if p >= 0.5]

    def parts(self, value: Value) -> list[Hashable]:
        """Its labels, one by one."""
        return list(self._split(value) or [])

    def hide(self, value: Value, part: Hashable) -> Value:
        """The same without one label."""
        return [name for name in self._split(value) or [] if name != part]

    def summary(self, values: Values) -> dict[str, Any]:
        """Rows of each of the 50 most frequent labels, labels a row, and labels never met in training."""
        split = [self._split(v) for v in values]
        found = Counter(name for names in split for name in dict.fromkeys(names or ()))
        known = {name: count for name, count in found.most_common() if name in self._indices}
        present = [len(names) for names in split if names is not None]
        return {
            "rows": len(values),
            "missing": len(values) - len(present),
            "labels": len(self.labels),
            "folded": self.folded,
            "unseen": sum(found.values()) - sum(known.values()),
            "per_row": float(np.mean(present)) if present else 0.0,
            "counts": dict(list(known.items())[:50]),
        }

    def show(self, value: Value) -> str:
        """The labels, escaped, with commas between them."""
        return html.escape(", ".join(self._split(value) or []))

    def json_schema(self) -> dict[str, Any]:
        """A list of labels, a string with separators, or null."""
        items = {"type": "string", "examples": list(self.labels[:20])}
        return {"title": self.name, "type": ["array", "string", "null"], "items": items}

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {label: i for i, label in enumerate(self.labels)}

    def _split(self, value: Value) -> list[str] | None:
        """The labels of one value; None where missing."""
        if is_missing(value):
            return None
        if isinstance(value, str):
            value = value.split(self.separator)
        if not _is_list(value):
            raise DataError(
                f"Column {self.name!r} holds lists of labels, or labels with {self.separator!r} between; "
                f"received {type(value).__name__} {str(value)[:60]!r}."
            )
        try:
            return [label for label in map(label_of, value) if label is not None]
        except TypeError:
            raise DataError(
                f"Column {self.name!r}: a label must be a string; received {str(value)[:60]!r}."
            ) from None


def _is_list(value: Value) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1)


def _split_score(texts: list[str], separator: str) -> float:
    """Sure where many rows are split and the pieces are few, short and often met again."""
    pieces = [piece.strip() for text in texts for piece in text.split(separator)]
    several = sum(separator in text for text in texts) / len(texts)
    repeated = len(pieces) / len(set(pieces))
    short = max(map(len, pieces)) <= 40
    return 0.92 if several >= OFTEN and repeated >= 3 and short else 0.0
