"""A row as a game of a network: its parts are players, a coalition is what is visible, its worth is evidence.

M coalitions, P players of the row.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch

from ..columns.base import Array, Value
from ..data.tabular import Tabular
from ..errors import DataError
from ..loop import to_tensors
from ..network import Batch, Network
from ..schema import Schema
from .scoring import Floats, Scorer
from .seats import Board, Coalitions, Seat


class Game(Board):
    """One row of data, one output of a network: from coalitions of visible parts to evidence."""

    def __init__(
        self, network: Network, schema: Schema, scorer: Scorer, row: Mapping[str, Value], *,
        device: str = "cpu", noise: np.random.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__(schema, scorer, row, noise)
        self.network, self.scorer, self.device = network, scorer, device
        with torch.no_grad():
            outputs = scorer.outputs(network, self.batch(self.all), 1)
        self.target = int(scorer.target(outputs)[0])

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
        return to_tensors(self.read(kept_MP), self.device)

    def worth(self, kept_MP: Coalitions) -> Floats:
        """(M,): evidence for the class of the whole row."""
        with torch.no_grad():
            outputs = self.scorer.outputs(self.network, self.batch(kept_MP), len(kept_MP))
            target_M = torch.full((len(kept_MP),), self.target, device=outputs.device)
            return np.asarray(self.scorer.evidence(outputs, target_M).double().cpu().numpy())


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
