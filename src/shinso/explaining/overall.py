"""What a network looks at over many rows: every part hidden by itself, and whole columns shuffled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..columns.base import Array
from ..data.loader import Loader
from ..data.store import Encoded, Rows, Store
from ..evaluation import calibrated, labels_of, predict_rows, truth_of
from ..metrics import MAIN, gain
from ..plan import Plan
from ..run import RunDirectory
from .checks import estimate
from .game import Game

MOST_ROWS = 2_000  # that columns are shuffled in
MOST_SHOWN = 30
LEAST_ROWS = 3  # in which a word must stand
BATCH = 512


def overall(games: Sequence[Game]) -> list[dict[str, Any]]:
    """By part: how far the answer moves when it is hidden, mean over the rows that have it, largest first."""
    moved: dict[tuple[str, str], list[float]] = defaultdict(list)
    for game in games:
        whole = game.natural(game.all)[0]
        changes = (whole - game.natural(game.without)) / game.scorer.spread
        for key, change in zip(keys_of(game), changes, strict=True):
            moved[key].append(float(change))
    least = LEAST_ROWS if len(games) >= 10 * LEAST_ROWS else 1
    found = []
    for (column, name), changes in moved.items():
        if len(changes) >= min(least, len(games)):
            size = estimate([abs(c) for c in changes])
            found.append({"column": column, "name": name, **size, "signed": float(np.mean(changes))})
    return sorted(found, key=lambda one: -one["value"])


def keys_of(game: Game) -> list[tuple[str, str]]:
    """What parts of several rows have in common: the column, the place, the word."""
    keys = []
    for seat in game.seats:
        for i, player in enumerate(seat.players):
            if seat.column.kind == "text":
                name = " ".join(player.name.lower().split())
            elif seat.column.kind in ("series", "audio") and len(seat.groups) > 1:
                name = f"{i + 1} of {len(seat.groups)}"
            else:
                name = player.name
            keys.append((seat.column.name, name))
    return keys


@dataclass(frozen=True)
class Shuffled(Encoded):
    """An encoded column whose rows stand in another order."""

    inner: Encoded
    order: NDArray[np.int64]

    def take(self, rows: Rows | slice) -> Array | list[Array]:
        """What other rows hold."""
        return self.inner.take(self.order[rows])

    def lengths(self, rows: Rows | slice) -> NDArray[np.int64]:
        """Their lengths."""
        return self.inner.lengths(self.order[rows])


def permutation(run: RunDirectory, name: str, store: Store, values: Any, plan: Plan) -> list[dict[str, Any]]:
    """How much worse the main metric is when a column's rows are shuffled (Breiman, 2001), by column.

    `store` holds the encoded columns of the rows, `values` the raw values of the predicted column `name`.
    """
    column = run.schema[name]
    rng = np.random.default_rng(run.config.seed)
    rows = np.flatnonzero(store.usable)
    rows = np.sort(rng.permutation(rows)[:MOST_ROWS])
    truth = truth_of(column, values[rows], store[name].take(rows))

    def predicted(some: Store) -> Any:
        loader = Loader(some, run.schema.given, rows, BATCH)
        return calibrated(column, predict_rows(run.network, run.schema, loader, plan)[name], run.calibration)

    own, found = predicted(store), []
    for given in run.schema.given:
        order = np.arange(len(store))
        order[rows] = rng.permutation(rows)
        columns = {**store.columns, given.name: Shuffled(store[given.name], order)}
        other = predicted(Store(columns, store.usable))
        lost = gain(column.kind, truth, own, other, labels_of(column))
        found.append({"column": given.name, "metric": MAIN[column.kind], "rows": len(rows), **lost})
    return sorted(found, key=lambda one: -(one["value"] or 0.0))
