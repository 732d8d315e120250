"""Metrics of one category out of several: what `metrics.evaluate_predictions("category", ...)` measures.

n = rows, C = classes, B = resamples. Where scikit-learn has the metric, the value is equal to its.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .intervals import (
    LEVEL,
    Estimate,
    Floats,
    area_estimate,
    area_under_roc,
    finite,
    percentiles,
    proportion,
    resample_sums,
    resample_table,
    unknown,
)

Array = NDArray[Any]
BINS = 15
MOST_THRESHOLDS = 100
MOST_SHOWN = 100  # classes of a confusion table


@dataclass(frozen=True)
class Counts:
    """How many rows of each class are right, true and predicted: each (..., C), counts of batches add up."""

    right: Floats
    truth: Floats
    predicted: Floats


@dataclass(frozen=True)
class Rows:
    """Rows that have a target."""

    truth_n: NDArray[np.int64]
    probabilities_nC: Floats
    predicted_n: NDArray[np.int64]
    smallest: float  # probabilities are kept this far from 0 in the log loss


def balanced_accuracy(counts: Counts) -> Floats:
    """Mean recall of the classes that are there."""
    return _mean(_share(counts.right, counts.truth), counts.truth > 0)


def precision_macro(counts: Counts) -> Floats:
    """Mean precision of the classes that are there or predicted; 0 for one that is never predicted."""
    return _mean(_share(counts.right, counts.predicted), counts.truth + counts.predicted > 0)


def recall_macro(counts: Counts) -> Floats:
    """Mean recall of the classes that are there or predicted; 0 for one that is not there."""
    return _mean(_share(counts.right, counts.truth), counts.truth + counts.predicted > 0)


def f1_macro(counts: Counts) -> Floats:
    """Mean F1 of the classes that are there or predicted."""
    both = counts.truth + counts.predicted
    return _mean(_share(2 * counts.right, both), both > 0)


def f1_positive(counts: Counts) -> Floats:
    """F1 of the second of two classes."""
    return _share(2 * counts.right, counts.truth + counts.predicted)[..., 1]


Metric = Callable[[Counts], Floats]
OF_COUNTS: dict[str, Metric] = {
    "balanced_accuracy": balanced_accuracy,
    "precision": precision_macro,
    "recall": recall_macro,
    "f1": f1_macro,
}
OF_TWO_CLASSES: dict[str, Metric] = {
    "balanced_accuracy": balanced_accuracy,
    "f1": f1_positive,
    "f1_macro": f1_macro,
}


def classification(
    truth_n: Array,
    prediction_nC: Array,
    labels: tuple[str, ...],
    rng: np.random.Generator,
    *,
    intervals: bool,
) -> dict[str, Any]:
    """Metrics, confusion table, row per class and reliability bins, as plain JSON data."""
    rows = _rows(truth_n, prediction_nC)
    size = len(labels)
    table_CC = np.bincount(rows.truth_n * size + rows.predicted_n, minlength=size * size).reshape(size, size)
    n = len(rows.truth_n)
    if n == 0 or not np.isfinite(rows.probabilities_nC).all():
        why = "No row has a target." if n == 0 else "Some predicted probabilities are not finite numbers."
        names = ["accuracy", *OF_COUNTS, "roc_auc", "log_loss", "brier", "calibration_error"]
        estimates = {name: unknown(why) for name in names}
        bins: list[dict[str, Any]] = []
    else:
        binned = _bins(rows)
        estimates = {"accuracy": proportion(int(np.trace(table_CC)), n)}
        estimates |= _of_counts(table_CC, rng, intervals=intervals) | {"roc_auc": roc_auc(rows)}
        estimates |= _of_probabilities(rows, binned, rng, intervals=intervals)
        bins = _reliability(rows, binned)
    return {
        "metrics": {name: _plain(estimate, intervals=intervals) for name, estimate in estimates.items()},
        "confusion": _confusion(table_CC),
        "classes": _classes(table_CC, labels),
        "reliability": bins,
        "labels": list(labels),
        "positive": labels[1] if size == 2 else None,
        "thresholds": _thresholds(rows) if bins and size == 2 else [],
    }


def roc_auc(rows: Rows) -> Estimate:
    """Area under the ROC curve; of many classes the mean over those that are there, each against the rest."""
    size = rows.probabilities_nC.shape[1]
    counts = np.bincount(rows.truth_n, minlength=size)
    n = len(rows.truth_n)
    classes = [1] if size == 2 else [c for c in range(size) if 0 < counts[c] < n]
    if not classes:
        return unknown("The rows hold only one class.")
    total, influence_n = 0.0, np.zeros(n)
    for c in classes:
        area, influence = area_under_roc(rows.truth_n == c, rows.probabilities_nC[:, c])
        total += area / len(classes)
        influence_n += influence / len(classes)
    return area_estimate(min(total, 1.0), influence_n, int(counts[counts > 0].min()))


def log_losses(rows: Rows) -> Floats:
    """(n,) minus the log of what each row's true class was given."""
    given = rows.probabilities_nC[np.arange(len(rows.truth_n)), rows.truth_n]
    return np.asarray(-np.log(np.clip(given, rows.smallest, 1.0)))


def brier_scores(rows: Rows) -> Floats:
    """(n,) squared distance between probabilities and truth; halved for two classes, as is the custom."""
    size = rows.probabilities_nC.shape[1]
    given = rows.probabilities_nC[np.arange(len(rows.truth_n)), rows.truth_n]
    squared = np.einsum("nc,nc->n", rows.probabilities_nC, rows.probabilities_nC) - 2 * given + 1
    return np.asarray(squared / 2 if size == 2 else squared)


def _rows(truth_n: Array, prediction_nC: Array) -> Rows:
    known = truth_n >= 0
    probabilities = prediction_nC[known].astype(np.float64)
    smallest = np.finfo(prediction_nC.dtype if prediction_nC.dtype.kind == "f" else np.float64).eps
    predicted = probabilities.argmax(1) if probabilities.size else np.zeros(0, np.int64)
    return Rows(truth_n[known].astype(np.int64), probabilities, predicted.astype(np.int64), float(smallest))


def _of_counts(table_CC: Array, rng: np.random.Generator, *, intervals: bool) -> dict[str, Estimate]:
    point = Counts(
        np.diag(table_CC).astype(float), table_CC.sum(1).astype(float), table_CC.sum(0).astype(float)
    )
    resampled = Counts(*resample_table(table_CC, rng)) if intervals else None
    two = len(table_CC) == 2
    found = {
        name: _of_count(metric, point, resampled)
        for name, metric in (OF_TWO_CLASSES if two else OF_COUNTS).items()
    }
    if two:
        right, truth, predicted = (int(part[1]) for part in (point.right, point.truth, point.predicted))
        found["precision"] = proportion(right, predicted) if predicted else Estimate(0.0, reason=_NEVER)
        found["recall"] = proportion(right, truth) if truth else unknown("The rows hold no positive.")
    return found


_NEVER = "The positive class is never predicted, so its precision is set to 0."


def _of_count(metric: Metric, point: Counts, resampled: Counts | None) -> Estimate:
    value = float(metric(point))
    if resampled is None:
        return Estimate(value)
    if value == 0.0:
        return Estimate(value, reason="No row of these classes is right, so resampling shows no spread.")
    if point.right.sum() == point.truth.sum():  # no mistake: resampling would show no spread at all
        there = point.truth[point.truth > 0]
        weakest = ((1 - LEVEL) / 2) ** (1 / float(there.min()))
        return Estimate(value, value * (len(there) - 1 + weakest) / len(there), value, "exact")
    return percentiles(value, metric(resampled))


def _of_probabilities(
    rows: Rows, binned: Array, rng: np.random.Generator, *, intervals: bool
) -> dict[str, Estimate]:
    losses_nK = np.stack([log_losses(rows), brier_scores(rows)], 1)
    confidence, right = _confidence(rows)
    gaps = np.zeros((len(binned), BINS))
    gaps[np.arange(len(binned)), binned] = confidence - right
    values = losses_nK.mean(0)
    error = float(np.abs(gaps.sum(0)).sum() / len(binned))
    if not intervals:
        return {
            "log_loss": Estimate(values[0]),
            "brier": Estimate(values[1]),
            "calibration_error": Estimate(error),
        }
    sums_BK = resample_sums(np.concatenate([losses_nK, gaps], 1), rng) / len(binned)
    errors_B = np.abs(sums_BK[:, 2:]).sum(1)
    return {
        "log_loss": percentiles(values[0], sums_BK[:, 0]),
        "brier": percentiles(values[1], sums_BK[:, 1]),
        "calibration_error": _not_negative(percentiles(error, errors_B, centred=True)),
    }


def _not_negative(estimate: Estimate) -> Estimate:
    if estimate.low is None:
        return estimate
    return Estimate(estimate.value, max(0.0, estimate.low), estimate.high, "bootstrap, centred")


def _confidence(rows: Rows) -> tuple[Floats, Floats]:
    """What was claimed and whether it held: the positive class of two, else the predicted class."""
    if rows.probabilities_nC.shape[1] == 2:
        return rows.probabilities_nC[:, 1], (rows.truth_n == 1).astype(np.float64)
    return rows.probabilities_nC.max(1), (rows.truth_n == rows.predicted_n).astype(np.float64)


def _bins(rows: Rows) -> Array:
    confidence, _ = _confidence(rows)
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def _reliability(rows: Rows, binned: Array) -> list[dict[str, Any]]:
    confidence, right = _confidence(rows)
    counts = np.bincount(binned, minlength=BINS)
    claimed = np.bincount(binned, confidence, BINS)
    held = np.bincount(binned, right, BINS)
    found = []
    for b in np.flatnonzero(counts):
        share = proportion(round(float(held[b])), int(counts[b]))
        claim = float(claimed[b] / counts[b])
        found.append(
            {
                "count": int(counts[b]),
                "claimed": claim,
                "held": share.value,
                "low": share.low,
                "high": share.high,
            }
        )
    return found


def _thresholds(rows: Rows) -> list[dict[str, float]]:
    """What each threshold on the second class's probability would give, from the strictest to the laxest."""
    order = np.argsort(-rows.probabilities_nC[:, 1], kind="stable")
    given, positive = rows.probabilities_nC[order, 1], rows.truth_n[order] == 1
    n, positives = len(order), int(positive.sum())
    if positives in (0, n):
        return []
    ends = np.flatnonzero(np.append(given[1:] != given[:-1], True))
    ends = ends[np.unique(np.linspace(0, len(ends) - 1, MOST_THRESHOLDS).astype(int))]
    found = np.cumsum(positive)[ends]
    columns = (given[ends], found / positives, found / (ends + 1), (ends + 1 - found) / (n - positives))
    names = ("threshold", "recall", "precision", "false_alarms")
    return [dict(zip(names, map(float, row), strict=True)) for row in np.stack(columns, 1).round(6)]


def _classes(table_CC: Array, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    right, truth, predicted = np.diag(table_CC), table_CC.sum(1), table_CC.sum(0)
    found = []
    for i, label in enumerate(labels):
        both = int(truth[i] + predicted[i])
        found.append({
            "label": label, "rows": int(truth[i]), "predicted": int(predicted[i]),
            "precision": proportion(int(right[i]), int(predicted[i])).to_dict(),
            "recall": proportion(int(right[i]), int(truth[i])).to_dict(),
            "f1": 2 * int(right[i]) / both if both else None,
        })  # fmt: skip
    return found


def _plain(estimate: Estimate, *, intervals: bool) -> dict[str, Any]:
    value = None if estimate.value is None else finite(estimate.value)
    return estimate.to_dict() if intervals else Estimate(value, reason=estimate.reason).to_dict()


def _confusion(table_CC: Array) -> dict[str, Any]:
    """All counts, or of very many classes only the pairs that are confused most: [truth, predicted, rows]."""
    if len(table_CC) <= MOST_SHOWN:
        return {"counts": table_CC.tolist()}
    wrong_CC = table_CC * ~np.eye(len(table_CC), dtype=bool)
    most = np.argsort(-wrong_CC, axis=None, kind="stable")[:MOST_SHOWN]
    pairs = [(*divmod(int(i), len(table_CC)), int(wrong_CC.flat[i])) for i in most if wrong_CC.flat[i]]
    return {"pairs": pairs}


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(whole, dtype=np.float64), where=whole > 0)


def _mean(values: Floats, there: NDArray[np.bool_]) -> Floats:
    count = there.sum(-1)
    total = np.where(there, values, 0.0).sum(-1)
    means: Floats = np.divide(total, count, out=np.full(np.shape(count), np.nan), where=count > 0)
    return means
