"""A run directory as the plain data that the report is made of."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from .files import read_json, write_atomic
from .reporting.card import card
from .reporting.data import ColumnFacts, Mistake, ReportData
from .reporting.page import build_report
from .run import RunDirectory
from .version import VERSION

PARTS = "parts.json"
KEPT = ("slices", "worst_slices", "fairness", "cross_validation", "learning_curve")


def write_report(run: RunDirectory, evaluation: dict[str, Any], *, save: bool = True) -> str:
    """Make the report of a run and its card from its files; write them beside those unless told not to."""
    data = report_data(run, evaluation)
    page = build_report(data)
    if save:
        write_atomic(run.path / "report.html", page)
        write_atomic(run.path / "card.md", card(data))
    return page


def report_data(run: RunDirectory, evaluation: dict[str, Any]) -> ReportData:
    """All that the report shows, read from the run directory."""
    facts, environment = evaluation["training"], read_json(run.path / "environment.json")
    return ReportData(
        name=run.path.name,
        columns=columns_of(run),
        evaluation=evaluation,
        source=run.data["name"],
        created=environment.get("created", ""),
        version=VERSION,
        stopped=facts["stopped"],
        notes=run.data["notes"],
        quarantine=run.quarantine,
        history=run.metrics,
        calibration=read_json(run.path / "calibration.json"),
        mistakes={
            name: [_mistake(m) for m in found]
            for name, found in read_json(run.path / "mistakes.json").items()
        },
        seconds=facts["seconds"],
        parameters=facts["parameters"],
        peak_memory=facts["peak_memory_bytes"],
        flops_per_second=facts["flops_per_second"],
        roof=facts["roof_flops_per_second"],
        settings=run.config.model_dump(),
        chosen=run.data.get("chosen", []),
        environment=environment,
        parts=parts_of(run, evaluation),
        audit=read_json(run.path / "audit.json") if (run.path / "audit.json").exists() else None,
        explanation=explanation_of(run),
    )


def parts_of(run: RunDirectory, evaluation: dict[str, Any]) -> dict[str, Any]:
    """What is known of parts of the rows: from training, and from `shinso evaluate` since then."""
    path = run.path / PARTS
    found = read_json(path) if path.is_file() else {}
    first = {"worst_slices": evaluation["worst_slices"]} if evaluation.get("worst_slices") else {}
    return {**first, **found} if isinstance(found, dict) else first


def keep_parts(run: RunDirectory, found: Mapping[str, Any]) -> None:
    """Keep what was measured on parts of the run's own rows, and show it in its report and card."""
    known = {name: found[name] for name in KEPT if name in found}
    if known:
        run.write_json(PARTS, {**parts_of(run, {}), **known})
        write_report(run, run.evaluation)
        run.seal()


def explanation_of(run: RunDirectory) -> dict[str, Any]:
    """What `shinso explain` left in the run, if it was asked."""
    path = run.path / "explanations" / "explanation.json"
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def columns_of(run: RunDirectory) -> list[ColumnFacts]:
    """Every column with its summary of the training rows and one example."""
    summaries = read_json(run.path / "summary.json")
    return [
        ColumnFacts(
            name=c.name, kind=c.kind, role="given" if c in run.schema.given else "predict",
            summary={k: v for k, v in summaries[c.name].items() if k not in ("kind", "example")},
            example=summaries[c.name].get("example", ""),
        )
        for c in run.schema
    ]  # fmt: skip


def now() -> str:
    """The time of day, for `environment.json`."""
    return datetime.datetime.now(datetime.UTC).astimezone().isoformat(timespec="seconds")


def _mistake(found: dict[str, Any]) -> Mistake:
    return Mistake(
        truth=str(found["truth"]),
        predicted=str(found["predicted"]),
        probability=found.get("probability"),
        error=found.get("error"),
        low=found.get("low"),
        high=found.get("high"),
        row=str(found.get("key", "")),
        cells=found["cells"],
        drawn=bool(found.get("html", False)),
    )
