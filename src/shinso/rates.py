"""The learning-rate range test: which rates let the loss fall, and where it explodes.

Smith, "Cyclical learning rates for training neural networks", WACV 2017 (arXiv 1506.01186).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Any

import numpy as np
from torch import nn

from .config import TrainConfig
from .errors import ShinsoError
from .loop import Batches, Objective, backward, to_tensors
from .optim import Optimizer
from .plan import Plan
from .randomness import private_randomness

LOWEST, HIGHEST = 1e-6, 10.0
SMOOTHED = 0.9  # weight of the past in the running mean of the losses
EXPLODED = 4.0  # times the rise above the least loss, over the fall to it, that ends the test
LEAST_STEPS = 10


@dataclass(frozen=True)
class RangeTest:
    """What each rate did, and what follows from it."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]  # smoothed, one for each rate
    suggested: float  # where the loss falls fastest
    lowest: float  # where the loss is least: already too high to train with

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "rates": list(self.rates), "losses": list(self.losses),
            "suggested": self.suggested, "lowest": self.lowest,
        }  # fmt: skip


def range_test(
    module: nn.Module, batches: Batches, objective: Objective, config: TrainConfig, plan: Plan, *,
    steps: int = 100, seed: int = 0, rates: dict[str, float] | None = None,
) -> RangeTest:  # fmt: skip
    """Train `module` with a rate that grows from 1e-6 to 10 until its loss explodes.

    `config` must be resolved; its schedule and learning rate play no part. Afterwards `module` has the
    weights that it came with.
    """
    kept = {name: value.clone() for name, value in module.state_dict().items()}
    module.train()
    at_one = config.model_copy(update={"learning_rate": 1.0})
    optimizer = Optimizer(module, at_one, rates or {})
    stream = chain.from_iterable(batches.epoch(epoch) for epoch, _ in enumerate(repeat(None)))
    tried: list[float] = []
    losses: list[float] = []
    mean = 0.0
    for step, (rows, arrays) in enumerate(islice(stream, steps)):
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / max(1, steps - 1))
        with private_randomness(seed, "range", step):
            found = backward(module, objective, to_tensors(arrays, plan.device), len(rows), 1, plan)
        loss = sum(found.values())
        if not math.isfinite(loss):
            break
        mean = SMOOTHED * mean + (1 - SMOOTHED) * loss
        losses.append(mean / (1 - SMOOTHED ** (step + 1)))
        tried.append(rate)
        optimizer.step(rate)
        fallen = losses[0] - min(losses)
        if step >= LEAST_STEPS and losses[-1] > min(losses) + EXPLODED * max(fallen, 0.05 * abs(losses[0])):
            break
    module.load_state_dict(kept)
    if not losses:
        raise ShinsoError(
            "The loss is not a finite number at the lowest rate already, so no rate can be found. Look at "
            "the model and the inputs, or compute in full precision (--set train.precision=fp32)."
        )
    return RangeTest(tuple(tried), tuple(losses), *chosen(tried, losses))


def chosen(rates: list[float], losses: list[float]) -> tuple[float, float]:
    """(the rate at the steepest fall, the rate of the least loss), from smoothed losses.

    >>> chosen([1e-4, 1e-3, 1e-2, 1e-1, 1.0], [2.0, 1.9, 1.2, 1.0, 5.0])
    (0.01, 0.1)
    """
    least = int(np.argmin(losses))
    if least < 2:
        return rates[max(0, least)], rates[max(0, least)]
    falls = np.diff(losses[: least + 1]) / np.diff(np.log(rates[: least + 1]))
    return rates[int(np.argmin(falls)) + 1], rates[least]
