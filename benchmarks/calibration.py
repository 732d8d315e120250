"""Promised coverage and honest probabilities on held-out halves: python benchmarks/calibration.py --data DIR

DIR holds adult, california_housing and fashion_mnist. Trains a quick model each, then cuts the test rows into
random halves, fits on one and measures on the other: coverage of intervals and sets against the level asked
for, and the calibration error of probabilities before and after temperature scaling, beside the error that
probabilities without any fault would show on as many rows (labels drawn from them). A number has no
temperature: its error is the mean gap of asked and held coverage over the levels .1 to .9, of intervals by
the training rows' own errors (before) and by the other half's (after). Exit status 1 where the mean coverage
is a point off or calibration does harm.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import shinso
from shinso.calibration import calibrate
from shinso.config import RunConfig
from shinso.console import Console
from shinso.data.table import Table
from shinso.evaluation import truth_of
from shinso.preparing import encode_given
from shinso.run import RunDirectory
from shinso.verbs import predictions_of

HALVES, LEVELS, BINS, POINT = 10, (0.8, 0.9, 0.95), 15, 0.01
FAST = {"train.threads": 1}


def calibration_error(probability_nC: NDArray[Any], truth_n: NDArray[Any]) -> float:
    """The mean gap of confidence and accuracy over 15 bins of equal width (Guo et al., 2017)."""
    sure, right = probability_nC.max(1), probability_nC.argmax(1) == truth_n
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    gap = np.bincount(place, sure, BINS) - np.bincount(place, right, BINS)
    return float(np.abs(gap).sum() / len(sure))


def halves(kind: str, truth: Any, prediction: Any, seed: int, own: Any) -> dict[str, list[float]]:
    """Fits on one half and measures on the other, many times; `own`: errors on the training rows."""
    found: dict[str, list[float]] = {}
    rng = np.random.default_rng(seed)
    for _ in range(HALVES):
        order = rng.permutation(len(truth))
        fit, held = order[: len(order) // 2], order[len(order) // 2 :]
        learned = calibrate(kind, truth[fit], prediction[fit])
        for level in LEVELS:
            asked = learned.at(level)
            if kind == "number":
                low, high = asked.interval(prediction[held])  # type: ignore[misc]
                holds = (low <= truth[held]) & (truth[held] <= high)
            else:
                sets = asked.sets(asked.apply(prediction[held]))
                assert sets is not None
                holds = sets[np.arange(len(held)), truth[held]]
            found.setdefault(f"coverage at {level:g}", []).append(float(holds.mean()))
        if kind == "number":
            low_high = [interval_error(own, truth[held], prediction[held]), interval_error(
                np.abs(truth[fit] - prediction[fit]), truth[held], prediction[held])]  # fmt: skip
            for name, value in zip(("ECE before", "ECE after"), low_high, strict=True):
                found.setdefault(name, []).append(value)
        if kind == "category":
            found.setdefault("ECE before", []).append(calibration_error(prediction[held], truth[held]))
            after = calibration_error(learned.apply(prediction[held]), truth[held])
            found.setdefault("ECE after", []).append(after)
            drawn = (rng.random(len(held))[:, None] > learned.apply(prediction[held]).cumsum(1)).sum(1)
            least = calibration_error(
                learned.apply(prediction[held]), drawn.clip(max=prediction.shape[1] - 1)
            )
            found.setdefault("ECE of no fault", []).append(least)
            found.setdefault("temperature", []).append(learned.temperature)
    return found


def interval_error(errors_m: NDArray[Any], truth_n: NDArray[Any], prediction_n: NDArray[Any]) -> float:
    """Mean gap of asked and held coverage over nine levels, of intervals by the quantiles of some errors."""
    off_n, levels = np.abs(truth_n - prediction_n), np.arange(0.1, 0.91, 0.1)
    held = [float((off_n <= np.quantile(errors_m, level)).mean()) for level in levels]
    return float(np.abs(np.array(held) - levels).mean())


def trained(data: Path, name: str, folder: Path, effort: str) -> tuple[RunDirectory, Table, Table, str]:
    """A quick model, and rows that it has not seen."""
    sources = {
        "adult": ("adult/adult-train.csv", None), "california": ("california_housing/housing.csv", None),
        "fashion_mnist": ("fashion_mnist/train", "fashion_mnist/test"),
    }  # fmt: skip
    first, second = sources[name]
    table = Table.read(data / first)
    rng = np.random.default_rng(7)
    order = rng.permutation(len(table))
    train, test = np.sort(order[: min(20_000, len(table) // 2)]), np.sort(order[len(table) // 2 :])
    target = {"adult": table.names[-1], "california": "median_house_value", "fashion_mnist": "label"}[name]
    rows = {column: list(table.values(column, train)) for column in table.names}
    settings = {**FAST, "data.audit": False, **({"train.epochs": 2} if name == "fashion_mnist" else {})}
    run = shinso.train(rows, predict=target, effort=effort, out=folder / name, quiet=True, settings=settings)
    held = table.take(test) if second is None else Table.read(data / second, RunConfig().data)
    return RunDirectory(run.path), held, Table.read(rows), target


def judged(run: RunDirectory, table: Table, target: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """What is true of rows, and what the run says of them."""
    quiet, column = Console(quiet=True), run.schema[target]
    prediction = predictions_of(run, table, quiet)[target]
    encoded = encode_given(table, (column,), quiet)[target].take(slice(None))
    return np.asarray(truth_of(column, table.values(target), encoded)), np.asarray(prediction)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--effort", default="quick", help="of the training: quick, balanced, best")
    parser.add_argument("names", nargs="*", default=["california", "adult", "fashion_mnist"])
    options, bad = parser.parse_args(), False
    for name in options.names:
        with tempfile.TemporaryDirectory() as folder:
            run, held, seen, target = trained(options.data, name, Path(folder), options.effort)
            column = run.schema[target]
            truth, prediction = judged(run, held, target)
            own = np.abs(np.subtract(*judged(run, seen, target))) if column.kind == "number" else None
        found = halves(column.kind, truth, prediction, 11, own)
        for what, values in found.items():
            mean, spread = float(np.mean(values)), float(np.std(values))
            print(f"{name:14} {what:18} {mean:.4f} (deviation {spread:.4f} over {HALVES} halves)", flush=True)
            if what.startswith("coverage"):
                bad |= abs(mean - float(what.split()[-1])) > POINT
        if "ECE after" in found:
            bad |= float(np.mean(found["ECE after"])) > float(np.mean(found["ECE before"]))
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
