"""The work behind the verbs of `api.py`: from what the user gave to what the modules take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from . import training
from .answers import answers, calibrated, covering, require_columns
from .config import RunConfig
from .console import Console
from .data.given import encode_given, read_aloud, refuse_bad
from .data.loader import Loader
from .data.sources import Source
from .data.table import Table
from .data.tabular import Tabular
from .diagnosis import examine
from .errors import RunError, SettingError
from .evaluation import measure, predict_rows, truth_of, unseen_labels
from .explaining import explain as explaining
from .explaining.explain import Asked
from .files import read_json, write_atomic
from .forecasting import Window
from .machine import this_machine
from .metrics import coverage as coverage_of
from .mitigation import shift
from .plan import applied, make_plan
from .preparing import Question
from .rates import LEAST_STEPS
from .reports import write_report
from .run import RunDirectory
from .slices import Measured, measured_rows
from .stress import measure as robust
from .writing import check_suffix, write_table

BATCH = 1024


def train(
    data: Source, *, predict: tuple[str, ...], given: tuple[str, ...] | None, types: Mapping[str, str],
    settings: Mapping[str, Any], window: tuple[int | None, int | None], out: str | Path | None,
    resume: str | Path | None, allow: tuple[str, ...], quiet: bool,
) -> Path:  # fmt: skip
    """See `api.train`; gives the path of the run."""
    console = Console(quiet=quiet)
    if resume is not None:
        return training.resume(Path(resume), data, console, allow).path
    if data is None:
        raise SettingError("Say what to train on: shinso train DATA --predict COLUMN.")
    config = RunConfig().override(dict(settings))
    question = Question(predict, given, types, *window)
    return training.train(data, question, config, None if out is None else Path(out), console).path


def machine(threads: int | None) -> dict[str, Any]:
    """See `api.machine`."""
    config = RunConfig().override({"train.threads": threads})
    found = this_machine(threads)
    return {**asdict(found), "plan": make_plan(config.train, found).to_dict()}


def find_rate(
    data: Source, *, predict: tuple[str, ...], given: tuple[str, ...] | None, types: Mapping[str, str],
    settings: Mapping[str, Any], steps: int, quiet: bool,
) -> dict[str, Any]:  # fmt: skip
    """See `api.find_rate`."""
    if steps < LEAST_STEPS:
        raise SettingError(f"A range test takes at least {LEAST_STEPS} steps; received {steps}.")
    console = Console(quiet=quiet)
    config = RunConfig().override(dict(settings))
    question = Question(predict, given, types, None, None)
    return training.find_rate(data, question, config, steps, console).to_dict()


def predict(
    path: Path, data: Source, *, coverage: float | None, abstain: bool, fair: bool, out: str | Path | None,
    allow: tuple[str, ...], quiet: bool,
) -> dict[str, list[Any]]:  # fmt: skip
    """See `api.predict`."""
    if out is not None:
        check_suffix(Path(out))
    run = opened(path, allow)
    calibration = covering(run.schema, run.calibration, coverage, abstain=abstain, of=str(path))
    table = read_aloud(data, run.config.data, Console(quiet=quiet))
    window = run.data["window"]
    if window is not None:
        found = forecast(run, Window.restore(window), table, Console(quiet=quiet))
    else:
        require_columns(run.schema, table.names, targets=False)
        predictions = predictions_of(run, table, Console(quiet=quiet))
        found = {table.key_name: list(table.keys())}
        found |= answers(run.schema, predictions, calibration, sets=coverage is not None, abstain=abstain)
        if fair:
            found |= by_thresholds(run, table, predictions)
    if out is not None:
        write_table(Path(out), found)
    return found


def by_thresholds(run: RunDirectory, table: Tabular, predictions: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The answers of the category by the thresholds of each row's group."""
    stored = thresholds_of(run)
    column = run.schema[stored["column"]]
    table.check(stored["protect"])
    probabilities = calibrated(column, predictions[column.name], run.calibration)
    shifted = shift(probabilities, table.values(stored["protect"]), stored["thresholds"])
    return {column.name: [column.decode(row) for row in shifted]}


def thresholds_of(run: RunDirectory) -> dict[str, Any]:
    """What `mitigate` stored."""
    if not (run.path / "thresholds.json").exists():
        raise RunError(
            f"{run.path} keeps no thresholds by group. "
            f"Make them: shinso mitigate {run.path} --protect COLUMN."
        )
    found = read_json(run.verified("thresholds.json"))
    if not isinstance(found, dict) or not {"column", "protect", "thresholds"} <= set(found):
        raise RunError(f"{run.path / 'thresholds.json'} is damaged. Make it again with `shinso mitigate`.")
    return found


def forecast(run: RunDirectory, window: Window, table: Table, console: Console) -> dict[str, list[Any]]:
    """What follows the last row of a table: a row for each step ahead, a column for each predicted one."""
    last = window.last(table, run.schema)
    (name,) = (c.name for c in run.schema.predict)
    return window.steps(predictions_of(run, last, console)[name][0])


def predictions_of(run: RunDirectory, table: Tabular, console: Console) -> dict[str, Any]:
    """By predicted column, in the order of the table: what the network gives."""
    store = encode_given(table, run.schema.given, console)
    refuse_bad(store.bad)
    loader = Loader(store, run.schema.given, np.arange(len(table)), BATCH)
    with applied(run.plan):
        return predict_rows(run.network.to(run.plan.device), run.schema, loader, run.plan, run.config.seed)


def evaluate_table(run: RunDirectory, table: Tabular, console: Console) -> dict[str, Any]:
    """Metrics of a run on rows that it has not seen; rows without a target are counted and left out."""
    return judged(run, table, console)[0]


def judged(run: RunDirectory, table: Tabular, console: Console) -> tuple[dict[str, Any], Measured]:
    """Metrics of a run on rows, and the rows with what is true and what was predicted of them."""
    started, block = time.perf_counter(), 1
    if run.data["window"] is not None:
        window = Window.restore(run.data["window"])
        assert isinstance(table, Table)
        table, block = window.everything(table, run.config.data), window.ahead
    require_columns(run.schema, table.names, targets=True)
    predictions = predictions_of(run, table, console)
    targets = encode_given(table, run.schema.predict, console)
    refuse_bad(targets.bad)
    for name, count in unseen_labels(run.schema, targets).items():
        console.say(f"! {count:,} rows have a {name!r} that training never saw; they are not measured")
    truths = {
        c.name: truth_of(c, table.values(c.name), targets[c.name].take(slice(None)))
        for c in run.schema.predict
    }
    calibration = run.calibration
    outputs = measure(run.schema, predictions, truths, calibration, run.config.seed, block)
    measured = measured_rows(table, run.schema, truths, predictions, calibration, run.config.seed, block)
    for c in run.schema.predict:
        held = coverage_of(c.kind, truths[c.name], measured.predictions[c.name], calibration[c.name])
        outputs[c.name] |= {} if held is None else {"coverage": held}
    found = {
        "part": "data",
        "data": table.describe(),
        "rows": {"data": len(table)},
        "evaluated": len(table),
        "unseen_labels": unseen_labels(run.schema, targets),
        "outputs": outputs,
        "seconds": round(time.perf_counter() - started, 3),
    }
    return found, measured


def explain(
    path: Path, data: Source, *, method: str | None, rows: int, column: str | None, out: str | Path | None,
    allow: tuple[str, ...], quiet: bool,
) -> dict[str, Any]:  # fmt: skip
    """See `api.explain`; explanations that stand in the run are shown in its report."""
    run = opened(path, allow)
    asked = Asked(method, rows, column, None if out is None else Path(out))
    with applied(run.plan):
        found = explaining.explain(run, data, asked, Console(quiet=quiet))
    if out is None:
        write_report(run, run.evaluation)
        run.seal()
    return found


def doctor(
    source: Any, predict: tuple[str, ...], given: tuple[str, ...] | None, settings: Mapping[str, Any],
    data: Any, allow: tuple[str, ...], *, column: str | None, report: str | Path | None, quiet: bool,
) -> dict[str, Any]:  # fmt: skip
    """See `api.doctor`."""
    page = None if report is None else Path(report)
    return examine.doctor(source, predict, given, settings, data, Console(quiet=quiet), allow, column, page)


def robustness(
    path: Path, data: Source, *, against: tuple[str, ...], rows: int, out: str | Path | None,
    allow: tuple[str, ...], quiet: bool,
) -> dict[str, Any]:  # fmt: skip
    """See `api.robustness`."""
    if rows < 2:
        raise SettingError(f"--rows must be 2 or more; received {rows}.")
    run = opened(path, allow)
    folder = None if out is None else Path(out)
    with applied(run.plan):
        return robust.robustness(run, data, against, rows, folder, Console(quiet=quiet))


def report(path: Path, *, out: str | Path | None) -> Path:
    """See `api.report`."""
    run = opened(path, ())
    if out is not None:
        write_atomic(Path(out), write_report(run, run.evaluation, save=False))
        return Path(out)
    write_report(run, run.evaluation)
    run.seal()
    return run.path / "report.html"


def opened(path: Path, allow: tuple[str, ...]) -> RunDirectory:
    """A complete run."""
    run = RunDirectory(path, allow=allow)
    run.require_complete()
    return run
