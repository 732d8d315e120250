"""Calibration lowers the loss it promises to lower, and intervals and sets cover as they promise."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from shinso.calibration import Calibration, calibrate, conformal_quantile
from shinso.metrics import coverage


def overconfident(n: int, seed: int, sharpness: float = 3.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 4))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = (rng.random(n)[:, None] > shares.cumsum(1)).sum(1).clip(max=3)
    sharp = np.exp(logits * sharpness)
    return truth, sharp / sharp.sum(1, keepdims=True)


def test_temperature_undoes_overconfidence() -> None:
    truth, probabilities = overconfident(4000, 0)
    found = calibrate("category", truth, probabilities)
    assert found.temperature == pytest.approx(3.0, rel=0.1)
    new_truth, new_probabilities = overconfident(4000, 1)
    assert log_loss(new_truth, found.apply(new_probabilities)) < log_loss(new_truth, new_probabilities) - 0.2
    assert (found.apply(new_probabilities).argmax(1) == new_probabilities.argmax(1)).all()


def test_temperature_equals_scipys_minimum() -> None:
    truth, probabilities = overconfident(20_000, 2, sharpness=0.5)

    def loss(temperature: float) -> float:
        raised = probabilities ** (1 / temperature)
        return float(log_loss(truth, raised / raised.sum(1, keepdims=True)))

    wanted = minimize_scalar(loss, bounds=(0.05, 20), method="bounded").x
    assert calibrate("category", truth, probabilities).temperature == pytest.approx(wanted, rel=1e-3)


def test_few_rows_without_a_mistake_do_not_make_certain() -> None:
    truth = np.arange(30) % 3
    probabilities = np.eye(3)[truth] * 0.7 + 0.1
    found = calibrate("category", truth, probabilities)
    assert found.apply(probabilities).max() < 0.99


def test_missing_targets_and_broken_predictions_are_left_out() -> None:
    truth, probabilities = overconfident(500, 3)
    wanted = calibrate("category", truth[:400], probabilities[:400])
    truth[400:450], probabilities[450:] = -1, np.nan
    assert calibrate("category", truth, probabilities) == wanted
    assert calibrate("category", np.array([-1]), np.array([[0.5, 0.5]])) == Calibration()


def test_class_sets_cover() -> None:
    found = calibrate("category", *overconfident(2000, 4))
    truth, probabilities = overconfident(20_000, 5)
    sets = found.sets(found.apply(probabilities))
    assert sets is not None
    assert sets[np.arange(len(truth)), truth].mean() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_sets_cover_no_more_than_was_asked(level: float) -> None:
    truth, probabilities = overconfident(20_000, 6, sharpness=1.0)
    truth = np.where(np.random.default_rng(7).random(20_000) < 0.8, probabilities.argmax(1), truth)
    found = calibrate("category", truth[:10_000], probabilities[:10_000]).at(level)
    sets = found.sets(found.apply(probabilities[10_000:]))
    assert sets is not None
    assert sets[np.arange(10_000), truth[10_000:]].mean() == pytest.approx(level, abs=0.015)
    assert sets.any(1).all() == (level == 0.95)


def test_honest_probabilities_are_left_alone() -> None:
    kept = [calibrate("category", *overconfident(1000, seed, sharpness=1.0)).temperature for seed in range(9)]
    assert kept.count(1.0) >= 7


@pytest.mark.parametrize("n", [9, 50, 150, 5000])
def test_intervals_cover_new_rows_as_promised(n: int) -> None:
    rng = np.random.default_rng(n)
    repeats = max(3, 4000 // n)
    covered = []
    for _ in range(repeats):
        prediction = rng.gamma(2.0, 10.0, n + 500)
        truth = prediction + rng.normal(size=n + 500) * prediction / 3
        interval = calibrate("number", truth[:n], prediction[:n]).interval(prediction[n:])
        assert interval is not None
        covered.append(((interval[0] <= truth[n:]) & (truth[n:] <= interval[1])).mean())
    assert 0.885 <= np.mean(covered) <= 0.93


def test_large_predictions_get_wider_intervals() -> None:
    rng = np.random.default_rng(0)
    prediction = rng.uniform(1, 100, 4000)
    found = calibrate("number", prediction + rng.normal(size=4000) * prediction, prediction)
    assert len(found.widths) == 8
    assert found.widths[-1] > 5 * found.widths[0]


def test_too_few_rows_promise_nothing() -> None:
    assert conformal_quantile(np.arange(8.0), 0.9) is None
    found = calibrate("number", np.arange(8.0), np.zeros(8))
    assert found.interval(np.zeros(3)) is None
    assert calibrate("category", np.array([0]), np.array([[0.5, 0.5]])).sets(np.ones((1, 2))) is None


def test_constant_predictions() -> None:
    rng = np.random.default_rng(0)
    found = calibrate("number", rng.normal(size=1000), np.zeros(1000))
    interval = found.interval(np.zeros(1))
    assert interval is not None
    assert interval[1][0] == pytest.approx(1.645, abs=0.15)


def test_coverage_is_measured() -> None:
    found = calibrate("category", *overconfident(2000, 4))
    truth, probabilities = overconfident(5000, 5)
    held = coverage("category", truth, found.apply(probabilities), found)
    assert held is not None
    assert held["low"] < 0.9 < held["high"] or held["value"] == pytest.approx(0.9, abs=0.02)
    assert 1 <= held["size"] <= 4
    numbers = calibrate("number", np.arange(100.0), np.zeros(100))
    held = coverage("number", np.arange(100.0), np.zeros(100), numbers)
    assert held is not None
    assert (held["value"], held["promised"], held["size"]) == (0.91, 0.9, 2 * numbers.widths[0])
    assert coverage("number", np.zeros(3), np.zeros(3), Calibration()) is None
    assert coverage("text", [], [], Calibration()) is None


def test_round_trip() -> None:
    for calibration in (
        Calibration(),
        calibrate("number", np.arange(500.0), np.zeros(500)),
        Calibration(threshold=0.5),
    ):
        assert (
            Calibration.restore(json.loads(json.dumps(calibration.to_dict(), allow_nan=False))) == calibration
        )
