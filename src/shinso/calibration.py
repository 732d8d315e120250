"""Predictions that mean what they say: probabilities by temperature, intervals and sets by split conformal prediction.

n = rows, C = classes. Fitted on validation rows, which the network was not trained on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
COVERAGE = 0.9
_SMALLEST = 1e-12


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What validation rows taught about a run's predictions of one column. Plain data, JSON round trip.

    `temperature` divides the logits (Guo et al., 2017); 1 leaves probabilities as they are. `width` is the half width
    of an interval around a number, `threshold` the least probability of a class in a set; both hold the truth with at
    least probability `coverage` for new rows like the validation rows, and are None where too few rows were given.
    """

    rows: int = 0
    temperature: float = 1.0
    coverage: float = COVERAGE
    width: float | None = None
    threshold: float | None = None

    def apply(self, probabilities: NDArray[Any]) -> Floats:
        """(..., C) probabilities, calibrated; the order of the classes stays.

        >>> Calibration(temperature=2.0).apply(np.array([0.9, 0.1])).round(3).tolist()
        [0.75, 0.25]
        """
        given = np.asarray(probabilities, np.float64)
        return given if self.temperature == 1.0 else _soften(given, self.temperature)

    def interval(self, prediction: NDArray[Any]) -> tuple[Floats, Floats] | None:
        """The low and high end, each (n,), that hold the true number with probability `coverage`; None if unknown."""
        if self.width is None:
            return None
        middle = np.asarray(prediction, np.float64)
        return middle - self.width, middle + self.width

    def sets(self, probabilities: NDArray[Any]) -> NDArray[np.bool_] | None:
        """(..., C) which classes are still possible, given calibrated probabilities; the likeliest always is."""
        if self.threshold is None:
            return None
        given = np.asarray(probabilities, np.float64)
        return np.asarray((given >= self.threshold) | (given == given.max(-1, keepdims=True)))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    @classmethod
    def restore(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(**data)


def calibrate(kind: str, truth: NDArray[Any], prediction: NDArray[Any], *, coverage: float = COVERAGE) -> Calibration:
    """Fit on validation rows: `truth` and `prediction` as `metrics.evaluate_predictions` takes them.

    A category gets a temperature and a threshold, a number or datetime (in its own unit; days) a width; other kinds
    get a calibration that changes nothing.
    """
    if kind == "category":
        return calibrate_classes(truth, prediction, coverage=coverage)
    if kind == "number":
        return calibrate_numbers(truth, prediction, coverage=coverage)
    return Calibration(coverage=coverage)


def calibrate_classes(
    truth_n: NDArray[Any], probabilities_nC: NDArray[Any], *, coverage: float = COVERAGE
) -> Calibration:
    """A temperature, kept only where it lowers the log loss, and the threshold of class sets (Sadinle et al., 2019)."""
    known = (np.asarray(truth_n) >= 0) & np.isfinite(probabilities_nC).all(-1)
    truth = np.asarray(truth_n)[known]
    given = np.asarray(probabilities_nC, np.float64)[known]
    if not len(truth):
        return Calibration(coverage=coverage)
    before = _log_loss(truth, given)
    temperature = math.exp(golden_section(lambda t: _log_loss(truth, _soften(given, math.exp(t))), -3.0, 3.0))
    if not _log_loss(truth, _soften(given, temperature)) < before:
        temperature = 1.0
    calibrated = given if temperature == 1.0 else _soften(given, temperature)
    worst = conformal_quantile(1 - calibrated[np.arange(len(truth)), truth], coverage)
    threshold = None if worst is None else 1 - worst
    return Calibration(rows=len(truth), temperature=temperature, coverage=coverage, threshold=threshold)


def calibrate_numbers(
    truth_n: NDArray[Any], prediction_n: NDArray[Any], *, coverage: float = COVERAGE
) -> Calibration:
    """The half width of split conformal intervals (Lei et al., 2018)."""
    error = np.abs(np.asarray(truth_n, np.float64) - np.asarray(prediction_n, np.float64))
    error = error[np.isfinite(error)]
    return Calibration(rows=len(error), coverage=coverage, width=conformal_quantile(error, coverage))


def conformal_quantile(scores_n: NDArray[Any], coverage: float) -> float | None:
    """The score that a new row exceeds with probability at most 1 - `coverage`; None where n is too small to say.

    It is the ceil((n + 1) coverage)-th smallest, which makes the promise hold for every n.

    >>> conformal_quantile(np.arange(1.0, 10.0), 0.9), conformal_quantile(np.arange(8.0), 0.9)
    (9.0, None)
    """
    rank = math.ceil((len(scores_n) + 1) * coverage - 1e-9)
    if rank > len(scores_n):
        return None
    return float(np.partition(scores_n, rank - 1)[rank - 1])


def golden_section(function: Callable[[float], float], low: float, high: float, steps: int = 40) -> float:
    """Where `function`, which has one valley between `low` and `high`, is lowest (Kiefer, 1953)."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(steps):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return (low + high) / 2


def _soften(probabilities: Floats, temperature: float) -> Floats:
    logits = np.log(np.maximum(probabilities, _SMALLEST)) / temperature
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def _log_loss(truth_n: NDArray[Any], probabilities_nC: Floats) -> float:
    given = probabilities_nC[np.arange(len(truth_n)), truth_n]
    return float(-np.log(np.maximum(given, _SMALLEST)).mean())
