"""What the checks look at: rows, a network before its first step and, of a run, the trained one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from ..columns import Column
from ..config import RunConfig
from ..data.loader import Rows
from ..evaluation import predict_rows
from ..finishing import truths_of
from ..heads import HeadOptions
from ..loop import Objective, backward, to_tensors
from ..network import Batch, Network
from ..objectives import objective
from ..optim import Optimizer
from ..plan import Plan
from ..preparing import Prepared, spread
from ..randomness import derive, private_randomness
from ..run import RunDirectory

Level = Literal["severe", "warning", "note", "fine"]
FEW, SOME = 32, 256  # rows of one batch
MOST = 2_000  # rows of each part that are predicted


@dataclass(frozen=True)
class Finding:
    """What one check measured, and what to do where it is bad."""

    check: str
    level: Level
    measured: float | None
    said: str
    advice: str = ""
    command: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dict(vars(self))


@dataclass
class Patient:
    """A run, or data with the settings that training on it would have."""

    prepared: Prepared
    config: RunConfig
    plan: Plan
    name: str  # of the data, for commands
    options: dict[str, HeadOptions]
    run: RunDirectory | None = None
    column: str | None = None  # of several predicted ones: the one whose answers are looked at

    def fresh(self) -> Network:
        """The network before its first step: of a run, the weights that it began with."""
        with private_randomness(self.config.seed, "weights"):
            network = Network(self.prepared.schema, self.config.model, self.options)
        return network.to(self.plan.device)

    @cached_property
    def trained(self) -> Network:
        """The network of the run."""
        assert self.run is not None
        return self.run.network.to(self.plan.device)

    @cached_property
    def output(self) -> Column:
        """The predicted column that is looked at: the named one, else the first."""
        return self.prepared.schema[self.column or self.prepared.schema.predict[0].name]

    def rows(self, part: str, most: int = MOST) -> Rows:
        """Some rows of a part, evenly spread."""
        return spread(self.prepared.parts[part], most)

    @property
    def held_out(self) -> Rows:
        """Rows that were not trained on: validation and test."""
        parts = self.prepared.parts
        return spread(np.sort(np.concatenate([parts["validation"], parts["test"]])), 2 * MOST)

    def batch(self, rows: Rows) -> Batch:
        """Encoded rows with their targets."""
        loader = self.prepared.loader(rows, max(1, len(rows)))
        return to_tensors(loader.take(rows), self.plan.device)

    def drawn(self, count: int) -> Rows:
        """Training rows drawn at random, the same ones each time."""
        rng = np.random.default_rng(derive(self.config.seed, "doctor", count))
        train = self.prepared.split.train
        return np.sort(rng.permutation(train)[:count])

    def objective(self, network: Network, *, augmented: bool = False) -> Objective:
        """The loss that training lowers."""
        config = self.config if augmented else self.config.override({"train.augment": "none"})
        return objective(network, self.prepared, config)

    def predictions(self, rows: Rows) -> Any:
        """What the trained network says of the column that is looked at."""
        loader = self.prepared.loader(rows, 512, targets=False)
        return predict_rows(self.trained, self.prepared.schema, loader, self.plan)[self.output.name]

    def truths(self, rows: Rows) -> Any:
        """What is true of the column that is looked at."""
        return truths_of(self.prepared, rows)[self.output.name]

    def command(self, settings: Mapping[str, Any], extra: str = "") -> str:
        """The command that trains again with other settings."""
        schema = self.prepared.schema
        words = ["shinso", "train", self.name, "--predict", ",".join(c.name for c in schema.predict)]
        for key, value in settings.items():
            words += ["--set", f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}"]
        return shlex.join(words) + (f" {extra}" if extra else "")


def steps(
    patient: Patient, network: Network, batch: Batch, factors: list[float], *, train: bool = True
) -> list[float]:
    """Losses of steps on one batch at factors of the set learning rate; ends at the first infinity."""
    optimizer = Optimizer(network, patient.config.train, network.rates())
    rows, loss = len(next(iter(batch.values()))), patient.objective(network)
    network.train(train)
    found = []
    for i, factor in enumerate(factors):
        with private_randomness(patient.config.seed, "doctor", i):
            found.append(sum(backward(network, loss, batch, rows, 1, patient.plan).values()))
        nn.utils.clip_grad_norm_(network.parameters(), patient.config.train.clip or float("inf"))
        optimizer.step(factor)
        if not np.isfinite(found[-1]):
            break
    return found


def gradient_norms(patient: Patient, network: Network, batch: Batch) -> dict[str, float]:
    """By parameter: the norm of the gradient over one batch, evaluation mode."""
    network.eval().zero_grad(set_to_none=True)
    rows = len(next(iter(batch.values())))
    plan = replace(patient.plan, precision="fp32")
    backward(network, patient.objective(network), batch, rows, 1, plan)
    norms = {
        name: 0.0 if p.grad is None else float(torch.linalg.vector_norm(p.grad.float()))
        for name, p in network.named_parameters()
    }
    network.zero_grad(set_to_none=True)
    return norms
