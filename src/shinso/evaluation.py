"""Predict raw values from raw values, through the columns that training used, and measure the predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .calibration import Calibration
from .columns import Column, Values
from .columns.category import Category
from .columns.labels import Labels
from .columns.mask import Mask
from .data.loader import Loader
from .data.store import Store
from .errors import DataError, SettingError
from .heads import POOLED
from .loop import to_tensors
from .metrics import MAIN, evaluate_predictions, lower_is_better
from .metrics import score as quick_metrics
from .network import Network
from .plan import Plan, autocast
from .randomness import private_randomness
from .schema import Schema

MEASURED = {"category": "log_loss"}  # what validation watches, where it is not the main metric of the kind
PROBABILITIES = frozenset({"category", "labels"})  # kinds whose prediction is a vector of probabilities


def predict_rows(
    network: Network, schema: Schema, loader: Loader, plan: Plan, seed: int = 0
) -> dict[str, Any]:
    """By predicted column, in the order of `loader.rows`: (n, C) probabilities, or (n,) raw values."""
    order = np.argsort(loader.rows, kind="stable")
    found: dict[str, Any] = {c.name: _empty(c, len(order)) for c in schema.predict}
    with torch.inference_mode(), private_randomness(seed, "predict"), autocast(plan):
        for rows, arrays in loader.in_order():
            outputs = network.predict(to_tensors(arrays, plan.device), len(rows))
            places = order[np.searchsorted(loader.rows, rows, sorter=order)]
            for column in schema.predict:
                values = outputs[column.name].float().cpu().numpy()
                if column.kind in PROBABILITIES:
                    found[column.name][places] = values
                else:
                    for place, value in zip(places, values, strict=True):
                        found[column.name][place] = column.decode(value)
    return {c.name: _stacked(c, found[c.name]) for c in schema.predict}


def truth_of(column: Column, values: Values, encoded: Any) -> Any:
    """The targets as `metrics.evaluate_predictions` takes them, from raw values and from their encoding."""
    if isinstance(column, Category):  # a label that training never saw cannot be right or wrong
        return np.where(np.asarray(encoded) < len(column.labels), encoded, -1)
    if column.kind in ("labels", "mask", "image"):
        return encoded
    if column.kind == "number":
        raw = values if values.dtype.kind in "fib" else [column.decode(e) for e in encoded]
        return np.asarray(raw, np.float64)
    if column.kind == "datetime":
        return np.asarray([column.decode(e) for e in encoded], "datetime64[us]")
    if column.kind == "series":
        return [np.asarray(column.decode(e), np.float64) for e in encoded]
    return list(values)


def unseen_labels(schema: Schema, store: Store) -> dict[str, int]:
    """By predicted category: how many rows have a label that training never saw, where there are any."""
    found = {}
    for c in schema.predict:
        if isinstance(c, Category):
            count = int((np.asarray(store[c.name].take(slice(None))) >= len(c.labels)).sum())
            if count:
                found[c.name] = count
    return found


def validation_loss(network: Network, loader: Loader, plan: Plan, seed: int) -> dict[str, float]:
    """By predicted column: the mean loss over the loader's rows, drawn with the same randomness each time."""
    sums: dict[str, list[float]] = {}
    with torch.inference_mode(), private_randomness(seed, "validation"), autocast(plan):
        for rows, arrays in loader.in_order():
            for name, loss in network.losses(to_tensors(arrays, plan.device), len(rows)).items():
                total = sums.setdefault(name, [0.0, 0.0])
                total[0] += float(loss.total)
                total[1] += float(loss.count)
    return {name: total / max(count, 1.0) for name, (total, count) in sums.items()}


def validation_score(
    network: Network, schema: Schema, loader: Loader, plan: Plan, seed: int, truths: Mapping[str, Any]
) -> tuple[float, dict[str, Any]]:
    """(smaller is better, metrics to log): of predictions where they come in one pass, else the loss."""
    if not all(c.kind in POOLED for c in schema.predict):
        losses = validation_loss(network, loader, plan, seed)
        return sum(losses.values()), {name: {"loss": value} for name, value in losses.items()}
    predictions = predict_rows(network, schema, loader, plan, seed)
    found, value = {}, 0.0
    for c in schema.predict:
        metrics = quick_metrics(c.kind, truths[c.name], predictions[c.name], labels_of(c))
        name = MEASURED.get(c.kind, MAIN[c.kind])
        measured = metrics.get(name)
        if measured is None:
            measured = float("inf")
        elif len(schema.predict) > 1 and c.kind in ("number", "datetime"):
            measured /= float(np.nanstd(np.asarray(truths[c.name], np.float64))) or 1.0
        value += measured if lower_is_better(name) else -measured
        found[c.name] = {k: v for k, v in metrics.items() if v is not None}
    return value, found


def measure(
    schema: Schema, predictions: Mapping[str, Any], truths: Mapping[str, Any],
    calibration: Mapping[str, Calibration], seed: int, block: int = 1,
) -> dict[str, Any]:  # fmt: skip
    """By predicted column: metrics with intervals and more, as `evaluation.json` holds them."""
    return {
        c.name: evaluate_predictions(
            c.kind,
            truths[c.name],
            calibrated(c, predictions[c.name], calibration),
            labels_of(c),
            seed,
            block=block,
        )
        for c in schema.predict
    }


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
    `sets` adds `name set`, the possible labels; `abstain` leaves `name` empty where there are several.
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
    """The answers, empty where several labels are possible and `abstain` says so, and the sets of labels."""
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


def _empty(column: Column, rows: int) -> Any:
    return np.zeros((rows, len(labels_of(column)))) if column.kind in PROBABILITIES else [None] * rows


def _stacked(column: Column, values: Any) -> Any:
    if column.kind == "number":
        return np.asarray(values, np.float64)
    if column.kind == "datetime":
        return np.asarray(values, "datetime64[us]")
    return values
