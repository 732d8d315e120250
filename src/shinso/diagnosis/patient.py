"""What the checks look at: rows, a network before its first step and, of a run, the trained one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from ..columns import Column
from ..config import RunConfig
from ..data.loader import Rows
from ..errors import DataError
from ..evaluation import predict_rows
from ..finishing import truths_of
from ..heads import HeadOptions
from ..loop import Objective, backward, to_tensors
from ..network import Batch, Network
from ..objectives import objective
from ..optim import Optimizer
from ..plan import Plan
from ..preparing import Prepared, looked_at, spread
from ..randomness import derive, private_randomness
from ..run import RunDirectory
from ..schema import SAMPLE, choose_columns, infer_kind

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

    def command(self, settings: Mapping[str, Any], *extra: str, given: Sequence[str] | None = None) -> str:
        """The command that trains again as it was asked for, but for some settings, flags or columns."""
        words = ["shinso", "train", self.name, *self._question(given)]
        for key, value in {**self._kept, **settings}.items():
            short = f"{value:.3g}" if isinstance(value, float) and key in settings else str(value)
            words += ["--set", f"{key}={short}"]
        return shlex.join([*words, *extra])

    def audit(self, check: str, *, fix: bool = False) -> str:
        """The command that looks at the data with one check of the audit, or mends them."""
        schema, table = self.prepared.schema, self.prepared.table
        words = ["shinso", "audit", self.name, "--predict", ",".join(c.name for c in schema.predict)]
        out = "cleaned" if table.key_name == "file" else "cleaned.csv"
        return shlex.join([*words, "--only", check, *(["--fix", out] if fix else [])])

    def _question(self, given: Sequence[str] | None) -> list[str]:
        """The flags that say what is predicted from what, where training would not choose it itself."""
        window, schema = self.prepared.window, self.prepared.schema
        own: tuple[str, ...] | None
        if window is not None:
            predict = window.predict
            own = tuple(name for name in window.given or () if name not in predict)
            rest = ["--past", str(window.past), "--ahead", str(window.ahead)]
        else:
            own, predict = self._own_columns, tuple(c.name for c in schema.predict)
            rest = [word for one in self._own_types for word in ("--types", one)]
        columns = own if given is None else tuple(given) or ("nothing",)
        return ["--predict", ",".join(predict), *(["--given", ",".join(columns)] if columns else []), *rest]

    @cached_property
    def _own_columns(self) -> tuple[str, ...] | None:
        """The columns that are given, where they are not those that training takes by itself."""
        schema, table = self.prepared.schema, self.prepared.table
        predict, own = ([c.name for c in side] for side in (schema.predict, schema.given))
        if not own:
            return ("nothing",)
        free, _ = choose_columns(table.names, predict, None)
        return None if set(looked_at(table, predict, free).given) == set(own) else tuple(own)

    @cached_property
    def _own_types(self) -> list[str]:
        """`name=kind` of the columns whose values would be taken for something else."""
        rows = spread(np.sort(np.concatenate(list(self.prepared.parts.values()))), SAMPLE)
        return [
            f"{c.name}={c.kind}" for c in self.prepared.schema if c.kind != self._seems(c.name, rows)
        ]  # fmt: skip

    def _seems(self, name: str, rows: Rows) -> str | None:
        """The kind that values are taken for; None where they tell none."""
        target = name in {c.name for c in self.prepared.schema.predict}
        try:
            return infer_kind(name, self.prepared.table.values(name, rows), target=target)
        except DataError:
            return None

    @cached_property
    def _kept(self) -> dict[str, Any]:
        """The settings that the user chose, by dotted name."""
        chosen = self.prepared.chosen if self.run is None else self.run.data.get("chosen", ())
        found: dict[str, Any] = {}
        for name in chosen:
            value: Any = self.config.model_dump()
            for part in name.split("."):
                value = value[part]
            found[name] = value
        return found


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
