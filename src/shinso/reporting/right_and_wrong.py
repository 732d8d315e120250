"""The part of the report that says where predictions and truth differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import charts
from .data import Json, ReportData
from .markup import Content, Html, details, figure, h, join, scroll, section, table
from .words import count, interval, measured, number, percent

MOST_CELLS = 24  # classes of a confusion table whose counts are written out
MOST_BESIDE = 12  # classes of a confusion table that leaves room beside it
STRONG = 0.79  # share from which a cell is so dark that its text turns: contrast stays above 4.5
FEW = 4  # classes whose labels always fit over their columns
SHORT_LABEL = 3  # letters of a label that stands upright over its column
MOST_CLASSES = 20  # rows of the table of classes that are shown at once
MOST_PAIRS = 8


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
    pictures: list[Content] = list(_pictures(name, output, calibration))
    counts = output.get("confusion", {}).get("counts")
    listed = classes(output) if output.get("classes") else None
    shown = confusion(output["labels"], counts) if counts and len(counts) <= MOST_CELLS else None
    pairs = confused(output)
    if output.get("positive"):
        yield h("div", {"class": "beside even"}, shown, listed)
        yield h("div", {"class": "figures three"}, *pictures)
        return
    if shown or pairs:
        yield (
            h("div", {"class": "beside"}, shown, pairs)
            if len(output["labels"]) <= MOST_BESIDE
            else join([shown, pairs])
        )
    if listed and len(pictures) == 1:
        yield h("div", {"class": "figures with-table"}, *pictures, listed)
    else:
        yield join([h("div", {"class": "figures"}, *pictures) if pictures else None, listed])


def _pictures(name: str, output: Json, calibration: Json) -> Iterator[Html]:
    if output.get("points", {}).get("truth"):
        yield predicted_against_true(name, output)
        yield residuals(name, output)
    if output.get("thresholds"):
        yield roc(output)
        yield precision_and_recall(output)
    counts = output.get("confusion", {}).get("counts")
    if counts and len(counts) > MOST_CELLS:
        summary = f"Confusion of {len(counts)} classes: rows are true, columns predicted"
        note = "Rows are the true classes, columns the predicted ones, in the order of training."
        yield figure("Confusion", charts.heat(counts, output["labels"], summary=summary), note)
    if output.get("reliability"):
        yield calibration_plot(output, calibration)


def roc(output: Json) -> Html:
    """What share of the positives is found at the price of how many false alarms."""
    area = measured("roc_auc", output["metrics"]["roc_auc"])
    points = [(t["false_alarms"], t["recall"], _threshold(t)) for t in output["thresholds"]]
    drawing = charts.shares(
        [(0.0, 0.0, ""), *points],
        summary=f"ROC curve; area {area}",
        x_name="false alarms among the negatives",
        y_name="found",
        chance=None,
    )
    return figure("ROC", drawing, f"The area below is {area}; dashed: chance.")


def precision_and_recall(output: Json) -> Html:
    """How much of what is called positive is so, at every share found."""
    positives = next(c["rows"] for c in output["classes"] if c["label"] == output["positive"])
    share = positives / sum(c["rows"] for c in output["classes"])
    points = [(t["recall"], t["precision"], _threshold(t)) for t in output["thresholds"]]
    drawing = charts.shares(
        points, summary="Precision at every recall", x_name="recall", y_name="precision", chance=share
    )
    return figure("Precision and recall", drawing, f"Dashed: chance, the {percent(share)} that are positive.")


def _threshold(t: Json) -> str:
    found = f"from {percent(t['threshold'])} on: found {percent(t['recall'])}"
    return f"{found}, precision {percent(t['precision'])}, false alarms {percent(t['false_alarms'])}"


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
    tall = " tall" if len(labels) > FEW and max(map(len, labels)) > SHORT_LABEL else ""
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
