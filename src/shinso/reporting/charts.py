"""Charts as inline SVG: plain functions from numbers to markup, coloured by the classes of the style sheet.

A chart is drawn 420 units wide, so that its letters are still read at 340 pixels, the width of a phone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .markup import Content, Html, h
from .words import compact, number, percent

Text = Callable[[float], str]  # how a number is written
WIDTH = 420.0
SQUARE = 330.0  # width of a chart of two shares
LEFT, RIGHT, TOP, BOTTOM = 58.0, 12.0, 10.0, 40.0
LAYERS = 8  # of a cloud of points, so that crowded places show darker
MOST_BANDS = 150  # places along a line chart that answer to the pointer


@dataclass(frozen=True)
class Scale:
    """From data to drawing; logarithmic where asked."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where `value` stands, held inside the drawing."""
        low, high, value = (
            math.log10(max(v, 1e-300)) if self.log else v for v in (self.low, self.high, value)
        )
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + (self.end - self.start) * min(1.0, max(0.0, share))

    def ticks(self, most: int = 5) -> list[float]:
        """Round values along the scale."""
        if not self.log:
            return ticks(self.low, self.high, most)
        low, high = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        steps = (1, 2, 5) if high - low <= 2 else (1, 3) if high - low == 3 else (1,)
        powers = range(low, high + 1, max(1, (high - low) // most))
        inside = [s * 10.0**p for p in powers for s in steps if self.low <= s * 10.0**p <= self.high * 1.0001]
        return inside if len(inside) > 1 else [self.low, self.high]


@dataclass(frozen=True)
class Line:
    """One line of a chart: its class in the style sheet, its name, and its points."""

    css: str
    name: str
    points: Sequence[tuple[float, float]]


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from `low` to `high`.

    >>> ticks(0.0, 1.0), ticks(0.0, 347.0, 4)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 100.0, 200.0, 300.0])
    """
    if not high > low:
        return [low]
    rough = (high - low) / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def line_chart(
    lines: Sequence[Line], *, summary: str, x_name: str, log: bool = False, mark: float | None = None,
    notes: Mapping[float, str] | None = None, text: Text = number,
) -> Html:  # fmt: skip
    """Lines over steps. `mark` is the x of the state that was kept; `notes` what to say of an x besides."""
    height = 250.0
    xs = sorted({x for line in lines for x, _ in line.points})
    ys = [y for line in lines for _, y in line.points]
    low, high = _room(min(ys), max(ys), log=log)
    x = Scale(xs[0], xs[-1], LEFT, WIDTH - RIGHT)
    y = Scale(low, high, height - BOTTOM, TOP, log)
    drawn: list[Content] = [*_frame(x, y, height, x_name, compact, text)]
    if mark is not None:
        drawn.append(_upright("mark", x(mark), TOP, height - BOTTOM))
    for line in lines:
        path = "M" + "L".join(f"{_f(x(a))} {_f(y(b))}" for a, b in line.points)
        drawn.append(h("path", {"class": f"line {line.css}", "d": path}))
        if len(line.points) <= 40:
            dots = "".join(f"M{_f(x(a))} {_f(y(b))}h0" for a, b in line.points)
            drawn.append(h("path", {"class": f"dots {line.css}", "d": dots}))
    drawn += _bands(lines, xs, x, height, x_name, notes or {}, text)
    return svg(height, summary, drawn)


def scatter(
    truth: Sequence[float], predicted: Sequence[float], *, summary: str, log: bool = False, name: str = ""
) -> Html:
    """Predicted against true values, with the line on which both are equal."""
    height = 380.0
    low, high = _room(min(*truth, *predicted), max(*truth, *predicted), log=log)
    x = Scale(low, high, LEFT, WIDTH - RIGHT, log)
    y = Scale(low, high, height - BOTTOM, TOP, log)
    dots = [f"M{_f(x(a))} {_f(y(b))}h0" for a, b in zip(truth, predicted, strict=True)]
    equal = {"class": "equal", "x1": _f(x(low)), "y1": _f(y(low)), "x2": _f(x(high)), "y2": _f(y(high))}
    drawn = [
        *_frame(x, y, height, f"true {name}".strip(), compact, compact, y_name="predicted"),
        *[
            h("path", {"class": "cloud", "d": "".join(dots[i::LAYERS])})
            for i in range(min(LAYERS, len(dots)))
        ],
        h("line", equal),
    ]
    return svg(height, summary, drawn)


def histogram(edges: Sequence[float], counts: Sequence[float], *, summary: str, x_name: str) -> Html:
    """Bars of counts between edges; a line at zero where zero is inside."""
    height = 250.0
    x = Scale(edges[0], edges[-1], LEFT, WIDTH - RIGHT)
    y = Scale(0, max(counts) or 1, height - BOTTOM, TOP)
    bars = [
        _bar("bar", x(a), x(b), y(count), y(0), f"{number(a, 3)} to {number(b, 3)}: {count:,.0f}")
        for a, b, count in zip(edges[:-1], edges[1:], counts, strict=True)
        if count
    ]
    drawn = [*_frame(x, y, height, x_name, compact, compact), *bars]
    if edges[0] < 0 < edges[-1]:
        drawn.append(_upright("equal", x(0), TOP, height - BOTTOM))
    return svg(height, summary, drawn)


def reliability(bins: Sequence[Mapping[str, Any]], *, summary: str, x_name: str, y_name: str) -> Html:
    """What was claimed against what held, with intervals; below, how many rows claimed so much."""
    height, below = SQUARE, 40.0
    x = Scale(0, 1, LEFT, SQUARE - RIGHT)
    y = Scale(0, 1, height - BOTTOM - below, TOP)
    floor = height - BOTTOM
    most = max(b["count"] for b in bins)
    half = (x(1) - x(0)) / 30
    whiskers, rows, points = [], [], []
    for b in bins:
        at = x(b["claimed"])
        tip = f"claimed {percent(b['claimed'])}, held {percent(b['held'])}; {b['count']:,} rows"
        whiskers.append(_upright("whisker", at, y(b["low"]), y(b["high"])))
        size = max(1.0, (below - 8) * b["count"] / most)
        rows.append(_bar("bar quiet", at - half / 1.5, at + half / 1.5, floor - size, floor, tip))
        place = {"cx": _f(at), "cy": _f(y(b["held"])), "r": "4"}
        points.append(h("circle", {"class": "point", **place, "data-tip": tip}))
    path = "M" + "L".join(f"{_f(x(b['claimed']))} {_f(y(b['held']))}" for b in bins)
    drawn = [
        *_frame(x, y, height, x_name, percent0, percent0, y_name=y_name),
        h("line", {"class": "equal", "x1": _f(x(0)), "y1": _f(y(0)), "x2": _f(x(1)), "y2": _f(y(1))}),
        *rows, *whiskers, h("path", {"class": "line validation", "d": path}), *points,
    ]  # fmt: skip
    return svg(height, summary, drawn, SQUARE, "chart square")


def shares(
    points: Sequence[tuple[float, float, str]],
    *,
    summary: str,
    x_name: str,
    y_name: str,
    chance: float | None,
) -> Html:
    """One share against another, with what to say of each point; dashed: what chance would give."""
    x, y = Scale(0, 1, LEFT, SQUARE - RIGHT), Scale(0, 1, SQUARE - BOTTOM, TOP)
    path = "M" + "L".join(f"{_f(x(a))} {_f(y(b))}" for a, b, _ in points)
    start, end = (0.0, 1.0) if chance is None else (chance, chance)
    even = {"class": "equal", "x1": _f(x(0)), "y1": _f(y(start)), "x2": _f(x(1)), "y2": _f(y(end))}
    drawn: list[Content] = [*_frame(x, y, SQUARE, x_name, percent0, percent0, y_name=y_name)]
    drawn += [h("line", even), h("path", {"class": "line validation", "d": path})]
    for a, b, tip in points:
        drawn.append(
            h("circle", {"class": "spot", "cx": _f(x(a)), "cy": _f(y(b)), "r": "7", "data-tip": tip})
        )
    return svg(SQUARE, summary, drawn, SQUARE, "chart square")


def heat(counts: Sequence[Sequence[int]], labels: Sequence[str], *, summary: str) -> Html:
    """A table of very many classes as coloured squares: rows are true, columns predicted."""
    size = len(counts)
    side = WIDTH / size
    cells = []
    for i, row in enumerate(counts):
        total = sum(row) or 1
        for j, count in enumerate(row):
            if count:
                tip = f"{labels[i]}, predicted {labels[j]}: {count:,} rows, {percent(count / total)}"
                css = "right" if i == j else "wrong"
                shade = f"fill-opacity:{0.12 + 0.88 * math.sqrt(count / total):.2f}"
                box = {"x": _f(j * side), "y": _f(i * side), "width": _f(side), "height": _f(side)}
                cells.append(h("rect", {"class": css, "style": shade, **box, "data-tip": tip}))
    frame = h("rect", {"class": "frame", "x": "0", "y": "0", "width": _f(WIDTH), "height": _f(WIDTH)})
    return svg(WIDTH, summary, [frame, *cells])


def deciles(values: Sequence[float]) -> Html:
    """A small picture of a distribution: between two deciles lies a tenth of the rows, so areas are equal."""
    width, height, low, high = 140.0, 30.0, values[0], values[-1]
    least = (high - low) / 40 or 1.0
    widths = [max(b - a, least) for a, b in pairwise(values)]
    tallest = 1 / min(widths)
    x = Scale(low, high, 1, width - 1)
    bars = []
    for a, b, wide in zip(values[:-1], values[1:], widths, strict=True):
        tall = (height - 2) * (1 / wide) / tallest
        start, end = x(a), max(x(b), x(a) + (width - 2) / 40)
        box = {
            "x": _f(start),
            "y": _f(height - tall),
            "width": _f(max(0.5, end - start - 0.4)),
            "height": _f(tall),
        }
        bars.append(h("rect", {"class": "bar", **box}))
    return svg(height, f"distribution from {number(low)} to {number(high)}", bars, width=width, css="spark")


def svg(
    height: float, summary: str, content: Sequence[Content], width: float = WIDTH, css: str = "chart"
) -> Html:
    """The frame of a chart, with what it shows in words for those who do not see it."""
    box = {"class": css, "viewBox": f"0 0 {width:g} {height:g}", "role": "img", "aria-label": summary}
    return h("svg", box, *content)


def percent0(share: float) -> str:
    """A share as a whole percentage."""
    return f"{100 * share:.0f}%"


def _frame(
    x: Scale, y: Scale, height: float, x_name: str, x_text: Text, y_text: Text, y_name: str = ""
) -> list[Html]:  # fmt: skip
    floor = _f(height - BOTTOM)
    drawn = []
    for tick in y.ticks():
        at = _f(y(tick))
        drawn.append(h("line", {"class": "grid", "x1": _f(x.start), "x2": _f(x.end), "y1": at, "y2": at}))
        drawn.append(h("text", {"class": "end", "x": _f(x.start - 7), "y": _f(y(tick) + 4)}, y_text(tick)))
    drawn.append(h("line", {"class": "axis", "x1": _f(x.start), "x2": _f(x.end), "y1": floor, "y2": floor}))
    for tick in x.ticks():
        drawn.append(
            h("text", {"class": "middle", "x": _f(x(tick)), "y": _f(height - BOTTOM + 16)}, x_text(tick))
        )
    middle = (x.start + x.end) / 2
    drawn.append(h("text", {"class": "middle name", "x": _f(middle), "y": _f(height - 6)}, x_name))
    if y_name:
        centre = (TOP + height - BOTTOM) / 2
        turn = {"class": "middle name", "transform": f"translate(10 {_f(centre)}) rotate(-90)"}
        drawn.append(h("text", turn, y_name))
    return drawn


def _bands(
    lines: Sequence[Line], xs: Sequence[float], x: Scale, height: float, x_name: str,
    notes: Mapping[float, str], text: Text,
) -> list[Html]:  # fmt: skip
    """Upright bands that show the values of all lines at an x when pointed at."""
    found: dict[float, list[str]] = {}
    for line in lines:
        for at, value in line.points:
            found.setdefault(at, []).append(f"{line.name} {text(value)}")
    chosen = xs[:: max(1, -(-len(xs) // MOST_BANDS))]
    places = [x(at) for at in chosen]
    edges = [x.start, *((a + b) / 2 for a, b in pairwise(places)), x.end]
    bands = []
    for i, at in enumerate(chosen):
        tip = "\n".join([f"{x_name} {number(at)}{notes.get(at, '')}", *found[at]])
        bands.append(_bar("band", edges[i], edges[i + 1], TOP, height - BOTTOM, tip))
    return bands


def _bar(css: str, x1: float, x2: float, y1: float, y2: float, tip: str) -> Html:
    box = {"x": _f(x1), "y": _f(y1), "width": _f(max(0.5, x2 - x1)), "height": _f(max(0.0, y2 - y1))}
    return h("rect", {"class": css, **box, "data-tip": tip})


def _upright(css: str, at: float, start: float, end: float) -> Html:
    return h("line", {"class": css, "x1": _f(at), "x2": _f(at), "y1": _f(start), "y2": _f(end)})


def _room(low: float, high: float, *, log: bool) -> tuple[float, float]:
    """A little room around the data."""
    if log:
        return low / 1.15, high * 1.15
    room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return (low - room if low < 0 or low - room > 0 else 0.0), high + room


def _f(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
