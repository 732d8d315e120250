"""Has something moved? Tests of two samples, and the correction for having made many of them.

n = rows of a day, m = rows of the reference, D = features, P = permutations. Every test gives the probability
of a difference as large under no change (p), and an effect, 0 to 1: at least that share of the rows moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, hypergeom, kstwo, mannwhitneyu

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
WAVES = 128  # random features that stand for the kernel of the MMD
MOST_PERMUTATIONS = 20_000
AT_ONCE = 500  # permutations
EXCEEDED = 20  # permutations beyond the statistic after which no more are made
LEAST_EXPECTED = 5.0  # rows of a class in the chi-square test


@dataclass(frozen=True)
class Found:
    """The result of one test."""

    p: float
    effect: float
    psi: float | None = None  # population stability index
    what: str = ""  # the class or the feature that moved most

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "p": self.p, "effect": round(self.effect, 4),
            "psi": None if self.psi is None else round(self.psi, 4), "what": self.what,
        }  # fmt: skip


def of_numbers(live_n: Floats, reference_m: Floats) -> Found:
    """Kolmogorov and Smirnov's test (1939); conservative where values repeat.

    >>> rng = np.random.default_rng(0)
    >>> found = of_numbers(rng.normal(1, 1, 100), rng.normal(0, 1, 1000))
    >>> found.p < 1e-6, found.effect > 0.3
    (True, True)
    """
    if not len(live_n) or not len(reference_m):
        return Found(1.0, 0.0)
    distance, p = _kolmogorov(live_n, reference_m)
    where = "higher" if np.median(live_n) > np.median(reference_m) else "lower"
    moved = where if np.median(live_n) != np.median(reference_m) else "another spread"
    return Found(p, distance, psi_of_numbers(live_n, reference_m), moved)


def _kolmogorov(live_n: Floats, reference_m: Floats) -> tuple[float, float]:
    live, reference = np.sort(live_n), np.sort(reference_m)
    both = np.concatenate([live, reference])
    apart = np.searchsorted(live, both, side="right") / len(live)
    apart -= np.searchsorted(reference, both, side="right") / len(reference)
    distance = float(np.abs(apart).max())
    rows = max(1, round(len(live) * len(reference) / (len(live) + len(reference))))
    return distance, float(np.clip(kstwo.sf(distance, rows), 0.0, 1.0))


def psi_of_numbers(live_n: Floats, reference_m: Floats) -> float:
    """The population stability index over the tenths of the reference."""
    edges = np.unique(np.quantile(reference_m, np.linspace(0.1, 0.9, 9)))
    size = len(edges) + 1
    live = np.bincount(np.searchsorted(edges, live_n, side="right"), minlength=size)
    reference = np.bincount(np.searchsorted(edges, reference_m, side="right"), minlength=size)
    return psi(live, reference)


def psi(live_C: Counts, reference_C: Counts) -> float:
    """The population stability index of two tables of counts, half a row added to each class."""
    live = (live_C + 0.5) / (live_C.sum() + 0.5 * len(live_C))
    reference = (reference_C + 0.5) / (reference_C.sum() + 0.5 * len(reference_C))
    return float(((live - reference) * np.log(live / reference)).sum())


def of_classes(live_C: Counts, reference_C: Counts, names: Sequence[str]) -> Found:
    """Pearson's chi-square (1900) over classes of 5 expected rows or more, and Fisher's test of each class.

    The first sees many small changes, the second one class that is gone or new; p is twice the smaller one.
    """
    n, m = int(live_C.sum()), int(reference_C.sum())
    if not n or not m:
        return Found(1.0, 0.0)
    single_C = fisher(live_C, n, reference_C, m)
    together, classes = _chi_square(live_C, reference_C), int(((live_C + reference_C) > 0).sum())
    p = min(1.0, 2 * min(together, classes * float(single_C.min())))
    apart_C = live_C / n - reference_C / m
    most = int(np.argmin(single_C)) if single_C.min() < 1 else int(np.argmax(np.abs(apart_C)))
    way = "more" if apart_C[most] > 0 else "gone" if not live_C[most] else "less"
    return Found(p, float(np.abs(apart_C).sum() / 2), psi(live_C, reference_C), f"{way}: {names[most]}")


def fisher(live_C: Counts, n: int, reference_C: Counts, m: int) -> Floats:
    """(C,): two-sided p of Fisher's exact test, class by class: twice the smaller tail."""
    both_C = live_C + reference_C
    low = hypergeom.cdf(live_C, n + m, both_C, n)
    high = hypergeom.sf(live_C - 1, n + m, both_C, n)
    found: Floats = np.minimum(1.0, 2 * np.minimum(low, high))
    return found


def _chi_square(live_C: Counts, reference_C: Counts) -> float:
    n, m = live_C.sum(), reference_C.sum()
    expected_C = (live_C + reference_C) * n / (n + m)
    large = (expected_C >= LEAST_EXPECTED) & ((live_C + reference_C) * m / (n + m) >= LEAST_EXPECTED)
    live = np.append(live_C[large], live_C[~large].sum()).astype(np.float64)
    reference = np.append(reference_C[large], reference_C[~large].sum()).astype(np.float64)
    both = live + reference
    kept = both * min(n, m) / (n + m) >= LEAST_EXPECTED
    live, reference, both = live[kept], reference[kept], both[kept]
    if len(both) < 2:
        return 1.0
    n, m = live.sum(), reference.sum()
    statistic = ((live - both * n / (n + m)) ** 2 / (both * n / (n + m))).sum()
    statistic += ((reference - both * m / (n + m)) ** 2 / (both * m / (n + m))).sum()
    return float(chi2.sf(statistic, len(both) - 1))


def of_shares(live: int, n: int, reference: int, m: int) -> Found:
    """Fisher's exact test of one share, as of missing values."""
    if not n or not m:
        return Found(1.0, 0.0)
    p = float(fisher(np.array([live]), n, np.array([reference]), m)[0])
    apart = live / n - reference / m
    return Found(p, abs(apart), what="more" if apart > 0 else "less" if apart < 0 else "")


def of_features(
    live_nD: Floats, reference_mD: Floats, names: Sequence[str], level: float | None, rng: np.random.Generator
) -> Found:
    """Portraits: the maximum mean discrepancy of all features together, and each feature by itself.

    The kernel is Gaussian with the median distance as its width (Gretton et al., 2012), by random features
    (Rahimi and Recht, 2007); p comes from permutations, which end early where nothing shows (Besag and
    Clifford, 1991). p is twice the smaller of that and of the features' own, corrected for their number.
    Without a `level` the features' own alone count: permutations take rows to be independent.
    """
    if len(live_nD) < 2 or len(reference_mD) < 2:
        return Found(1.0, 0.0)
    each = [_kolmogorov(live_nD[:, i], reference_mD[:, i]) for i in range(live_nD.shape[1])]
    smallest = int(np.argmin([p for _, p in each]))
    together = 1.0 if level is None else mmd(live_nD, reference_mD, level / 2, rng)
    higher = np.mean(live_nD[:, smallest]) > np.mean(reference_mD[:, smallest])
    p = min(1.0, 2 * min(together, len(each) * each[smallest][1]))
    what = f"{'higher' if higher else 'lower'}: {names[smallest]}"
    return Found(p, max(distance for distance, _ in each), what=what)


def mmd(live_nD: Floats, reference_mD: Floats, level: float, rng: np.random.Generator) -> float:
    """The permutation p of the maximum mean discrepancy, fine enough to fall below `level`."""
    both = np.concatenate([live_nD, reference_mD])
    spread = both.std(0)
    both = np.clip((both - both.mean(0)) / np.where(spread > 1e-9, spread, 1.0), -10, 10)
    some = both[rng.permutation(len(both))[:200]]
    distances = np.sqrt(((some[:, None] - some[None]) ** 2).sum(2))
    width = float(np.median(distances[distances > 0])) if (distances > 0).any() else 1.0
    angles = both @ (rng.normal(size=(both.shape[1], WAVES // 2)) / width)
    waves_NW = np.concatenate([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    waves_NW -= waves_NW.mean(0)  # then the sum over the live rows says all: the reference has the rest
    n = len(live_nD)
    observed = float((waves_NW[:n].sum(0) ** 2).sum())
    most = min(MOST_PERMUTATIONS, int(np.ceil(2 / max(level, 1e-9))))
    beyond = made = 0
    while made < most and beyond < EXCEEDED:
        count = min(AT_ONCE if made else 100, most - made)
        chosen_PN = np.zeros((count, len(both)), np.float32)
        np.put_along_axis(chosen_PN, np.argsort(rng.random(chosen_PN.shape, np.float32), 1)[:, :n], 1.0, 1)
        beyond += int((((chosen_PN @ waves_NW) ** 2).sum(1) >= observed * (1 - 1e-6)).sum())
        made += count
    return (beyond + 1) / (made + 1)


def allowed(found: Found, rows: int, alike: float, days: int) -> Found:
    """A result with the p that days which differ by themselves leave of it.

    Ranks among the rows of some days cannot be told apart further out than the outermost of these days.
    """
    if not alike or found.p >= 1:
        return found
    evidence = min(-np.log(max(found.p, 1e-305)), rows * np.log1p(days))
    return replace(found, p=float(np.exp(-evidence / (1 + (rows - 1) * alike))))


def far_out(found: Found, live_n: Floats, centre: float, scale: float) -> Found:
    """A result of numbers, joined with how far the median of a day is from those of the training days.

    Unlike ranks, distances go on beyond the outermost day. p is twice the smaller one.
    """
    p = float(np.exp(-abs(float(np.median(live_n)) - centre) / scale)) if scale > 0 else 1.0
    return replace(found, p=min(1.0, 2 * min(found.p, p)))


def worse(live_n: Floats, reference_m: Floats) -> Found:
    """Whether errors grew: the one-sided test of Mann and Whitney (1947)."""
    if not len(live_n) or not len(reference_m):
        return Found(1.0, 0.0)
    p = float(mannwhitneyu(live_n, reference_m, alternative="greater", method="asymptotic").pvalue)
    distance, _ = _kolmogorov(live_n, reference_m)
    return Found(p if np.isfinite(p) else 1.0, distance, what="larger errors")


def fewer_right(right: int, n: int, reference: int, m: int) -> Found:
    """Whether fewer answers are right: Fisher's exact test, one-sided."""
    if not n or not m:
        return Found(1.0, 0.0)
    p = float(hypergeom.cdf(right, n + m, right + reference, n))
    fewer = max(0.0, reference / m - right / n)
    return Found(p, fewer, what="fewer right answers" if fewer else "")


def holm(ps: Sequence[float], level: float, family: int | None = None) -> list[bool]:
    """Which of several hypotheses fall, so that a true one falls with at most `level` (Holm, 1979).

    `family` counts hypotheses that are still to come: those of days ahead. As they count as p = 1, what falls
    today also falls in the whole family, so looking every day costs nothing.

    >>> holm([0.001, 0.04, 0.03], 0.05), holm([0.001], 0.05, family=100)
    ([True, False, False], [False])
    """
    size = max(len(ps), family or 0)
    fallen = [False] * len(ps)
    for place, i in enumerate(np.argsort(ps, kind="stable").tolist()):
        if ps[i] > level / (size - place):
            break
        fallen[i] = True
    return fallen
