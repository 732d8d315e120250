"""Explanations as pictures: overlays of images, marked words, bars, spans of series.

Red speaks for the answer, blue against it.

H, W pixels, C colours, T readings, V variables, P players.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image as Picture
from PIL.Image import Resampling, fromarray

from ..reporting.markup import Content, Html, h
from ..schema import display_width
from .game import Game
from .gradcam import places_of
from .scoring import Floats
from .seats import Seat

FOR, AGAINST = (192, 57, 43), (41, 98, 174)
SIDE = 320  # pixels of an overlay
CELL, LINE, COLUMNS = 8.2, 30.0, 46  # of marked words: width of a letter, height of a line, letters in a line
MOST_BARS = 12
NAMES, REACH, AXIS = 262, 110, 384  # of bars, in pixels: where names end, the longest bar, where bars begin
# What XML may not hold: one such letter of a text, and no viewer shows the picture.
UNDRAWN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Drawing(NamedTuple):
    """One picture of an explanation: the column it shows ('' for several), file ending, content."""

    column: str
    suffix: str
    content: bytes


def draw(game: Game, values_P: Floats) -> list[Drawing]:
    """One picture for each column that can be looked at, and one of bars for all that are single values."""
    largest = float(np.abs(values_P).max()) or 1.0
    drawn: list[Drawing] = []
    place, single = 0, []
    for seat in game.seats:
        values = values_P[place : place + len(seat.groups)]
        if seat.column.kind in PICTURES and len(seat.groups) > 1:
            suffix, picture = PICTURES[seat.column.kind]
            drawn.append(Drawing(seat.column.name, suffix, picture(seat, values / largest)))
        else:
            single += [(label(seat, i), float(v), game.scorer.scale) for i, v in enumerate(values)]
        place += len(seat.groups)
    if single:
        drawn.append(Drawing("", "svg", bars([(n, v * s) for n, v, s in single]).encode()))
    return drawn


def label(seat: Seat, i: int) -> str:
    """A part with its value, as a row of a chart of bars names it."""
    player = seat.players[i]
    if len(seat.groups) > 1 or player.parts[0] != "value":
        return f"{seat.column.name}: {player.name}"
    value = "missing" if seat.value is None or seat.value != seat.value else str(seat.value)
    return f"{seat.column.name} = {value[:24]}"


def overlay(seat: Seat, values_P: Floats) -> bytes:
    """A PNG: the picture as the network reads it, in grey, under the marks."""
    height, width = seat.base.shape[:2]
    marks_HW = np.zeros((height, width))
    for i, value in enumerate(values_P):
        marks_HW[places_of(seat, i)] = value
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    base = (
        picture_of(seat.base)
        .convert("L")
        .resize(size, Resampling.NEAREST if scale > 4 else Resampling.BILINEAR)
    )
    grey = (70 + 0.7 * np.asarray(base, np.float64)[..., None]) * np.ones(3)  # marks show on black too
    smooth = np.asarray(fromarray(marks_HW.astype(np.float32)).resize(size, Resampling.BILINEAR))[..., None]
    colour = np.where(smooth > 0, np.array(FOR, float), np.array(AGAINST, float))
    strength = np.clip(np.abs(smooth), 0, 1) ** 0.7 * 0.85
    file = io.BytesIO()
    fromarray((grey * (1 - strength) + colour * strength).clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def picture_of(array_HWC: NDArray[Any]) -> Picture:
    """What the network reads, as a picture."""
    return fromarray(array_HWC[..., 0] if array_HWC.shape[-1] == 1 else array_HWC)


def words(seat: Seat, values_P: Floats) -> bytes:
    """An SVG: the text with its words marked; wide letters (Japanese) take two cells."""
    text, column, line, drawn = str(seat.value), 0.0, 0, []
    last = 0
    for group, value in zip(seat.groups, values_P, strict=True):
        start, end = group[0][0], group[-1][1]  # type: ignore[index]
        spaced = bool(text[last:start].strip() == "" and start > last)
        for piece in chopped(" ".join(text[start:end].split())):
            wide = display_width(piece)
            if column and column + wide + spaced > COLUMNS:
                column, line, spaced = 0.0, line + 1, False
            column += 1 if spaced and column else 0
            drawn += marked(piece, column * CELL + 8, line * LINE + 8, wide * CELL, value)
            column, spaced = column + wide, False
        last = end
    return svg(COLUMNS * CELL + 16, (line + 1) * LINE + 12, drawn, text[:200])


def chopped(text: str) -> list[str]:
    """A long group in pieces that fit in a line."""
    pieces, piece = [], ""
    for letter in text:
        if display_width(piece + letter) > COLUMNS:
            pieces.append(piece)
            piece = ""
        piece += letter
    return [*pieces, piece]


def marked(text: str, x: float, y: float, width: float, value: float) -> list[Html]:
    """One word on its mark."""
    box = {
        "x": f"{x - 1:.1f}",
        "y": f"{y:.1f}",
        "width": f"{width + 2:.1f}",
        "height": f"{LINE - 6:.1f}",
        "rx": "3",
    }
    paint = {"fill": rgb(value), "fill-opacity": f"{0.75 * min(1.0, abs(value)):.3f}"}
    place = {
        "x": f"{x:.1f}",
        "y": f"{y + 17:.1f}",
        "textLength": f"{width:.1f}",
        "lengthAdjust": "spacingAndGlyphs",
    }
    return [h("rect", {**box, **paint}), h("text", {**place, "class": "w"}, text)]


def bars(named: Sequence[tuple[str, float]]) -> str:
    """An SVG of bars to the right (for) and to the left (against), the longest first."""
    shown = sorted(named, key=lambda one: -abs(one[1]))[:MOST_BARS]
    rest = len(named) - len(shown)
    largest = max(abs(v) for _, v in shown) or 1.0
    drawn: list[Content] = []
    for i, (name, value) in enumerate(shown):
        y, size = 8 + 26 * i, REACH * abs(value) / largest
        x = AXIS if value >= 0 else AXIS - size
        box = {"x": f"{x:.1f}", "y": f"{y}", "width": f"{size:.1f}", "height": "18", "rx": "2"}
        drawn.append(h("text", {"x": f"{NAMES}", "y": f"{y + 14}", "class": "e"}, short(name)))
        drawn.append(h("rect", {**box, "fill": rgb(value)}))
        side = {"x": f"{AXIS + REACH + 8}", "y": f"{y + 14}", "class": "w"}
        drawn.append(h("text", side, f"{value:+.3g}"))
    if rest:
        drawn.append(
            h("text", {"x": f"{NAMES}", "y": f"{22 + 26 * len(shown)}", "class": "e"}, f"and {rest} smaller")
        )
    height = 16 + 26 * (len(shown) + (1 if rest else 0))
    axis = {"x1": f"{AXIS}", "x2": f"{AXIS}", "y1": "4", "y2": f"{height - 4}", "stroke": "#888"}
    drawn.append(h("line", axis))
    return svg(AXIS + REACH + 84, height, drawn, "; ".join(f"{n} {v:+.3g}" for n, v in shown)).decode()


def short(name: str, most: int = 30) -> str:
    """A name that fits beside its bar."""
    while display_width(name) > most:
        name = name.removesuffix("…")[:-1] + "…"
    return name


def spans(seat: Seat, values_P: Floats) -> bytes:
    """An SVG: the readings over coloured spans of time."""
    series_TV = np.asarray(seat.base, np.float64).reshape(len(seat.base), -1)
    times = len(series_TV)
    stops = [group[-1][1] for group in seat.groups]  # type: ignore[index]
    whole = max(1, stops[-1])
    drawn: list[Content] = []
    for group, value in zip(seat.groups, values_P, strict=True):
        a, b = (560 * end / whole + 10 for end in (group[0][0], group[-1][1]))  # type: ignore[index]
        box = {"x": f"{a:.1f}", "y": "8", "width": f"{b - a:.1f}", "height": "144"}
        drawn.append(
            h("rect", {**box, "fill": rgb(value), "fill-opacity": f"{0.75 * min(1.0, abs(value)):.3f}"})
        )
    step = max(1, times // 560)
    for v in range(min(series_TV.shape[1], 6)):
        line = series_TV[::step, v]
        if np.isnan(line).all():
            continue
        low, size = np.nanmin(line), float(np.ptp(line[~np.isnan(line)])) or 1.0
        points = [
            f"{10 + 560 * t * step / times:.1f} {146 - 132 * (y - low) / size:.1f}"
            for t, y in enumerate(line)
            if y == y
        ]
        drawn.append(
            h("path", {"d": "M" + "L".join(points), "fill": "none", "stroke": "#222", "stroke-width": "1.3"})
        )
    return svg(580, 160, drawn, f"{times} readings")


def svg(width: float, height: float, drawn: Sequence[Content], summary: str) -> bytes:
    """A picture that stands alone."""
    style = (
        ".explained text{font:14px system-ui,'Noto Sans CJK JP','Noto Sans JP',sans-serif;fill:#1b1b1b}"
        ".explained .e{text-anchor:end}"
    )
    box = {
        "xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}",
        "role": "img", "aria-label": summary, "class": "explained",
    }  # fmt: skip
    back = h("rect", {"width": f"{width:g}", "height": f"{height:g}", "fill": "#fff"})
    whole = str(h("svg", box, h("style", None, Html(style)), back, *drawn))
    return UNDRAWN.sub("\ufffd", whole).encode()


def rgb(value: float) -> str:
    """The colour of a value."""
    return "#{:02x}{:02x}{:02x}".format(*(FOR if value >= 0 else AGAINST))


PICTURES: dict[str, tuple[str, Callable[[Seat, Floats], bytes]]] = {
    "image": ("png", overlay),
    "text": ("svg", words),
    "series": ("svg", spans),
    "audio": ("svg", spans),
}
