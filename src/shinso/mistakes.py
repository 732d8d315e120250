"""The most confident mistakes of a run: what a person should look at first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .calibration import Calibration
from .columns import Column
from .columns.mask import Mask
from .data.loader import Rows
from .evaluation import calibrated, labels_of
from .preparing import Prepared

SHOWN = 24


def worst(
    prepared: Prepared, rows: Rows, predictions: Mapping[str, Any], truths: Mapping[str, Any],
    calibration: Mapping[str, Calibration],
) -> dict[str, list[dict[str, Any]]]:  # fmt: skip
    """By predicted column: up to 24 rows with truth, prediction, probability and the given columns."""
    found = {}
    for column in prepared.schema.predict:
        prediction = calibrated(column, predictions[column.name], calibration)
        if column.kind == "category":
            picked = _wrong_classes(column, prediction, truths[column.name])
        elif column.kind == "number":
            picked = _far_numbers(prediction, truths[column.name], calibration[column.name])
        else:
            picked = _samples(column, predictions[column.name], truths[column.name])
        found[column.name] = [{**entry, **_shown(prepared, int(rows[place]))} for place, entry in picked]
    return found


def _wrong_classes(column: Column, probabilities: Any, truth: Any) -> list[tuple[int, dict[str, Any]]]:
    labels = labels_of(column)
    chosen = probabilities.argmax(1) if len(probabilities) else np.zeros(0, np.int64)
    wrong = np.flatnonzero((truth >= 0) & (truth < len(labels)) & (chosen != truth))
    wrong = wrong[np.argsort(-probabilities[wrong, chosen[wrong]], kind="stable")][:SHOWN]
    return [
        (
            int(i),
            {
                "truth": labels[int(truth[i])],
                "predicted": labels[int(chosen[i])],
                "probability": round(float(probabilities[i, chosen[i]]), 6),
            },
        )
        for i in wrong
    ]


def _far_numbers(prediction: Any, truth: Any, calibration: Calibration) -> list[tuple[int, dict[str, Any]]]:
    error = np.abs(prediction - truth)
    order = np.argsort(-np.where(np.isfinite(error), error, -1.0), kind="stable")[:SHOWN]
    ends = calibration.interval(prediction)
    return [
        (
            int(i),
            {
                "truth": _rounded(truth[i]),
                "predicted": _rounded(prediction[i]),
                "error": _rounded(prediction[i] - truth[i]),
                "low": None if ends is None else _rounded(ends[0][i]),
                "high": None if ends is None else _rounded(ends[1][i]),
            },
        )
        for i in order
        if np.isfinite(error[i])
    ]


def _rounded(value: float) -> float:
    """Seven digits: what float32 holds."""
    return float(f"{value:.7g}")


def _samples(column: Column, prediction: Any, truth: Any) -> list[tuple[int, dict[str, Any]]]:
    """For outputs that are written, drawn or listed: the first rows, as they are."""
    decoded = [column.decode(p) if column.kind == "labels" else p for p in prediction[:SHOWN]]
    return [
        (i, {"truth": column.show(_value(column, truth[i])), "predicted": column.show(value),
             "probability": None, "html": True})
        for i, value in enumerate(decoded)
    ]  # fmt: skip


def _value(column: Column, truth: Any) -> Any:
    if column.kind == "labels":
        return column.decode(np.asarray(truth, np.float64))
    if isinstance(column, Mask):  # class numbers, shown as raw levels
        return np.asarray((*column.levels, *([0] * 256))[:256], np.uint8)[truth]
    return truth.tolist() if column.kind == "series" else truth


def _shown(prepared: Prepared, row: int) -> dict[str, Any]:
    one = np.asarray([row])
    cells = {c.name: c.show(prepared.table.values(c.name, one)[0]) for c in prepared.schema.given}
    return {"key": prepared.table.keys(one)[0], "cells": cells}
