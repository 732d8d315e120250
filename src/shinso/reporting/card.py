"""The model card of a run (Mitchell et al., 2019): what it is for, how good, on whom, at what cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .data import ColumnFacts, ReportData
from .findings import findings
from .words import count, interval, measured, number, percent, word

Json = Mapping[str, Any]
CORE_WATTS, ACCELERATOR_WATTS = 10.0, 300.0  # taken for a busy core, and for a busy accelerator
MOST_CLASSES = 30


def card(data: ReportData) -> str:
    """The card as Markdown, from what the run directory holds."""
    parts = {
        "Intended use": _use(data), "Data": _data(data), "How good it is": _metrics(data),
        "By class": _classes(data), "By slice and group": _slices(data), "Limits": _limits(data),
        "Cost": _cost(data),
    }  # fmt: skip
    lines = [f"# {_text(data.name)}"]
    for title, found in parts.items():
        body = list(found)
        if body:
            lines += ["", f"## {title}", "", *body]
    return "\n".join(lines) + "\n"


def _use(data: ReportData) -> Iterator[str]:
    given = _names(data.given) if data.given else "nothing"
    yield f"Predicts {_names(data.predict)}, given {given}."
    yield "It is meant for rows that come about as the training rows did, in the same units."
    yield "It is not meant for other populations or times than those of its data, nor for decisions about"
    yield "people before the groups concerned were compared: `shinso evaluate RUN --protect COLUMN`."


def _names(columns: Sequence[ColumnFacts]) -> str:
    return ", ".join(f"{_code(c.name)} ({c.kind})" for c in columns)


def _data(data: ReportData) -> Iterator[str]:
    rows = data.evaluation.get("rows", {})
    shares = ", ".join(f"{count(n)} {name}" for name, n in rows.items())
    yield f"{_text(data.source)}: {shares} rows. Made {data.created[:10]} with shinso {data.version}."
    for note in data.notes:
        yield f"- {_text(str(note['message']))}" + (f" ({count(note['count'])})" if note.get("count") else "")
    if data.quarantine:
        yield f"- {count(len(data.quarantine), 'entry')} could not be used (`quarantine.jsonl`)"


def _metrics(data: ReportData) -> Iterator[str]:
    evaluation = data.evaluation
    part = evaluation.get("part", "test")
    evaluated = evaluation.get("evaluated", evaluation.get("rows", {}).get(part, 0))
    yield f"On {count(evaluated, 'row')} ({part}), with 95% intervals:"
    yield from ("", "| predicts | metric | value | interval |", "|---|---|---|---|")
    for name, output in data.outputs.items():
        for metric, found in output["metrics"].items():
            if found.get("value") is not None:
                ends = interval(metric, found)
                yield f"| {_cell(name)} | {word(metric).name} | {measured(metric, found)} | {ends} |"


def _classes(data: ReportData) -> Iterator[str]:
    for name, output in data.outputs.items():
        classes = [c for c in output.get("classes", ()) if c["recall"]["value"] is not None][:MOST_CLASSES]
        if not classes:
            continue
        yield from (f"{_code(name)}", "", "| class | rows | found | interval |", "|---|---|---|---|")
        for one in classes:
            recall = one["recall"]
            ends = f"{percent(recall['low'])} to {percent(recall['high'])}"
            yield f"| {_cell(one['label'])} | {count(one['rows'])} | {percent(recall['value'])} | {ends} |"
        yield ""


def _slices(data: ReportData) -> Iterator[str]:
    for name, found in data.parts.get("worst_slices", {}).items():
        if not found:
            yield f"- {_code(name)}: no slice by one or two given columns is surely worse."
        for one in found:
            yield (
                f"- {_code(name)}, {_text(one['slice'])}: {one['what']} {number(one['value'], 3)}, others "
                f"{number(one['others'], 3)} ({count(one['rows'], 'row')}, corrected p {one['p']:.1g})"
            )
    fair = data.parts.get("fairness") or {}
    for name, output in fair.get("outputs", {}).items():
        for gap, estimate in output["gaps"].items():
            if estimate["value"] is not None:
                ends = interval(gap, estimate)
                yield (
                    f"- {_code(name)} by {_code(fair['protect'])}: {gap.replace('_', ' ')} "
                    f"{measured(gap, estimate)}" + (f" (95% interval {ends})" if ends else "")
                )


def _limits(data: ReportData) -> Iterator[str]:
    for finding in findings(data):
        if finding.level != "good":
            yield f"- {_text(finding.text)}"
    if data.audit is None:
        yield "- The data were not audited."
        return
    for found in data.audit["findings"]:
        yield f"- {found['severity']}: {_text(found['message'])} ({found['check']})"
    if not data.audit["findings"]:
        yield "- The audit of the data found nothing; that is no proof."


def _cost(data: ReportData) -> Iterator[str]:
    seconds = sum(data.seconds.values())
    watts, what = power(data)
    yield (
        f"{seconds:,.0f} seconds, {data.parameters:,} parameters, "
        f"{data.peak_memory / 2**30:.2f} GiB of memory at the highest."
    )
    yield (
        f"About {seconds * watts / 3600:.3g} Wh: an estimate, not a measurement, at {watts:.0f} W ({what}); "
        f"what a data centre adds for cooling is not in it."
    )


def power(data: ReportData) -> tuple[float, str]:
    """Watts that the machine is taken to need, and from what."""
    plan = data.environment.get("plan", {})
    threads = int(plan.get("threads") or 1)
    if str(plan.get("device", "cpu")) != "cpu":
        return ACCELERATOR_WATTS + CORE_WATTS * threads, f"an accelerator and {threads} cores"
    return CORE_WATTS * threads, f"{CORE_WATTS:.0f} W for each of {threads} threads"


def _text(text: str) -> str:
    """Text that Markdown takes for text: on one line, without markup of its own."""
    plain = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*<>[]#|" else c for c in plain)


def _code(name: str) -> str:
    return "`" + " ".join(name.replace("`", "'").split()) + "`"


def _cell(text: str) -> str:
    return _text(text[:60])
