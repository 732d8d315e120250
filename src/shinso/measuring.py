"""The verbs `evaluate` and `mitigate`: figures by class, slice and group, and what is required of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from .console import Console
from .data.given import read_aloud
from .data.sources import Source
from .data.table import Table
from .errors import DataError, SettingError
from .evaluation import labels_of
from .fairness import check, fairness, groups_in
from .files import write_json
from .metrics import evaluate_predictions
from .mitigation import shift, thresholds_for
from .plan import applied
from .preparing import prepare
from .repeating import cross_validated, learning_curve, own_table, question_of
from .reports import keep_parts
from .run import RunDirectory
from .slices import Measured, by_slices, worst_slices
from .verbs import judged, opened, thresholds_of


@dataclass(frozen=True)
class Wanted:
    """What is asked of an evaluation beside its metrics."""

    by: tuple[str, ...] = ()  # columns or conditions
    protect: str | None = None
    positive: str | None = None
    require: tuple[str, ...] = ()
    fair: bool = False  # by the thresholds that the run keeps
    folds: int | None = None
    curve: bool = False

    @property
    def rows(self) -> bool:
        """Whether rows have to be predicted again."""
        return bool(self.by or self.protect or self.fair)


def evaluate(
    path: Path, data: Source, wanted: Wanted, *, out: str | Path | None, allow: tuple[str, ...], quiet: bool
) -> dict[str, Any]:
    """See `api.evaluate`."""
    run, console = opened(path, allow), Console(quiet=quiet)
    if data is None and not wanted.rows:
        found = dict(run.evaluation)
    else:
        table = own_rows(run) if data is None else read_aloud(data, run.config.data, console)
        found, measured = judged(run, table, console)
        if data is None:
            found["part"], found["rows"] = run.evaluation["part"], {run.evaluation["part"]: len(table)}
        if wanted.fair:
            found, measured = fairly(run, found, measured)
        found |= detailed(measured, wanted)
    if wanted.folds is not None:
        found["cross_validation"] = cross_validated(run, wanted.folds, console)
    if wanted.curve:
        found["learning_curve"] = learning_curve(run, console)
    if data is None and (wanted.rows or wanted.folds is not None or wanted.curve) and not wanted.fair:
        keep_parts(run, found)
    if wanted.require:
        found["required"] = check(wanted.require, found)
        found["passed"] = all(one["holds"] for one in found["required"])
    if out is not None:
        write_json(Path(out), found)
    return found


def detailed(measured: Measured, wanted: Wanted) -> dict[str, Any]:
    """What slices and groups show."""
    found: dict[str, Any] = {"worst_slices": worst_slices(measured)}
    if wanted.by:
        found["slices"] = by_slices(measured, wanted.by)
    if wanted.protect is not None:
        found["fairness"] = fairness(measured, wanted.protect, wanted.positive)
    return found


def own_rows(run: RunDirectory) -> Table:
    """The rows that training measured the run on, read again from its data."""
    rows = load_file(run.verified("predictions.safetensors"))["rows"]
    return own_table(run).take(np.asarray(rows, np.int64))


def fairly(run: RunDirectory, found: dict[str, Any], measured: Measured) -> tuple[dict[str, Any], Measured]:
    """The same, with answers by the thresholds that the run keeps for each group."""
    stored = thresholds_of(run)
    name = stored["column"]
    measured.table.check(stored["protect"])
    moved = shift(measured.predictions[name], measured.values(stored["protect"]), stored["thresholds"])
    measured = replace(measured, predictions={**measured.predictions, name: moved})
    column = run.schema[name]
    output = evaluate_predictions(
        "category", measured.truths[name], moved, labels_of(column), run.config.seed
    )
    return {**found, "fair": stored, "outputs": {**found["outputs"], name: output}}, measured


def mitigate(
    path: Path, protect: str | None, goal: str, *, allow: tuple[str, ...], quiet: bool
) -> dict[str, Any]:
    """See `api.mitigate`."""
    run, console = opened(path, allow), Console(quiet=quiet)
    if protect is None:
        raise SettingError("Say which column holds the groups: shinso mitigate RUN --protect COLUMN.")
    columns = [c for c in run.schema.predict if c.kind == "category" and len(labels_of(c)) == 2]
    if not columns:
        raise SettingError(
            f"{run.path} predicts no category of two classes, for which thresholds by group are made. "
            f"Train with --protect {protect} instead: rows are then drawn so that groups are alike."
        )
    table = own_table(run)
    table.check(protect)
    with applied(run.plan):
        prepared = prepare(table, question_of(run), run.config, Console(quiet=True), run.schema)
    rows = prepared.split.validation
    if not len(rows):
        raise DataError(f"{run.path} has no validation rows to choose thresholds on.")
    _, measured = judged(run, table.take(rows), console)
    groups = groups_in(protect, measured.values(protect))
    _refuse_quarters(groups.labels, measured, protect)
    column = columns[0]
    truth, probability = np.asarray(measured.truths[column.name]), measured.predictions[column.name][:, 1]
    thresholds, reached = thresholds_for(goal, groups.labels, groups.codes_n, truth, probability)
    stored = {
        "column": column.name, "protect": protect, "goal": goal, "positive": labels_of(column)[1],
        "thresholds": thresholds, "validation": {**reached, "rows": len(rows)},
    }  # fmt: skip
    run.write_json("thresholds.json", stored)
    run.seal()
    return {"run": str(run.path), **stored}


def _refuse_quarters(labels: Sequence[str], measured: Measured, protect: str) -> None:
    values = measured.values(protect)
    if values.dtype.kind in "fM" and any(label.startswith("from ") for label in labels):
        raise SettingError(
            f"Column {protect!r} holds numbers. Thresholds are kept for groups: add a column with the group."
        )
