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

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .classification import classification
from .errors import DataError, did_you_mean
from .intervals import Estimate, Floats, finite, median, percentiles, proportion, resample_sums, unknown

Array = NDArray[Any]
Sums = Mapping[str, Floats]  # name -> (..., ) or (..., C): sums over rows, with any number of leading axes
Metric = Callable[[Sums], Floats]  # sums -> (...): the value, NaN where it is not defined
SHOWN_POINTS = 1500  # pairs of truth and prediction kept for the plot


# ---------------------------------------------------------------- number, datetime, series, image


def mean_squared_error(sums: Sums) -> Floats:
    """Mean of the squared errors."""
    return _share(sums["squared"], sums["count"])


def root_mean_squared_error(sums: Sums) -> Floats:
    """Square root of the mean squared error, in the unit of the target."""
    return np.sqrt(mean_squared_error(sums))


def mean_absolute_error(sums: Sums) -> Floats:
    """Mean of the absolute errors, in the unit of the target."""
    return _share(sums["absolute"], sums["count"])


def r2(sums: Sums) -> Floats:
    """Share of the target's variance that the prediction explains; undefined for a constant target."""
    spread = sums["truth_squared"] - sums["truth"] ** 2 / np.maximum(sums["count"], 1)
    spread = np.where(spread > 1e-12 * np.maximum(sums["truth_squared"], 1e-300), spread, np.nan)
    return np.asarray(1 - sums["squared"] / spread)


# ---------------------------------------------------------------- labels: several classes at once


def f1_micro(sums: Sums) -> Floats:
    """F1 over all labels counted together."""
    truth, predicted = sums["truth"].sum(-1), sums["predicted"].sum(-1)
    return _share(2 * sums["both"].sum(-1), truth + predicted, empty=0.0)


def f1_macro(sums: Sums) -> Floats:
    """Mean of the labels' F1; 0 for a label that is neither true nor predicted anywhere."""
    return np.asarray(_share(2 * sums["both"], sums["truth"] + sums["predicted"], empty=0.0).mean(-1))


def subset_accuracy(sums: Sums) -> Floats:
    """Share of rows whose labels are all right."""
    return _share(sums["exact"], sums["count"])


# ---------------------------------------------------------------- text


def exact_match(sums: Sums) -> Floats:
    """Share of texts that are equal to the truth, character by character."""
    return _share(sums["exact"], sums["count"])


def character_error_rate(sums: Sums) -> Floats:
    """Characters to insert, delete or replace (Levenshtein), over the characters of the truth."""
    return _share(sums["edits"], sums["characters"])


# ---------------------------------------------------------------- mask


def mean_iou(sums: Sums) -> Floats:
    """Mean over classes of intersection over union; classes that appear nowhere are left out."""
    union = sums["truth"] + sums["predicted"] - sums["both"]
    iou = _share(sums["both"], union)
    known = np.isfinite(iou)
    return _share(np.where(known, iou, 0.0).sum(-1), known.sum(-1).astype(np.float64))


def pixel_accuracy(sums: Sums) -> Floats:
    """Share of pixels whose class is right."""
    return _share(sums["both"].sum(-1), sums["truth"].sum(-1))


# ---------------------------------------------------------------- statistics: rows to sums


def number_statistics(truth_n: Array, prediction_n: Array, labels: Sequence[str] = ()) -> dict[str, Floats]:
    """Per-row sums of a number's errors; rows without a truth count nothing."""
    truth, error = _numbers(truth_n, prediction_n)
    centred = truth - truth.mean() if len(truth) else truth
    one = np.ones(len(truth))
    return {
        "count": one,
        "squared": error**2,
        "absolute": np.abs(error),
        "truth": centred,
        "truth_squared": centred**2,
    }


def array_statistics(
    truth: Sequence[Any], prediction: Sequence[Any], labels: Sequence[str] = ()
) -> dict[str, Floats]:
    """Per-row sums of the errors of series or images, one array a row; NaN in the truth counts nothing."""
    rows = np.array([_array_row(t, p) for t, p in zip(truth, prediction, strict=True)]).reshape(-1, 3)
    return {"count": rows[:, 0], "squared": rows[:, 1], "absolute": rows[:, 2]}


def labels_statistics(truth_nC: Array, prediction_nC: Array, labels: Sequence[str] = ()) -> dict[str, Floats]:
    """Per-row sums of multi-label predictions; a probability of .5 or more says yes."""
    known = ~np.isnan(np.asarray(truth_nC, np.float64)).all(1)
    truth = np.asarray(truth_nC)[known] > 0.5
    predicted = np.asarray(prediction_nC)[known] >= 0.5
    counts = {"truth": truth, "predicted": predicted, "both": truth & predicted}
    exact = (truth == predicted).all(1)
    return {name: c.astype(np.float64) for name, c in counts.items()} | {
        "exact": exact.astype(np.float64), "count": np.ones(len(truth)),
    }  # fmt: skip


def text_statistics(
    truth: Sequence[Any], prediction: Sequence[Any], labels: Sequence[str] = ()
) -> dict[str, Floats]:
    """Per-row sums of the differences between two texts."""
    pairs = [(t, p or "") for t, p in zip(truth, prediction, strict=True) if t is not None]
    edits = np.array([edit_distance(t, p) for t, p in pairs], np.float64)
    characters = np.array([len(t) for t, _ in pairs], np.float64)
    exact = np.array([t == p for t, p in pairs], np.float64)
    return {"edits": edits, "characters": characters, "exact": exact, "count": np.ones(len(pairs))}


def mask_statistics(
    truth: Sequence[Any], prediction: Sequence[Any], labels: Sequence[str] = ()
) -> dict[str, Floats]:
    """Per-image counts of pixels by class; 255 in the truth counts nothing."""
    size = max(len(labels), 1)
    rows = np.array(
        [_mask_row(np.asarray(t), np.asarray(p), size) for t, p in zip(truth, prediction, strict=True)]
    )
    rows = rows.reshape(-1, 3, size).astype(np.float64)
    return {"both": rows[:, 0], "truth": rows[:, 1], "predicted": rows[:, 2], "count": np.ones(len(rows))}


def edit_distance(a: str, b: str) -> int:
    """The Levenshtein distance: one vectorised pass over `b` for every character of `a`.

    >>> edit_distance("深層学習", "深い学習")
    1
    """
    codes_b = np.frombuffer(b.encode("utf-32-le", "surrogatepass"), np.uint32)
    steps = np.arange(len(b) + 1)
    row = steps.copy()
    for i, character in enumerate(a):
        best = np.minimum(row[:-1] + (codes_b != ord(character)), row[1:] + 1)
        row = np.minimum.accumulate(np.concatenate([[i + 1], best]) - steps) + steps
    return int(row[-1])


# ---------------------------------------------------------------- the tables

ERRORS: dict[str, Metric] = {
    "rmse": root_mean_squared_error, "mae": mean_absolute_error, "r2": r2, "mse": mean_squared_error,
}  # fmt: skip
METRICS: dict[str, dict[str, Metric]] = {
    "number": ERRORS,
    "datetime": ERRORS,  # in days
    "series": {"mse": mean_squared_error, "mae": mean_absolute_error, "rmse": root_mean_squared_error},
    "image": {"mse": mean_squared_error, "mae": mean_absolute_error},
    "labels": {"f1_micro": f1_micro, "f1_macro": f1_macro, "subset_accuracy": subset_accuracy},
    "text": {"character_error_rate": character_error_rate, "exact_match": exact_match},
    "mask": {"mean_iou": mean_iou, "pixel_accuracy": pixel_accuracy},
}
STATISTICS: dict[str, Callable[[Any, Any, Sequence[str]], dict[str, Floats]]] = {
    "number": number_statistics,
    "datetime": number_statistics,
    "series": array_statistics,
    "image": array_statistics,
    "labels": labels_statistics,
    "text": text_statistics,
    "mask": mask_statistics,
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


def of_sums(kind: str, sums: Sums) -> dict[str, float | None]:
    """The values from sums that were added up over batches (`STATISTICS[kind](...)`, summed over axis 0)."""
    with np.errstate(all="ignore"):
        return {name: finite(float(metric(sums))) for name, metric in METRICS[kind].items()}


def _measure(
    kind: str, truth: Any, prediction: Any, labels: Sequence[str], rng: np.random.Generator, block: int, *,
    intervals: bool,
) -> dict[str, Any]:  # fmt: skip
    if kind == "datetime":
        truth, prediction = _days(truth), _days(prediction)
    rows = STATISTICS[kind](truth, prediction, labels)
    resampled = _resample(rows, rng, block) if intervals and len(rows["count"]) else None
    estimates = {name: _estimate(name, metric, rows, resampled) for name, metric in METRICS[kind].items()}
    extra: dict[str, Any] = {}
    if kind in ("number", "datetime"):
        truth_n, error_n = _numbers(truth, prediction)
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


def _share(part: Floats, whole: Floats, empty: float = np.nan) -> Floats:
    return np.divide(part, whole, out=np.full(np.shape(whole), empty, np.float64), where=whole > 0)


def _numbers(truth_n: Array, prediction_n: Array) -> tuple[Floats, Floats]:
    truth = np.asarray(truth_n, np.float64).reshape(-1)
    prediction = np.asarray(prediction_n, np.float64).reshape(-1)
    known = ~np.isnan(truth)
    return truth[known], prediction[known] - truth[known]


def _days(times: Any) -> Floats:
    stamps = np.asarray(times, "datetime64[us]")
    return np.where(np.isnat(stamps), np.nan, stamps.astype(np.int64) / 86_400e6)


def _array_row(truth: Any, prediction: Any) -> tuple[float, float, float]:
    target = np.asarray(truth, np.float64)
    error = (np.asarray(prediction, np.float64) - target)[~np.isnan(target)]
    return float(error.size), float((error**2).sum()), float(np.abs(error).sum())


def _mask_row(truth: Array, prediction: Array, size: int) -> Array:
    known = (truth < size) & (prediction < size)
    t, p = truth[truth < size], prediction[truth < size]
    both = np.bincount(truth[known & (truth == prediction)], minlength=size)
    return np.stack([both, np.bincount(t, minlength=size), np.bincount(p, minlength=size)[:size]])


def _points(truth_n: Floats, error_n: Floats, rng: np.random.Generator) -> dict[str, Any]:
    known = np.isfinite(error_n)
    truth, error = truth_n[known], error_n[known]
    chosen = np.sort(rng.permutation(len(truth))[:SHOWN_POINTS])
    counts, edges = np.histogram(error, bins=40) if len(error) else (np.zeros(0), np.zeros(0))
    return {
        "points": {"truth": truth[chosen].tolist(), "predicted": (truth + error)[chosen].tolist()},
        "residuals": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def _label_rows(rows: Sums, labels: Sequence[str]) -> list[dict[str, Any]]:
    both, truth, predicted = (rows[name].sum(0) for name in ("both", "truth", "predicted"))
    shares = zip(
        _share(both, predicted), _share(both, truth), _share(2 * both, truth + predicted), strict=True
    )
    return [
        {
            "label": label,
            "rows": int(t),
            "predicted": int(p),
            "precision": finite(a),
            "recall": finite(b),
            "f1": finite(c),
        }
        for label, t, p, (a, b, c) in zip(labels, truth, predicted, shares, strict=True)
    ]
