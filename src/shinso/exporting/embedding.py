"""The last output of a graph: one vector a row, by which the monitor tells other pictures and other words.

It is what the heads answer from. An export keeps the vectors of some rows that the network did not learn
from: those of training rows lie elsewhere, since the network knows these rows.

B rows, n rows of the reference, K members, S = K * their size, E size of a vector.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor, nn

from ..columns import Column
from ..console import Console
from ..data.loader import Loader
from ..data.sources import Source
from ..data.split import Split
from ..data.store import Store
from ..data.tabular import Rows, Tabular
from ..errors import DataError, RunError
from ..exported import VECTORS, Export
from ..features import Features
from ..files import write_atomic
from ..loop import to_tensors
from ..network import Network
from ..reopening import reopened
from ..run import RunDirectory
from ..watching.days import LARGE_DAYS, LARGE_ROWS, days_of, spread
from ..watching.embeddings import apart_by_day
from ..watching.keeping import private_columns, time_column
from ..watching.sampling import halved
from .parity import BATCH, Rehearsal

KINDS = frozenset({"image", "text", "audio"})  # of columns, one of which a run reads that has embeddings
WIDEST = 128  # numbers of a vector
NARROWEST = 0.1  # of the usual deviation, that a number is divided by at least
LEAST, ENOUGH, MOST = 50, 256, 1000  # rows of the reference
SECONDS = 60.0  # after which `ENOUGH` rows are enough


class Embedding(nn.Module):
    """Features to (B, E): pooled, members side by side, in deviations from the mean of some rows.

    What is wider than `WIDEST` goes through a fixed random matrix, which leaves distances nearly as they are
    (Johnson and Lindenstrauss, 1984).
    """

    projection_SE: Tensor | None
    mean_S: Tensor
    scale_E: Tensor

    def __init__(self, pooled_nS: Tensor) -> None:
        super().__init__()
        size = pooled_nS.shape[1]
        projection_SE = None
        if size > WIDEST:
            drawn_SE = np.random.default_rng(0).normal(size=(size, WIDEST)) / np.sqrt(WIDEST)
            projection_SE = torch.from_numpy(drawn_SE.astype(np.float32))
        self.register_buffer("projection_SE", projection_SE)
        self.register_buffer("mean_S", pooled_nS.mean(0))
        spread_E = self._moved(pooled_nS).std(0, correction=0)
        usual = spread_E.square().mean().sqrt().clamp(min=1e-6)
        self.register_buffer("scale_E", 1 / torch.maximum(spread_E, NARROWEST * usual))
        self.width = len(spread_E)

    def forward(self, features: Features) -> Tensor:
        """(B, E) fp32."""
        return self._moved(features.pool().flatten(1).float()) * self.scale_E

    def _moved(self, pooled_BS: Tensor) -> Tensor:
        centred_BS = pooled_BS - self.mean_S
        return centred_BS if self.projection_SE is None else centred_BS @ self.projection_SE


@dataclass(frozen=True)
class Unseen:
    """Rows that a network did not learn from, in a random order, and those that it did."""

    table: Tabular
    store: Store
    rows: Rows
    of: str  # what they are, for people
    train: Rows

    def arrays(self, given: Sequence[Column], most: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Encoded batches of the first `most` rows; short and long texts in turn."""
        loader = Loader(self.store, tuple(given), self.rows[:most], BATCH)
        return (arrays for _, arrays in loader.epoch(0))


def unseen_rows(run: RunDirectory, rehearsal: Rehearsal, data: Source, console: Console) -> Unseen | None:
    """What the embeddings of a run are fitted on and compared with; None where it has none.

    A table alone has none, since its columns are watched themselves, nor has a run with a private column.
    """
    private = private_columns(run.config)
    given = run.schema.given
    if not any(c.kind in KINDS for c in given) or any(c.name in private for c in given):
        return None
    found = _own(run, rehearsal, data)
    if len(found.rows) < LEAST:
        console.say(
            f"· Only {len(found.rows)} rows were held back from training; {LEAST} are needed to watch the "
            f"embeddings. The export has none."
        )
        return None
    return found


def _own(run: RunDirectory, rehearsal: Rehearsal, data: Source) -> Unseen:
    """The validation rows of the run, and test rows where these are few; else the rows that were given."""
    table, store, split = rehearsal.table, rehearsal.store, rehearsal.split
    if split is None:
        try:
            own = reopened(run, data, Console(quiet=True))
        except (RunError, DataError):  # other rows than it was trained on
            rows = _shuffled(rehearsal.rows)
            return Unseen(table, store, rows[:MOST], "rows given with --data", rows[:0])
        table, store, split = own.table, own.store, own.split
    rows, of = _held_back(split)
    return Unseen(table, store, rows, of, split.train)


def _held_back(split: Split) -> tuple[Rows, str]:
    rows = _shuffled(split.validation)[:MOST]
    if len(rows) >= ENOUGH or not len(split.test):
        return rows, "validation rows"
    return np.concatenate([rows, _shuffled(split.test)[: ENOUGH - len(rows)]]), "validation and test rows"


def _shuffled(rows: Rows) -> Rows:
    return np.random.default_rng(0).permutation(rows)


def fitted(network: Network, given: Sequence[Column], unseen: Unseen) -> Embedding:
    """The embedding of a network whose weights are settled."""
    with torch.inference_mode():
        pooled = [
            network.features(to_tensors(arrays, "cpu"), len(next(iter(arrays.values())))).pool().flatten(1)
            for arrays in unseen.arrays(given, ENOUGH)
        ]
    return Embedding(torch.cat(pooled).float().clone())


def write_vectors(folder: Path, run: RunDirectory, unseen: Unseen) -> dict[str, Any]:
    """Keep the vectors that an export gives of rows it did not learn from; gives facts for its manifest."""
    export = Export(folder, run.plan.threads)
    started, found = time.perf_counter(), list[NDArray[np.float32]]()
    for arrays in unseen.arrays(run.schema.given, MOST):
        found.append(export.embedded(arrays)[1])
        if time.perf_counter() - started > SECONDS and sum(map(len, found)) >= ENOUGH:
            break
    vectors_nE = np.concatenate(found)
    vectors_nE = vectors_nE[np.isfinite(vectors_nE).all(1)]
    write_atomic(folder / VECTORS, save({"vectors": halved(vectors_nE)}))
    return {"rows": len(vectors_nE), "of": unseen.of, "days": _days(export, run, unseen)}


def _days(export: Export, run: RunDirectory, unseen: Unseen) -> Mapping[str, Any] | None:
    """How far training days are apart by themselves, where rows have a time."""
    name = time_column(run.schema, run.config, unseen.table.names)
    if name is None or not len(unseen.train):
        return None
    rows, day_n = days_of(unseen.table.values(name, unseen.train), unseen.train)
    loader = Loader(unseen.store, run.schema.given, rows, BATCH)
    days = spread([rows[day_n == day] for day in np.unique(day_n)], LARGE_DAYS)
    return apart_by_day([export.embedded(loader.take(day[:LARGE_ROWS]))[1] for day in days])
