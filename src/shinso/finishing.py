"""What follows the last step of training: calibrate, evaluate, set baselines beside, report, seal."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import save

from .baselines import Part, baselines
from .calibration import Calibration, calibrate
from .columns import Column
from .columns.base import is_missing
from .console import Console
from .data.loader import Rows
from .data.table import Table
from .evaluation import calibrated, labels_of, measure, predict_rows, truth_of, unseen_labels
from .files import write_atomic
from .loop import Fitted, to_tensors
from .machine import peak_memory, this_machine
from .metrics import coverage
from .mistakes import worst
from .network import Network
from .operations import operations
from .plan import Plan, autocast
from .preparing import Prepared
from .randomness import private_randomness
from .reporting.terminal import summary_lines
from .reports import write_report
from .run import RunDirectory
from .slices import measured_rows, worst_slices
from .watching.keeping import keep_reference

BATCH = 1024
BASELINE_SHARE = 0.15  # of the training time
BASELINE_KINDS = ("category", "number", "labels")
LEAST_BASELINE, MOST_BASELINE = 2.0, 20.0  # seconds
LEFT_FOR_WRITING = 1.0  # seconds kept of a time limit
LARGE = frozenset({"image", "mask", "text"})  # kinds of output that are evaluated on a part of the rows
MOST_LARGE = 500
COUNTED = 32  # rows whose operations are counted
SUMMARISED = 100_000  # training rows that a summary looks at


def finish(
    run: RunDirectory, prepared: Prepared, network: Network, plan: Plan, fitted: Fitted, console: Console, *,
    seconds: dict[str, float], deadline: float | None,
) -> None:  # fmt: skip
    """Write everything that makes a run complete, from the trained network."""
    run.write_weights(network.state_dict())
    started = time.perf_counter()
    seed = run.config.seed
    calibration = fit_calibration(network, prepared, plan, seed)
    run.write_json("calibration.json", {name: c.to_dict() for name, c in calibration.items()})
    part = "test" if len(prepared.split.test) else "validation" if len(prepared.split.validation) else "train"
    rows = evaluated_rows(prepared, part)
    predicting = time.perf_counter()
    predictions = predict_rows(
        network, prepared.schema, prepared.loader(rows, BATCH, targets=False), plan, seed
    )
    fitted.work.seconds["predict"] = time.perf_counter() - predicting
    truths = truths_of(prepared, rows)
    block = prepared.window.ahead if prepared.window else 1  # neighbouring windows overlap
    outputs = measure(prepared.schema, predictions, truths, calibration, seed, block)
    add_coverage(outputs, prepared, predictions, truths, calibration)
    seconds["evaluate"] = time.perf_counter() - started
    started = time.perf_counter()
    for column in prepared.schema.predict:
        outputs[column.name]["baselines"] = measure_baselines(
            prepared, column, rows, calibrated(column, predictions[column.name], calibration),
            budget(seconds, deadline), seed,
        )  # fmt: skip
    seconds["baselines"] = time.perf_counter() - started
    started = time.perf_counter()
    slices = sliced(prepared, rows, predictions, truths, calibration, seed)
    seconds["slices"] = time.perf_counter() - started
    evaluation = {
        "part": part,
        "rows": {name: len(found) for name, found in prepared.parts.items()},
        "evaluated": len(rows),
        "unseen_labels": unseen_labels(prepared.schema, prepared.store),
        "outputs": outputs,
        "worst_slices": slices,
        "training": {
            **training_facts(network, fitted, plan, seconds),
            "phases": phases(prepared, network, fitted, plan, len(rows)),
        },
    }
    run.write_json("evaluation.json", evaluation)
    write_predictions(run, prepared, rows, predictions, truths, calibration)
    run.write_json("mistakes.json", worst(prepared, rows, predictions, truths, calibration))
    run.write_json("summary.json", summaries(prepared))
    keep_reference(run.path, prepared.table, prepared.split.train, prepared.schema, run.config)
    write_report(run, evaluation)
    run.seal()
    shutil.rmtree(run.path / "checkpoints", ignore_errors=True)  # not before all else is written
    for line in summary_lines(evaluation):
        console.say(line)


def sliced(
    prepared: Prepared, rows: Rows, predictions: Mapping[str, Any], truths: Mapping[str, Any],
    calibration: Mapping[str, Calibration], seed: int,
) -> dict[str, Any]:  # fmt: skip
    """The worst slices of the evaluated rows; none of windows, whose columns are series."""
    if not isinstance(prepared.table, Table):
        return {}
    part = prepared.table.take(rows)
    return worst_slices(measured_rows(part, prepared.schema, truths, predictions, calibration, seed))


def write_predictions(
    run: RunDirectory, prepared: Prepared, rows: Rows, predictions: Mapping[str, Any],
    truths: Mapping[str, Any],
    calibration: Mapping[str, Calibration],
) -> None:  # fmt: skip
    """Keep truth and prediction of the evaluated rows, so that runs can be compared row by row."""
    arrays: dict[str, Any] = {"rows": np.asarray(rows)}
    for c in prepared.schema.predict:
        if c.kind in ("category", "number"):
            kind = np.int64 if c.kind == "category" else np.float64
            arrays[f"{c.name}.truth"] = np.ascontiguousarray(truths[c.name], kind)
            arrays[f"{c.name}.prediction"] = np.ascontiguousarray(
                calibrated(c, predictions[c.name], calibration),
                np.float32 if c.kind == "category" else np.float64,
            )
    write_atomic(run.path / "predictions.safetensors", save(arrays))


def fit_calibration(network: Network, prepared: Prepared, plan: Plan, seed: int) -> dict[str, Calibration]:
    """Temperature and conformal quantiles of each predicted column, from validation rows."""
    rows = prepared.split.validation
    kinds = {c.kind for c in prepared.schema.predict}
    if not len(rows) or not kinds & {"category", "number"}:
        return {c.name: Calibration() for c in prepared.schema.predict}
    predictions = predict_rows(
        network, prepared.schema, prepared.loader(rows, BATCH, targets=False), plan, seed
    )
    truths = truths_of(prepared, rows)
    return {c.name: calibrate(c.kind, truths[c.name], predictions[c.name]) for c in prepared.schema.predict}


def truths_of(prepared: Prepared, rows: Rows) -> dict[str, Any]:
    """By predicted column: what is true of `rows`, as metrics take it."""
    return {
        c.name: truth_of(c, prepared.table.values(c.name, rows), prepared.store[c.name].take(rows))
        for c in prepared.schema.predict
    }


def evaluated_rows(prepared: Prepared, part: str) -> Rows:
    """The rows of a part that are evaluated: all, but only some where outputs are written or painted."""
    rows = prepared.parts[part]
    if any(c.kind in LARGE for c in prepared.schema.predict) and len(rows) > MOST_LARGE:
        return rows[np.linspace(0, len(rows) - 1, MOST_LARGE).astype(np.int64)]
    return rows


def measure_baselines(
    prepared: Prepared, column: Column, rows: Rows, prediction: Any, seconds: float, seed: int
) -> list[dict[str, Any]]:
    """What simple models reach on the same rows, and what the network gains over each of them."""
    if column.kind not in BASELINE_KINDS or not prepared.schema.given:
        return []

    def side(chosen: Rows, sampled_from: int) -> Part:
        inputs = {c.name: (c, prepared.table.values(c.name, chosen)) for c in prepared.schema.given}
        target = truth_of(
            column, prepared.table.values(column.name, chosen), prepared.store[column.name].take(chosen)
        )
        return Part(inputs=inputs, target=target, sampled_from=sampled_from)

    train = prepared.split.train
    return baselines(
        column.kind, side(spread_rows(train), len(train)), side(rows, 0), labels_of(column),
        seed=seed, seconds=seconds, prediction=prediction,
    )  # fmt: skip


def add_coverage(
    outputs: dict[str, Any], prepared: Prepared, predictions: Mapping[str, Any], truths: Mapping[str, Any],
    calibration: Mapping[str, Calibration],
) -> None:  # fmt: skip
    """How often intervals and class sets held the truth, beside the metrics of each output that has them."""
    for c in prepared.schema.predict:
        held = coverage(
            c.kind, truths[c.name], calibrated(c, predictions[c.name], calibration), calibration[c.name]
        )
        if held is not None:
            outputs[c.name]["coverage"] = held


def spread_rows(rows: Rows, most: int = 20_000) -> Rows:
    """Baselines learn from at most so many rows, evenly spread."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def budget(seconds: Mapping[str, float], deadline: float | None) -> float:
    """Seconds that baselines may take: a share of the training time, and never past a time limit."""
    wanted = min(MOST_BASELINE, max(LEAST_BASELINE, BASELINE_SHARE * seconds["train"]))
    if deadline is None:
        return wanted
    return max(0.1, min(wanted, deadline - time.monotonic() - LEFT_FOR_WRITING))


def phases(
    prepared: Prepared, network: Network, fitted: Fitted, plan: Plan, evaluated: int
) -> dict[str, dict[str, float]]:
    """By phase of the computing: seconds, operations a second, and their share of the machine's roof."""
    sample = prepared.split.train[:COUNTED]
    (rows, arrays), *_ = prepared.loader(sample, COUNTED, targets=False).in_order()
    batch = to_tensors(arrays, plan.device)
    # With gradients: the counter cannot follow inputs that could have one and do not.
    with private_randomness("operations"), autocast(plan):
        forward = operations(lambda: network.predict(batch, len(rows))) / len(rows)
    work = fitted.work
    found = {
        "compute": work.operations,
        "validate": forward * len(prepared.split.validation) * fitted.work.times.get("validate", 0),
        "predict": forward * evaluated,
    }
    roof = this_machine(plan.threads).roof(plan.precision, onednn=plan.onednn)
    facts = {name: {"seconds": round(spent, 3)} for name, spent in work.seconds.items()}
    for name, count in found.items():
        if facts.get(name, {}).get("seconds"):
            rate = count / work.seconds[name]
            facts[name] |= {"flops": count, "flops_per_second": rate, "share_of_roof": rate / roof}
    return facts


def training_facts(
    network: Network, fitted: Fitted, plan: Plan, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """What the run cost: time by phase, memory, operations and their share of the machine's roof."""
    progress, work = fitted.progress, fitted.work
    roof = this_machine(plan.threads).roof(plan.precision, onednn=plan.onednn)
    computing = work.seconds.get("compute", 0.0)
    rate = work.operations / computing if computing > 0 else 0.0
    return {
        "steps": progress.step,
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "stopped": progress.stopped,
        "skipped_steps": progress.skipped,
        "checkpoints": fitted.checkpoints,
        "parameters": sum(p.numel() for p in network.parameters()),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "peak_memory_bytes": peak_memory(),
        "flops": work.operations,
        "flops_per_second": rate,
        "roof_flops_per_second": roof,
        "share_of_roof": rate / roof,
    }


def summaries(prepared: Prepared) -> dict[str, Any]:
    """By column: facts about its training values and one of them, for the report and for drift."""
    rows = spread_rows(prepared.split.train, SUMMARISED)
    found = {}
    for c in prepared.schema:
        values = prepared.table.values(c.name, rows)
        shown = next((c.show(v) for v in values[:SUMMARISED] if not is_missing(v)), "")
        found[c.name] = {"kind": c.kind, **c.summary(values), "example": shown}
    return found
