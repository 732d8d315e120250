"""Logistic regression with the usual penalty, dense or sparse: a baseline that needs no further library.

Its probabilities are within .002 of scikit-learn's, whose import takes a second and 130 MB, more than a quick
training (decision 0024).
n = rows, F = features, C = classes, K = C scores, or 1 where there are two classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Measured = Callable[[Floats], tuple[float, Floats]]  # a point to its value and gradient

REMEMBERED = 10  # steps whose curvature L-BFGS knows
ENOUGH = 1e-4  # largest gradient of the mean loss at which the search ends
FALL, SHORTER, SHORTEST = 1e-4, 0.5, 1e-10  # of a line search: share of the expected fall, and its steps


@dataclass(frozen=True)
class Logistic:
    """Fitted weights. A class that no training row has gets the probability 0."""

    weights_FK: Floats
    bias_K: Floats
    known: NDArray[np.intp]  # the classes of the training rows
    classes: int

    @classmethod
    def fit(cls, features_nF: Any, labels_n: NDArray[Any], classes: int, steps: int = 100) -> Self:
        """Learn at least two classes: cross-entropy, and half the squared weights over the rows."""
        known, codes_n = np.unique(labels_n.astype(np.intp), return_inverse=True)
        scores, (rows, size) = (1 if len(known) == 2 else len(known)), features_nF.shape
        wanted_nK = (codes_n[:, None] == np.arange(len(known))[-scores:]).astype(np.float64)
        turned_Fn = features_nF.T

        def measured(flat: Floats) -> tuple[float, Floats]:
            weights_FK, bias_K = _unflat(flat, scores)
            z_nK = np.asarray(features_nF @ weights_FK) + bias_K
            top_n = _total(z_nK)
            excess_nK = _shares(z_nK, top_n) - wanted_nK
            slope_FK = np.asarray(turned_Fn @ excess_nK) + weights_FK
            loss = top_n.sum() - (z_nK * wanted_nK).sum() + 0.5 * np.square(weights_FK).sum()
            return float(loss) / rows, np.append(slope_FK.ravel(), excess_nK.sum(0)) / rows

        weights_FK, bias_K = _unflat(least(measured, np.zeros((size + 1) * scores), steps), scores)
        return cls(weights_FK, bias_K, known, classes)

    def probabilities(self, features_nF: Any) -> Floats:
        """(n, C), over all classes."""
        z_nK = np.asarray(features_nF @ self.weights_FK) + self.bias_K
        shares_nK = _shares(z_nK, _total(z_nK))
        found = np.zeros((len(z_nK), self.classes))
        found[:, self.known] = np.hstack([1 - shares_nK, shares_nK]) if len(self.known) == 2 else shares_nK
        return found


def least(measured: Measured, at: Floats, steps: int) -> Floats:
    """Where a smooth convex function is least: L-BFGS (Liu and Nocedal, 1989) with backtracking.

    >>> least(lambda x: (float((x - 3) @ (x - 3)), 2 * (x - 3)), np.zeros(1), 20).round(3)
    array([3.])
    """
    value, slope = measured(at)
    past: list[tuple[Floats, Floats]] = []
    for _ in range(steps):
        if np.abs(slope).max() <= ENOUGH:
            break
        way = _newton(slope, past)
        length, fall = (1.0 if past else 1 / max(1.0, float(np.abs(slope).sum()))), float(slope @ way)
        found, new_slope = measured(at + length * way)
        while not found <= value + FALL * length * fall and length > SHORTEST:
            length *= SHORTER
            found, new_slope = measured(at + length * way)
        moved, turned = length * way, new_slope - slope
        at, value, slope = at + moved, found, new_slope
        if moved @ turned > 0:
            past = [*past[1 - REMEMBERED :], (moved, turned)]
    return at


def _newton(slope: Floats, past: list[tuple[Floats, Floats]]) -> Floats:
    """The direction that the curvature of past steps suggests, by the two loops over them."""
    way, shares = -slope, []
    for moved, turned in reversed(past):
        shares.append(float(moved @ way) / float(moved @ turned))
        way = way - shares[-1] * turned
    if past:
        moved, turned = past[-1]
        way = way * (float(moved @ turned) / float(turned @ turned))
    for (moved, turned), share in zip(past, reversed(shares), strict=True):
        way = way + moved * (share - float(turned @ way) / float(moved @ turned))
    return way


def _unflat(flat: Floats, scores: int) -> tuple[Floats, Floats]:
    return flat[:-scores].reshape(-1, scores), flat[-scores:]


def _total(z_nK: Floats) -> Floats:
    """(n,): the logarithm of the sum of the exponentials; beside a score of 0 where there is but one."""
    if z_nK.shape[1] == 1:
        return np.logaddexp(0.0, z_nK[:, 0])
    top_n1 = z_nK.max(1, keepdims=True)
    total: Floats = np.log(np.exp(z_nK - top_n1).sum(1)) + top_n1[:, 0]
    return total


def _shares(z_nK: Floats, total_n: Floats) -> Floats:
    shares: Floats = np.exp(z_nK - total_n[:, None])
    return shares
