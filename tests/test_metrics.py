"""Every metric equals scikit-learn's, every interval covers, and nothing that JSON cannot hold comes out."""

from __future__ import annotations

import json
import time
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap
from sklearn import metrics as reference

from shinso import classification, intervals
from shinso.errors import DataError
from shinso.measures import edit_distance
from shinso.metrics import METRICS, STATISTICS, evaluate_predictions, gain, lower_is_better, of_sums, score

EXACT = 1e-9


def made_up_classes(n: int, classes: int, seed: int = 0) -> tuple[Any, Any, tuple[str, ...]]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), truth] += 1.0
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    probabilities[: n // 2] = probabilities[: n // 2].round(1)  # ties
    probabilities += 1e-3
    return truth, probabilities / probabilities.sum(1, keepdims=True), tuple(f"c{i}" for i in range(classes))


@pytest.mark.parametrize("classes", [2, 3, 11])
def test_classification_equals_scikit_learn(classes: int) -> None:
    truth, probabilities, labels = made_up_classes(500, classes)
    found = score("category", truth, probabilities, labels)
    predicted = probabilities.argmax(1)
    average = "binary" if classes == 2 else "macro"
    wanted = {
        "accuracy": reference.accuracy_score(truth, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, predicted),
        "precision": reference.precision_score(truth, predicted, average=average),
        "recall": reference.recall_score(truth, predicted, average=average),
        "f1": reference.f1_score(truth, predicted, average=average),
        "log_loss": reference.log_loss(truth, probabilities),
        "brier": reference.brier_score_loss(truth, probabilities[:, 1] if classes == 2 else probabilities),
        "roc_auc": reference.roc_auc_score(
            truth, probabilities[:, 1] if classes == 2 else probabilities, multi_class="ovr"
        ),
    }
    if classes == 2:
        wanted["f1_macro"] = reference.f1_score(truth, predicted, average="macro")
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=EXACT)
    assert set(found) == {*wanted, "calibration_error"}


def test_rows_of_classes_equal_scikit_learn() -> None:
    truth, probabilities, labels = made_up_classes(300, 5)
    found = evaluate_predictions("category", truth, probabilities, labels)
    wanted = reference.precision_recall_fscore_support(truth, probabilities.argmax(1))
    for i, row in enumerate(found["classes"]):
        values = (row["precision"]["value"], row["recall"]["value"], row["f1"], row["rows"])
        assert values == pytest.approx(tuple(part[i] for part in wanted), abs=EXACT)
    confusion = reference.confusion_matrix(truth, probabilities.argmax(1))
    assert found["confusion"]["counts"] == confusion.tolist()


def test_macro_metrics_with_absent_classes_equal_scikit_learn() -> None:
    truth, probabilities, labels = made_up_classes(400, 6)
    truth, probabilities = truth[truth < 4], probabilities[truth < 4]
    probabilities[:, 5] = 0  # neither there nor predicted; class 4 is only predicted
    found = score("category", truth, probabilities, labels)
    predicted = probabilities.argmax(1)
    assert found["f1"] == pytest.approx(reference.f1_score(truth, predicted, average="macro"), abs=EXACT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = reference.recall_score(truth, predicted, average="macro")
        balanced = reference.balanced_accuracy_score(truth, predicted)
    assert found["recall"] == pytest.approx(wanted, abs=EXACT)
    assert found["balanced_accuracy"] == pytest.approx(balanced, abs=EXACT)
    areas = [reference.roc_auc_score(truth == c, probabilities[:, c]) for c in range(4)]
    assert found["roc_auc"] == pytest.approx(np.mean(areas), abs=EXACT)


def test_calibration_error_is_the_weighted_gap_of_the_reliability_bins() -> None:
    for classes in (2, 4):
        truth, probabilities, labels = made_up_classes(700, classes)
        found = evaluate_predictions("category", truth, probabilities, labels)
        bins = found["reliability"]
        gap = sum(b["count"] * abs(b["claimed"] - b["held"]) for b in bins) / 700
        assert sum(b["count"] for b in bins) == 700
        assert found["metrics"]["calibration_error"]["value"] == pytest.approx(gap, abs=EXACT)


def test_thresholds_lie_on_the_curves_of_scikit_learn() -> None:
    truth, probabilities, labels = made_up_classes(900, 2)
    found = evaluate_predictions("category", truth, probabilities, labels)["thresholds"]
    assert 20 < len(found) <= 100
    assert found[-1]["recall"] == found[-1]["false_alarms"] == 1.0
    for t in found[::7]:
        predicted = probabilities[:, 1] >= t["threshold"] - 1e-6
        assert t["recall"] == pytest.approx(reference.recall_score(truth, predicted), abs=1e-6)
        assert t["precision"] == pytest.approx(reference.precision_score(truth, predicted), abs=1e-6)
        assert t["false_alarms"] == pytest.approx(predicted[truth == 0].mean(), abs=1e-6)
    assert evaluate_predictions("category", truth * 0, probabilities, labels)["thresholds"] == []


def test_regression_equals_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    truth = rng.gamma(2.0, 1000.0, 400) + 1e6
    prediction = truth + rng.normal(size=400) * 300
    found = score("number", truth, prediction)
    wanted = {
        "mse": reference.mean_squared_error(truth, prediction),
        "rmse": reference.root_mean_squared_error(truth, prediction),
        "mae": reference.mean_absolute_error(truth, prediction),
        "r2": reference.r2_score(truth, prediction),
        "median_absolute_error": reference.median_absolute_error(truth, prediction),
    }
    assert found == pytest.approx(wanted, rel=EXACT)


def test_multi_label_equals_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    truth = (rng.random((200, 5)) < 0.3).astype(np.float32)
    probabilities = np.clip(truth * 0.4 + rng.random((200, 5)) * 0.6, 0, 1).astype(np.float32)
    predicted = probabilities >= 0.5
    found = score("labels", truth, probabilities, list("abcde"))
    assert found["f1_micro"] == pytest.approx(
        reference.f1_score(truth, predicted, average="micro"), abs=EXACT
    )
    assert found["f1_macro"] == pytest.approx(
        reference.f1_score(truth, predicted, average="macro"), abs=EXACT
    )
    assert found["subset_accuracy"] == pytest.approx(reference.accuracy_score(truth, predicted), abs=EXACT)


def test_masks_equal_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(3, size=(8, 6, 5)).astype(np.uint8)
    prediction = np.where(rng.random((8, 6, 5)) < 0.7, truth, rng.integers(3, size=(8, 6, 5))).astype(
        np.uint8
    )
    found = score("mask", truth, prediction, ["a", "b", "c"])
    wanted = reference.jaccard_score(truth.ravel(), prediction.ravel(), average="macro")
    assert found["mean_iou"] == pytest.approx(wanted, abs=EXACT)
    assert found["pixel_accuracy"] == pytest.approx((truth == prediction).mean(), abs=EXACT)
    truth[:, :2] = 255
    found = score("mask", truth, prediction, ["a", "b", "c"])
    wanted = reference.jaccard_score(truth[:, 2:].ravel(), prediction[:, 2:].ravel(), average="macro")
    assert found["mean_iou"] == pytest.approx(wanted, abs=EXACT)


def test_series_images_and_dates() -> None:
    truth = [np.array([[1.0], [np.nan]]), np.array([[2.0], [4.0], [6.0]])]
    prediction = [np.array([[0.0], [9.0]]), np.array([[2.0], [4.0], [3.0]])]
    found = score("series", truth, prediction)
    assert found["mse"] == pytest.approx(10 / 4)
    assert found["mae"] == pytest.approx(1.0)
    pixels = np.zeros((3, 4, 4, 1), np.uint8)
    assert score("image", pixels, pixels + 2)["mse"] == 4.0  # no wrap-around
    days = np.array(["2024-01-01", "2024-01-05", "NaT"], "datetime64[us]")
    assert score("datetime", days, days + np.timedelta64(12, "h"))["mae"] == pytest.approx(0.5)


@given(st.text("ab深層 ", max_size=12), st.text("ab深層 ", max_size=12))
@settings(max_examples=60, deadline=None)
def test_edit_distance_equals_the_textbook(a: str, b: str) -> None:
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    table[:, 0], table[0] = np.arange(len(a) + 1), np.arange(len(b) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            swap = table[i - 1, j - 1] + (a[i - 1] != b[j - 1])
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, swap)
    assert edit_distance(a, b) == table[-1, -1]


def test_text() -> None:
    found = score("text", ["猫がいる", "犬", None], ["猫が居る", "犬", "x"])
    assert found == {"character_error_rate": pytest.approx(1 / 5), "exact_match": 0.5}


@pytest.mark.parametrize("kind", METRICS)
def test_sums_of_batches_give_the_value_of_the_whole(kind: str) -> None:
    if kind == "datetime":
        pytest.skip("A datetime is measured as a number of days.")
    truth, prediction, labels = made_up(kind, 24)
    parts = [STATISTICS[kind](truth[i : i + 8], prediction[i : i + 8], labels) for i in (0, 8, 16)]
    sums = {name: sum(part[name].sum(0) for part in parts) for name in parts[0]}
    if kind == "number":  # truth is centred batch by batch; its variance needs one centre
        sums |= {"truth": truth.sum(), "truth_squared": (truth**2).sum()}
    whole = score(kind, truth, prediction, labels)
    found = of_sums(kind, sums)
    assert found == pytest.approx({name: whole[name] for name in found}, rel=1e-9)


def made_up(kind: str, n: int) -> tuple[Any, Any, list[str]]:
    """Truth and prediction of any kind."""
    rng = np.random.default_rng(4)
    labels = ["a", "b", "c"]
    if kind == "category":
        return *made_up_classes(n, 3)[:2], labels
    if kind == "number":
        truth = rng.normal(size=n)
        return truth, truth + rng.normal(size=n) / 3, []
    if kind == "datetime":
        start = np.datetime64("2024-01-01", "us")
        times = start + rng.integers(10**12, size=n).astype("timedelta64[us]")
        return times, times + np.timedelta64(1, "D") * rng.integers(1, 9, n), []
    if kind == "labels":
        truth = (rng.random((n, 3)) < 0.5).astype(np.float32)
        return truth, (truth * 0.4 + rng.random((n, 3)) * 0.6).astype(np.float32), labels
    if kind == "text":
        words = ["深層学習", "学習", "ネットワーク", "net"]
        return [words[i] for i in rng.integers(4, size=n)], [words[i] for i in rng.integers(4, size=n)], []
    if kind == "mask":
        return rng.integers(3, size=(n, 4, 4)), rng.integers(3, size=(n, 4, 4)), labels
    return rng.normal(size=(n, 4, 2)), rng.normal(size=(n, 4, 2)), []


@pytest.mark.parametrize("kind", ["category", *METRICS])
@pytest.mark.parametrize("n", [0, 1, 2, 30])
def test_every_kind_gives_json_with_intervals_around_the_values(kind: str, n: int) -> None:
    truth, prediction, labels = made_up(kind, n)
    found = evaluate_predictions(kind, truth, prediction, labels)
    assert json.loads(json.dumps(found, allow_nan=False)) == json.loads(json.dumps(found))
    assert found["main"] in found["metrics"]
    for name, metric in found["metrics"].items():
        if metric["value"] is None or metric["low"] is None:
            assert metric["reason"], name
        else:
            assert metric["low"] <= metric["value"] <= metric["high"], name
            assert metric["method"]
    if n == 30:
        assert all(metric["low"] is not None for metric in found["metrics"].values())
    again = evaluate_predictions(kind, truth, prediction, labels)
    assert again == found


@pytest.mark.parametrize(
    ("truth", "probabilities"),
    [
        ([0, 0, 0], [[0.9, 0.1]] * 3),  # one class, always right
        ([1, 1, 1], [[0.9, 0.1]] * 3),  # one class, always wrong
        ([0, 1, 0], [[1.0, 0.0]] * 3),  # constant and certain
        ([-1, -1, -1], [[0.5, 0.5]] * 3),  # no target at all
        ([0, 1, 1], [[np.nan, np.nan]] * 3),  # a network that diverged
    ],
)
def test_degenerate_classification(truth: list[int], probabilities: list[list[float]]) -> None:
    found = evaluate_predictions("category", np.array(truth), np.array(probabilities), ("no", "yes"))
    json.dumps(found, allow_nan=False)
    for metric in found["metrics"].values():
        assert metric["low"] is not None or metric["reason"]


@pytest.mark.parametrize(
    ("truth", "prediction"),
    [
        ([3.0, 3.0, 3.0], [1.0, 2.0, 3.0]),
        ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]),
        ([1.0, 2.0, 3.0], [np.nan, 2.0, np.inf]),
        ([1e300, 2.0, 3.0], [-1e300, 2.0, 1e200]),
        ([np.nan, np.nan], [1.0, 2.0]),
    ],
)
def test_degenerate_regression(truth: list[float], prediction: list[float]) -> None:
    found = evaluate_predictions("number", np.array(truth), np.array(prediction))
    json.dumps(found, allow_nan=False)
    for metric in found["metrics"].values():
        assert metric["low"] is not None or metric["reason"]
    if truth[0] == 3.0:
        assert "alike" in found["metrics"]["r2"]["reason"]


def test_no_mistake_leaves_room_for_one() -> None:
    truth = np.arange(100) % 4
    found = evaluate_predictions("category", truth, np.eye(4)[truth], tuple("abcd"))["metrics"]
    for name in ("accuracy", "balanced_accuracy", "f1", "roc_auc"):
        assert found[name]["value"] == 1.0
        assert 0.8 < found[name]["low"] < 1.0, name


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(DataError, match="Did you mean 'number'"):
        evaluate_predictions("numbr", [], [])


def test_clopper_pearson_is_the_published_interval() -> None:
    estimate = intervals.proportion(81, 263)  # Newcombe (1998), table I
    assert (estimate.low, estimate.high) == pytest.approx((0.2527, 0.3676), abs=1e-4)
    assert intervals.proportion(0, 10).low == 0.0
    assert intervals.proportion(10, 10).high == 1.0


def test_bootstrap_equals_scipys() -> None:
    errors = np.random.default_rng(0).exponential(size=200)
    sums = intervals.resample_sums(errors[:, None], np.random.default_rng(1))[:, 0] / 200
    found = intervals.percentiles(float(errors.mean()), sums)
    wanted = bootstrap((errors,), np.mean, method="percentile", n_resamples=5000, rng=2).confidence_interval
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=0.02)


def test_table_resamples_equal_row_resamples() -> None:
    truth, probabilities, _ = made_up_classes(400, 3)
    table = np.bincount(truth * 3 + probabilities.argmax(1), minlength=9).reshape(3, 3)
    counts = classification.Counts(*intervals.resample_table(table, np.random.default_rng(0)))
    spread = classification.f1_macro(counts).std()
    rng = np.random.default_rng(1)
    rows = [rng.integers(400, size=400) for _ in range(300)]
    by_row = [reference.f1_score(truth[r], probabilities[r].argmax(1), average="macro") for r in rows]
    assert spread == pytest.approx(np.std(by_row), rel=0.15)


def test_grouping_very_many_rows_keeps_the_spread() -> None:
    values = np.random.default_rng(0).exponential(size=(60_000, 1))
    sums = intervals.resample_sums(values, np.random.default_rng(1))
    assert sums.std() == pytest.approx(np.sqrt(60_000) * values.std(), rel=0.1)


def test_overlapping_rows_are_not_counted_as_independent() -> None:
    noise = np.random.default_rng(0).normal(size=600)
    truth = np.lib.stride_tricks.sliding_window_view(noise, 24)[:, :, None]
    alone = evaluate_predictions("series", truth, truth * 0, block=1)["metrics"]["mse"]
    blocks = evaluate_predictions("series", truth, truth * 0, block=24)["metrics"]["mse"]
    assert blocks["high"] - blocks["low"] > 2 * (alone["high"] - alone["low"])


@pytest.mark.parametrize("kind", ["category", *METRICS])
def test_gain_is_the_difference_of_the_main_metric_with_a_paired_interval(kind: str) -> None:
    truth, prediction, labels = made_up(kind, 60)
    other = made_up_worse(kind, prediction)
    found = gain(kind, truth, prediction, other, labels)
    first, second = (evaluate_predictions(kind, truth, p, labels) for p in (prediction, other))
    a, b = (result["metrics"][first["main"]]["value"] for result in (first, second))
    sign = -1 if lower_is_better(first["main"]) else 1
    assert found["value"] == pytest.approx(sign * (a - b))
    assert found["low"] is None or found["low"] <= found["value"] <= found["high"]
    assert gain(kind, truth, prediction, prediction, labels)["value"] == 0.0


def made_up_worse(kind: str, prediction: Any) -> Any:
    if kind == "datetime":
        return prediction + np.timedelta64(3, "D")
    if kind == "text":
        return [p + "?" for p in prediction]
    return prediction[::-1].copy()


def test_paired_intervals_are_narrower() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=500)
    shared = rng.normal(size=500)
    found = gain("number", truth, truth + shared, truth + 1.1 * shared)
    single = evaluate_predictions("number", truth, truth + shared)["metrics"]["rmse"]
    assert found["low"] > 0
    assert found["high"] - found["low"] < (single["high"] - single["low"]) / 5


def test_auc_intervals_cover() -> None:
    rng = np.random.default_rng(5)
    truth_area = 0.7602  # of two normal distributions one standard deviation apart: Phi(1 / sqrt 2)
    covered = 0
    for _ in range(300):
        positive = rng.random(150) < 0.4
        area, influence = intervals.area_under_roc(positive, rng.normal(size=150) + positive)
        found = intervals.area_estimate(area, influence, int(positive.sum()))
        assert found.low is not None and found.high is not None
        covered += found.low <= truth_area <= found.high
    assert 0.91 <= covered / 300 <= 0.99


def test_median_interval_covers() -> None:
    rng = np.random.default_rng(6)
    found = [intervals.median(rng.exponential(size=61)) for _ in range(400)]
    covered = np.mean([(e.low or 0) <= np.log(2) <= (e.high or 0) for e in found])
    assert covered >= 0.93


def test_twenty_thousand_rows_take_less_than_a_second() -> None:
    truth, probabilities, labels = made_up_classes(20_000, 10)
    start = time.process_time()
    evaluate_predictions("category", truth, probabilities, labels)
    assert time.process_time() - start < 1.5  # measured at .4 s; the rest is for a busy machine
