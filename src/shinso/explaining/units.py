"""What the number of an explanation means: its column, its class, its unit. Without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..answers import PROBABILITIES, labels_of
from ..columns import Column
from ..errors import SettingError, did_you_mean
from ..later import Later
from ..schema import Schema

special = Later("scipy.special")

Floats = NDArray[np.float64]
EXPLAINED = ("category", "labels", "number", "datetime", "series")  # kinds of output


@dataclass(frozen=True)
class Unit:
    """How sure a model is of one class of a category (log-odds), or how large its number is.

    Log-odds and numbers add up, which probabilities do not: attributions are in these, `natural` turns them
    into what `predict` gives.
    """

    column: Column

    def natural(self, evidence: Any) -> Floats:
        """Probabilities from log-odds; numbers in the unit of their column."""
        values = np.asarray(evidence, np.float64)
        if self.column.kind in PROBABILITIES:
            return np.asarray(special.expit(values))
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


def explained_column(schema: Schema, name: str | None, remedy: str = "name one with --column") -> Column:
    """The predicted column that is to be explained: the named one, else the first."""
    names: Sequence[str] = [c.name for c in schema.predict]
    if name is not None and name not in names:
        raise SettingError(f"The run does not predict {name!r}. {did_you_mean(name, names)}")
    column = schema[name or names[0]]
    if column.kind not in EXPLAINED:
        raise SettingError(
            f"Column {column.name!r} is of type {column.kind}: what is written or painted in many steps has "
            f"no single number to explain. Explained are {', '.join(EXPLAINED)}; {remedy}."
        )
    return column
