"""The verb `compare`: two runs side by side, and whether their difference is more than chance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from .config import settings
from .data.subject import holm
from .errors import RunError
from .later import Later
from .run import RunDirectory
from .schema import display_width, pad

stats = Later("scipy.stats")

Floats = NDArray[np.float64]
RESAMPLES = 2_000
LEVEL = 0.05
FEWEST_BEYOND = 10  # resamples on the other side of zero, below which their share says little
MOST_RIVALS = 30  # runs in the same folder that are counted


@dataclass(frozen=True)
class Rowwise:
    """One number a test row, whose mean (or the root of it) is a metric; the two runs share the rows."""

    metric: str
    values: Callable[[NDArray[Any], NDArray[Any]], Floats]  # truth, prediction -> (n,)
    root: bool = False


def _correct(truth: NDArray[Any], probabilities: NDArray[Any]) -> Floats:
    return (probabilities.argmax(1) == truth).astype(np.float64)


def _negative_log(truth: NDArray[Any], probabilities: NDArray[Any]) -> Floats:
    return -np.log(np.maximum(probabilities[np.arange(len(truth)), truth].astype(np.float64), 1e-12))


def _squared(truth: NDArray[Any], prediction: NDArray[Any]) -> Floats:
    return (prediction.astype(np.float64) - truth) ** 2


def _absolute(truth: NDArray[Any], prediction: NDArray[Any]) -> Floats:
    return np.abs(prediction.astype(np.float64) - truth)


ROWWISE: dict[str, tuple[Rowwise, ...]] = {
    "category": (Rowwise("accuracy", _correct), Rowwise("log_loss", _negative_log)),
    "number": (Rowwise("rmse", _squared, root=True), Rowwise("mae", _absolute)),
}


def compare(a: Path, b: Path, tried: int | None = None) -> dict[str, Any]:
    """Metrics of both runs, paired differences with 95% intervals, settings that differ.

    Differences are paired when both runs were evaluated on the same rows of the same data; otherwise the
    result says why they are not. P-values are corrected (Holm) for all metrics and for all runs on the same
    data beside `b` (or for `tried` runs): of many that were tried, one looks better by luck. What does not
    withstand that is called "no real difference".
    """
    first, second = RunDirectory(a), RunDirectory(b)
    left, right = first.evaluation, second.evaluation
    shared = shared_outputs(left, right)
    if not shared:
        raise RunError(
            f"{a} predicts {_predicted(left)} and {b} predicts {_predicted(right)}: there is nothing to "
            f"compare. Compare runs that predict the same column, as the same type."
        )
    outputs = {name: _output(left["outputs"][name], right["outputs"][name]) for name in shared}
    reason = _unpaired(first, second, left, right)
    if not reason:
        for name in shared:
            outputs[name]["differences"] = paired(first, second, name, left["outputs"][name]["kind"])
    rivals = rivals_of(first, second) if tried is None else []
    family = max(2, tried or 0, 2 + len(rivals))
    correct(outputs, [_p_values(first, rival, shared, left) for rival in rivals], family)
    result = {
        "runs": [str(a), str(b)],
        "outputs": outputs,
        "paired": not reason,
        "tried": family,
        "reason": reason,
        "settings": differing(first, second),
        "seconds": [left["training"]["seconds"]["train"], right["training"]["seconds"]["train"]],
    }
    return {**result, "lines": _lines(result)}


def shared_outputs(left: dict[str, Any], right: dict[str, Any]) -> list[str]:
    """The columns that two evaluations measured, both as the same type."""
    one, two = left["outputs"], right["outputs"]
    return [name for name in one if name in two and one[name]["kind"] == two[name]["kind"]]


def _predicted(evaluation: dict[str, Any]) -> str:
    return ", ".join(f"{name} ({output['kind']})" for name, output in evaluation["outputs"].items())


def paired(first: RunDirectory, second: RunDirectory, name: str, kind: str) -> dict[str, dict[str, Any]]:
    """By metric: value of b minus value of a on the same rows, its interval and its p-value."""
    x, y = _stored(first), _stored(second)
    truth = x[f"{name}.truth"] if f"{name}.truth" in x else np.zeros(0)
    known = truth >= 0 if kind == "category" else np.isfinite(truth)
    found = {}
    for rowwise in ROWWISE.get(kind, ()):
        one = rowwise.values(truth[known], x[f"{name}.prediction"][known])
        two = rowwise.values(truth[known], y[f"{name}.prediction"][known])
        found[rowwise.metric] = difference(one, two, root=rowwise.root)
        if rowwise.metric == "accuracy":
            better, worse = int((two > one).sum()), int((two < one).sum())
            p = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
            found["accuracy"] |= {"mcnemar_p": float(p), "only_b_right": better, "only_a_right": worse}
            found["accuracy"]["p"] = float(p)
    return found


def difference(one: Floats, two: Floats, *, root: bool, seed: int = 0) -> dict[str, Any]:
    """Mean (or root mean) of `two` minus that of `one`, with a paired bootstrap interval.

    >>> d = difference(np.zeros(50), np.ones(50), root=False)
    >>> d["value"], d["p"] < 0.01
    (1.0, True)
    """
    rng = np.random.default_rng(seed)
    end = (lambda v: np.sqrt(v)) if root else (lambda v: v)
    n = len(one)
    if n == 0:
        return {"value": None, "low": None, "high": None, "p": 1.0}
    sampled = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        rows = rng.integers(0, n, n)
        sampled[i] = end(two[rows].mean()) - end(one[rows].mean())
    low, high = np.quantile(sampled, [LEVEL / 2, 1 - LEVEL / 2])
    return {
        "value": float(end(two.mean()) - end(one.mean())),
        "low": float(low),
        "high": float(high),
        "p": _bootstrap_p(sampled),
    }


def _bootstrap_p(sampled: Floats) -> float:
    """Twice the share of resamples beyond zero; where they are few, that of a normal through them."""
    beyond = min(int((sampled <= 0).sum()), int((sampled >= 0).sum()))
    if beyond >= FEWEST_BEYOND:
        return min(1.0, 2 * beyond / len(sampled))
    spread = float(sampled.std())
    if spread == 0.0:
        return 1.0 if float(sampled.mean()) == 0.0 else 0.0
    return float(2 * stats.norm.sf(abs(float(sampled.mean())) / spread))


def rivals_of(first: RunDirectory, second: RunDirectory) -> list[RunDirectory]:
    """The other complete runs beside `second` on the same data, which count as tried too."""
    found = []
    for path in sorted(second.path.resolve().parent.iterdir()):
        if path in (first.path.resolve(), second.path.resolve()) or not (path / "manifest.json").exists():
            continue
        try:
            run = RunDirectory(path)
            same = run.data["fingerprint"] == second.data["fingerprint"]
            if same and {c.name for c in run.schema.predict} & {c.name for c in second.schema.predict}:
                found.append(run)
        except RunError:
            continue  # a damaged neighbour is no reason not to compare
    return found[:MOST_RIVALS]


def _p_values(
    first: RunDirectory, rival: RunDirectory, shared: list[str], left: dict[str, Any]
) -> dict[tuple[str, str], float]:
    """By output and metric: the p-value of the difference between `first` and another run."""
    try:
        if _unpaired(first, rival, left, rival.evaluation):
            return {}
        kinds = {name: output["kind"] for name, output in rival.evaluation["outputs"].items()}
        names = [name for name in shared if kinds.get(name) == left["outputs"][name]["kind"]]
        names = [name for name in names if f"{name}.truth" in _stored(rival)]
        return {
            (name, metric): one["p"]
            for name in names
            for metric, one in paired(first, rival, name, left["outputs"][name]["kind"]).items()
        }
    except RunError:
        return {}  # a damaged neighbour counts as tried, and does not keep others from being compared


def correct(outputs: dict[str, Any], others: list[dict[tuple[str, str], float]], tried: int) -> None:
    """Correct the p-values of all differences (Holm), and say which differences are real.

    Runs of which no paired p-value is known count as if they had the same one: the safe side.
    """
    places = [(name, metric) for name, o in outputs.items() for metric in o.get("differences", {})]
    values = [outputs[name]["differences"][metric]["p"] for name, metric in places]
    known = [p for one in others for p in one.values()]
    unknown = max(0, tried - 2) * len(places) - len(known)
    for (name, metric), p in zip(places, values, strict=True):
        found = outputs[name]["differences"][metric]
        found["corrected_p"] = holm([*values, *known, *([p] * max(0, unknown))])[values.index(p)]
        found["real"] = bool(found["corrected_p"] < LEVEL)


def differing(first: RunDirectory, second: RunDirectory) -> dict[str, list[Any]]:
    """Settings that are not alike, with both values."""
    one, two = first.config.model_dump(), second.config.model_dump()

    def value(config: dict[str, Any], name: str) -> Any:
        for part in name.split("."):
            config = config[part]
        return config

    pairs = {name: [value(one, name), value(two, name)] for name in settings()}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _output(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    names = [m for m in left["metrics"] if m in right["metrics"]]
    return {
        "kind": left["kind"],
        "main": left["main"],
        "metrics": {m: [left["metrics"][m], right["metrics"][m]] for m in names},
    }


def _unpaired(first: RunDirectory, second: RunDirectory, left: dict[str, Any], right: dict[str, Any]) -> str:
    if first.data["fingerprint"] != second.data["fingerprint"]:
        return "the runs were trained on different data"
    one, two = _stored(first), _stored(second)
    if left["part"] != right["part"] or not np.array_equal(one["rows"], two["rows"]):
        return "the runs were evaluated on different rows (another seed or split)"
    return ""


def _stored(run: RunDirectory) -> dict[str, NDArray[Any]]:
    path = run.verified("predictions.safetensors")
    try:
        found: dict[str, NDArray[Any]] = load_file(path)
    except SafetensorError as error:
        raise RunError(f"{path} is damaged: {error}. Restore it from a copy.") from None
    return found


def _lines(result: dict[str, Any]) -> list[str]:
    a, b = result["runs"]
    lines = [f"a: {a} ({result['seconds'][0]:.1f} s of training)", f"b: {b} ({result['seconds'][1]:.1f} s)"]
    for name, output in result["outputs"].items():
        lines += ["", f"{name} ({output['kind']})"]
        width = max(display_width(m) for m in output["metrics"])
        for metric, (x, y) in output["metrics"].items():
            lines.append(
                f"  {pad(metric, width)}  a {_interval(x)}  b {_interval(y)}{_verdict(output, metric)}"
            )
    if not result["paired"]:
        lines += ["", f"Differences were not tested: {result['reason']}."]
    elif result["tried"] > 2:
        lines += ["", f"P-values are corrected for {result['tried']} runs that were tried."]
    if result["settings"]:
        lines += ["", "settings that differ (a, b)"]
        lines += [f"  {name}: {x!r}, {y!r}" for name, (x, y) in result["settings"].items()]
    return lines


def _interval(estimate: dict[str, Any]) -> str:
    if estimate["value"] is None or not math.isfinite(estimate["value"]):
        return "unknown"
    if estimate.get("low") is None:
        return f"{estimate['value']:.4g}"
    return f"{estimate['value']:.4g} [{estimate['low']:.4g}, {estimate['high']:.4g}]"


def _verdict(output: dict[str, Any], metric: str) -> str:
    found = output.get("differences", {}).get(metric)
    if not found or found["value"] is None:
        return ""
    word = "a real difference" if found["real"] else "no real difference"
    interval = f"[{found['low']:+.4g}, {found['high']:+.4g}]"
    return f"  b - a {found['value']:+.4g} {interval}, p {found['corrected_p']:.2g}: {word}"
