"""Predictions that mean what they say: calibrated probabilities, conformal intervals and sets.

n = rows, C = classes. Fitted on validation rows, which the network was not trained on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .errors import SettingError

Floats = NDArray[np.float64]
COVERAGE = 0.9
BAND_ROWS = 200  # validation rows that an interval width is read from at least, where there are more
MOST_BANDS = 8
MOST_SCORES, LARGEST_SCORES = 500, 20  # of the errors of each band that are stored
SURELY = 2.0  # standard errors
SMALLEST = 1e-12  # probability that a logit is made of


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What validation rows taught about a run's predictions of one column. Plain data, JSON round trip.

    `temperature` divides the logits (Guo et al., 2017); 1 leaves probabilities as they are. `widths` are half
    widths of intervals around a number, one for each band of predictions between `edges`, `threshold` the
    least probability of a class in a set; both hold the truth with at least probability `coverage` for new
    rows like the validation rows. () and None where too few rows were given.
    """

    rows: int = 0
    temperature: float = 1.0
    coverage: float = COVERAGE
    edges: tuple[float, ...] = ()
    widths: tuple[float, ...] = ()
    threshold: float | None = None
    counts: tuple[int, ...] = ()  # validation rows of each band
    scores: tuple[tuple[float, ...], ...] = ()  # their errors, ascending (`kept_ranks`): for other coverages

    def at(self, coverage: float) -> Self:
        """A copy whose intervals or sets hold the truth with another probability.

        >>> calibrate_numbers(np.zeros(99), np.arange(99.0)).at(0.5).widths
        (49.0,)
        """
        if not 0 < coverage < 1:
            raise SettingError(f"A coverage lies between 0 and 1, as in 0.9; received {coverage:g}.")
        if not self.scores:
            raise SettingError(
                f"This run keeps no errors of validation rows, so only its own coverage of {self.coverage:g} "
                f"can be had. Train it again, with at least 20 validation rows."
            )
        ends = [_stored_quantile(s, n, coverage) for s, n in zip(self.scores, self.counts, strict=True)]
        if None in ends:
            raise SettingError(
                f"{min(self.counts)} validation rows are too few for a coverage of {coverage:g}; the most is "
                f"{min(self.counts) / (min(self.counts) + 1):.3f}. Ask for less, or train with more rows."
            )
        widths = tuple(end for end in ends if end is not None)
        if not self.widths:  # of a category
            return replace(self, coverage=coverage, threshold=1 - widths[0])
        return replace(self, coverage=coverage, widths=widths)

    def apply(self, probabilities: NDArray[Any]) -> Floats:
        """(..., C) probabilities, calibrated; the order of the classes stays.

        >>> Calibration(temperature=2.0).apply(np.array([0.9, 0.1])).round(3).tolist()
        [0.75, 0.25]
        """
        given = np.asarray(probabilities, np.float64)
        return given if self.temperature == 1.0 else np.exp(_soften(_logits(given), self.temperature))

    def interval(self, prediction: NDArray[Any]) -> tuple[Floats, Floats] | None:
        """The low and the high end, each (n,), that hold the true number with probability `coverage`.

        None where too few validation rows were given to say.

        >>> low, high = Calibration(edges=(10.0,), widths=(1.0, 5.0)).interval(np.array([4.0, 40.0]))
        >>> low.tolist(), high.tolist()
        ([3.0, 35.0], [5.0, 45.0])
        """
        if not self.widths:
            return None
        middle = np.asarray(prediction, np.float64)
        width = np.asarray(self.widths)[np.searchsorted(self.edges, middle, side="right")]
        return middle - width, middle + width

    def sets(self, probabilities: NDArray[Any]) -> NDArray[np.bool_] | None:
        """(..., C) which classes are possible, given calibrated probabilities; it may be none.

        Where a network is right more often than `coverage` asks, its least sure rows get an empty set: with
        the likeliest class in every set, sets would hold the truth more often than was asked for.

        >>> Calibration(threshold=0.6).sets(np.array([[0.9, 0.1], [0.5, 0.5]])).tolist()
        [[True, False], [False, False]]
        """
        if self.threshold is None:
            return None
        return np.asarray(np.asarray(probabilities, np.float64) >= self.threshold)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    @classmethod
    def restore(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(**{name: _tuples(value) for name, value in data.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def calibrate(
    kind: str, truth: NDArray[Any], prediction: NDArray[Any], *, coverage: float = COVERAGE
) -> Calibration:
    """Fit on validation rows: `truth` and `prediction` as `metrics.evaluate_predictions` takes them.

    A category gets a temperature and a threshold, a number gets interval widths; other kinds get a
    calibration that changes nothing.
    """
    if kind == "category":
        return calibrate_classes(truth, prediction, coverage=coverage)
    if kind == "number":
        return calibrate_numbers(truth, prediction, coverage=coverage)
    return Calibration(coverage=coverage)


def calibrate_classes(
    truth_n: NDArray[Any], probabilities_nC: NDArray[Any], *, coverage: float = COVERAGE
) -> Calibration:
    """A temperature, kept only where it surely lowers the log loss, and the threshold of sets.

    The gain of each row has to stand `SURELY` standard errors above none: a temperature that few rows chose
    by chance would make probabilities worse on others.
    Guo et al. (2017), Sadinle et al. (2019). The targets of the fit are smoothed by 1 / (n + 2) (Platt,
    1999), so that few rows without a mistake do not make the network certain.
    """
    known = (np.asarray(truth_n) >= 0) & np.isfinite(probabilities_nC).all(-1)
    truth = np.asarray(truth_n)[known].astype(np.int64)
    logits = _logits(np.asarray(probabilities_nC, np.float64)[known])
    n = len(truth)
    if n == 0:
        return Calibration(coverage=coverage)
    smoothing = 1 / (n + 2)
    found = golden_section(lambda t: _log_loss(truth, _soften(logits, math.exp(t)), smoothing), -3.0, 3.0)
    softened = _soften(logits, math.exp(found))
    kept = surely_better(logits[np.arange(n), truth], softened[np.arange(n), truth])
    probabilities = np.exp(softened if kept else logits)
    scores = 1 - probabilities[np.arange(n), truth]
    worst = conformal_quantile(scores, coverage)
    return Calibration(
        rows=n,
        temperature=math.exp(found) if kept else 1.0,
        coverage=coverage,
        threshold=None if worst is None else 1 - worst,
        counts=(n,),
        scores=(_kept(scores),),
    )


def surely_better(before_n: Floats, after_n: Floats) -> bool:
    """Whether log probabilities of the truth are higher after than before, beyond chance (paired rows).

    >>> surely_better(np.zeros(9), np.ones(9)), surely_better(np.zeros(2), np.array([1.0, -0.9]))
    (True, False)
    """
    gain_n = after_n - before_n
    error = float(gain_n.std(ddof=1)) / math.sqrt(len(gain_n)) if len(gain_n) > 1 else math.inf
    return bool(gain_n.mean() > SURELY * error)


def calibrate_numbers(
    truth_n: NDArray[Any], prediction_n: NDArray[Any], *, coverage: float = COVERAGE
) -> Calibration:
    """Half widths of split conformal intervals (Lei et al., 2018), one a band of predictions (Vovk, 2003).

    Large numbers are often less certain than small ones; bands let their intervals be wider.
    """
    prediction = np.asarray(prediction_n, np.float64)
    error = np.abs(np.asarray(truth_n, np.float64) - prediction)
    known = np.isfinite(error)
    prediction, error = prediction[known], error[known]
    bands = min(MOST_BANDS, max(1, len(error) // BAND_ROWS))
    edges = np.unique(np.quantile(prediction, np.arange(1, bands) / bands)) if bands > 1 else np.empty(0)
    band = np.searchsorted(edges, prediction, side="right")
    widths = [conformal_quantile(error[band == b], coverage) for b in range(len(edges) + 1)]
    if None in widths:
        whole = conformal_quantile(error, coverage)
        edges, widths = np.empty(0), [] if whole is None else [whole]
        band = np.zeros(len(error), np.int64)
    return Calibration(
        rows=len(error),
        coverage=coverage,
        edges=tuple(edges.tolist()),
        widths=tuple(width for width in widths if width is not None),
        counts=tuple(np.bincount(band, minlength=len(edges) + 1).tolist()) if widths else (),
        scores=tuple(_kept(error[band == b]) for b in range(len(edges) + 1)) if widths else (),
    )


def conformal_quantile(scores_n: NDArray[Any], coverage: float) -> float | None:
    """The score that a new row exceeds with probability at most 1 - `coverage`; None where n is too small.

    It is the ceil((n + 1) coverage)-th smallest, which makes the promise hold for every n.

    >>> conformal_quantile(np.arange(1.0, 10.0), 0.9), conformal_quantile(np.arange(8.0), 0.9)
    (9.0, None)
    """
    rank = math.ceil((len(scores_n) + 1) * coverage - 1e-9)
    if rank > len(scores_n):
        return None
    return float(np.partition(scores_n, rank - 1)[rank - 1])


def kept_ranks(n: int) -> NDArray[np.int64]:
    """Which of n ascending errors are stored: all of few, of many an even choice and the largest."""
    if n <= MOST_SCORES:
        return np.arange(1, n + 1)
    even = np.ceil(np.linspace(1, n, MOST_SCORES)).astype(np.int64)
    return np.union1d(even, np.arange(n - LARGEST_SCORES + 1, n + 1))


def _kept(scores_n: NDArray[Any]) -> tuple[float, ...]:
    ordered = np.sort(np.asarray(scores_n, np.float64))
    return tuple(float(f"{score:.8g}") for score in ordered[kept_ranks(len(ordered)) - 1])


def _stored_quantile(kept: tuple[float, ...], n: int, coverage: float) -> float | None:
    """As `conformal_quantile`, from stored errors: the next larger one where the exact one was not kept."""
    rank = math.ceil((n + 1) * coverage - 1e-9)
    return None if rank > n else kept[int(np.searchsorted(kept_ranks(n), rank))]


def golden_section(function: Callable[[float], float], low: float, high: float, steps: int = 40) -> float:
    """Where `function`, which has one valley between `low` and `high`, is lowest (Kiefer, 1953).

    >>> round(golden_section(lambda x: (x - 1) ** 2, -3.0, 3.0), 6)
    1.0
    """
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


def _logits(probabilities: Floats) -> Floats:
    return np.log(np.maximum(probabilities, SMALLEST))


def _soften(logits: Floats, temperature: float) -> Floats:
    """Log probabilities at `temperature`."""
    scaled = logits / temperature
    scaled = scaled - scaled.max(-1, keepdims=True)
    return np.asarray(scaled - np.log(np.exp(scaled).sum(-1, keepdims=True)))


def _log_loss(truth_n: NDArray[np.int64], log_probabilities_nC: Floats, smoothing: float = 0.0) -> float:
    true = log_probabilities_nC[np.arange(len(truth_n)), truth_n]
    smoothed = (1 - smoothing) * true + smoothing * log_probabilities_nC.mean(-1) if smoothing else true
    return float(-smoothed.mean())
