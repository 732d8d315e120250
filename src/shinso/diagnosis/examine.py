"""The verb `doctor`: every check that applies, and a ranked list of what to do next."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import RunConfig
from ..console import Console
from ..data.table import Table
from ..errors import SettingError, did_you_mean
from ..files import write_atomic
from ..heads import HeadOptions
from ..plan import applied, make_plan
from ..preparing import Question
from ..recipes import resolve
from ..reopening import reopened
from ..reporting.doctor_page import doctor_page
from ..run import RunDirectory
from ..training import check_network, facts, windowed_and_prepared
from . import answering, inputs, learning
from .patient import Finding, Patient

# (name, check, whether it needs a trained network); what comes first explains what comes later.
CHECKS: tuple[tuple[str, Callable[[Patient], Finding], bool], ...] = (
    ("leakage", inputs.giveaway, False),
    ("duplicates", inputs.both_sides, False),
    ("time", inputs.across_time, False),
    ("input normalised", learning.normalised, False),
    ("loss weighting", answering.weighting, False),
    ("frozen layers", learning.frozen, True),
    ("dead units", learning.dead_units, False),
    ("learning rate", learning.learning_rate, False),
    ("gradients", learning.gradients, False),
    ("one batch", learning.one_batch, False),
    ("uses its inputs", answering.uses_inputs, True),
    ("augmentation", answering.augmentation, True),
    ("label noise", answering.label_noise, True),
    ("train/validation gap", answering.gap, True),
    ("trained to the end", answering.finished, True),
    ("baseline", answering.baseline, True),
)
RANK = {"severe": 0, "warning": 1, "note": 2, "fine": 3}


def examine(patient: Patient, console: Console) -> dict[str, Any]:
    """Run the checks; gives findings, the worst first, and the commands in that order."""
    started, found = time.perf_counter(), []
    wanted = [(name, check) for name, check, trained in CHECKS if patient.run is not None or not trained]
    with applied(patient.plan), console.progress("examining") as advance:
        for i, (name, check) in enumerate(wanted):
            advance(i, len(wanted), name)
            found.append(check(patient))
    ranked = sorted(found, key=lambda finding: RANK[finding.level])
    asked = [f for f in ranked if f.level in ("severe", "warning")]
    predicted = [column.name for column in patient.prepared.schema.predict]
    return {
        "patient": patient.name if patient.run is None else str(patient.run.path),
        "column": patient.output.name,
        "others": [name for name in predicted if name != patient.output.name],
        "findings": [finding.to_dict() for finding in ranked],
        "next": [{"why": f.check, "advice": f.advice, "command": f.command} for f in asked],
        "healthy": not asked,
        "seconds": round(time.perf_counter() - started, 3),
    }


def patient_of_run(run: RunDirectory, source: Any, console: Console) -> Patient:
    """A run with the rows that it was trained on."""
    run.require_complete()
    run.check_allowed()  # its checks build networks of the run's settings
    prepared = reopened(run, source, Console(quiet=True))
    name = run.data["source"] if isinstance(run.data["source"], str) else "DATA"
    return Patient(prepared, run.config, run.plan, name, run.head_options(), run)


def patient_of_data(
    source: Any, predict: tuple[str, ...], given: tuple[str, ...] | None, settings: Mapping[str, Any],
    console: Console,
) -> Patient:  # fmt: skip
    """Data with the network that training would begin with."""
    config = RunConfig().override(dict(settings))
    table = Table.read(source, config.data)
    prepared = windowed_and_prepared(table, Question(predict, given), config, Console(quiet=True))
    config = resolve(config, prepared.schema, facts(prepared))
    check_network(prepared.schema, config)
    plan = make_plan(config.train)
    smooth, loss = config.train.label_smoothing or 0.0, config.train.loss or ""
    options = {c.name: HeadOptions(label_smoothing=smooth, loss=loss) for c in prepared.schema.predict}
    name = str(source) if isinstance(source, str | Path) else "DATA"
    return Patient(prepared, config, plan, name, options)


def doctor(
    source: Any, predict: tuple[str, ...], given: tuple[str, ...] | None, settings: Mapping[str, Any],
    data: Any, console: Console, allow: tuple[str, ...] = (), *, column: str | None = None,
    report: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Examine a run directory, or data; a folder without config.toml is data. `report` is a page to write."""
    if isinstance(source, str | Path) and (Path(source) / "config.toml").exists():
        if predict or given or settings:
            raise SettingError("A run is examined as it is: --predict, --given and --set are for data.")
        patient = patient_of_run(RunDirectory(Path(source), allow=allow), data, console)
    else:
        patient = patient_of_data(source, predict, given, settings, console)
    found = examine(replace(patient, column=predicted(patient, column)), console)
    if report is not None:
        write_atomic(report, doctor_page(found))
    return found


def predicted(patient: Patient, column: str | None) -> str | None:
    """The name of a predicted column as it was asked for; `SettingError` where it is none."""
    names = [c.name for c in patient.prepared.schema.predict]
    if column is not None and column not in names:
        raise SettingError(f"{column!r} is not predicted. {did_you_mean(column, names)}")
    return column


def lines(found: Mapping[str, Any]) -> list[str]:
    """For a terminal: each check with its number, then what to do next."""
    signs = {"severe": "✗", "warning": "!", "note": "·", "fine": "✓"}
    said = []
    if found["others"]:
        said = [f"Looked at: {found['column']}. Not at: {', '.join(found['others'])} (--column).", ""]
    said += [f"{signs[f['level']]} {f['check']}: {f['said'].rstrip('.')}." for f in found["findings"]]
    if found["healthy"]:
        return [*said, "", "Nothing to mend was found."]
    said += ["", "What to do next:"]
    for i, one in enumerate(found["next"], 1):
        said += [f"{i}. {one['advice']} ({one['why']})", f"   {one['command']}"]
    return said
