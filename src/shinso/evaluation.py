"""Predict raw values from raw values, through the columns that training used, and measure the predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from .answers import PROBABILITIES as PROBABILITIES  # said again for the many that measure and answer
from .answers import answers as answers
from .answers import calibrated as calibrated
from .answers import labels_of as labels_of
from .answers import require_columns as require_columns
from .answers import stacked
from .calibration import Calibration
from .columns import Column, Values
from .columns.category import Category
from .data.loader import Loader
from .data.store import Store
from .heads import POOLED
from .loop import to_tensors
from .metrics import MAIN, evaluate_predictions, lower_is_better
from .metrics import score as quick_metrics
from .network import Network
from .plan import Plan, autocast
from .randomness import private_randomness
from .schema import Schema

MEASURED = {"category": "log_loss"}  # what validation watches, where it is not the main metric of the kind


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
    return {c.name: stacked(c, found[c.name]) for c in schema.predict}


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


def _empty(column: Column, rows: int) -> Any:
    return np.zeros((rows, len(labels_of(column)))) if column.kind in PROBABILITIES else [None] * rows
