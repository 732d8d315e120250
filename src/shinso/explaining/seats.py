"""A row as players: its parts, and what is read of it when some of them are hidden. Without torch.

Everything that hides goes through `Column.parts` and `Column.hide`, so every kind of column can be explained.
M coalitions, P players of the row, p players of one column.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..columns import Column
from ..columns.base import Array, Value, object_array
from ..columns.text import Text
from ..errors import DataError
from ..schema import Schema
from .units import Floats, Unit

Coalitions = NDArray[np.bool_]  # (M, P), True where the part is visible
MOST_PLAYERS = 64  # of one column: neighbouring parts beyond that are hidden together
ELEMENTS = 1 << 23  # of the largest input of one forward pass


class Player(NamedTuple):
    """Parts of one column that are hidden together, and what they are called."""

    column: str
    parts: tuple[Hashable, ...]
    name: str


class Seat:
    """The players of one column in one row, and what the network reads when some of them are hidden."""

    def __init__(self, column: Column, value: Value, noise: np.random.Generator | None = None) -> None:
        self.column, self.value = column, value
        parts = column.parts(value) or ["value"]
        bounds = np.linspace(0, len(parts), min(len(parts), MOST_PLAYERS) + 1).astype(int)
        self.groups = [tuple(parts[a:b]) for a, b in pairwise(bounds)]
        self.base = column.encode(value)
        if noise is not None:
            self.base = jittered(self.base, noise)
        self.alone = [column.encode(self.hidden([group])) for group in self.groups]
        alike = all(a.shape == self.base.shape for a in self.alone)
        self.touched = [differs(a, self.base) for a in self.alone] if alike else []
        if noise is None and alike and len(self.groups) > 1:
            whole, composed = (
                column.encode(self.hidden(self.groups)),
                self._composed(np.zeros(len(self.groups), bool)),
            )
            alike = whole.shape == composed.shape and not differs(whole, composed).any()
        self.composable = alike
        self._seen: dict[bytes, Array] = {}

    @property
    def players(self) -> list[Player]:
        """The players, with names for a person."""
        return [Player(self.column.name, group, self._name(group)) for group in self.groups]

    def hidden(self, groups: Sequence[tuple[Hashable, ...]]) -> Value:
        """The raw value without some of its parts."""
        value = self.value
        for group in groups:
            for part in group:
                value = self.column.hide(value, part)
        return value

    def encode(self, kept_Mp: Coalitions) -> Array:
        """(M, ...): what the network reads of this column."""
        if self.composable:
            rows = [self._composed(kept) for kept in kept_Mp]
        else:
            self._fill(kept_Mp)
            rows = [self._seen[kept.tobytes()] for kept in kept_Mp]
        return self.column.collate(rows) if self.column.ragged else np.stack(rows)

    def _composed(self, kept_p: NDArray[np.bool_]) -> Array:
        """Each hidden part changes its own elements: no need to hide and read again."""
        array = self.base.copy()
        for p in np.flatnonzero(~kept_p):
            array[self.touched[p]] = self.alone[p][self.touched[p]]
        return array

    def _fill(self, kept_Mp: Coalitions) -> None:
        wanted = {kept.tobytes(): kept for kept in kept_Mp}
        fresh = [(key, kept) for key, kept in wanted.items() if key not in self._seen]
        values = [
            self.hidden([g for g, k in zip(self.groups, kept, strict=True) if not k]) for _, kept in fresh
        ]
        arrays = self.column.encode_many(object_array(values)) if values else []
        self._seen |= {key: array for (key, _), array in zip(fresh, arrays, strict=True)}

    def _name(self, group: tuple[Hashable, ...]) -> str:
        first, last = group[0], group[-1]
        if not isinstance(first, tuple) or not isinstance(last, tuple):
            return self.column.name if first == "value" else ", ".join(map(str, group))
        if isinstance(self.column, Text):
            return str(self.value)[first[0] : last[1]]
        if self.column.kind == "image":
            return f"row {first[0] + 1}, column {first[1] + 1}"
        return f"{first[0]} to {last[1]}"


class Board(ABC):
    """One row of data and one output; who extends it says what coalitions of visible parts are worth."""

    target: int  # the class that is explained, 0 for numbers

    def __init__(
        self, schema: Schema, unit: Unit, row: Mapping[str, Value], noise: np.random.Generator | None = None
    ) -> None:
        self.schema, self.unit, self.row = schema, unit, dict(row)
        self.seats = [Seat(c, row[c.name], noise) for c in schema.given]
        self.players = [player for seat in self.seats for player in seat.players]
        if not self.players:
            raise DataError("The run reads nothing, so there is nothing to explain its answers by.")
        self.never = np.zeros(len(self.players), bool)  # hidden in every coalition
        self.evaluations = 0

    @property
    def all(self) -> Coalitions:
        """(1, P): nothing is hidden."""
        return np.ones((1, len(self.players)), bool)

    @property
    def none(self) -> Coalitions:
        """(1, P): everything is hidden."""
        return np.zeros((1, len(self.players)), bool)

    @property
    def without(self) -> Coalitions:
        """(P, P): all but one, for each player."""
        return ~np.eye(len(self.players), dtype=bool)

    def read(self, kept_MP: Coalitions) -> dict[str, Array]:
        """By given column (M, ...): what is read of each coalition."""
        kept_MP = kept_MP & ~self.never
        starts = np.cumsum([0, *(len(seat.groups) for seat in self.seats)])
        pairs = zip(self.seats, starts[:-1], starts[1:], strict=True)
        return {s.column.name: s.encode(kept_MP[:, a:b]) for s, a, b in pairs}

    def __call__(self, kept_MP: Coalitions) -> Floats:
        """(M,): evidence for the class of the whole row."""
        step = max(1, ELEMENTS // max(seat.base.size for seat in self.seats))
        found = [self.worth(kept_MP[a : a + step]) for a in range(0, len(kept_MP), step)]
        self.evaluations += len(kept_MP)
        return np.concatenate(found) if found else np.zeros(0)

    @abstractmethod
    def worth(self, kept_MP: Coalitions) -> Floats:
        """(M,): the same of so few that they fit in memory."""

    def natural(self, kept_MP: Coalitions) -> Floats:
        """(M,): the probability, or the number, in the unit that people know."""
        return self.unit.natural(self(kept_MP))


def described(board: Board, values_P: Floats) -> dict[str, Any]:
    """One explanation as plain data; values in the unit of the answer."""
    whole, empty = board.natural(np.concatenate([board.all, board.none]))
    return {
        "answer": board.unit.label(board.target), "value": float(whole), "hidden": float(empty),
        "parts": [
            {"column": p.column, "name": p.name, "value": float(f"{v * board.unit.scale:.6g}")}
            for p, v in zip(board.players, values_P, strict=True)
        ],
    }  # fmt: skip


def differs(a: Array, b: Array) -> NDArray[np.bool_]:
    """Where two arrays of one shape are not equal; NaN equals NaN."""
    different = a != b
    return np.asarray(different & ~((a != a) & (b != b)))


def jittered(array: Array, noise: np.random.Generator) -> Array:
    """What a person would call the same value: a hundredth of a deviation, two levels of a pixel."""
    if array.dtype == np.uint8:
        moved = array + noise.normal(0, 2, array.shape).round()
        return np.asarray(moved.clip(0, 255).astype(np.uint8))
    if array.dtype.kind == "f":
        return np.asarray(array + noise.normal(0, 0.01, array.shape).astype(array.dtype))
    return array
