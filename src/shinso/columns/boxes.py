"""Objects in a picture: one value is a list of boxes with labels. N = boxes of one picture."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from ..errors import DataError, did_you_mean
from .base import Array, Column, Value, Values, is_missing, object_array

EDGES = ("x1", "y1", "x2", "y2")
MAX_BOXES = 10_000
MAX_SIDE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Boxes(Column):
    """Boxes with a label: a list of `{"label", "x1", "y1", "x2", "y2"}`, or that list as JSON.

    Edges are shares of the picture (0 to 1) or pixels. For pixels the size of the picture comes from the
    value, `{"width": 320, "height": 240, "boxes": [...]}`, or else is the one learned from the training
    rows: the size they state, or the farthest edges they reach. `encode` gives float32 (N, 5), [class, x1,
    y1, x2, y2] in 0 to 1; no box is (0, 5), a missing value is one row of NaN. `collate` pads with rows of
    class -1.
    """

    kind: ClassVar[str] = "boxes"
    ragged: ClassVar[bool] = True
    labels: tuple[str, ...] = ()
    width: float = 0.0  # pixels of a picture that does not state its size; 0 where edges are shares
    height: float = 0.0

    def __post_init__(self) -> None:
        if type(self.labels) is not tuple or not all(type(label) is str for label in self.labels):
            raise DataError(f"Column {self.name!r}: labels are strings; received {str(self.labels)[:80]}.")
        if len(set(self.labels)) != len(self.labels):
            raise DataError(f"Column {self.name!r}: a label stands twice in {str(self.labels)[:80]}.")
        for side in (self.width, self.height):
            if type(side) not in (int, float) or not 0 <= side <= MAX_SIDE:
                raise DataError(f"Column {self.name!r}: a side is 0 to {MAX_SIDE}; received {side!r:.60}.")

    @classmethod
    def matches(cls, values: Values) -> float:
        """0.95 where all values are lists of boxes, and at least one has a box."""
        seen = [v for v in values if not is_missing(v)] if values.dtype.kind == "O" else []
        try:
            lists = [_read(v, "")[0] for v in seen if _promising(v)]
        except DataError:
            return 0.0
        return 0.95 if seen and len(lists) == len(seen) and any(lists) else 0.0

    @classmethod
    def examples(cls, rng: np.random.Generator, n: int) -> Values:
        """None to three boxes a picture, of cells."""
        rows: list[Any] = []
        for _ in range(n):
            boxes = []
            for _ in range(rng.integers(0, 4)):
                x, y = rng.uniform(0, 0.7, 2)
                label = str(rng.choice(["red cell", "white cell"]))
                edges = np.array([x, y, x + 0.2, y + 0.3]).round(3).tolist()
                boxes.append({"label": label, **dict(zip(EDGES, edges, strict=True))})
            rows.append(boxes)
        rows[0] = [{"label": "red cell", "x1": 0.1, "y1": 0.1, "x2": 0.5, "y2": 0.6}]
        return object_array(rows)

    def fit(self, values: Values) -> Self:
        """Learn the labels, and the size of the pictures where the edges are pixels."""
        labels: set[str] = set()
        sizes: Counter[tuple[float, float]] = Counter()
        reach = [0.0, 0.0]
        for value in values:
            if is_missing(value):
                continue
            boxes, width, height = _read(value, self.name)
            sizes[width, height] += 1
            labels |= {label for label, _ in boxes}
            for _, (_, _, x2, y2) in boxes:
                reach = [max(reach[0], x2), max(reach[1], y2)]
        if not labels:
            raise DataError(f"Column {self.name!r} has no box: there is nothing to learn. Leave it out.")
        width, height = sizes.most_common(1)[0][0]
        if not width and max(reach) > 1.5:
            width, height = reach
        return replace(self, labels=tuple(sorted(labels)), width=width, height=height)

    def encode(self, value: Value) -> Array:
        """float32 (N, 5): class, then x1, y1, x2, y2 as shares of the picture."""
        if is_missing(value):
            return np.full((1, 5), np.nan, np.float32)
        boxes, width, height = _read(value, self.name)
        scale = [width or self.width or 1.0, height or self.height or 1.0] * 2
        rows = np.zeros((len(boxes), 5), np.float32)
        for row, (label, edges) in zip(rows, boxes, strict=True):
            row[0] = self._index(label)
            row[1:] = np.array(edges) / scale
        self._check(rows)
        return rows

    def collate(self, arrays: Sequence[Array]) -> Array:
        """(B, N, 5): padded with rows of class -1 and no area."""
        batch = np.zeros((len(arrays), max(1, *(len(a) for a in arrays)), 5), np.float32)
        batch[:, :, 0] = -1
        for row, array in zip(batch, arrays, strict=True):
            row[: len(array)] = array
        return batch

    def decode(self, array: Array) -> Value:
        """(N, 6) [class, score, x1, y1, x2, y2] to boxes with scores; rows of a class below 0 are none."""
        scale = np.array([self.width or 1.0, self.height or 1.0] * 2)
        found = []
        for row in np.asarray(array, np.float64).reshape(-1, 6):
            if not row[0] >= 0:
                continue
            edges = (row[2:].clip(0, 1) * scale).tolist()
            box = {"label": self.labels[int(row[0])], "score": float(row[1])}
            found.append(box | dict(zip(EDGES, edges, strict=True)))
        return found

    def parts(self, value: Value) -> list[Hashable]:
        """The place of every box in the list."""
        return ["value"] if is_missing(value) else list(range(len(_read(value, self.name)[0])))

    def hide(self, value: Value, part: Hashable) -> Value:
        """`value` without the box `part`."""
        if is_missing(value) or not isinstance(part, int):
            return None
        boxes, width, height = _read(value, self.name)
        kept = [
            {"label": label, **dict(zip(EDGES, edges, strict=True))}
            for i, (label, edges) in enumerate(boxes)
            if i != part
        ]
        return {"width": width, "height": height, "boxes": kept} if width else kept

    def summary(self, values: Values) -> dict[str, Any]:
        """Rows, missing rows, boxes a row, and how often each label stands."""
        read = [_read(v, self.name)[0] for v in values if not is_missing(v)]
        counts = Counter(label for boxes in read for label, _ in boxes)
        facts: dict[str, Any] = {"rows": len(values), "missing": len(values) - len(read)}
        if read:
            facts["boxes"] = np.quantile([len(boxes) for boxes in read], (0, 0.5, 1)).tolist()
        return facts | {"labels": dict(counts.most_common(50))}

    def show(self, value: Value) -> str:
        """The labels and how often each stands."""
        if is_missing(value):
            return "<i>missing</i>"
        try:
            counts = Counter(label for label, _ in _read(value, self.name)[0])
        except DataError:
            return html.escape(str(value)[:200])
        text = ", ".join(f"{n} × {label}" for label, n in counts.most_common(8))
        return html.escape(text[:300] or "no box")

    def json_schema(self) -> dict[str, Any]:
        """A list of objects with a label and four edges."""
        edge = {"type": "number", "minimum": 0}
        label = {"type": "string", "enum": list(self.labels)} if self.labels else {"type": "string"}
        box = {
            "type": "object",
            "required": ["label", *EDGES],
            "properties": {"label": label} | dict.fromkeys(EDGES, edge),
        }
        return {"title": self.name, "type": ["array", "null"], "items": box}

    def _index(self, label: str) -> int:
        try:
            return self.labels.index(label)
        except ValueError:
            raise DataError(
                f"Column {self.name!r} has no label {label!r}. {did_you_mean(label, self.labels)}"
            ) from None

    def _check(self, rows: Array) -> None:
        reach = float(rows[:, 1:].max(initial=0))
        if reach > 1.01:  # a pixel more is rounding
            raise DataError(
                f"Column {self.name!r}: a box ends outside of its picture, at {reach:.2f} times its size. "
                'Edges in pixels need the size of the picture: {"width": 320, "height": 240, "boxes": [...]}.'
            )
        np.minimum(rows[:, 1:], 1.0, out=rows[:, 1:])


_Box = tuple[str, tuple[float, float, float, float]]


def _promising(value: Value) -> bool:
    if isinstance(value, str):
        return (value.lstrip()[:1] in ("[", "{") and '"x1"' in value) or value.strip() == "[]"
    if isinstance(value, dict):
        return "boxes" in value
    return isinstance(value, list | tuple | np.ndarray) and all(isinstance(box, dict) for box in value)


def _read(value: Value, name: str) -> tuple[list[_Box], float, float]:
    """The boxes as they stand, and the size of the picture (0, 0 where the value does not state it)."""
    if isinstance(value, str):
        value = _from_json(value, name)
    width = height = 0.0
    if isinstance(value, dict):
        width, height = (_edge(value.get(side), name, side) for side in ("width", "height"))
        if not 1 <= min(width, height) <= max(width, height) <= MAX_SIDE:
            raise DataError(f"Column {name!r}: a side is 1 to {MAX_SIDE}; received {width} x {height}.")
        value = value.get("boxes")
    if not isinstance(value, list | tuple | np.ndarray):
        found = f"{type(value).__name__} {str(value)[:60]!r}"
        raise DataError(f"Column {name!r} takes a list of boxes; received {found}.")
    if len(value) > MAX_BOXES:
        raise DataError(f"Column {name!r} takes at most {MAX_BOXES} boxes a picture; received {len(value)}.")
    return [_box(box, name) for box in value], width, height


def _from_json(text: str, name: str) -> Any:
    if len(text) > 1000 * MAX_BOXES:
        raise DataError(f"Column {name!r} takes at most {MAX_BOXES} boxes a picture; the text is longer.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"Column {name!r} takes boxes as JSON; received {text[:60]!r}.") from None


def _box(box: Any, name: str) -> _Box:
    if not isinstance(box, dict) or not isinstance(box.get("label"), str):
        raise DataError(
            f'Column {name!r} takes boxes like {{"label": "cat", "x1": 0, "y1": 0, "x2": 1, "y2": 1}}; '
            f"received {str(box)[:80]!r}."
        )
    x1, y1, x2, y2 = (_edge(box.get(key), name, key) for key in EDGES)
    if not (x1 < x2 and y1 < y2):
        raise DataError(f"Column {name!r}: a box needs x1 < x2 and y1 < y2; received {(x1, y1, x2, y2)}.")
    return box["label"], (x1, y1, x2, y2)


def _edge(number: Any, name: str, key: str) -> float:
    numeric = isinstance(number, int | float | np.number) and not isinstance(number, bool)
    if not numeric or not 0 <= number <= MAX_SIDE:
        raise DataError(f"Column {name!r}: {key} is a number of 0 or more; received {str(number)[:40]!r}.")
    return float(number)
