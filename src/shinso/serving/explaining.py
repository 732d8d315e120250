"""Why a row is answered as it is, asked of any model that is served: parts are hidden, answers compared.

Methods that hide parts need nothing but answers, so they explain exports too, without torch. Methods that
follow gradients need the network: models that have one are `Differentiable`.
M coalitions, P players, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from ..answers import calibrated
from ..columns.base import Value
from ..errors import SettingError, did_you_mean
from ..explaining.lime import lime
from ..explaining.occlusion import occlusion
from ..explaining.seats import Board, Coalitions, described
from ..explaining.shap import shap
from ..explaining.units import Floats, Unit, explained_column
from .refusals import Refusal
from .servable import Arrays, Columns, Servable

HIDING: dict[str, Callable[[Board, np.random.Generator], Floats]] = {
    "shap": shap, "occlusion": occlusion, "lime": lime,
}  # fmt: skip
GRADIENTS = ("integrated_gradients", "gradient_shap", "gradcam", "attention")  # of `explaining.methods`
DEFAULT = "shap"
NO, YES = ("", "0", "false", "no"), ("1", "true", "yes")
MOST_ROWS = 8  # of one request
TINY = 1e-30
Forward = Callable[[Arrays], Arrays]


class How(NamedTuple):
    """What is asked for: a method, and the predicted column (None: the first)."""

    method: str
    column: str | None = None


@runtime_checkable
class Differentiable(Protocol):
    """A model that has gradients."""

    def explain(self, row: Mapping[str, Value], how: How, seed: int) -> dict[str, Any]:
        """One row by a method of GRADIENTS; from a thread of its own."""


def how_of(method: str | None, column: str | None) -> How | None:
    """What a request asks for, None where it asks for no explanation."""
    if method is None or method.lower() in NO:
        return None
    name = DEFAULT if method.lower() in YES else method
    if name not in HIDING and name not in GRADIENTS:
        raise Refusal(
            "not_explained", f"There is no method {name[:40]!r}.",
            f"{did_you_mean(name, (*HIDING, *GRADIENTS))} Or write explain=1.", field="explain",
        )  # fmt: skip
    return How(name, column)


def check(model: Servable, how: How, rows: int) -> None:
    """Raise `Refusal` where a model cannot be explained so, or in so many rows; computes nothing."""
    if rows > MOST_ROWS:
        raise Refusal(
            "not_explained", f"{rows} rows were sent; {MOST_ROWS} are explained at once.",
            "Send fewer, or use `shinso explain RUN rows.csv`.", field="explain",
        )  # fmt: skip
    if how.method in GRADIENTS and not isinstance(model, Differentiable):
        raise Refusal(
            "not_explained", f"{how.method} needs gradients, which an export has not.",
            f"Serve the run itself, or ask for one of: {', '.join(HIDING)}.", field="explain",
        )  # fmt: skip
    column_of(model, how)


def explanations(
    model: Servable, rows: Columns, how: How, forward: Forward, seed: int = 0
) -> list[dict[str, Any]]:
    """One explanation a row. `forward` is the model's, as its batches allow."""
    count = len(next(iter(rows.values())))
    singles = [{name: values[i] for name, values in rows.items()} for i in range(count)]
    if how.method in GRADIENTS:
        assert isinstance(model, Differentiable)
        return [told(model, how, model.explain(row, how, seed)) for row in singles]
    found = []
    for row in singles:
        board = Answers(model, Unit(column_of(model, how)), row, forward)
        values_P = HIDING[how.method](board, np.random.default_rng(seed))
        found.append(told(model, how, described(board, values_P)))
    return found


def told(model: Servable, how: How, found: Mapping[str, Any]) -> dict[str, Any]:
    """An explanation with what its numbers mean; the parts that weigh most come first."""
    unit = Unit(column_of(model, how))
    parts = sorted(found["parts"], key=lambda part: -abs(part["value"]))
    about = {"method": how.method, "column": unit.column.name, "unit": unit.unit}
    return {**about, **found, "parts": parts}


def column_of(model: Servable, how: How) -> Any:
    """The predicted column that is explained."""
    try:
        return explained_column(model.schema, how.column, "name one with explain_column")
    except SettingError as error:
        raise Refusal(
            "not_explained", str(error), "Name a predicted column.", field="explain_column"
        ) from None


@dataclass(frozen=True)
class Reader:
    """From what a model answers to evidence for one class, or to the number."""

    model: Servable
    unit: Unit

    def evidence(self, outputs: Arrays, target: int) -> Floats:
        """(M,): log-odds of a class, or the number, as the head gives it."""
        column = self.unit.column
        found = np.asarray(calibrated(column, outputs[column.name], self.model.calibration), np.float64)
        if column.kind == "labels":
            return np.asarray(np.log(found[:, target] + TINY) - np.log(1 - found[:, target] + TINY))
        if column.kind != "category":
            return np.asarray(found.reshape(len(found), -1).mean(1))
        others_M = np.delete(found, target, 1).sum(1)
        return np.asarray(np.log(found[:, target] + TINY) - np.log(others_M + TINY))

    def target(self, outputs: Arrays) -> int:
        """The likeliest class of one row, 0 for numbers."""
        column = self.unit.column
        return int(np.argmax(outputs[column.name][0])) if column.kind in ("category", "labels") else 0


class Answers(Board):
    """One row whose coalitions a served model answers."""

    def __init__(self, model: Servable, unit: Unit, row: Mapping[str, Value], forward: Forward) -> None:
        super().__init__(model.schema, unit, row)
        self.reader, self.forward = Reader(model, unit), forward
        self.target = self.reader.target(forward(self.read(self.all)))

    def worth(self, kept_MP: Coalitions) -> Floats:
        """(M,): evidence for the class of the whole row."""
        return self.reader.evidence(self.forward(self.read(kept_MP)), self.target)
