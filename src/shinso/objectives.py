"""What training makes small: the losses of a network on augmented, drawn or attacked batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .attacks import attackable, attacked
from .augment import augment
from .config import RunConfig
from .data.loader import Rows
from .errors import SettingError
from .fairness import groups_in
from .heads import Loss
from .loop import Batch, Objective
from .mitigation import reweighed
from .network import Network
from .preparing import Prepared


def trained_rows(prepared: Prepared, config: RunConfig) -> Rows:
    """The training rows; drawn so that a protected column says nothing of the label, where one is named."""
    train, name = prepared.split.train, config.data.protect
    if name is None:
        return train
    target = prepared.schema.predict[0]
    if target.kind != "category":
        raise SettingError(
            f"Rows can be drawn anew for a predicted category; {target.name!r} is a {target.kind}. "
            f"Leave --protect out, and look at the gaps with `shinso evaluate RUN --protect {name}`."
        )
    groups = groups_in(name, prepared.table.values(name, train))
    labels = np.asarray(prepared.store[target.name].take(train))
    return np.asarray(train[reweighed(groups.codes_n, labels, np.random.default_rng(config.seed))])


def objective(
    network: Network, prepared: Prepared, config: RunConfig, *, compiled: bool = False
) -> Objective:
    """The losses of the network, on batches whose images are augmented where they are not predicted."""
    predicts_pixels = any(c.kind in ("image", "mask", "boxes") for c in prepared.schema.predict)
    names = [c.name for c in prepared.schema.given if c.kind == "image"]
    change = augment(config.train.augment or "none")
    measured = torch.compile(network.losses) if compiled else network.losses

    ranges, size = attackable(prepared.schema.given), config.train.adversarial

    def losses(batch: Batch, rows: int) -> Any:
        if network.training and names and not predicts_pixels:
            batch = {**batch, **{name: _augmented(change, batch[name]) for name in names}}
        if network.training and size and ranges:
            batch = _half_attacked(network, batch, rows, ranges, size)
        return measured(batch, rows)

    return losses


def _half_attacked(
    network: Network, batch: Batch, rows: int, ranges: Mapping[str, float], size: float
) -> Batch:
    """The first half of a batch (whose order is random) attacked by one step from a random start."""

    def losses(changed: Batch) -> Mapping[str, Loss]:
        return network.losses(changed, rows)

    moved = attacked(losses, batch, ranges, size, generator=torch.default_generator)  # seeded by the loop
    half = (rows + 1) // 2
    mixed = {
        name: torch.cat([moved[name][:half], batch[name][half:].to(moved[name].dtype)]) for name in ranges
    }
    return {**batch, **mixed}


def _augmented(change: Any, images: Tensor) -> Tensor:
    changed: Tensor = change(images, torch.default_generator)  # seeded for this step by the loop
    return changed
