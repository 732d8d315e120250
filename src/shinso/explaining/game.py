"""A row as a game: its parts are players, a coalition is what stays visible, the network says its worth.

Everything that hides goes through `Column.parts` and `Column.hide`, so every kind of column can be explained.
M coalitions, P players of the row, p players of one column.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from ..columns import Column
from ..columns.base import Array, Value, object_array
from ..columns.text import Text
from ..data.tabular import Tabular
from ..errors import DataError
from ..loop import to_tensors
from ..network import Batch, Network
from ..schema import Schema
from .scoring import Floats, Scorer

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


class Game:
    """One row of data, one output: from coalitions of visible parts to evidence."""

    def __init__(
        self, network: Network, schema: Schema, scorer: Scorer, row: Mapping[str, Value], *,
        device: str = "cpu", noise: np.random.Generator | None = None,
    ) -> None:  # fmt: skip
        self.network, self.schema, self.scorer, self.device = network, schema, scorer, device
        self.row = dict(row)
        self.seats = [Seat(c, row[c.name], noise) for c in schema.given]
        self.players = [player for seat in self.seats for player in seat.players]
        if not self.players:
            raise DataError("The run reads nothing, so there is nothing to explain its answers by.")
        self.never = np.zeros(len(self.players), bool)  # hidden in every coalition
        self.evaluations = 0
        with torch.no_grad():
            outputs = scorer.outputs(network, self.batch(self.all), 1)
        self.target = int(scorer.target(outputs)[0])

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

    @property
    def continuous(self) -> bool:
        """Whether some of the row can be changed a little."""
        return any(seat.base.dtype == np.uint8 or seat.base.dtype.kind == "f" for seat in self.seats)

    def nudged(self, rng: np.random.Generator) -> Game:
        """The same row with a change that no person would mind, and the same class."""
        other = Game(self.network, self.schema, self.scorer, self.row, device=self.device, noise=rng)
        other.target = self.target
        return other

    def on(self, network: Network) -> Self:
        """The same row and the same class under other weights."""
        other = copy.copy(self)
        other.network = network
        return other

    def lacking(self, player: int) -> Self:
        """The same row, with one player hidden for good."""
        other = copy.copy(self)
        other.never = self.never.copy()
        other.never[player] = True
        return other

    def place(self, column: str) -> tuple[int, Seat]:
        """The number of a column's first player, and its seat."""
        place = 0
        for seat in self.seats:
            if seat.column.name == column:
                return place, seat
            place += len(seat.groups)
        raise AssertionError(column)

    def shown(self, column: str) -> tuple[Value, Array]:
        """A column's value without players that are never visible, and what is read of it."""
        place, seat = self.place(column)
        gone = self.never[place : place + len(seat.groups)]
        value = seat.hidden([group for group, never in zip(seat.groups, gone, strict=True) if never])
        return value, seat.column.encode(value) if gone.any() else seat.base

    def batch(self, kept_MP: Coalitions) -> Batch:
        """What the network reads of each coalition."""
        kept_MP = kept_MP & ~self.never
        starts = np.cumsum([0, *(len(seat.groups) for seat in self.seats)])
        pairs = zip(self.seats, starts[:-1], starts[1:], strict=True)
        return to_tensors({s.column.name: s.encode(kept_MP[:, a:b]) for s, a, b in pairs}, self.device)

    def __call__(self, kept_MP: Coalitions) -> Floats:
        """(M,): evidence for the class of the whole row."""
        step = max(1, ELEMENTS // max(seat.base.size for seat in self.seats))
        found = [self._some(kept_MP[a : a + step]) for a in range(0, len(kept_MP), step)]
        self.evaluations += len(kept_MP)
        return np.concatenate(found) if found else np.zeros(0)

    def _some(self, kept_MP: Coalitions) -> Floats:
        with torch.no_grad():
            outputs = self.scorer.outputs(self.network, self.batch(kept_MP), len(kept_MP))
            target_M = torch.full((len(kept_MP),), self.target, device=outputs.device)
            return np.asarray(self.scorer.evidence(outputs, target_M).double().cpu().numpy())

    def natural(self, kept_MP: Coalitions) -> Floats:
        """(M,): the probability, or the number, in the unit that people know."""
        return self.scorer.natural(self(kept_MP))


def games_of(
    network: Network, schema: Schema, scorer: Scorer, table: Tabular, rows: Any, device: str
) -> list[Game]:
    """A game for each of some rows of a table; an unreadable value is a `DataError` with its place."""
    columns = {c.name: table.values(c.name, rows) for c in schema.given}
    games = []
    for i, row in enumerate(rows):
        values = {name: column[i] for name, column in columns.items()}
        try:
            games.append(Game(network, schema, scorer, values, device=device))
        except DataError as error:
            raise DataError(f"{table.where(int(row))}: {error}") from None
    return games


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
