"""Encoded columns to batches, in an order that is a function of (seed, epoch) and of nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..columns import Column
from .cache import Store

Rows = NDArray[np.int64]
BUCKET_BATCHES = 32  # batches whose rows are sorted by length together


@dataclass(frozen=True)
class Loader:
    """Gives batches of some rows of a store; any epoch can be entered at any batch.

    Ragged columns are padded to the longest row of their batch; rows of like length are put together, so that
    little of a batch is padding. Every batch has nearly the same number of rows: no tiny last one.
    """

    store: Store
    columns: tuple[Column, ...]
    rows: Rows
    batch_size: int
    seed: int = 0

    def __len__(self) -> int:
        return max(1, -(-len(self.rows) // self.batch_size))

    def order(self, epoch: int) -> list[Rows]:
        """The rows of each batch of an epoch, shuffled, and bucketed by length where a column is ragged."""
        random = np.random.default_rng(_seed(self.seed, epoch))
        rows = random.permutation(self.rows)
        length = self._lengths(rows)
        if length is None:
            return np.array_split(rows, len(self))
        chunk = self.batch_size * BUCKET_BATCHES
        ordered = np.concatenate(
            [at + np.argsort(length[at : at + chunk], kind="stable") for at in range(0, len(rows), chunk)]
        )
        batches = np.array_split(rows[ordered], len(self))
        return [batches[i] for i in random.permutation(len(batches))]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Rows, dict[str, NDArray[Any]]]]:
        """(rows, arrays) of the batches of an epoch, from batch `start` on."""
        order = self.order(epoch)[start:]
        batches = self.store.batches(order, [c.name for c in self.columns])
        for rows, taken in zip(order, batches, strict=True):
            yield rows, {c.name: _collate(c, taken[c.name]) for c in self.columns}

    def in_order(self) -> Iterator[tuple[Rows, dict[str, NDArray[Any]]]]:
        """(rows, arrays) once, unshuffled; ragged rows sorted by length so that little is padded."""
        length = self._lengths(self.rows)
        rows = self.rows if length is None else self.rows[np.argsort(length, kind="stable")]
        for part in np.array_split(rows, len(self)):
            if len(part):
                yield part, self.take(part)

    def take(self, rows: Rows) -> dict[str, NDArray[Any]]:
        """The encoded columns of `rows`, collated."""
        return {c.name: _collate(c, self.store[c.name].take(rows)) for c in self.columns}

    def _lengths(self, rows: Rows) -> NDArray[np.int64] | None:
        ragged = [c.name for c in self.columns if c.ragged]
        if not ragged:
            return None
        return np.sum([self.store[name].lengths(rows) for name in ragged], axis=0, dtype=np.int64)


def _collate(column: Column, taken: NDArray[Any] | Sequence[NDArray[Any]]) -> NDArray[Any]:
    return taken if isinstance(taken, np.ndarray) else column.collate(taken)


def _seed(seed: int, epoch: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/order/{epoch}".encode(), digest_size=8).digest(), "little")
