"""What narrows the gaps between groups: drawing training rows anew, and a threshold for each group.

n = rows, G = groups.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .columns import Values
from .columns.base import missing_mask
from .columns.category import label_of
from .errors import DataError, SettingError, did_you_mean

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]
GOALS = ("demographic_parity", "equal_opportunity", "equalised_odds")
STEPS = 101  # rates that are tried
TRUST = 0.5  # in calibrated probabilities, the rest in labels, when thresholds are chosen


def reweighed(groups_n: Codes, labels_n: Codes, rng: np.random.Generator) -> Codes:
    """Places of rows drawn so that group and label are independent (reweighing, Kamiran and Calders, 2012).

    A row is drawn as often as its weight P(group) P(label) / P(group, label) says: the whole part of it
    surely, the rest by chance, spread evenly. Rows without a label or a group are kept as they are.

    >>> g, y = np.array([0] * 80 + [1] * 20), np.array([1] * 60 + [0] * 20 + [1] * 5 + [0] * 15)
    >>> drawn = reweighed(g, y, np.random.default_rng(0))
    >>> [round(float(y[drawn][g[drawn] == k].mean()), 2) for k in (0, 1)]
    [0.65, 0.65]
    """
    known = (groups_n >= 0) & (labels_n >= 0)
    drawn = [np.flatnonzero(~known)]
    places = np.flatnonzero(known)
    group, label = groups_n[places], labels_n[places]
    size = int(label.max(initial=0)) + 1
    cells = group * size + label
    counts = np.bincount(cells, minlength=(int(group.max(initial=0)) + 1) * size)
    expected = np.outer(np.bincount(group), np.bincount(label, minlength=size)) / max(1, len(places))
    for cell in np.flatnonzero(counts):
        mine = rng.permutation(places[cells == cell])
        wanted = round(float(expected.reshape(-1)[cell]))
        drawn.append(np.resize(mine, wanted))
    return np.sort(np.concatenate(drawn))


def thresholds_for(
    goal: str, labels: tuple[str, ...], codes_n: Codes, truth: Codes, probability: Floats
) -> tuple[dict[str, float], dict[str, float]]:
    """By group: the probability from which to say the positive class, so that `goal` is nearly nought.

    Of all pairs with equal rates the most accurate is taken (Hardt et al., 2016, without randomisation).
    Gives the thresholds, and the gap and accuracy they have on these rows.
    """
    if goal not in GOALS:
        raise SettingError(f"There is no goal {goal!r}. {did_you_mean(goal, GOALS)}")
    known = (truth >= 0) & (codes_n >= 0)
    if not known.any():
        raise DataError("No validation row has both a target and a group.")
    curves = [_curve(truth[known & (codes_n == g)] == 1, probability[known & (codes_n == g)])
              for g in range(len(labels))]  # fmt: skip
    best: tuple[float, list[int]] | None = None
    for wanted in np.linspace(0, 1, STEPS):
        picked = [int(_distance(goal, curve, wanted).argmin()) for curve in curves]
        score = sum(curve["right"][i] for curve, i in zip(curves, picked, strict=True))
        # Half a point of the rate is what a grid cannot see; a wider gap costs more than accuracy gains.
        rates = np.array([_rates(goal, c)[:, i] for c, i in zip(curves, picked, strict=True)])
        score -= 20 * len(truth) * max(0.0, float((rates.max(0) - rates.min(0)).max()) - 0.01)
        if best is None or score > best[0]:
            best = score, picked
    assert best is not None
    picked = best[1]
    rates = np.array([_rates(goal, c)[:, i] for c, i in zip(curves, picked, strict=True)])
    right = sum(float(c["right"][i]) for c, i in zip(curves, picked, strict=True))
    chosen = {label: float(c["at"][i]) for label, c, i in zip(labels, curves, picked, strict=True)}
    gap = float((rates.max(0) - rates.min(0)).max())
    return chosen, {"gap": gap, "accuracy": right / int(known.sum())}


def _curve(truth: NDArray[np.bool_], probability: Floats) -> dict[str, Floats]:
    """Rates at each threshold that this group's rows tell apart (at most 501).

    A row counts as positive partly by its label and partly by its calibrated probability: few positives of a
    small group would otherwise move its threshold by chance.
    """
    order = np.argsort(probability, kind="stable")
    positive = TRUST * probability[order] + (1 - TRUST) * truth[order]
    at = np.unique(np.quantile(probability, np.linspace(0, 1, 501)))
    at = np.concatenate([at, [np.nextafter(1.0, 2.0)]])
    below = np.searchsorted(probability[order], at, side="left")
    positives = np.concatenate([[0.0], np.cumsum(positive)])
    n, total = len(truth), float(positives[-1])
    said, hits = n - below, total - positives[below]
    return {
        "at": at, "said": said / max(1, n), "hit": hits / max(1e-9, total),
        "alarm": (said - hits) / max(1e-9, n - total), "right": hits + (n - total) - (said - hits),
    }  # fmt: skip


def _rates(goal: str, curve: Mapping[str, Floats]) -> Floats:
    names = {
        "demographic_parity": ("said",),
        "equal_opportunity": ("hit",),
        "equalised_odds": ("hit", "alarm"),
    }
    return np.stack([curve[name] for name in names[goal]])


def _distance(goal: str, curve: Mapping[str, Floats], wanted: float) -> Floats:
    rates = _rates(goal, curve)
    return np.asarray(
        np.abs(rates[0] - wanted) - 1e-6 * curve["right"] / max(1.0, float(curve["right"].max()))
    )


def shift(probabilities_nC: Floats, groups: Values, thresholds: Mapping[str, float]) -> Floats:
    """(n, 2) probabilities moved so that each group's threshold stands at one half; the order stays.

    Rows whose group has no threshold keep theirs.

    >>> shift(np.array([[0.7, 0.3], [0.7, 0.3]]), np.array(["f", "m"], object), {"f": 0.2}).round(2).tolist()
    [[0.44, 0.56], [0.7, 0.3]]
    """
    missing = missing_mask(groups)
    labels = [None if gone else label_of(v) for v, gone in zip(groups, missing, strict=True)]
    limits = np.array([thresholds.get(label, 0.5) if label is not None else 0.5 for label in labels])
    p = np.asarray(probabilities_nC, np.float64)[:, 1]
    limits = np.clip(limits, 1e-9, 1.0 + 1e-9)
    below = p / (2 * limits)
    above = 0.5 + (p - limits) / (2 * np.maximum(1 - limits, 1e-9))
    moved = np.where(p < limits, np.minimum(below, 0.5 - 1e-9), np.clip(above, 0.5 + 1e-9, 1.0))
    return np.stack([1 - moved, moved], axis=1)
