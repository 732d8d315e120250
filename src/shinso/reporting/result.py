"""The part of the report that says how good the network is, and what it bought over simple models."""

from __future__ import annotations

from collections.abc import Sequence

from ..metrics import lower_is_better
from . import charts
from .data import Json, ReportData
from .findings import findings
from .markup import Content, Html, h, join, section, table
from .words import compact, count, duration, interval, measured, memory, word

SIGNS = {"good": "✓", "note": "·", "warning": "!"}


def result(data: ReportData) -> Html:
    """The headline of every predicted column, what to take away, and all metrics."""
    parts: list[Content] = [headline(data, name, output) for name, output in data.outputs.items()]
    said = findings(data)
    if said:
        items = [
            h("li", {"class": f"is-{f.level}"}, h("span", {"aria-hidden": "true"}, SIGNS[f.level]), f.text)
            for f in said
        ]
        parts.append(h("ul", {"class": "findings"}, *items))
    parts.append(tiles(data))
    parts += [metrics_table(name, output) for name, output in data.outputs.items()]
    return section("result", "Result", *parts)


def headline(data: ReportData, name: str, output: Json) -> Html:
    """The main metric in large type, and beside it the simple models on the same axis."""
    main = output["main"]
    found = output["metrics"][main]
    part = data.evaluation.get("part", "test")
    rows = data.evaluation.get("evaluated", data.evaluation.get("rows", {}).get(part, 0))
    ends = interval(main, found)
    claim = [
        h("p", {"class": "metric"}, word(main).name, h("span", {"class": "of"}, f" of {name}")),
        h("p", {"class": "value"}, measured(main, found)),
        h("p", {"class": "small"}, f"95% interval {ends}" if ends else found.get("reason", "")),
        h(
            "p",
            {"class": "small"},
            f"on {count(rows, f'{part} row')} it never saw"
            if part == "test"
            else f"on {count(rows, f'{part} row')}",
        ),
    ]
    return h("div", {"class": "headline"}, h("div", {"class": "claim"}, *claim), forest(output))


def forest(output: Json) -> Html | None:
    """This run and the simple models as dots with their intervals on one axis."""
    main = output["main"]
    rows = [("this run", output["metrics"][main], True)]
    rows += [
        (b["name"], b["metrics"].get(main, {}), False) for b in output.get("baselines", ()) if "metrics" in b
    ]
    rows = [row for row in rows if row[1].get("value") is not None]
    if len(rows) < 2:
        return None
    rows.sort(key=lambda row: row[1]["value"], reverse=not lower_is_better(main))
    scale = _forest_scale([row[1] for row in rows])
    like = output["metrics"][main]
    lines = [_forest_row(name, main, estimate, like, scale, own=own) for name, estimate, own in rows]
    better = "lower is better" if lower_is_better(main) else "higher is better"
    title = h("p", {"class": "small"}, f"{word(main).name} beside simple models on the same rows; {better}")
    return h("div", {"class": "forest"}, title, h("ol", None, *lines))


def _forest_scale(estimates: Sequence[Json]) -> charts.Scale:
    """An axis for all; for all but the last where that one is so far off that the others would be one dot."""
    spans = []
    for shown in (estimates, estimates[:-1]):
        ends = [
            value for e in shown for value in (e.get("low"), e.get("high"), e["value"]) if value is not None
        ]
        spans.append((min(ends), max(ends)))
    wide, narrow = (high - low for low, high in spans)
    low, high = spans[1] if len(estimates) > 2 and wide > 3 * narrow > 0 else spans[0]
    room = (high - low) * 0.06 or 1.0
    return charts.Scale(low - room, high + room, 0, 100)


def _forest_row(name: str, main: str, estimate: Json, like: Json, scale: charts.Scale, *, own: bool) -> Html:
    inside = scale.low <= estimate["value"] <= scale.high
    marks: list[Content] = []
    if not inside:
        left = estimate["value"] < scale.low
        marks.append(
            h("span", {"class": "off" if left else "off right"}, "← far off" if left else "far off →")
        )
    elif estimate.get("low") is not None:
        low, high = scale(estimate["low"]), scale(estimate["high"])
        marks.append(h("span", {"class": "ends", "style": f"left:{low:.2f}%;width:{high - low:.2f}%"}))
    if inside:
        marks.append(h("span", {"class": "at", "style": f"left:{scale(estimate['value']):.2f}%"}))
    ends = interval(main, estimate)
    tip = f"{name}: {measured(main, estimate)}" + (f" ({ends})" if ends else "")
    return h(
        "li",
        {"class": "own" if own else None},
        h("span", {"class": "name"}, name),
        h("span", {"class": "track", "data-tip": tip}, *marks),
        h("span", {"class": "figure"}, measured(main, estimate, like)),
    )


def tiles(data: ReportData) -> Html:
    """What the run cost, in a row of figures."""
    rows = data.evaluation.get("rows", {})
    facts: list[tuple[str, str]] = []
    if rows.get("train"):
        facts.append((count(rows["train"]), "training rows"))
    if data.parameters:
        facts.append((compact(data.parameters), "parameters"))
    if data.seconds:
        facts.append((duration(data.seconds.get("train", sum(data.seconds.values()))), "of training"))
    if data.peak_memory:
        facts.append((memory(data.peak_memory), "peak memory"))
    if data.flops_per_second:
        facts.append((compact(data.flops_per_second, "FLOP/s"), "while training"))
    return h(
        "dl",
        {"class": "tiles"},
        *[h("div", None, h("dt", None, name), h("dd", None, value)) for value, name in facts],
    )


def metrics_table(name: str, output: Json) -> Html:
    """All metrics with their intervals, and the same metrics of the simple models."""
    fitted = [row for row in output.get("baselines", ()) if "metrics" in row]
    head: list[Content] = ["Metric", "This run", "95% interval", *[row["name"] for row in fitted]]
    rows: list[list[Content]] = []
    for metric, found in output["metrics"].items():
        said = word(metric)
        title = [said.name, h("small", None, said.meaning)] if said.meaning else [said.name]
        ends = interval(metric, found) or h("small", None, found.get("reason", ""))
        others = [measured(metric, row["metrics"].get(metric, {}), found) for row in fitted]
        rows.append([title, h("strong", None, measured(metric, found)), ends, *others])
    if output.get("positive"):
        note = f" Precision, recall and F1 are those of “{output['positive']}”."
    else:
        note = ""
    shown = table(head, rows, numeric=range(1, len(head)), caption=f"All metrics of {name}.{note}")
    skipped = [
        h("p", {"class": "note"}, f"{row['name']}: {row['skipped']}")
        for row in output.get("baselines", ())
        if "skipped" in row
    ]
    return join([shown, *skipped])
