"""The one number of an output that an explanation takes apart. B rows, C classes, A steps, V variables."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..network import Batch, Network
from ..run import RunDirectory
from .units import EXPLAINED as EXPLAINED  # said again for those who explain with torch
from .units import Floats as Floats
from .units import Unit, explained_column


@dataclass(frozen=True)
class Scorer(Unit):
    """A `Unit` that reads its number from a network."""

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


def scorer_of(run: RunDirectory, name: str | None) -> Scorer:
    """The output of a run that is to be explained: the named one, else the first."""
    column = explained_column(run.schema, name)
    calibration = run.calibration.get(column.name)
    warm = calibration.temperature if calibration and column.kind == "category" else 1.0
    return Scorer(column, warm)
