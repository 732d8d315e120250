"""How numbers and metrics are said to a person, in the report and in the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple


class Word(NamedTuple):
    """The name of a metric, what it means in one line, and how its values are written."""

    name: str
    meaning: str
    percent: bool = False


METRICS: dict[str, Word] = {
    "accuracy": Word("Accuracy", "share of rows whose class is right", percent=True),
    "balanced_accuracy": Word(
        "Balanced accuracy", "mean over classes of the share that was found", percent=True
    ),
    "precision": Word("Precision", "of what was called a class, the share that is one", percent=True),
    "recall": Word("Recall", "of what is a class, the share that was found", percent=True),
    "f1": Word("F1", "harmonic mean of precision and recall"),
    "f1_macro": Word("F1, macro", "F1 averaged over the classes"),
    "f1_micro": Word("F1, micro", "F1 over all labels counted together"),
    "roc_auc": Word("ROC AUC", "chance that a row of a class ranks above one of another"),
    "log_loss": Word("Log loss", "surprise at the true class; lower is better"),
    "brier": Word("Brier score", "squared error of the probabilities; lower is better"),
    "calibration_error": Word(
        "Calibration error", "mean gap between what is claimed and what holds", percent=True
    ),
    "subset_accuracy": Word("Subset accuracy", "share of rows whose labels are all right", percent=True),
    "rmse": Word("RMSE", "root of the mean squared error, in the target's unit; lower is better"),
    "mae": Word("MAE", "mean size of the error, in the target's unit; lower is better"),
    "mse": Word("MSE", "mean squared error; lower is better"),
    "r2": Word("R²", "share of the target's variance that is explained"),
    "median_absolute_error": Word(
        "Median error", "half of the errors are smaller than this; lower is better"
    ),
    "character_error_rate": Word(
        "Character error rate", "characters to mend, over characters; lower is better", percent=True
    ),
    "exact_match": Word("Exact match", "share of texts that are equal to the truth", percent=True),
    "mean_iou": Word("Mean IoU", "overlap of predicted and true areas, over the classes"),
    "pixel_accuracy": Word("Pixel accuracy", "share of pixels whose class is right", percent=True),
    "loss": Word("Loss", "what training lowers"),
}

KINDS: dict[str, str] = {
    "number": "number", "category": "category", "labels": "labels", "datetime": "date", "text": "text",
    "image": "image", "audio": "sound", "series": "series", "mask": "mask", "boxes": "boxes",
}  # fmt: skip


def word(metric: str) -> Word:
    """The words of a metric; an unknown one is called by its own name."""
    return METRICS.get(metric) or Word(metric.replace("_", " "), "")


def number(value: float | None, digits: int = 4) -> str:
    """A number with about `digits` significant digits and thousands separated.

    >>> number(46513.27), number(0.012345), number(3.0), number(1.5e-9), number(None)
    ('46,513', '0.01235', '3', '1.5e-09', 'n/a')
    """
    if value is None or not math.isfinite(value):
        return "n/a"
    if value != 0 and not 1e-4 <= abs(value) < 1e12:
        return f"{value:.{digits - 1}g}"
    whole = math.floor(math.log10(abs(value))) + 1 if value else 1
    text = f"{value:,.{max(0, digits - whole)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(share: float | None, decimals: int = 1) -> str:
    """A share as a percentage.

    >>> percent(0.9834), percent(1.0), percent(0.0001), percent(None)
    ('98.3%', '100%', '<0.1%', 'n/a')
    """
    if share is None:
        return "n/a"
    if share in (0, 1):
        return f"{100 * share:.0f}%"
    least = 10**-decimals
    if 0 < 100 * share < least / 2:
        return f"<{least:.{decimals}f}%"
    if 100 - least / 2 <= 100 * share < 100:
        return f">{100 - least:.{decimals}f}%"
    return f"{100 * share:.{decimals}f}%"


def fixed(metric: str, value: float | None, decimals: int) -> str:
    """A metric's value with a number of decimals, as a percentage where it is one."""
    if value is None:
        return "n/a"
    if word(metric).percent:
        return f"{100 * value:.{max(0, decimals - 2)}f}%"
    if abs(value) >= 1e7:
        return f"{value:.4g}"
    text = f"{value:,.{decimals}f}"
    return text if abs(value) < 1e12 and (value == 0 or float(text.replace(",", "")) != 0) else f"{value:.3g}"


def decimals_of(metric: str, estimate: Mapping[str, Any]) -> int:
    """Decimals that the interval justifies: two significant digits of its half width, four of the value."""
    low, high, value = (estimate.get(key) for key in ("low", "high", "value"))
    size = abs(value or 0)
    width = (high - low) / 2 if low is not None and high is not None else size / 100
    justified = 1 - math.floor(math.log10(width)) if width > 0 else 4
    written = 3 - math.floor(math.log10(size)) if size > 0 else 4
    return max(3 if word(metric).percent else 0, min(justified, written))


def measured(metric: str, estimate: Mapping[str, Any], like: Mapping[str, Any] | None = None) -> str:
    """The value of an estimate, with the digits that its interval (or that of `like`) justifies.

    >>> measured("accuracy", {"value": 0.98333, "low": 0.965, "high": 0.993})
    '98.3%'
    >>> measured("rmse", {"value": 46513.27, "low": 44900.0, "high": 48100.0})
    '46,513'
    """
    return fixed(metric, estimate.get("value"), decimals_of(metric, like or estimate))


def interval(metric: str, estimate: Mapping[str, Any], between: str = " to ") -> str:
    """Both ends of an estimate's interval; '' where there is none.

    >>> interval("accuracy", {"value": 0.98333, "low": 0.965, "high": 0.993})
    '96.5% to 99.3%'
    """
    if estimate.get("low") is None:
        return ""
    decimals = decimals_of(metric, estimate)
    return between.join(fixed(metric, estimate[end], decimals) for end in ("low", "high"))


def count(value: float, noun: str = "") -> str:
    """A whole number with separators, and its noun in the plural where there are several.

    >>> count(1200, "row"), count(1, "class"), count(3, "class"), count(2, "entry")
    ('1,200 rows', '1 class', '3 classes', '2 entries')
    """
    text = f"{value:,.0f}"
    if not noun:
        return text
    if value != 1 and noun.endswith("y"):
        return f"{text} {noun[:-1]}ies"
    return f"{text} {noun}" + ("" if value == 1 else "es" if noun.endswith("s") else "s")


def compact(value: float, unit: str = "") -> str:
    """A large number with a metric prefix.

    >>> compact(123456.0), compact(2.5e11, "FLOP/s"), compact(12.0)
    ('123 k', '250 GFLOP/s', '12')
    """
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{number(value / factor, 3)} {prefix}{unit}"
    return f"{number(value, 3)}{' ' + unit if unit else ''}"


def memory(size: float) -> str:
    """Bytes as a person says them.

    >>> memory(2_147_483_648), memory(512)
    ('2 GiB', '512 B')
    """
    for power, prefix in ((3, "Gi"), (2, "Mi"), (1, "Ki")):
        if size >= 1024**power:
            return f"{number(size / 1024**power, 3)} {prefix}B"
    return f"{size:.0f} B"


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(0.0312), duration(4.21), duration(75), duration(7300)
    ('31 ms', '4.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
