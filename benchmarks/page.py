"""The table of docs/benchmarks.md, written from results.jsonl."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ratios import Metric, Ratio, verdict

BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"
HEAD = (
    "| # | measurement | ours | peer | out of the box | times better | with our precision | times better "
    "| asked (moonshot) | |\n|---|---|---|---|---|---|---|---|---|---|"
)
SCALES = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))


def newest(entries: Sequence[Mapping[str, Any]], form: str = "full") -> dict[str, Mapping[str, Any]]:
    """The newest line of each measurement in one form."""
    return {e["measurement"]: e for e in entries if e.get("measurement") and e.get("form") == form}


def number(value: float, unit: str = "") -> str:
    """Three digits and a unit.

    >>> number(1234567.0, "FLOP/s"), number(0.01234, "s"), number(46500.0)
    ('1.23 MFLOP/s', '0.0123 s', '46,500')
    """
    if unit not in ("", "s") and value >= 1e3:
        letter, scale = next((letter, scale) for letter, scale in SCALES if value >= scale)
        return f"{value / scale:.3g} {letter}{unit}"
    digits = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return f"{digits} {unit}".strip()


def shown(side: Mapping[str, Any] | None, metric: Metric) -> str:
    """Median and range of one side, or why there is none."""
    if side is None:
        return ""
    found = side["metrics"].get(metric.name)
    if found is None or found["median"] is None:
        return side.get("failed") or _unreached(side, metric)
    text = number(found["median"], metric.unit)
    if len(found["values"]) > 1:
        low, high = (number(found[end], metric.unit) for end in ("low", "high"))
        unit = " " + text.split()[-1]
        text += f" ({low.removesuffix(unit)} to {high.removesuffix(unit)})"
    return text


def _unreached(side: Mapping[str, Any], metric: Metric) -> str:
    total = side["metrics"].get(metric.total, {}).get("median") if metric.total else None
    quality = side["metrics"].get("accuracy", {}).get("median")
    if total is None or quality is None:
        return "not measured"
    return f"not reached: {quality:.4f} after {number(total, 's')}"


def times(found: Mapping[str, Any] | None) -> str:
    """A ratio."""
    return "" if found is None else f"{'over ' if found['at_least'] else ''}{number(found['value'])}"


def asked(metric: Metric) -> str:
    """The ratio that was asked, and the moonshot; the share of the roof."""
    if metric.must is None:
        return ""
    share = f", {metric.roof:.0%} of the roof" if metric.roof else ""
    return f"{metric.must:.3g}{f' ({metric.moonshot:.3g})' if metric.moonshot else ''}{share}"


def rows(entry: Mapping[str, Any]) -> Iterator[str]:
    """The lines of one measurement: a metric and a peer each."""
    for stored in entry["metrics"]:
        metric = Metric(**stored)
        for peer in entry["peers"]:
            box, knob = entry["sides"].get(peer), entry["sides"].get(f"{peer} + bf16")
            found = entry["ratios"].get(peer, {}).get(metric.name)
            with_knob = entry["ratios"].get(f"{peer} + bf16", {}).get(metric.name)
            if box is None or (metric.name not in box["answered"] and not box.get("failed")):
                continue
            own = shown(entry["sides"]["shinso"], metric)
            share = entry.get("share_of_roof", {}).get(metric.name)
            own += f", {share:.0%} of the roof" if share else ""
            compared = peer not in entry.get("beside", ())
            judged = verdict(metric, None if found is None else Ratio(**found), share) if compared else ""
            yield " | ".join(
                ["", entry["row"], f"{entry['title']}: {metric.name.replace('_', ' ')}", own, peer,
                 shown(box, metric), times(found), shown(knob, metric), times(with_knob),
                 asked(metric) if compared else "",
                 judged, ""]
            ).strip()  # fmt: skip


def table(entries: Sequence[Mapping[str, Any]]) -> str:
    """Everything between the markers."""
    found = newest(entries)
    if not found:
        return "No peer has been measured yet."
    lines = [machine_of(found), "", HEAD]
    for entry in sorted(found.values(), key=lambda e: e["row"]):
        lines += rows(entry)
    return "\n".join(lines)


def machine_of(found: Mapping[str, Mapping[str, Any]]) -> str:
    """One paragraph: machine, roofs, versions, commits."""
    last = list(found.values())[-1]
    machine, roofs = last["machine"], last["roofs"]
    rates = ", ".join(f"{name.replace('_', ' ')} {number(rate, 'FLOP/s')}" for name, rate in roofs.items())
    versions: dict[str, str] = {}
    for entry in found.values():
        versions |= entry["versions"]
    commits = sorted({entry["commit"] for entry in found.values()})
    return (
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['accelerator'] or 'no GPU'}, "
        f"{machine['system']}. Roofs measured first: {rates}. "
        f"Versions: {', '.join(f'{name} {version}' for name, version in sorted(versions.items()))}. "
        f"Commit {', '.join(commits)}, {last['date']}."
    )


def write(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Put the table between the markers of a page."""
    text = path.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} lacks the markers {BEGIN} and {END}: put them where the table belongs.")
    path.write_text(f"{before}{BEGIN}\n{table(entries)}\n{END}{after}", "utf-8")
