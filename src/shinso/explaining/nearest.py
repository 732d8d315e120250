"""The training rows that the network takes for most like a row. n rows, t training rows, D size."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.loader import Loader
from ..loop import to_tensors
from ..network import Network
from ..plan import Plan, autocast
from ..preparing import Prepared, spread

MOST_TRAINING = 20_000
NEIGHBOURS = 5
BATCH = 512


def embedded(network: Network, loader: Loader, plan: Plan) -> NDArray[np.float32]:
    """(n, D) of norm 1, in the order of `loader.rows`: what the heads read."""
    order = np.argsort(loader.rows, kind="stable")
    found: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(loader.rows)
    with torch.inference_mode(), autocast(plan):
        for rows, arrays in loader.in_order():
            pooled = network.features(to_tensors(arrays, plan.device), len(rows)).pool().flatten(1).float()
            for place, vector in zip(
                order[np.searchsorted(loader.rows, rows, sorter=order)], pooled, strict=True
            ):
                found[place] = vector.cpu().numpy()
    stacked = np.stack(found)
    return stacked / np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), 1e-9)


def nearest(
    network: Network, prepared: Prepared, asked: Loader, plan: Plan, output: str
) -> list[list[dict[str, Any]]]:
    """For each asked row its 5 nearest training rows: key, similarity (cosine), target, how they look."""
    schema, train = prepared.schema, spread(prepared.split.train, MOST_TRAINING)
    known_tD = embedded(network, Loader(prepared.store, schema.given, train, BATCH), plan)
    similar_nt = embedded(network, asked, plan) @ known_tD.T
    found = []
    for similar_t in similar_nt:
        best = np.argsort(-similar_t)[:NEIGHBOURS]
        found.append([_neighbour(prepared, int(train[i]), float(similar_t[i]), output) for i in best])
    return found


def _neighbour(prepared: Prepared, row: int, similarity: float, output: str) -> dict[str, Any]:
    one, target = np.asarray([row]), prepared.schema[output]
    cells = {c.name: c.show(prepared.table.values(c.name, one)[0]) for c in prepared.schema.given}
    truth = prepared.table.values(output, one)[0]
    key = prepared.table.keys(one)[0]
    return {
        "key": key,
        "similarity": round(similarity, 4),
        "target": str(truth),
        "shown": target.show(truth),
        "cells": cells,
    }
