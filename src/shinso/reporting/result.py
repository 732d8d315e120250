"""The part of the report that says how good the network is, and where it errs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..metrics import lower_is_better
from . import charts
from .data import Json, ReportData
from .findings import findings
from .markup import Content, Html, details, figure, h, join, scroll, table
from .words import compact, count, duration, interval, measured, memory, number, percent, word

MOST_CELLS = 24  # classes of a confusion table whose counts are written out
MOST_BESIDE = 12  # classes of a confusion table that leaves room beside it
STRONG = 0.79  # share from which a cell is so dark that its text turns: contrast stays above 4.5
SHORT_LABEL = 3  # letters of a label that stands upright over its column
MOST_CLASSES = 20  # rows of the table of classes that are shown at once
MOST_PAIRS = 8
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


def errors(data: ReportData) -> Html | None:
    """Where predictions and truth differ."""
    parts: list[Content] = []
    for name, output in data.outputs.items():
        shown = list(_errors_of(name, output, data.calibration.get(name, {})))
        if shown and len(data.outputs) > 1:
            parts.append(h("h3", None, name))
        parts += shown
    return section("errors", "Where it is right and wrong", *parts) if parts else None


def _errors_of(name: str, output: Json, calibration: Json) -> Iterator[Html]:
    pictures: list[Content] = []
    tables: list[Content] = []
    if output.get("points", {}).get("truth"):
        pictures += [predicted_against_true(name, output), residuals(name, output)]
    counts = output.get("confusion", {}).get("counts")
    if counts and len(counts) <= MOST_CELLS:
        tables.append(confusion(output["labels"], counts))
    elif counts:
        summary = f"Confusion of {len(counts)} classes: rows are true, columns predicted"
        note = (
            "Rows are the true classes, columns the predicted ones, in the order of training. Red: confused."
        )
        pictures.append(figure("Confusion", charts.heat(counts, output["labels"], summary=summary), note))
    if output.get("reliability"):
        pictures.append(calibration_plot(output, calibration))
    pairs = confused(output)
    if pairs:
        tables.append(pairs)
    if tables:
        yield h("div", {"class": "beside"}, *tables) if len(output["labels"]) <= MOST_BESIDE else join(tables)
    listed = classes(output) if output.get("classes") else None
    if listed and len(pictures) == 1:
        yield h("div", {"class": "figures with-table"}, *pictures, listed)
    else:
        yield join([h("div", {"class": "figures"}, *pictures) if pictures else None, listed])


def confusion(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Html:
    """The table of true against predicted classes, shaded by the share of the true class."""
    head = h(
        "tr",
        None,
        h("td", {"class": "corner"}, "true ↓ predicted →"),
        *[h("th", {"scope": "col", "title": label}, h("span", None, label)) for label in labels],
    )
    body = []
    for i, row in enumerate(counts):
        total = sum(row)
        cells = [_confusion_cell(labels, i, j, n, total) for j, n in enumerate(row)]
        body.append(
            h(
                "tr",
                None,
                h("th", {"scope": "row"}, labels[i]),
                *cells,
                h("td", {"class": "total"}, count(total)),
            )
        )
    caption = "Rows are the true classes, columns the predicted ones. Shaded by the share of the row."
    parts = [h("thead", None, head), h("tbody", None, *body)]
    tall = " tall" if max(map(len, labels)) > SHORT_LABEL else ""
    return scroll(h("table", {"class": f"confusion{tall}", "aria-label": "Confusion table"}, *parts), caption)


def _confusion_cell(labels: Sequence[str], i: int, j: int, n: int, total: int) -> Html:
    if not n:
        return h("td", {"class": "none"}, h("span", {"role": "img", "aria-label": "0"}, "·"))
    share = n / total
    css = "right" if i == j else "wrong"
    tip = f"{labels[i]}, predicted {labels[j]}: {n:,} of {total:,}, {percent(share)}"
    strong = " strong" if share > STRONG else ""
    return h(
        "td",
        {"class": css + strong, "style": f"--share:{0.08 + 0.92 * share:.3f}", "data-tip": tip},
        count(n),
    )


def confused(output: Json) -> Html | None:
    """The pairs of classes that are taken for one another most."""
    labels = output.get("labels", ())
    found = output.get("confusion", {})
    pairs = [(n, i, j) for i, j, n in found.get("pairs", ())]
    pairs += [
        (n, i, j) for i, row in enumerate(found.get("counts", ())) for j, n in enumerate(row) if i != j and n
    ]
    if len(labels) < 3 or not pairs:
        return None
    pairs.sort(key=lambda pair: -pair[0])
    rows = {i: c["rows"] for i, c in enumerate(output["classes"])}
    body = [[f"{labels[i]} → {labels[j]}", count(n), percent(n / rows[i])] for n, i, j in pairs[:MOST_PAIRS]]
    head = ["True → taken for", "Rows", "Of the class"]
    return table(head, body, numeric=(1, 2), caption="Confused most often.")


def calibration_plot(output: Json, calibration: Json) -> Html:
    """Whether probabilities hold."""
    two = output.get("positive")
    note = "On the dashed line, probabilities hold what they claim; with 95% intervals. Below: how many rows."
    temperature = calibration.get("temperature", 1.0)
    if temperature != 1.0:
        note += f" Corrected on validation rows by a temperature of {number(temperature, 3)}."
    drawing = charts.reliability(
        output["reliability"],
        summary="Calibration: "
        + "; ".join(
            f"claimed {percent(b['claimed'])}, held {percent(b['held'])}" for b in output["reliability"]
        ),
        x_name=f"claimed probability of “{two}”" if two else "claimed probability",
        y_name="share that held",
    )
    return figure("Calibration", drawing, note)


def predicted_against_true(name: str, output: Json) -> Html:
    """A cloud of points around the line on which both are equal."""
    truth, predicted = output["points"]["truth"], output["points"]["predicted"]
    middle = sorted(truth)[len(truth) // 2]
    log = min(*truth, *predicted) > 0 and max(truth) > 30 * middle
    summary = f"Predicted against true {name} for {len(truth)} rows"
    note = f"{count(len(truth), 'row')}; on the dashed line prediction and truth are equal." + (
        " Both axes are logarithmic." if log else ""
    )
    return figure(
        "Predicted against true", charts.scatter(truth, predicted, summary=summary, log=log, name=name), note
    )


def residuals(name: str, output: Json) -> Html:
    """How the errors are distributed."""
    found = output["residuals"]
    middle = output["metrics"].get("median_absolute_error", {})
    half = measured("median_absolute_error", middle)
    note = f"Half of the errors are smaller than {half}. The outermost bars hold everything beyond."
    drawing = charts.histogram(
        found["edges"],
        found["counts"],
        summary=f"Histogram of the errors of {name}",
        x_name="predicted minus true",
    )
    return figure("Errors", drawing, note)


def classes(output: Json) -> Html:
    """Precision, recall and F1 of every class, the weakest first."""
    ordered = sorted(output["classes"], key=lambda c: (c["f1"] is None, c["f1"] or 0.0))
    head: list[Content] = ["Class", "Rows", "Precision", "Recall", "F1"]
    rows: list[list[Content]] = [
        [
            c["label"],
            count(c["rows"]),
            _bar("precision", c["precision"]),
            _bar("recall", c["recall"]),
            "n/a" if c["f1"] is None else f"{c['f1']:.3f}",
        ]
        for c in ordered
    ]
    caption = "Every class, the weakest first. The bars show the value, the thin line its 95% interval."
    first = table(head, rows[:MOST_CLASSES], numeric=(1, 4), caption=caption, sortable=True)
    if len(rows) <= MOST_CLASSES:
        return first
    rest = table(head, rows[MOST_CLASSES:], numeric=(1, 4), caption="The other classes.", sortable=True)
    return h("div", {"class": "stack"}, first, details(f"{len(rows) - MOST_CLASSES} more classes", rest))


def _bar(metric: str, estimate: Mapping[str, Any]) -> Html:
    value = estimate["value"]
    if value is None:
        return h("span", {"class": "meter", "data-sort": "-1"}, "n/a")
    ends = ""
    line = None
    if estimate["low"] is not None:
        ends = f" ({interval(metric, estimate)})"
        low, high = 100 * estimate["low"], 100 * estimate["high"]
        line = h("i", {"style": f"left:{low:.1f}%;width:{high - low:.1f}%"})
    track = h(
        "span",
        {"class": "track", "data-tip": percent(value) + ends},
        h("b", {"style": f"width:{100 * value:.1f}%"}),
        line,
    )
    return h("span", {"class": "meter", "data-sort": f"{value:.6f}"}, track, percent(value))


def section(anchor: str, title: str, *content: Content) -> Html:
    """One section of the page."""
    return h(
        "section",
        {"id": anchor, "aria-labelledby": f"{anchor}-title"},
        h("h2", {"id": f"{anchor}-title"}, title),
        *content,
    )
