"""Training a run's model again on other rows: cross-validation, and the error against the number of rows."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit
from scipy.stats import t as student

from .config import RunConfig
from .console import Console
from .data.folds import folded
from .data.split import Split
from .data.table import Table
from .errors import RunError, SettingError
from .metrics import lower_is_better
from .plan import applied, make_plan
from .preparing import Question, parted, prepare
from .pretrained import suited
from .run import RunDirectory
from .starting import start
from .training import Job, complete, locked
from .weights import open_weights

Floats = NDArray[np.float64]
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
FEWEST = 40  # training rows of a point of the curve
SHARES_OF_ONE = frozenset(
    "accuracy balanced_accuracy f1 f1_macro f1_micro precision recall roc_auc calibration_error brier "
    "subset_accuracy exact_match mean_iou pixel_accuracy".split()
)
DRAWS = 200  # of the points within their intervals, for the interval of the curve
WORTH = 0.05  # of the error that twice the rows should take away before more rows are called worth it


def own_table(run: RunDirectory) -> Table:
    """The data that a run was trained on, read again; `RunError` where it is away or has changed."""
    source = run.data["source"]
    if source is None:
        raise RunError(
            f"{run.path} was trained on data in memory. Give the rows: shinso evaluate {run.path} DATA."
        )
    if run.data["window"] is not None:
        raise RunError(f"{run.path} forecasts a series. Give the rows: shinso evaluate {run.path} DATA.")
    table = Table.read(source, run.config.data)
    if table.fingerprint != run.data["fingerprint"]:
        raise RunError(
            f"{table.describe()} is not what {run.path} was trained on: its content has changed. Put the "
            f"old data back, or give the rows: shinso evaluate {run.path} DATA."
        )
    return table


def question_of(run: RunDirectory) -> Question:
    """What the run was asked, with the types that it found."""
    schema = run.schema
    given = tuple(c.name for c in schema.given) or ("nothing",)
    return Question(tuple(c.name for c in schema.predict), given, {c.name: c.kind for c in schema})


def train_again(run: RunDirectory, table: Table, parts: Split, path: Path) -> RunDirectory:
    """A run with the same settings on other rows, columns fitted anew."""
    run.check_allowed()
    config = run.config.override({"data.audit": False, "minutes": None})
    plan, console = make_plan(config.train), Console(quiet=True)
    weights = open_weights(config.model)
    with applied(plan):
        prepared = prepare(
            table, question_of(run), config, console, parts=parts,
            suit=lambda schema: suited(schema, config, weights),
        )  # fmt: skip
        made = start(path, prepared, config, None, weights)
        with locked(made):
            seconds = {"read": 0.0, **prepared.seconds}
            return complete(Job(made, prepared, plan, console, None, seconds, weights))


def usable_rows(run: RunDirectory, table: Table) -> tuple[NDArray[np.int64], Any]:
    """The rows that have a target, and the target's values where classes are to have equal shares."""
    target = run.schema.predict[0]
    values = table.values(target.name)
    rows = np.flatnonzero([v is not None and v == v for v in values.tolist()])
    return rows, values[rows] if target.kind == "category" and run.config.data.stratify else None


def cross_validated(run: RunDirectory, folds: int, console: Console) -> dict[str, Any]:
    """Every metric on each fold, with its mean and the interval of the mean.

    Folds share training rows, so their results vary less than those of new data would; the interval is
    widened for it (Nadeau and Bengio, 2003).
    """
    table = own_table(run)
    rows, target = usable_rows(run, table)
    splits = folded(table, run.config.data, target, rows, folds, run.config.seed)
    evaluations = _each(run, table, splits, console, "fold")
    sizes = [(len(s.train) + len(s.validation), len(s.test)) for s in splits]
    ratio = float(np.mean([test / train for train, test in sizes]))
    outputs = {}
    for name, output in evaluations[0]["outputs"].items():
        each = [e["outputs"][name]["metrics"] for e in evaluations]
        means = {metric: _mean([m[metric]["value"] for m in each], ratio, metric) for metric in each[0]}
        outputs[name] = {"main": output["main"], "metrics": means}
    options = run.config.data
    by = "time" if options.time else "group" if options.group else "class" if target is not None else "chance"
    return {"folds": folds, "by": by, "rows": [list(pair) for pair in sizes], "outputs": outputs}


def _each(
    run: RunDirectory, table: Table, splits: Sequence[Split], console: Console, what: str
) -> list[dict[str, Any]]:
    found = []
    folder = Path(tempfile.mkdtemp(prefix="shinso-"))
    try:
        with console.progress(what) as advance:
            for i, parts in enumerate(splits):
                advance(i, len(splits))
                found.append(train_again(run, table, parts, folder / f"{i}").evaluation)
                console.say(f"{what} {i + 1} of {len(splits)}: {_said(found[-1])}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _said(evaluation: Mapping[str, Any]) -> str:
    outputs = evaluation["outputs"].items()
    return ", ".join(f"{name} {o['main']} {_figure(o['metrics'][o['main']]['value'])}" for name, o in outputs)


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _mean(values: Sequence[float | None], ratio: float, metric: str) -> dict[str, Any]:
    known = np.array([v for v in values if v is not None], np.float64)
    if len(known) < 2:
        return {"value": None, "low": None, "high": None, "folds": list(values), "method": ""}
    error = float(np.sqrt((1 / len(known) + ratio) * known.var(ddof=1)))
    reach = float(student.ppf(0.975, len(known) - 1)) * error
    mean = float(known.mean())
    low, high = mean - reach, mean + reach
    if metric in SHARES_OF_ONE:
        low, high = max(0.0, low), min(1.0, high)
    elif lower_is_better(metric):
        low = max(0.0, low)
    return {"value": mean, "low": low, "high": high, "folds": list(values), "method": "corrected resampled t"}


# ---------------------------------------------------------------- would more data help?


def learning_curve(run: RunDirectory, console: Console) -> dict[str, Any]:
    """The error on the validation rows after training on ever more rows, and what twice as many would bring.

    A power law with a floor (Cortes et al., 1993) is fitted to the main metric of the first predicted column;
    its interval comes from fitting it to points drawn within their intervals.
    """
    table = own_table(run)
    rows, target = usable_rows(run, table)
    parts = parted(table, run.config, target, rows)
    if not len(parts.validation):
        raise SettingError("A learning curve is measured on validation rows, and this run has none.")
    order = _ordered(parts.train, run.config)
    counts = sorted({max(FEWEST, round(share * len(order))) for share in SHARES})
    if len(order) < 4 * FEWEST:
        raise SettingError(
            f"{len(order)} training rows are too few for a learning curve; expected {4 * FEWEST}."
        )
    splits = [Split(np.sort(order[:n]), parts.validation, parts.validation) for n in counts]
    evaluations = _each(run, table, splits, console, "size")
    name, output = next(iter(evaluations[-1]["outputs"].items()))
    metric = output["main"]
    points = [e["outputs"][name]["metrics"][metric] for e in evaluations]
    found = {"column": name, "metric": metric, "rows": counts, "points": points, "part": "validation"}
    return {**found, **foreseen(np.array(counts, np.float64), points, metric)}


def _ordered(train: NDArray[np.int64], config: RunConfig) -> NDArray[np.int64]:
    """Training rows in the order in which the curve adds them: the latest first where time counts."""
    if config.data.time is not None:
        return train[::-1]
    return np.random.default_rng(config.seed).permutation(train)


def power_law(n: Floats, scale: float, power: float, floor: float) -> Floats:
    """The error after n rows."""
    return np.asarray(scale * n**-power + floor)


def foreseen(rows_P: Floats, points: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Any]:
    """The fitted law, the error now and after twice the rows with its interval, and what to say of it."""
    lower = lower_is_better(metric)
    values = np.array([p["value"] for p in points], np.float64)
    errors = values if lower else 1 - values
    spread = np.array([(p["high"] - p["low"]) / 3.92 if p.get("low") is not None else 0.0 for p in points])
    fitted = _fit(rows_P, errors)
    rng = np.random.default_rng(0)
    twice = 2 * rows_P[-1:]
    gains = []
    for _ in range(DRAWS):
        law = _fit(rows_P, np.maximum(errors + spread * rng.standard_normal(len(errors)), 1e-9))
        if law is not None:
            gains.append(1 - float(power_law(twice, *law)[0] / max(1e-12, power_law(rows_P[-1:], *law)[0])))
    if fitted is None or len(gains) < DRAWS / 2:
        return {"law": None, "verdict": "The points do not follow a law that could be fitted."}
    now, then = (float(power_law(n, *fitted)[0]) for n in (rows_P[-1:], twice))
    low, high = np.quantile(gains, [0.025, 0.975])
    gain = 1 - then / max(1e-12, now)
    return {
        "law": dict(zip(("scale", "power", "floor"), map(float, fitted), strict=True)),
        "error": now, "error_of_twice": then,
        "gain_of_twice": {"value": gain, "low": float(low), "high": float(high)},
        "verdict": _verdict(gain, float(low), float(high)),
    }  # fmt: skip


def _fit(rows: Floats, errors: Floats) -> tuple[float, float, float] | None:
    scale = float(max(errors[0], 1e-9))
    try:
        found, _ = curve_fit(
            lambda n, a, b, c: power_law(n / rows[0], a, b, c), rows, errors, p0=(scale, 0.5, 0.0),
            bounds=((0, 0, 0), (20 * scale, 3, max(float(errors.min()), 1e-9))), maxfev=2000,
        )  # fmt: skip
    except RuntimeError:
        return None
    return float(found[0] * rows[0] ** found[1]), float(found[1]), float(found[2])


def _verdict(gain: float, low: float, high: float) -> str:
    said = f"twice the rows would take away {gain:.1%} of the error ({low:.1%} to {high:.1%})"
    if low > WORTH:
        return f"More data would help: {said}."
    if high < WORTH:
        return f"More data would hardly help: {said}."
    return f"More data may help: {said}."
