"""What metrics are made of: per-row statistics that add up over batches, and functions of their sums.

n = rows, C = classes. Sums may have any number of leading axes, such as one for resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .intervals import Floats

Array = NDArray[Any]
Sums = Mapping[str, Floats]  # name -> (...) or (..., C): sums over rows
Metric = Callable[[Sums], Floats]  # sums -> (...): the value, NaN where it is not defined


# ---------------------------------------------------------------- number, datetime, series, image


def mean_squared_error(sums: Sums) -> Floats:
    """Mean of the squared errors."""
    return share(sums["squared"], sums["count"])


def root_mean_squared_error(sums: Sums) -> Floats:
    """Square root of the mean squared error, in the unit of the target."""
    return np.sqrt(mean_squared_error(sums))


def mean_absolute_error(sums: Sums) -> Floats:
    """Mean of the absolute errors, in the unit of the target."""
    return share(sums["absolute"], sums["count"])


def r2(sums: Sums) -> Floats:
    """Share of the target's variance that the prediction explains; undefined for a constant target."""
    spread = sums["truth_squared"] - sums["truth"] ** 2 / np.maximum(sums["count"], 1)
    spread = np.where(spread > 1e-12 * np.maximum(sums["truth_squared"], 1e-300), spread, np.nan)
    return np.asarray(1 - sums["squared"] / spread)


# ---------------------------------------------------------------- labels: several classes at once


def f1_micro(sums: Sums) -> Floats:
    """F1 over all labels counted together."""
    truth, predicted = sums["truth"].sum(-1), sums["predicted"].sum(-1)
    return share(2 * sums["both"].sum(-1), truth + predicted, empty=0.0)


def f1_macro(sums: Sums) -> Floats:
    """Mean of the labels' F1; 0 for a label that is neither true nor predicted anywhere."""
    return np.asarray(share(2 * sums["both"], sums["truth"] + sums["predicted"], empty=0.0).mean(-1))


def subset_accuracy(sums: Sums) -> Floats:
    """Share of rows whose labels are all right."""
    return share(sums["exact"], sums["count"])


# ---------------------------------------------------------------- text


def exact_match(sums: Sums) -> Floats:
    """Share of texts that are equal to the truth, character by character."""
    return share(sums["exact"], sums["count"])


def character_error_rate(sums: Sums) -> Floats:
    """Characters to insert, delete or replace (Levenshtein), over the characters of the truth."""
    return share(sums["edits"], sums["characters"])


# ---------------------------------------------------------------- mask


def mean_iou(sums: Sums) -> Floats:
    """Mean over classes of intersection over union; classes that appear nowhere are left out."""
    union = sums["truth"] + sums["predicted"] - sums["both"]
    iou = share(sums["both"], union)
    known = np.isfinite(iou)
    return share(np.where(known, iou, 0.0).sum(-1), known.sum(-1).astype(np.float64))


def pixel_accuracy(sums: Sums) -> Floats:
    """Share of pixels whose class is right."""
    return share(sums["both"].sum(-1), sums["truth"].sum(-1))


# ---------------------------------------------------------------- statistics: rows to sums


def number_statistics(truth_n: Array, prediction_n: Array, labels: Sequence[str] = ()) -> dict[str, Floats]:
    """Per-row sums of a number's errors; rows without a truth count nothing."""
    truth, error = numbers(truth_n, prediction_n)
    centred = truth - truth.mean() if len(truth) else truth
    one = np.ones(len(truth))
    return {
        "count": one,
        "squared": error**2,
        "absolute": np.abs(error),
        "truth": centred,
        "truth_squared": centred**2,
    }


def datetime_statistics(truth_n: Array, prediction_n: Array, labels: Sequence[str] = ()) -> dict[str, Floats]:
    """Per-row sums of the errors of dates, in days."""
    return number_statistics(days(truth_n), days(prediction_n))


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


def share(part: Floats, whole: Floats, empty: float = np.nan) -> Floats:
    """`part` over `whole`, `empty` where there is nothing."""
    return np.divide(part, whole, out=np.full(np.shape(whole), empty, np.float64), where=whole > 0)


def numbers(truth_n: Array, prediction_n: Array) -> tuple[Floats, Floats]:
    """Truth and error of the rows that have a truth."""
    truth = np.asarray(truth_n, np.float64).reshape(-1)
    prediction = np.asarray(prediction_n, np.float64).reshape(-1)
    known = ~np.isnan(truth)
    return truth[known], prediction[known] - truth[known]


def days(times: Any) -> Floats:
    """Dates as days since 1970, NaN where missing."""
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
