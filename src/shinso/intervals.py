"""How sure a measured number is: 95% intervals, exact where they exist and resampled where not.

n = rows, B = resamples, K = statistics. Everything here is plain NumPy, takes its own generator and gives
numbers that JSON can hold: what cannot be known is None, with the reason beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .later import Later

special = Later("scipy.special")

Floats = NDArray[np.float64]
LEVEL = 0.95
RESAMPLES = 1000
MOST_GROUPS = 20_000  # more rows than this are summed in random groups first: same spread, bounded cost
CHUNK = 4_000_000  # draws held in memory at a time


@dataclass(frozen=True)
class Estimate:
    """A value and its 95% interval; None where it cannot be known, with the reason."""

    value: float | None
    low: float | None = None
    high: float | None = None
    method: str = ""
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data: `value`, `low`, `high`, `method`, and `reason` where there is one."""
        data: dict[str, Any] = {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "method": self.method,
        }
        return data | {"reason": self.reason} if self.reason else data


def unknown(reason: str) -> Estimate:
    """An estimate of something that the rows cannot show."""
    return Estimate(None, reason=reason)


def finite(number: float | np.floating[Any]) -> float | None:
    """`number` as JSON can hold it: None instead of NaN and infinity."""
    return float(number) if math.isfinite(number) else None


def proportion(successes: int, n: int) -> Estimate:
    """The exact interval of a share (Clopper and Pearson, 1934).

    >>> estimate = proportion(8, 10)
    >>> estimate.value, round(estimate.low, 4), round(estimate.high, 4)
    (0.8, 0.4439, 0.9748)
    """
    if n == 0:
        return unknown("There is no row to count.")
    tail = (1 - LEVEL) / 2
    low = float(special.betaincinv(successes, n - successes + 1, tail)) if successes > 0 else 0.0
    high = float(special.betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return Estimate(successes / n, low, high, "exact")


def resample_sums(statistics_nK: Floats, rng: np.random.Generator, *, block: int = 1) -> Floats:
    """(B, K): sums over rows drawn with replacement, B times (Efron, 1979).

    `block` > 1 draws runs of that many neighbouring rows together, for rows that overlap in time.
    """
    groups_mK = _grouped(statistics_nK, rng, block)
    m = len(groups_mK)
    sums_BK = np.empty((RESAMPLES, groups_mK.shape[1]))
    step = max(1, CHUNK // max(1, m))
    for start in range(0, RESAMPLES, step):
        count = min(step, RESAMPLES - start)
        drawn = rng.integers(m, size=(count, m)) + np.arange(count)[:, None] * m
        times_Bm = np.bincount(drawn.ravel(), minlength=count * m).reshape(count, m)
        sums_BK[start : start + count] = times_Bm.astype(np.float64) @ groups_mK
    return sums_BK


def _grouped(statistics_nK: Floats, rng: np.random.Generator, block: int) -> Floats:
    n = len(statistics_nK)
    if block > 1:
        group = np.arange(n) // block
    elif n > MOST_GROUPS:
        group = rng.permutation(n) % MOST_GROUPS
        statistics_nK, group = statistics_nK[np.argsort(group, kind="stable")], np.sort(group)
    else:
        return statistics_nK
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    grouped: Floats = np.add.reduceat(statistics_nK, starts, axis=0)
    return grouped


def resample_table(table: NDArray[np.int64], rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Resampled margins of a (C, C) table of counts: diagonal, row sums, column sums, each (B, C).

    Drawing rows with replacement and counting them is one multinomial draw over the cells, so this costs
    nothing per row.
    """
    rows, columns = np.nonzero(table)
    cells = table[rows, columns]
    total = int(cells.sum())
    size = len(table)
    drawn_BK = rng.multinomial(total, cells / total, size=RESAMPLES).astype(np.float64)
    diagonal = np.where(rows == columns, rows, size)
    return tuple(_sum_by(drawn_BK, key, size) for key in (diagonal, rows, columns))  # type: ignore[return-value]


def _sum_by(values_BK: Floats, key_K: NDArray[np.int64], size: int) -> Floats:
    order = np.argsort(key_K, kind="stable")
    key_K = key_K[order]
    starts = np.flatnonzero(np.diff(key_K, prepend=-1))
    sums_BC = np.zeros((len(values_BK), size + 1))
    sums_BC[:, key_K[starts]] = np.add.reduceat(values_BK[:, order], starts, axis=1)
    return sums_BC[:, :size]


def percentiles(value: float, resampled_B: Floats, *, centred: bool = False) -> Estimate:
    """The percentile interval of `value`, from what resampling gave.

    `centred` moves the resampled values so that their mean is `value`: for a measure such as calibration
    error whose resampled values are all too large.
    """
    known = resampled_B[np.isfinite(resampled_B)]
    if finite(value) is None:
        return unknown("The value is not a finite number.")
    if len(known) < len(resampled_B) / 2:
        return Estimate(float(value), reason="Too few resamples had a value.")
    shift = known.mean() - value if centred else 0.0
    low, high = np.quantile(known - shift, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if low == high:
        return Estimate(float(value), reason="All resamples are alike, so they show no spread.")
    return Estimate(float(value), float(min(low, value)), float(max(high, value)), "bootstrap")


def median(values_n: Floats) -> Estimate:
    """The median with its distribution-free interval between two order statistics."""
    n = len(values_n)
    if n == 0:
        return unknown("There is no row to count.")
    ordered = np.sort(values_n)
    below = int(np.floor(special.bdtrik((1 - LEVEL) / 2, n, 0.5))) if n > 5 else -1
    value = float(np.median(ordered))
    if below < 0:
        return Estimate(value, reason=f"{n} rows are too few for an interval.")
    return Estimate(value, float(ordered[below]), float(ordered[n - 1 - below]), "exact")


def area_under_roc(positive_n: NDArray[np.bool_], score_n: Floats) -> tuple[float, Floats]:
    """The area under the ROC curve and (n,) what each row adds to its error (DeLong et al., 1988).

    The area is NaN where one of the two classes is absent. The mean of the squared influences over n is the
    variance of the area; influences of several areas over the same rows may be averaged.
    """
    n = len(score_n)
    positives = int(positive_n.sum())
    if positives in (0, n):
        return math.nan, np.zeros(n)
    negatives = n - positives
    order = np.argsort(score_n, kind="stable")
    ordered = score_n[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    in_tie = np.diff(np.append(starts, n))
    positive_in_tie = np.add.reduceat(positive_n[order].astype(np.float64), starts)
    positive_below = np.cumsum(positive_in_tie) - positive_in_tie / 2
    below = np.cumsum(in_tie) - in_tie / 2
    share_of_negatives = (below - positive_below) / negatives  # below a positive of this score
    share_of_positives = (positives - positive_below) / positives  # above a negative of this score
    area = float((share_of_negatives * positive_in_tie).sum() / positives)
    tie_of_row = np.empty(n, np.int64)
    tie_of_row[order] = np.repeat(np.arange(len(starts)), in_tie)
    placed = np.where(positive_n, share_of_negatives[tie_of_row], share_of_positives[tie_of_row])
    return area, (placed - area) * np.where(positive_n, n / positives, n / negatives)


def area_estimate(area: float, influence_n: Floats, rarest: int) -> Estimate:
    """The interval of an area between 0 and 1, on the logit scale so that it stays inside.

    `rarest` is the number of rows of the rarest class; where the classes separate fully, it alone says how
    far the area can be trusted.
    """
    if not math.isfinite(area):
        return unknown("The rows hold only one class.")
    n = len(influence_n)
    if area in (0.0, 1.0):
        edge = ((1 - LEVEL) / 2) ** (1 / rarest)
        return Estimate(area, edge if area == 1.0 else 0.0, 1.0 if area == 1.0 else 1 - edge, "exact")
    error = math.sqrt(float(np.mean(influence_n**2)) / max(1, n - 1))
    width = 1.959963984540054 * error / (area * (1 - area))
    return Estimate(area, *_around(area, width), "DeLong")


def _around(share: float, width: float) -> tuple[float, float]:
    """`share` less and more by `width` on the logit scale."""
    middle = math.log(share / (1 - share))
    return 1 / (1 + math.exp(width - middle)), 1 / (1 + math.exp(-width - middle))


def chi_squared(counts: NDArray[Any], *, corrected: bool = False) -> tuple[float, float]:
    """(statistic, p-value) of the independence of rows and columns of a table of counts (Pearson, 1900).

    `corrected` for continuity where the table is 2 x 2 (Yates, 1934). No row or column may be empty.

    >>> round(chi_squared(np.array([[10, 20], [30, 20]]))[1], 4)
    0.0209
    """
    counts = np.asarray(counts, np.float64)
    expected = np.outer(counts.sum(1), counts.sum(0)) / counts.sum()
    off, free = np.abs(counts - expected), (counts.shape[0] - 1) * (counts.shape[1] - 1)
    if corrected and free == 1:
        off = off - np.minimum(0.5, off)
    statistic = float((off**2 / expected).sum())
    return statistic, float(special.chdtrc(free, statistic))
