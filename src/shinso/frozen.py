"""What a resting backbone makes of every row, computed once: training its head then takes seconds.

B rows, K members (1 where tokens are pooled), D size of the features, N tokens, S size of a token's states.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .columns.base import Array
from .config import RunConfig
from .console import Console
from .data.store import Dense, Encoded, Ragged, Rows, Store
from .features import Features
from .heads import POOLED
from .loop import to_tensors
from .models import Encoder
from .network import Network
from .plan import Plan, autocast
from .preparing import Prepared

BATCH = 256
MOST_BYTES = 2 << 30  # of features that are kept in memory


class Precomputed(nn.Module):
    """Stands for an encoder whose features are computed already: (B, K, D) to Features."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.width, self.members = encoder.width, encoder.members

    def forward(self, features_BKD: Tensor) -> Features:
        return Features.of(features_BKD, members=self.members > 0)


class ReadOnly(nn.Module):
    """Stands for an encoder whose states are computed already: (B, N, S), zeros for padding, to Features."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.width, self.members, self.readout = encoder.width, encoder.members, encoder.readout

    def forward(self, states_BNS: Tensor) -> Features:
        assert self.readout is not None
        return self.readout(Features(states_BNS.float(), (states_BNS != 0).any(-1)))


class Padded(Encoded):
    """Ragged rows that are padded with zeros as they are taken."""

    def __init__(self, ragged: Ragged) -> None:
        self.ragged = ragged

    def lengths(self, rows: Rows | slice) -> NDArray[np.int64]:
        """(n,): the tokens of each row."""
        return self.ragged.lengths(rows)

    def take(self, rows: Rows | slice) -> Array:
        """(n, N, S)."""
        found = self.ragged.take(rows)
        longest = max([1, *(len(one) for one in found)])
        together = np.zeros((len(found), longest, self.ragged.flat.shape[1]), self.ragged.flat.dtype)
        for row, one in zip(together, found, strict=True):
            row[: len(one)] = one
        return together


@contextmanager
def precomputed(
    network: Network, prepared: Prepared, config: RunConfig, plan: Plan, console: Console
) -> Iterator[Prepared]:
    """Inside the block, resting encoders of `network` stand aside for what they make of the rows.

    Gives rows with features in place of the columns that those encoders read; as they are where there is
    nothing to compute beforehand.
    """
    resting = unchanging(network, prepared, config)
    if not resting:
        yield prepared
        return
    found = compute(prepared, {source: encoder for source, (_, encoder) in resting.items()}, plan, console)
    before = network.resting
    for key, encoder in resting.values():
        network.encoders[key] = ReadOnly(encoder) if encoder.readout else Precomputed(encoder)
    network.resting = ()
    try:
        yield found
    finally:
        for key, encoder in resting.values():
            network.encoders[key] = encoder
        network.resting = before


def unchanging(network: Network, prepared: Prepared, config: RunConfig) -> dict[str, tuple[str, Encoder]]:
    """By given column, the name and the encoder where nothing that it gives changes in training.

    It rests, its heads only pool, nothing in front of it is random, and its features fit in memory.
    """
    if config.train.tune != "head" or any(c.kind not in POOLED for c in prepared.schema.predict):
        return {}
    still = config.train.augment in (None, "none")
    found: dict[str, tuple[str, Encoder]] = {}
    size = 0
    for source, key in zip(network.sources, list(network.encoders)[network.reads_scalars :], strict=True):
        encoder = network.encoders[key]
        assert isinstance(encoder, Encoder)
        learning = {id(p) for p in encoder.readout.parameters()} if encoder.readout else set()
        rests = not any(p.requires_grad and id(p) not in learning for p in encoder.parameters())
        if rests and (still or prepared.schema[source].kind != "image"):
            found[source] = key, encoder
            size += bytes_of(encoder, prepared, source)
    return found if size <= MOST_BYTES else {}


def rows_of(prepared: Prepared) -> Rows:
    """What is computed beforehand: rows to train on and to validate with."""
    return np.concatenate([prepared.split.train, prepared.split.validation])


def bytes_of(encoder: Encoder, prepared: Prepared, source: str) -> int:
    """How much memory the features of a column take."""
    if encoder.readout:
        tokens = int(prepared.store[source].lengths(rows_of(prepared)).sum())
        return 2 * tokens * encoder.readout.states
    return 4 * len(prepared.store) * max(1, encoder.members) * encoder.width


def compute(prepared: Prepared, encoders: dict[str, Encoder], plan: Plan, console: Console) -> Prepared:
    """`prepared` with the features of its training and validation rows in place of their columns."""
    tables: dict[str, Pooled | States] = {
        name: (States if one.readout else Pooled)(one, prepared, name) for name, one in encoders.items()
    }
    loader = prepared.loader(rows_of(prepared), BATCH, targets=False)
    with console.progress("features") as advance:
        for i, (batch_rows, arrays) in enumerate(loader.in_order()):
            for name, table in tables.items():
                table.put(batch_rows, arrays[name], plan)
            advance(i + 1, len(loader))
    columns = {**prepared.store.columns, **{name: table.encoded() for name, table in tables.items()}}
    store = prepared.store
    return replace(prepared, store=Store(columns, store.usable, store.bad, store.crowded))


class Pooled:
    """The pooled features of every row, (rows, K, D) in single precision."""

    def __init__(self, encoder: Encoder, prepared: Prepared, source: str) -> None:
        self.encoder = encoder.eval()
        self.table = np.zeros((len(prepared.store), max(1, encoder.members), encoder.width), np.float32)

    def put(self, rows: Rows, array: Array, plan: Plan) -> None:
        """Fill in what the encoder makes of a batch."""
        batch = to_tensors({"column": array}, plan.device)["column"]
        with torch.no_grad(), autocast(plan):
            self.table[rows] = self.encoder(batch).pool().float().cpu().numpy()

    def encoded(self) -> Encoded:
        """As a column."""
        return Dense(self.table)


class States:
    """The states of every token of every row, (tokens, S) in half precision, one row after another."""

    def __init__(self, encoder: Encoder, prepared: Prepared, source: str) -> None:
        assert encoder.readout is not None
        self.encoder, count = encoder.eval(), len(prepared.store)
        tokens = int(prepared.store[source].lengths(rows_of(prepared)).sum())
        self.flat = np.empty((tokens, encoder.readout.states), np.float16)
        self.starts, self.counts = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.filled = 0

    def put(self, rows: Rows, array: Array, plan: Plan) -> None:
        """Fill in what the encoder makes of a batch."""
        batch = to_tensors({"column": array}, plan.device)["column"]
        with torch.no_grad(), autocast(plan):
            found = self.encoder.states(batch)
        real = found.tokens[found.mask].half().cpu().numpy()
        counts = found.mask.sum(1).cpu().numpy()
        self.counts[rows], self.starts[rows] = counts, self.filled + np.cumsum(counts) - counts
        self.flat[self.filled : self.filled + len(real)] = real
        self.filled += len(real)

    def encoded(self) -> Encoded:
        """As a column."""
        return Padded(Ragged(self.flat, self.starts, self.counts))
