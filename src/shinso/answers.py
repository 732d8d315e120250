"""What a run says of rows, as a table: from what a network gives to values, and how sure they are.

Without torch, so that an exported model answers as its run does. n = rows, C = classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .calibration import Calibration
from .columns import Column
from .columns.category import Category
from .columns.labels import Labels
from .columns.mask import Mask
from .errors import DataError, SettingError
from .schema import Schema

PROBABILITIES = frozenset({"category", "labels"})  # kinds whose prediction is a vector of probabilities


def calibrated(column: Column, prediction: Any, calibration: Mapping[str, Calibration]) -> Any:
    """Predictions as metrics take them: probabilities after temperature scaling, masks as class numbers."""
    if isinstance(column, Mask):
        return [np.searchsorted(column.levels, mask) for mask in prediction]
    if column.kind == "category" and column.name in calibration:
        return calibration[column.name].apply(prediction)
    return prediction


def labels_of(column: Column) -> Sequence[str]:
    """The classes of a column that has them."""
    if isinstance(column, Category | Labels):
        return tuple(str(label) for label in column.labels)
    if isinstance(column, Mask):
        return tuple(str(level) for level in column.levels)
    return ()


def answers(
    schema: Schema, predictions: Mapping[str, Any], calibration: Mapping[str, Calibration], *,
    sets: bool = False, abstain: bool = False,
) -> dict[str, list[Any]]:  # fmt: skip
    """The table that `predict` gives: each predicted column under its own name, and how sure beside it.

    A category brings `name: label` probabilities, labels likewise; a number `name low` and `name high`.
    `sets` adds `name set`, the possible labels; `abstain` leaves `name` empty unless there is just one.
    """
    table: dict[str, list[Any]] = {}
    for c in schema.predict:
        values = predictions[c.name]
        if c.kind in PROBABILITIES:
            values = calibrated(c, values, calibration)
        table[c.name] = [c.decode(v) for v in values] if c.kind in PROBABILITIES else list(values)
        if c.kind == "number":
            table[c.name] = rounded(values)
        if c.kind in PROBABILITIES:
            shares = np.asarray(values, np.float64).round(6)
            if sets and c.kind == "category":
                table |= possible(c, values, calibration[c.name], table[c.name], abstain=abstain)
            for i, label in enumerate(labels_of(c)):
                table[f"{c.name}: {label}"] = shares[:, i].tolist()
        ends = calibration[c.name].interval(np.asarray(values, np.float64)) if c.kind == "number" else None
        if ends is not None:
            table[f"{c.name} low"], table[f"{c.name} high"] = rounded(ends[0]), rounded(ends[1])
    return table


def possible(
    column: Column, probabilities: Any, calibration: Calibration, answers: list[Any], *, abstain: bool
) -> dict[str, list[Any]]:
    """The answers, with `abstain` empty where not just one label is possible, and the sets of labels."""
    sets_nC = calibration.sets(probabilities)
    if sets_nC is None:
        raise SettingError(
            f"Too few validation rows were there to promise a coverage for {column.name!r}. "
            f"Train with more rows."
        )
    labels = labels_of(column)
    listed = [[labels[i] for i in np.flatnonzero(row).tolist()] for row in sets_nC]
    kept = [a if len(s) == 1 or not abstain else None for a, s in zip(answers, listed, strict=True)]
    return {column.name: kept, f"{column.name} set": listed}


def rounded(values: Iterable[float]) -> list[float]:
    """Numbers to the seven digits that float32 holds."""
    return [float(f"{value:.7g}") for value in values]


def require_columns(schema: Schema, names: Sequence[str], *, targets: bool) -> None:
    """Raise `DataError` where data lacks a column that the run reads (or, to be evaluated, predicts)."""
    wanted = [c.name for c in schema.given] + ([c.name for c in schema.predict] if targets else [])
    lacking = [name for name in wanted if name not in names]
    if lacking:
        raise DataError(
            f"The data has no column {', '.join(map(repr, lacking))}, which the run "
            f"{'needs to be evaluated' if targets else 'reads'}. It has: {', '.join(map(repr, names))}. "
            f"Add the column, or rename the one that holds it."
        )


def covering(
    schema: Schema, calibration: Mapping[str, Calibration], coverage: float | None, *, abstain: bool, of: str
) -> dict[str, Calibration]:
    """The calibration for a coverage that the user asks for; `of` names the run in messages."""
    if coverage is None:
        if abstain:
            raise SettingError(
                "Say how sure an answer has to be: --abstain needs --coverage, as in --coverage 0.9."
            )
        return dict(calibration)
    kinds = {c.name: c.kind for c in schema.predict}
    if not set(kinds.values()) <= {"category", "number"} or (abstain and "category" not in kinds.values()):
        raise SettingError(
            f"{of} predicts {', '.join(f'{n!r} ({k})' for n, k in kinds.items())}. A coverage can "
            f"be promised for categories and numbers; abstaining is for categories."
        )
    return {name: found.at(coverage) for name, found in calibration.items()}


def decoded(column: Column, outputs: Any) -> Any:
    """What `answers` takes, from what a network gives of n rows: probabilities, or raw values."""
    if column.kind in PROBABILITIES:
        return outputs
    return stacked(column, [column.decode(row) for row in outputs])


def stacked(column: Column, values: Any) -> Any:
    """Raw values as one array, of kinds that have such."""
    if column.kind == "number":
        return np.asarray(values, np.float64)
    if column.kind == "datetime":
        return np.asarray(values, "datetime64[us]")
    return values
