"""What the monitor found, as a page that needs nothing else: what moved, when, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .charts import Line, line_chart, percent0, svg
from .markup import Content, Html, breakable, details, figure, h, section, table
from .page import brand, head, part
from .words import count, duration, number, percent

LINES = ("validation", "train")
MOST_DAYS = 60  # of the map
CELL, NAME, TOP = 16.0, 150.0, 8.0
TWO_DATES = 150.0  # the room that the first and the last date need
LARGEST = 1.3  # times that a map of few days is enlarged


def monitor_page(found: Mapping[str, Any]) -> str:
    """The whole page."""
    days = found["days"]
    when = f"{days[0]['day']} to {days[-1]['day']}" if days else "no request"
    title = h("h1", None, breakable(str(found["run"]).rstrip("/").rpartition("/")[2]))
    meta = h("p", {"class": "meta"}, f"{when} · {found['log']}")
    sections = [
        _verdict(found), _days(found), _columns(found), _quality(found), _experiments(found), _service(found),
        _how(found),
    ]  # fmt: skip
    body = h(
        "body", None, h("header", None, brand("monitor"), title, meta), h("main", None, *sections),
        h("div", {"id": "tip", "role": "status", "hidden": True}), h("script", None, Html(part("report.js"))),
    )  # fmt: skip
    said = "something has moved" if found["alarms"] else "nothing has moved"
    document = h("html", {"lang": "en"}, head(f"{found['run']}: monitor", said), body)
    return f"<!doctype html>\n{document}\n"


def _verdict(found: Mapping[str, Any]) -> Html:
    alarms = found["alarms"]
    tiles = [
        ("Rows", count(found["rows"])), ("Days", count(len(found["days"]))),
        ("Checks", count(len(found["checks"]))), ("Alarms", count(len(alarms))),
    ]  # fmt: skip
    boxes = [h("div", None, h("dt", None, name), h("dd", None, value)) for name, value in tiles]
    parts: list[Content] = [h("dl", {"class": "tiles"}, *boxes)]
    if not alarms:
        parts.append(
            h("p", {"class": "lead"}, "Nothing has moved." if found["rows"] else "There is nothing yet.")
        )
    for alarm in alarms[:12]:
        parts.append(_alarm(alarm))
    if len(alarms) > 12:
        rows = [[a["day"], a["column"], a["check"], a["what"], percent(a["effect"]), _p(a["p"])]
                for a in alarms[12:]]  # fmt: skip
        heading = ["day", "column", "check", "what", "rows that moved", "p"]
        parts.append(details(f"{len(alarms) - 12} more", table(heading, rows, caption="Further alarms.")))
    return section("verdict", "Alarms" if alarms else "All quiet", *parts)


def _alarm(alarm: Mapping[str, Any]) -> Html:
    least = "at least " if alarm["check"] == "embedding" else ""
    facts = [f"p = {_p(alarm['p'])}", f"{least}{percent(alarm['effect'])} of the rows moved"]
    if alarm["psi"] is not None:
        facts.append(f"PSI {number(alarm['psi'], 3)}")
    if alarm["live"] is not None:
        facts.append(f"{number(alarm['live'])} where training had {number(alarm['training'])}")
    kind = h("span", {"class": "severity severe"}, alarm["check"])
    line = h("p", None, kind, " ", h("strong", None, alarm["column"]), h("small", None, f" {alarm['day']}"))
    return h("article", {"class": "finding"}, line, h("p", None, f"{alarm['what']}. {'; '.join(facts)}."))


def _days(found: Mapping[str, Any]) -> Html | None:
    """A map of columns and days: the darker, the more rows moved; framed where it was an alarm."""
    if not found["checks"]:
        return None
    days = [day["day"] for day in found["days"]][-MOST_DAYS:]
    keys = list(dict.fromkeys((c["column"], c["check"]) for c in found["checks"]))
    at = {(c["column"], c["check"], c["day"]): c for c in found["checks"]}
    cell = min(CELL, 560.0 / max(1, len(days)))
    drawn: list[Content] = []
    for row, (column, check) in enumerate(keys):
        y = TOP + row * CELL
        label = f"{column}: {check}"
        shown = label if len(label) <= 24 else label[:23] + "…"
        drawn.append(h("text", {"class": "end", "x": NAME - 6, "y": y + CELL - 4}, shown))
        for place, day in enumerate(days):
            one = at.get((column, check, day))
            if one is not None:
                drawn.append(_square(one, NAME + place * cell, y, cell))
    height = TOP + len(keys) * CELL + 22
    drawn.append(h("text", {"x": NAME, "y": height - 6}, days[0]))
    if len(days) * cell >= TWO_DATES:
        drawn.append(h("text", {"class": "end", "x": NAME + len(days) * cell, "y": height - 6}, days[-1]))
    width = NAME + max(len(days) * cell, 170.0) + 8
    picture = svg(height, f"{len(keys)} checks on {len(days)} days", drawn, width=width)
    note = "The darker, the more rows moved; red is an alarm. Point at a square for its figures."
    room = {"style": f"max-width:{min(760, round(LARGEST * width))}px"}
    return section("days", "Days", h("div", room, figure("Every check of every day", picture, note)))


def _square(one: Mapping[str, Any], x: float, y: float, cell: float) -> Html:
    tip = (f"{one['day']} {one['column']}: {one['check']}\n{one['what']}\n"
           f"{percent(one['effect'])} of the rows moved, p = {_p(one['p'])}")  # fmt: skip
    shade = 1.0 if one["alarm"] else 0.08 + 0.7 * min(1.0, one["effect"] * 2)
    box = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{cell - 1.5:.1f}", "height": f"{CELL - 1.5:.1f}"}
    css = "wrong" if one["alarm"] else "right"
    return h("rect", {"class": css, "style": f"fill-opacity:{shade:.2f}", **box, "data-tip": tip})


def _columns(found: Mapping[str, Any]) -> Html | None:
    """The last day of each check, and over all days the largest move."""
    last: dict[tuple[str, str], Mapping[str, Any]] = {}
    alarms: dict[tuple[str, str], int] = {}
    for check in found["checks"]:
        key = (check["column"], check["check"])
        last[key] = check
        alarms[key] = alarms.get(key, 0) + bool(check["alarm"])
    if not last:
        return None
    rows = [
        [
            name, found["columns"].get(name, ""), kind, percent(one["effect"]),
            "" if one["psi"] is None else number(one["psi"], 3),
            "" if one["live"] is None else number(one["live"]),
            "" if one["training"] is None else number(one["training"]), _p(one["p"]), one["what"],
            count(alarms[name, kind]) if alarms[name, kind] else "",
        ]
        for (name, kind), one in last.items()
    ]  # fmt: skip
    heading = ["column", "type", "check", "moved", "PSI", "that day", "training", "p", "what", "alarms"]
    listed = table(
        heading, rows, numeric=(3, 4, 5, 6, 7, 9), caption="The last day with requests.", sortable=True
    )
    return section("columns", "Columns", listed)


def _quality(found: Mapping[str, Any]) -> Html | None:
    if not found["quality"]:
        return None
    rows = [
        [name, one["metric"].replace("_", " "), _figure(one["metric"], one["value"]),
         f"{_figure(one['metric'], one['low'])} to {_figure(one['metric'], one['high'])}",
         _figure(one["metric"], one["on_test"]), count(one["rows"])]
        for name, one in found["quality"].items()
    ]  # fmt: skip
    heading = ["column", "metric", "live", "95% interval", "test rows", "labelled rows"]
    parts: list[Content] = [table(heading, rows, numeric=(2, 3, 4, 5), caption="Where labels came back.")]
    series = _points(found, "quality")
    if series:
        parts.append(series)
    return section("quality", "Quality", *parts)


def _points(found: Mapping[str, Any], kind: str) -> Html | None:
    """A chart for each predicted column, since each has a unit of its own."""
    order = {day["day"]: float(i + 1) for i, day in enumerate(found["days"])}
    drawn = []
    for name in dict.fromkeys(c["column"] for c in found["checks"] if c["check"] == kind):
        own = [c for c in found["checks"] if (c["column"], c["check"]) == (name, kind)]
        points = [(order[c["day"]], c["live"]) for c in own if c["live"] is not None]
        if len(points) > 1:
            chart = line_chart(
                [Line("validation", name, points)], summary=f"{name} by day", x_name="day",
                text=lambda v: number(v, 3),
            )  # fmt: skip
            drawn.append(figure(f"{name}, day by day", chart))
    return h("div", {"class": "figures"}, *drawn) if drawn else None


def _experiments(found: Mapping[str, Any]) -> Html | None:
    if not found["experiments"]:
        return None
    verdicts = {"better": "better", "worse": "worse", "open": "not told apart yet"}
    rows = [
        [one["second"], one["first"], one["how"],
         "" if one["value"] is None else f"{one['value']:+.4f}", f"{one['low']:+.4f} to {one['high']:+.4f}",
         f"{one['rows'][1]:,} and {one['rows'][0]:,}", verdicts[one["verdict"]]]
        for one in found["experiments"]
    ]  # fmt: skip
    heading = ["version", "beside", "how", "difference", "interval", "labelled rows", "verdict"]
    note = (
        "The intervals hold at every moment at once: you may look as often as you like and stop when it is "
        "decided (empirical Bernstein confidence sequences, Waudby-Smith and Ramdas, 2024)."
    )
    shown = table(heading, rows, numeric=(3, 4, 5), caption="Versions that answered the same stream.")
    return section("experiments", "Versions side by side", shown, h("p", {"class": "note"}, note))


def _service(found: Mapping[str, Any]) -> Html | None:
    days = found["days"]
    if not days:
        return None
    parts: list[Content] = []
    lines = [
        Line(
            css, name, [(float(i + 1), d["latency"][name]) for i, d in enumerate(days) if d["latency"][name]]
        )
        for css, name in zip(LINES, ("p50", "p99"), strict=False)
    ]
    if all(len(line.points) > 1 for line in lines):
        chart = line_chart(lines, summary="latency by day", x_name="day", text=duration, log=True)
        keys = [(line.css, line.name) for line in lines]
        parts.append(h("div", {"class": "figures"}, figure("Latency", chart, keys=keys)))
    rows = [
        [d["day"], count(d["rows"]), _seconds(d["latency"]["p50"]), _seconds(d["latency"]["p95"]),
         _seconds(d["latency"]["p99"]), percent(d["refused"]), percent(d["failed"]), count(d["labelled"]),
         "" if d["tested"] else "too few rows"]
        for d in reversed(days)
    ]  # fmt: skip
    heading = ["day", "rows", "p50", "p95", "p99", "refused", "failed", "labelled", ""]
    listed = table(heading, rows, numeric=(1, 2, 3, 4, 5, 6, 7), caption="Days in UTC.")
    parts.append(details("Every day", listed) if len(days) > 10 else listed)
    return section("service", "Service", *parts)


def _how(found: Mapping[str, Any]) -> Html:
    text = (
        f"Each day is compared with a sample of the training rows: numbers by Kolmogorov and Smirnov's test, "
        f"classes by chi-square and by Fisher's exact test of each, texts, pictures and sounds by the "
        f"maximum mean discrepancy of a few figures about each. {_embeddings(found)}Holm's correction runs "
        f"over {count(found['hypotheses'])} hypotheses, those of {found['days_held']} days: where nothing "
        f"moves, all of these days stay quiet with {percent0(1 - found['level'])}. An alarm also needs 2% of "
        f"the rows to have moved."
    )
    return section("how", "How this is measured", h("p", {"class": "note"}, text))


def _embeddings(found: Mapping[str, Any]) -> str:
    told = found["embedding"]
    if told is None:
        return ""
    other = f" {count(told['other_vectors'])} more come from other graphs and cannot be compared." * bool(
        told["other_vectors"]
    )
    return (
        f"What the network makes of a row, its embedding, is compared with that of rows held back from "
        f"training, by the unbiased maximum mean discrepancy: {count(told['vectors'])} were.{other} "
    )


def _p(p: float) -> str:
    return f"{p:.1e}" if p < 0.001 else f"{p:.3f}"


def _seconds(value: float | None) -> str:
    return "" if value is None else duration(value)


def _figure(metric: str, value: float | None) -> str:
    if value is None:
        return "n/a"
    return percent(value) if metric == "accuracy" else number(value)
