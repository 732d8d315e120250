"""The parts of the report about the run itself: the worst rows, learning, the cost, the settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import charts
from .data import Mistake, ReportData
from .markup import Content, Html, breakable, details, figure, h, section, table
from .words import compact, count, duration, memory, number, percent, word

MOST_LINES = 200  # points of a learning curve
LARGE_CELL = frozenset({"image", "mask", "audio", "series"})
SHORT_TEXT = 60  # letters of a text that stands in a table


def mistakes(data: ReportData) -> Html | None:
    """The worst rows, shown as they are: as cards where there is something to look at, else as a table."""
    parts: list[Content] = []
    kinds = {c.name: c.kind for c in data.columns}
    for name, found in data.mistakes.items():
        if not found:
            continue
        if kinds.get(name) in ("category", "labels"):
            what = f"The surest mistakes about {name}, the worst first."
        elif kinds.get(name) in ("number", "datetime"):
            what = f"The largest errors of {name}, the worst first."
        else:
            what = f"Some rows of {name}, as they came."
        if any(m.drawn or _large(m, kinds) for m in found):
            wide = any(kinds.get(c) == "text" for c in found[0].cells) or len(found[0].cells) > 2
            cards = [_card(m, kinds) for m in found]
            parts += [
                h("p", {"class": "lead"}, what),
                h("div", {"class": "cards wide" if wide else "cards"}, *cards),
            ]
        else:
            parts.append(_rows(found, what))
    return section("mistakes", "The worst mistakes", *parts) if parts else None


def _large(mistake: Mistake, kinds: Mapping[str, str]) -> dict[str, str]:
    """The cells to look at: images, sounds, series, and texts that are more than a few words."""
    return {
        name: cell
        for name, cell in mistake.cells.items()
        if kinds.get(name) in LARGE_CELL or (kinds.get(name) == "text" and len(cell) > SHORT_TEXT)
    }


def _rows(found: Sequence[Mistake], caption: str) -> Html:
    sure = [_sure(m) for m in found]
    head: list[Content] = ["Predicted", "True", *([_sure_head(found[0])] if any(sure) else [])]
    body: list[list[Content]] = []
    for mistake, said in zip(found, sure, strict=True):
        row: list[Content] = [_said(mistake, mistake.predicted), _said(mistake, mistake.truth)]
        row += [said] if any(sure) else []
        body.append([*row, *[Html(cell) or "missing" for cell in mistake.cells.values()], mistake.row])
    head += [*[breakable(name) for name in found[0].cells], "Row"]
    return h("div", {"class": "mistakes"}, table(head, body, caption=caption))


def _sure_head(mistake: Mistake) -> str:
    return (
        "Probability"
        if mistake.probability is not None
        else "Interval"
        if mistake.low is not None
        else "Off by"
    )


def _card(mistake: Mistake, kinds: Mapping[str, str]) -> Html:
    large = _large(mistake, kinds)
    shown = [
        h(
            "div",
            {"class": f"cell {kinds.get(n, '')}"},
            h("small", None, n) if len(large) > 1 else None,
            Html(c),
        )
        for n, c in large.items()
    ]
    small = [
        h("div", None, h("dt", None, breakable(name)), h("dd", None, Html(cell) or "missing"))
        for name, cell in mistake.cells.items()
        if name not in large
    ]
    return h(
        "article",
        {"class": "card"},
        h("dl", {"class": "verdict"}, *_verdict(mistake)),
        *shown,
        h("dl", {"class": "cells"}, *small) if small else None,
        h("p", {"class": "row", "title": mistake.row}, _where(mistake.row)) if mistake.row else None,
    )


def _sure(mistake: Mistake) -> str:
    if mistake.probability is not None:
        return percent(mistake.probability)
    if mistake.low is not None and mistake.high is not None:
        return f"{number(mistake.low)} to {number(mistake.high)}"
    return "" if mistake.error is None else f"{mistake.error:+,.4g}"


def _verdict(mistake: Mistake) -> Iterator[Html]:
    predicted, truth = _said(mistake, mistake.predicted), _said(mistake, mistake.truth)
    sure = _sure(mistake)
    yield h(
        "div",
        {"class": "wrong"},
        h("dt", None, "predicted"),
        h("dd", None, predicted, h("small", None, sure) if sure else None),
    )
    yield h("div", {"class": "right"}, h("dt", None, "true"), h("dd", None, truth))


def _said(mistake: Mistake, text: str) -> Content:
    """A value as it is shown; a class is its name, also where that looks like a number, as 007 does."""
    if mistake.drawn:
        return Html(text)
    if mistake.probability is not None:
        return text
    try:
        return number(float(text), 5)
    except ValueError:
        return text


def _where(text: str, most: int = 44) -> str:
    if text.isdigit():
        return f"row {text}"
    return text if len(text) <= most else "…" + text[-most + 1 :]


def learning(data: ReportData) -> Html | None:
    """Losses, the validation score and the learning rate over the steps."""
    history = [entry for entry in data.history if entry.get("step") is not None]
    if len(history) < 2:
        return None
    history = history[:: max(1, len(history) // MOST_LINES)]
    best = [entry["step"] for entry in data.history if entry.get("best")]
    mark = float(best[-1]) if best else None
    notes = {float(e["step"]): _moment(e) for e in history}
    pictures: list[Content] = []
    for name in data.outputs:
        several = f" of {name}" if len(data.outputs) > 1 else ""
        pictures += _curves(history, name, several, mark, notes, data.outputs.get(name, {}).get("main", ""))
    rates = _points(history, lambda e: e.get("learning_rate"))
    if rates:
        line = [charts.Line("rate", "learning rate", rates)]
        drawing = charts.line_chart(line, summary="Learning rate over the steps", x_name="step", notes=notes)
        pictures.append(figure("Learning rate", drawing))
    ended = f"Training ended early: {data.stopped}." if data.stopped else ""
    lead = "The upright line marks the weights that were kept, those with the best validation score. " + ended
    numbers = details("The numbers", _history_table(history, data))
    return section(
        "learning",
        "Learning",
        h("p", {"class": "lead"}, lead),
        h("div", {"class": "figures"}, *pictures),
        numbers,
    )


def _curves(
    history: Sequence[Mapping[str, Any]],
    name: str,
    several: str,
    mark: float | None,
    notes: Mapping[float, str],
    main: str,
) -> Iterator[Html]:
    watched = {metric for e in history for metric in e.get("validation", {}).get(name, {})}
    loss = "log_loss" if "log_loss" in watched else "loss"
    lines = [
        charts.Line("train", "training", _points(history, lambda e: e.get("loss", {}).get(name))),
        charts.Line(
            "validation",
            "validation",
            _points(history, lambda e: e.get("validation", {}).get(name, {}).get(loss)),
        ),
    ]
    lines = [line for line in lines if line.points]
    values = [y for line in lines for _, y in line.points]
    if lines:
        log = min(values) > 0 and max(values) > 20 * min(values)
        drawing = charts.line_chart(
            lines,
            summary=f"Loss{several} over the steps, from {number(values[0])}",
            x_name="step",
            log=log,
            mark=mark,
            notes=notes,
        )
        yield figure(f"Loss{several}", drawing, keys=[(line.css, line.name) for line in lines])
    if main in watched:
        points = _points(history, lambda e: e.get("validation", {}).get(name, {}).get(main))
        said = f"{word(main).name}{several}"
        line = charts.Line("validation", said, points)
        summary = f"{said} on validation rows, from {number(points[0][1])} to {number(points[-1][1])}"
        text = percent if word(main).percent else number
        drawing = charts.line_chart([line], summary=summary, x_name="step", mark=mark, notes=notes, text=text)
        yield figure(said, drawing, keys=[("validation", "validation")])


def _points(history: Sequence[Mapping[str, Any]], pick: Any) -> list[tuple[float, float]]:
    found = [(entry["step"], pick(entry)) for entry in history]
    return [(float(step), float(value)) for step, value in found if isinstance(value, int | float)]


def _moment(entry: Mapping[str, Any]) -> str:
    epoch = f", epoch {entry['epoch'] + 1}" if isinstance(entry.get("epoch"), int) else ""
    return epoch + (f", {duration(entry['seconds'])}" if entry.get("seconds") else "")


def _history_table(history: Sequence[Mapping[str, Any]], data: ReportData) -> Html:
    names = list(data.outputs)
    metrics = [(name, metric) for name in names for metric in history[-1].get("validation", {}).get(name, {})]
    prefix = len(names) > 1
    head = ["Step", "Training loss", *[f"{n + ' ' if prefix else ''}{word(m).name}" for n, m in metrics]]
    rows = [
        [
            count(e["step"]),
            " + ".join(number(v) for v in e.get("loss", {}).values()),
            *[number(e.get("validation", {}).get(n, {}).get(m)) for n, m in metrics],
        ]
        for e in history
    ]
    return table(head, rows, numeric=range(len(head)), caption="On validation rows.")


def cost(data: ReportData) -> Html | None:
    """Time by phase, memory, arithmetic."""
    parts: list[Content] = []
    if data.seconds:
        total = sum(data.seconds.values()) or 1.0
        spent = {name: s for name, s in data.seconds.items() if s > 0}
        bars = [
            h(
                "span",
                {
                    "class": f"part p{i % 6}",
                    "style": f"flex-grow:{s:.4f}",
                    "data-tip": f"{name}: {duration(s)}",
                },
            )
            for i, (name, s) in enumerate(spent.items())
        ]
        keys = [
            h(
                "span",
                {"class": f"key p{i % 6}"},
                f"{name} {duration(s)}",
                h("small", None, percent(s / total, 0)),
            )
            for i, (name, s) in enumerate(spent.items())
        ]
        parts.append(
            h(
                "div",
                {"class": "split"},
                h("div", {"class": "bar", "aria-hidden": "true"}, *bars),
                h("p", {"class": "keys"}, *keys),
            )
        )
    if data.flops_per_second and data.roof:
        share = data.flops_per_second / data.roof
        bar = h("span", {"class": "track"}, h("b", {"style": f"width:{100 * min(share, 1):.1f}%"}))
        rate, roof = (compact(value, "FLOP/s") for value in (data.flops_per_second, data.roof))
        text = f"{rate} while training, {percent(share)} of the {roof} that a matrix product reaches here."
        parts.append(h("p", {"class": "roof"}, bar, text))
    if data.peak_memory:
        parts.append(h("p", None, f"Peak memory {memory(data.peak_memory)}."))
    return section("cost", "Time and memory", *parts) if parts else None


def settings(data: ReportData) -> Html | None:
    """Every setting and the environment, so that the run can be made again."""
    rows = [
        [name, shown(value), "set by you" if name in data.chosen else ""]
        for name, value in _flat(data.settings)
    ]
    around = [[name, shown(value)] for name, value in _flat(data.environment)]
    parts: list[Content] = []
    if rows:
        parts.append(
            details(
                f"{len(rows)} settings",
                table(["Setting", "Value", ""], rows, caption="As they were resolved for this run."),
            )
        )
    if around:
        parts.append(
            details("Environment", table(["", "Value"], around, caption="What the run was made with."))
        )
    return section("settings", "Settings and environment", *parts) if parts else None


def shown(value: Any) -> str:
    """A setting's value as text."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
