"""The one number of an output that an explanation takes apart. B rows, C classes, A steps, V variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from ..columns import Column
from ..errors import SettingError, did_you_mean
from ..evaluation import PROBABILITIES, labels_of
from ..network import Batch, Network
from ..run import RunDirectory

Floats = NDArray[np.float64]
EXPLAINED = ("category", "labels", "number", "datetime", "series")  # kinds of output


@dataclass(frozen=True)
class Scorer:
    """How sure a network is of one class of a category (log-odds), or how large its number is.

    Log-odds and numbers add up, which probabilities do not: attributions are in these, `natural` turns them
    into what `predict` gives.
    """

    column: Column
    temperature: float = 1.0  # of the calibration, so that probabilities are those of `predict`

    def outputs(self, network: Network, batch: Batch, rows: int) -> Tensor:
        """(B, C) logits, or (B, 1) numbers."""
        head = dict(network.named_heads())[self.column.name]
        found: Tensor = head(network.features(batch, rows)).float()
        if self.column.kind == "category":
            return found / self.temperature
        if self.column.kind == "labels":
            return found
        return found.reshape(rows, -1).mean(1, keepdim=True)

    def target(self, outputs_BC: Tensor) -> Tensor:
        """(B,): the class that is explained: the likeliest."""
        return outputs_BC.argmax(1)

    def evidence(self, outputs_BC: Tensor, target_B: Tensor) -> Tensor:
        """(B,): log-odds of the target class, or the (standardised) number itself."""
        chosen_B = outputs_BC.gather(1, target_B.unsqueeze(1)).squeeze(1)
        if self.column.kind != "category":
            return chosen_B
        others_BC = outputs_BC.scatter(1, target_B.unsqueeze(1), -torch.inf)
        return chosen_B - others_BC.logsumexp(1)

    def natural(self, evidence: Any) -> Floats:
        """Probabilities from log-odds; numbers in the unit of their column."""
        values = np.asarray(evidence, np.float64)
        if self.column.kind in PROBABILITIES:
            return np.asarray(expit(values))
        if self.column.kind == "number":
            facts = self.column.to_dict()
            return values * float(facts["std"]) + float(facts["mean"])
        return values

    @property
    def spread(self) -> float:
        """What one unit of `natural` is measured in when rows are compared: 1, or the number's deviation."""
        return float(self.column.to_dict()["std"]) if self.column.kind == "number" else 1.0

    @property
    def unit(self) -> str:
        """The unit of the attributions."""
        if self.column.kind in PROBABILITIES:
            return "log-odds"
        return f"unit of {self.column.name}" if self.column.kind == "number" else "standard deviations"

    @property
    def said(self) -> str:
        """What `natural` is called."""
        return "probability" if self.column.kind in PROBABILITIES else self.column.name

    def label(self, target: int) -> str:
        """The class that is explained, '' for numbers."""
        return labels_of(self.column)[target] if self.column.kind in PROBABILITIES else ""

    @property
    def scale(self) -> float:
        """What turns evidence into the unit of the attributions."""
        return self.spread


def scorer_of(run: RunDirectory, name: str | None) -> Scorer:
    """The output of a run that is to be explained: the named one, else the first."""
    names = [c.name for c in run.schema.predict]
    if name is not None and name not in names:
        raise SettingError(f"The run does not predict {name!r}. {did_you_mean(name, names)}")
    column = run.schema[name or names[0]]
    if column.kind not in EXPLAINED:
        raise SettingError(
            f"Column {column.name!r} is of type {column.kind}: what is written or painted in many steps has "
            f"no single number to explain. Explained are {', '.join(EXPLAINED)}; name one with --column."
        )
    calibration = run.calibration.get(column.name)
    warm = calibration.temperature if calibration and column.kind == "category" else 1.0
    return Scorer(column, warm)
