"""How good predictions are, by kind of predicted column, each number with its 95% interval.

n = rows, C = classes, K = statistics, B = resamples (a leading axis that every function of sums accepts).

A kind is measured in two steps. `statistics` turn rows into sums that simply add up over batches (so a stream
of batches needs no more memory than one), and a metric is a function of those sums. To add a metric, write
that function and add its line to the table of its kind; the interval comes with it.

>>> import numpy as np
>>> result = evaluate_predictions("number", np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]))
>>> result["main"], round(result["metrics"]["mae"]["value"], 3)
('rmse', 0.333)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import measures
from .calibration import Calibration
from .classification import classification
from .errors import DataError, did_you_mean
from .intervals import Estimate, Floats, finite, median, percentiles, proportion, resample_sums, unknown
from .measures import Metric, Sums

SHOWN_POINTS = 1500  # pairs of truth and prediction kept for the plot
BARS = 40  # of the histogram of errors

ERRORS: dict[str, Metric] = {
    "rmse": measures.root_mean_squared_error,
    "mae": measures.mean_absolute_error,
    "r2": measures.r2,
    "mse": measures.mean_squared_error,
}
METRICS: dict[str, dict[str, Metric]] = {
    "number": ERRORS,
    "datetime": ERRORS,  # in days
    "series": {name: ERRORS[name] for name in ("mse", "mae", "rmse")},
    "image": {name: ERRORS[name] for name in ("mse", "mae")},
    "labels": {
        "f1_micro": measures.f1_micro,
        "f1_macro": measures.f1_macro,
        "subset_accuracy": measures.subset_accuracy,
    },
    "text": {"character_error_rate": measures.character_error_rate, "exact_match": measures.exact_match},
    "mask": {"mean_iou": measures.mean_iou, "pixel_accuracy": measures.pixel_accuracy},
}
STATISTICS: dict[str, Callable[[Any, Any, Sequence[str]], dict[str, Floats]]] = {
    "number": measures.number_statistics,
    "datetime": measures.datetime_statistics,
    "series": measures.array_statistics,
    "image": measures.array_statistics,
    "labels": measures.labels_statistics,
    "text": measures.text_statistics,
    "mask": measures.mask_statistics,
}
SHARES = ("subset_accuracy", "exact_match")  # of independent rows, so their interval is exact
MAIN = {
    "category": "accuracy", "number": "rmse", "datetime": "mae", "series": "mse", "image": "mse",
    "labels": "f1_micro", "text": "character_error_rate", "mask": "mean_iou",
}  # fmt: skip
LOWER_IS_BETTER = frozenset(
    [
        "log_loss",
        "brier",
        "calibration_error",
        "mse",
        "rmse",
        "mae",
        "median_absolute_error",
        "character_error_rate",
    ]
)


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value of `metric` is a better one."""
    return metric in LOWER_IS_BETTER


def evaluate_predictions(
    kind: str, truth: Any, prediction: Any, labels: Sequence[str] = (), seed: int = 0, *, block: int = 1,
    intervals: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Measure predictions of one column: plain JSON data, without NaN and without a warning.

    `truth` and `prediction` by kind of the predicted column:
      category  (n,) int labels, -1 = no target      (n, C) probabilities, C = len(labels)
      labels    (n, C) multi-hot, all NaN = missing   (n, C) probabilities
      number    (n,) raw values, NaN = missing        (n,) raw values
      datetime  (n,) datetime64, NaT = missing        (n,) datetime64; the unit of all errors is the day
      series    n arrays (T, V), NaN counts nothing   n arrays (T, V)
      image     n arrays of pixels                    n arrays of pixels
      text      n str, None = missing                 n str
      mask      n arrays (H, W), 255 = ignore         n arrays (H, W) of class numbers, K = len(labels)

    Gives `kind`, `main` (the name of the headline metric), `metrics` (name -> value, low, high, method, and
    `reason` where one of them is None); for a category also `confusion` (rows = truth), `classes` (a row per
    class), `reliability` (bins), `labels` and `positive`; for a number also `points` (some pairs for a plot)
    and `residuals`. `block` is the number of neighbouring rows that overlap (forecast windows), which
    intervals must not count as independent. `intervals=False` is for the validation score of an epoch.
    """
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        if kind == "category":
            found = classification(
                np.asarray(truth), np.asarray(prediction), tuple(labels), rng, intervals=intervals
            )
        elif kind in METRICS:
            found = _measure(kind, truth, prediction, labels, rng, block, intervals=intervals)
        else:
            known = ("category", *METRICS)
            raise DataError(
                f"Predictions of kind {kind!r} cannot be measured yet. {did_you_mean(kind, known)}"
            )
    return {"kind": kind, "main": MAIN[kind], **found}


def score(kind: str, truth: Any, prediction: Any, labels: Sequence[str] = ()) -> dict[str, float | None]:
    """The values alone, quickly: for validation in every epoch."""
    metrics = evaluate_predictions(kind, truth, prediction, labels, intervals=False)["metrics"]
    return {name: metric["value"] for name, metric in metrics.items()}


def gain(
    kind: str, truth: Any, prediction: Any, other: Any, labels: Sequence[str] = (), seed: int = 0
) -> dict[str, Any]:
    """How much better the main metric of `prediction` is than that of `other`, on the same rows.

    Positive where `prediction` is better, whichever way the metric points. Both are measured on the same
    resamples, so the interval is narrower than those of the two values would suggest.
    """
    with np.errstate(all="ignore"):
        pair = [_main_rows(kind, truth, one, labels) for one in (prediction, other)]
        metric = measures.subset_accuracy if kind == "category" else METRICS[kind][MAIN[kind]]
        sign = -1.0 if lower_is_better(MAIN[kind]) else 1.0
        if not len(pair[0]["count"]):
            return unknown("No row has a target.").to_dict()
        stacked = {f"{i} {name}": row for i, rows in enumerate(pair) for name, row in rows.items()}
        resampled = _resample(stacked, np.random.default_rng(seed), 1)
        values, spread = [], []
        for i, rows in enumerate(pair):
            values.append(float(metric({name: row.sum(0) for name, row in rows.items()})))
            spread.append(metric({name: resampled[f"{i} {name}"] for name in rows}))
        return percentiles(sign * (values[0] - values[1]), sign * (spread[0] - spread[1])).to_dict()


def _main_rows(kind: str, truth: Any, prediction: Any, labels: Sequence[str]) -> dict[str, Floats]:
    """The per-row sums that the main metric of a kind needs."""
    if kind != "category":
        return STATISTICS[kind](truth, prediction, labels)
    known = np.asarray(truth) >= 0
    exact = np.asarray(prediction)[known].argmax(1) == np.asarray(truth)[known]
    return {"exact": exact.astype(np.float64), "count": np.ones(len(exact))}


def coverage(kind: str, truth: Any, prediction: Any, calibration: Calibration) -> dict[str, Any] | None:
    """How often the intervals of a number, or the sets of a category, hold the truth; None without them.

    `truth` and `prediction` as `evaluate_predictions` takes them, probabilities calibrated. Gives an estimate
    with `promised` (the share that was asked for) and `size` (mean width of an interval, mean classes of a
    set).
    """
    if kind == "category":
        known = np.flatnonzero(np.asarray(truth) >= 0)
        sets = calibration.sets(np.asarray(prediction)[known])
        if sets is None:
            return None
        held, size = sets[np.arange(len(known)), np.asarray(truth)[known]], sets.sum(1)
    elif kind == "number":
        target, error = measures.numbers(truth, prediction)
        ends = calibration.interval(target + error)
        if ends is None:
            return None
        held, size = (ends[0] <= target) & (target <= ends[1]), ends[1] - ends[0]
    else:
        return None
    estimate = proportion(int(held.sum()), len(held)).to_dict()
    mean = finite(float(size.mean())) if len(held) else None
    return {**estimate, "promised": calibration.coverage, "size": mean}


def of_sums(kind: str, sums: Sums) -> dict[str, float | None]:
    """The values from sums that were added up over batches (`STATISTICS[kind](...)`, summed over axis 0)."""
    with np.errstate(all="ignore"):
        return {name: finite(float(metric(sums))) for name, metric in METRICS[kind].items()}


def _measure(
    kind: str, truth: Any, prediction: Any, labels: Sequence[str], rng: np.random.Generator, block: int, *,
    intervals: bool,
) -> dict[str, Any]:  # fmt: skip
    rows = STATISTICS[kind](truth, prediction, labels)
    resampled = _resample(rows, rng, block) if intervals and len(rows["count"]) else None
    estimates = {name: _estimate(name, metric, rows, resampled) for name, metric in METRICS[kind].items()}
    extra: dict[str, Any] = {}
    if kind in ("number", "datetime"):
        plain = measures.days if kind == "datetime" else np.asarray
        truth_n, error_n = measures.numbers(plain(truth), plain(prediction))
        estimates["median_absolute_error"] = (
            median(np.abs(error_n)) if np.isfinite(error_n).all() else _NOT_FINITE
        )
        extra = _points(truth_n, error_n, rng) if intervals else {}
    if kind == "labels":
        extra = {"classes": _label_rows(rows, labels), "labels": list(labels)}
    return {"metrics": {name: e.to_dict() for name, e in estimates.items()}, **extra}


_NOT_FINITE = unknown("Some predictions are not finite numbers.")


def _estimate(name: str, metric: Metric, rows: Sums, resampled: Sums | None) -> Estimate:
    if not len(rows["count"]) or not rows["count"].sum():
        return unknown("No row has a target.")
    value = float(metric({key: row.sum(0) for key, row in rows.items()}))
    if finite(value) is None:
        bad = not all(np.isfinite(row).all() for row in rows.values())
        return _NOT_FINITE if bad else unknown(_UNDEFINED.get(name, "It is not defined for these rows."))
    if resampled is None:
        return Estimate(value)
    if name in SHARES:
        return proportion(round(float(rows["exact"].sum())), len(rows["exact"]))
    return percentiles(value, metric(resampled))


_UNDEFINED = {"r2": "All targets are alike, so there is no variance to explain."}


def _resample(rows: Sums, rng: np.random.Generator, block: int) -> dict[str, Floats]:
    flat = {name: row.reshape(len(row), -1) for name, row in rows.items()}
    ends = np.cumsum([part.shape[1] for part in flat.values()])
    sums_BK = resample_sums(np.concatenate(list(flat.values()), axis=1), rng, block=block)
    parts = np.split(sums_BK, ends[:-1], axis=1)
    return {name: part.reshape(-1, *rows[name].shape[1:]) for name, part in zip(flat, parts, strict=True)}


def _points(truth_n: Floats, error_n: Floats, rng: np.random.Generator) -> dict[str, Any]:
    known = np.isfinite(error_n)
    truth, error = truth_n[known], error_n[known]
    chosen = np.sort(rng.permutation(len(truth))[:SHOWN_POINTS])
    return {
        "points": {"truth": _short(truth[chosen]), "predicted": _short((truth + error)[chosen])},
        "residuals": _histogram(error),
    }


def _histogram(error_n: Floats) -> dict[str, Any]:
    """Counts between edges; the outermost bars hold everything beyond the middle 99%."""
    if not len(error_n):
        return {"edges": [], "counts": []}
    low, high = np.quantile(error_n, [0.005, 0.995])
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(np.clip(error_n, low, high), bins=BARS, range=(low, high))
    return {"edges": _short(edges), "counts": counts.tolist()}


def _short(values: Floats) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _label_rows(rows: Sums, labels: Sequence[str]) -> list[dict[str, Any]]:
    both, truth, predicted = (rows[name].sum(0).astype(int) for name in ("both", "truth", "predicted"))
    return [
        {
            "label": label,
            "rows": int(t),
            "predicted": int(p),
            "precision": proportion(int(b), int(p)).to_dict(),
            "recall": proportion(int(b), int(t)).to_dict(),
            "f1": 2 * int(b) / int(t + p) if t + p else None,
        }
        for label, b, t, p in zip(labels, both, truth, predicted, strict=True)
    ]
