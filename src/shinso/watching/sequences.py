"""Intervals that hold at every moment at once: one may look after every row, and stop when one likes.

t = rows so far, n = all rows. The empirical Bernstein confidence sequence with predictable weights, theorem 2
of Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B, 2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEVEL = 0.05
LARGEST_WEIGHT = 0.5


@dataclass(frozen=True)
class Sequence:
    """The means so far and the ends of their intervals, each (n,)."""

    mean_n: Floats
    low_n: Floats
    high_n: Floats


def of_mean(values_n: Floats, level: float = LEVEL) -> Sequence:
    """Of values in [0, 1]: with probability 1 - `level` the true mean is inside after every row.

    >>> found = of_mean(np.full(2000, 0.5))
    >>> bool(found.low_n[-1] > 0.48), bool(found.high_n[-1] < 0.52)
    (True, True)
    """
    if len(values_n) and not (values_n.min() >= 0 and values_n.max() <= 1):
        raise ValueError("values of a confidence sequence lie between 0 and 1")
    t = np.arange(1, len(values_n) + 1)
    mean_n = (0.5 + np.cumsum(values_n)) / (t + 1)
    before_n = np.append(0.5, mean_n[:-1])[: len(t)]
    variance_n = (0.25 + np.cumsum((values_n - mean_n) ** 2)) / (t + 1)
    variance_before_n = np.append(0.25, variance_n[:-1])[: len(t)]
    once = np.log(2 / level)
    weight_n = np.minimum(LARGEST_WEIGHT, np.sqrt(2 * once / (variance_before_n * t * np.log1p(t))))
    weights_n = np.cumsum(weight_n)
    centre_n = np.cumsum(weight_n * values_n) / np.maximum(weights_n, 1e-300)
    doubt_n = np.cumsum((values_n - before_n) ** 2 * (-np.log1p(-weight_n) - weight_n))
    half_n = (once + doubt_n) / np.maximum(weights_n, 1e-300)
    # The truth is in all of them at once, so it is in what they have in common.
    low_n = np.maximum.accumulate(np.clip(centre_n - half_n, 0, 1))
    high_n = np.minimum.accumulate(np.clip(centre_n + half_n, 0, 1))
    return Sequence(np.cumsum(values_n) / t, low_n, high_n)


def of_difference(first: Floats, second: Floats, level: float = LEVEL) -> dict[str, Any]:
    """The mean of the second of two groups less that of the first, both of values in [0, 1].

    Each group has its own sequence at half the level, so the groups may grow in any order and proportion.
    """
    parts = [of_mean(values, level / 2) for values in (first, second)]
    ends = [(p.low_n[-1], p.high_n[-1], p.mean_n[-1]) if len(p.mean_n) else (0.0, 1.0, None) for p in parts]
    (low_a, high_a, mean_a), (low_b, high_b, mean_b) = ends
    value = None if mean_a is None or mean_b is None else float(mean_b - mean_a)
    return _said(value, float(low_b - high_a), float(high_b - low_a), level)


def of_pairs(difference_n: Floats, level: float = LEVEL) -> dict[str, Any]:
    """The mean of differences in [-1, 1] on the same rows, as in shadow mode."""
    if not len(difference_n):
        return _said(None, -1.0, 1.0, level)
    found = of_mean((difference_n + 1) / 2, level)
    low, high = 2 * found.low_n[-1] - 1, 2 * found.high_n[-1] - 1
    return _said(float(difference_n.mean()), float(low), float(high), level)


def _said(value: float | None, low: float, high: float, level: float) -> dict[str, Any]:
    verdict = "better" if low > 0 else "worse" if high < 0 else "open"
    return {"value": value, "low": low, "high": high, "level": level, "verdict": verdict}
