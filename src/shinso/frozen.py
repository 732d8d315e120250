"""What a resting backbone makes of every row, computed once: training its head then takes seconds.

B rows, K members (1 where tokens are pooled), D size of the features.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from .columns.base import Array
from .config import RunConfig
from .console import Console
from .data.store import Dense, Store
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
        network.encoders[key] = Precomputed(encoder)
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
        rests = not any(p.requires_grad for p in encoder.parameters())
        if rests and (still or prepared.schema[source].kind != "image"):
            found[source] = key, encoder
            size += 4 * len(prepared.store) * max(1, encoder.members) * encoder.width
    return found if size <= MOST_BYTES else {}


def compute(prepared: Prepared, encoders: dict[str, Encoder], plan: Plan, console: Console) -> Prepared:
    """`prepared` with the pooled features of its training and validation rows in place of their columns."""
    rows, count = np.concatenate([prepared.split.train, prepared.split.validation]), len(prepared.store)
    tables = {n: np.zeros((count, max(1, e.members), e.width), np.float32) for n, e in encoders.items()}
    loader = prepared.loader(rows, BATCH, targets=False)
    with console.progress("features") as advance:
        for i, (batch_rows, arrays) in enumerate(loader.in_order()):
            for name, encoder in encoders.items():
                tables[name][batch_rows] = pooled(encoder, arrays[name], plan)
            advance(i + 1, len(loader))
    columns = {**prepared.store.columns, **{name: Dense(table) for name, table in tables.items()}}
    store = prepared.store
    return replace(prepared, store=Store(columns, store.usable, store.bad, store.crowded))


def pooled(encoder: Encoder, array: Array, plan: Plan) -> Array:
    """(B, K, D) float32: what an encoder in evaluation mode makes of a batch."""
    batch = to_tensors({"column": array}, plan.device)["column"]
    with torch.no_grad(), autocast(plan):
        found: Array = encoder.eval()(batch).pool().float().cpu().numpy()
    return found
