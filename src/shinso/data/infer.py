"""Types of the columns of a text table, found by reading every cell, and the conversion to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .arrow import from_numpy, from_texts, missing, scalar, to_numpy
from .cores import cores
from .notes import MOST_LISTED, shorten

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "None", "?", "-")
SHARE = 0.95  # a column holds numbers, or dates, when this share of its cells does
LIKELY = 0.5  # the share of a sample from which on a kind is tried at all
SAMPLE = 500
FEW = 20
FIRST = 20_000  # rows that the kinds are guessed from
# 01/02/2024 is not among them: it stays text, for the column to read as the training rows are written.
TIME_FORMATS = (
    "%d.%m.%Y", "%d.%m.%Y %H:%M", "%Y.%m.%d", "%Y.%m.%d %H:%M", "%d-%b-%Y", "%d %b %Y", "%d %B %Y",
    "%b %d, %Y", "%B %d, %Y", "%Y年%m月%d日", "%Y年%m月%d日 %H:%M",
)  # fmt: skip
ISO_FORMATS = (
    "%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M",
    "%Y/%m/%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M",
)  # fmt: skip
ZONE = r"\s*(Z|[+-]\d{2}:?\d{2})$"
T = TypeVar("T")
Kind = Literal["int", "float", "thousands", "comma", "time", "text", "empty"]
PATTERNS: dict[Kind, str] = {
    "float": r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?([iI][nN][fF]|[iI]nfinity)",
    "thousands": r"[-+]?\d{1,3}(,\d{3})*(\.\d*)?",
    "comma": r"[-+]?(\d+|\d{1,3}(\.\d{3})+)(,\d*)?",
    "time": r"\d{4}([-/])\d{1,2}[-/]\d{1,2}([ T]\d{1,2}:\d{2}.*)?",  # ISO 8601
}
EXPECTED = {
    "int": "numbers",
    "float": "numbers",
    "thousands": "numbers such as 1,234",
    "comma": "numbers such as 3,14",
    "time": "dates",
}
Pieces = Callable[[], Iterator[pa.Table]]  # the text table, in parts that fit in memory, as often as asked


@dataclass(frozen=True)
class Guess:
    """What a column of text holds."""

    kind: Kind
    format: str | None = None  # of times; None is ISO 8601
    odd: int = 0  # cells that are not of that kind: missing after conversion
    infinite: int = 0


@dataclass
class Cells:
    """Cells that became missing: their place in the table and what stood there."""

    rows: list[int] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


@dataclass
class _Count:
    """What the cells of one column were, over all pieces."""

    there: int = 0
    odd: int = 0
    infinite: int = 0
    whole: bool = True  # every number is written as a whole number
    zeros: bool = False  # one of them begins with a zero


class Changed(Exception):
    """The cells further down changed the kind of a column: read again."""


@dataclass
class Typing:
    """The kinds of the columns, as known so far."""

    guesses: dict[str, Guess]
    trials: list[Guess]  # the kinds that are tried
    strip: bool
    cells: Cells = field(default_factory=Cells)


def read_typed(
    pieces: Pieces, consume: Callable[[Iterator[pa.Table], Typing], T], *, decimal_comma: bool, strip: bool
) -> T | None:
    """What `consume` makes of the typed pieces; None when there is no piece.

    The kinds are guessed from the first rows and checked on all; where they prove wrong, everything is read
    once more with the right ones, and what `consume` was given before is to be thrown away.
    """
    first = next(pieces(), None)
    if first is None:
        return None
    first = first[:FIRST]
    numbers: tuple[Kind, ...] = ("float", "comma") if decimal_comma else ("float", "thousands")
    trials = [_trial(_sample(column), numbers) for column in first.columns]
    counts = [_Count() for _ in trials]
    for column, trial, count in zip(first.columns, trials, counts, strict=True):
        _convert(column, trial, trial, count, strip=strip)
    typing = Typing(_decide_all(first.column_names, trials, counts), trials, strip)
    try:
        return consume(_typed(pieces, typing), typing)
    except Changed:
        typing.cells = Cells()
        return consume(_typed(pieces, typing), typing)


def _typed(pieces: Pieces, typing: Typing) -> Iterator[pa.Table]:
    """The pieces as `typing` says; what does not fit its column is missing and listed."""
    start = 0
    names, guesses = list(typing.guesses), list(typing.guesses.values())
    counts = [_Count() for _ in names]
    convert = partial(_convert, strip=typing.strip)
    with ThreadPoolExecutor(cores()) as pool:
        for piece in pieces():
            before = [count.odd + count.infinite for count in counts]
            typed = list(pool.map(convert, piece.columns, typing.trials, guesses, counts))
            for i, name in enumerate(names):
                odd = counts[i].odd + counts[i].infinite > before[i]
                if odd and guesses[i].kind not in ("text", "empty"):
                    _collect(name, piece.column(i), typed[i], start, typing.cells)
            start += len(piece)
            yield pa.table(typed, names=names)
    typing.guesses = _decide_all(names, typing.trials, counts)
    if [guess.kind for guess in guesses] != [guess.kind for guess in typing.guesses.values()]:
        raise Changed


def _decide_all(names: list[str], trials: list[Guess], counts: list[_Count]) -> dict[str, Guess]:
    return {name: _decide(trial, count) for name, trial, count in zip(names, trials, counts, strict=True)}


def _sample(column: pa.ChunkedArray) -> list[str]:
    """Cells spread over the column that are not missing."""
    step = max(1, len(column) // (2 * SAMPLE))
    cells = column.take(from_numpy(np.arange(0, len(column), step))).to_pylist()
    stripped = (cell.strip() for cell in cells if cell is not None)
    return [cell for cell in stripped if cell not in MISSING][:SAMPLE]


def _trial(cells: list[str], numbers: tuple[Kind, ...]) -> Guess:
    """The most likely kind from a sample; the full count confirms it or falls back to text."""
    if not cells:
        return Guess(numbers[0] if numbers else "time")
    kinds: tuple[Kind, ...] = (*numbers, "time")
    for kind in kinds:
        pattern = re.compile(PATTERNS[kind], re.ASCII)
        if sum(pattern.fullmatch(cell) is not None for cell in cells) >= LIKELY * len(cells):
            return Guess(kind)
    few = cells[:FEW]
    formats = [f for f in TIME_FORMATS if sum(_is_time(cell, f) for cell in few) >= LIKELY * len(few)]
    if not formats:
        return Guess("text")
    fitting = {f: sum(_is_time(cell, f) for cell in cells) for f in formats}
    best = max(formats, key=lambda f: fitting[f])
    return Guess("time", best)


def _is_time(cell: str, format: str) -> bool:
    try:
        datetime.strptime(cell, format)
    except ValueError:
        return False
    return True


def _convert(
    column: pa.ChunkedArray, trial: Guess, guess: Guess, count: _Count, *, strip: bool
) -> pa.ChunkedArray:
    """A text column as its guessed kind, counting how its cells fit the kind that is tried."""
    present = _present(column)
    there = len(present) - present.null_count
    count.there += there
    values = None
    if trial.kind != "text":
        values = _read(present, trial, whole=count.whole)
        _count(values, present, there, count)
    if guess.kind == "empty":
        return pa.chunked_array([pa.nulls(len(column), pa.float64())])
    if values is None or guess.kind == "text":
        return present if strip else pc.if_else(present.is_valid(), column, missing(column.type))
    if guess.kind == "int":
        return values.cast(pa.int64(), safe=False)
    if guess.kind == "time":
        return values
    values = values.cast(pa.float64(), safe=False)
    return pc.if_else(pc.is_finite(values), values, missing(values.type)) if count.infinite else values


def _count(values: pa.ChunkedArray, present: pa.ChunkedArray, there: int, count: _Count) -> None:
    count.odd += there - (len(values) - values.null_count)
    if pa.types.is_integer(values.type):
        count.zeros = count.zeros or _begins_with_zero(present)
        return
    count.whole = count.whole and len(values) == values.null_count
    if pa.types.is_floating(values.type):
        count.infinite += pc.sum(pc.is_inf(values)).as_py() or 0


def _decide(trial: Guess, count: _Count) -> Guess:
    if count.there == 0:
        return Guess("empty")
    if trial.kind == "text" or count.odd > (1 - SHARE) * count.there:
        return Guess("text")
    whole = trial.kind == "float" and count.whole
    if whole and count.zeros:
        return Guess("text")  # 00123: postcodes and telephone numbers lose their zeros as numbers
    kind: Kind = "int" if whole else trial.kind
    return Guess(kind, trial.format, count.odd, count.infinite)


def _present(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The cells without blanks around them, null where they are missing."""
    trimmed = pc.ascii_trim_whitespace(column)
    return pc.if_else(pc.is_in(trimmed, from_texts(MISSING, column.type)), missing(column.type), trimmed)


def _read(present: pa.ChunkedArray, trial: Guess, *, whole: bool) -> pa.ChunkedArray:
    """Cells as int64 (while all are `whole`), float64 or timestamp[us]; null where they are none."""
    if trial.kind == "time":
        return _read_times(present, trial.format)
    kinds = (pa.int64(), pa.float64()) if whole else (pa.float64(),)
    for kind in kinds if trial.kind == "float" else ():
        try:
            return present.cast(kind)  # most columns are clean: no cell needs to be looked at by itself
        except pa.ArrowInvalid:
            continue
    fits = pc.match_substring_regex(present, f"^({PATTERNS[trial.kind]})$")
    fitting = pc.replace_substring_regex(pc.if_else(fits, present, missing(present.type)), r"^\+", "")
    if trial.kind == "thousands":
        fitting = pc.replace_substring(fitting, ",", "")
    if trial.kind == "comma":
        fitting = pc.replace_substring(pc.replace_substring(fitting, ".", ""), ",", ".")
    try:
        return fitting.cast(kinds[0])
    except pa.ArrowInvalid:
        return fitting.cast(pa.float64())  # the pattern lets nothing else through


def _read_times(present: pa.ChunkedArray, format: str | None) -> pa.ChunkedArray:
    kind = pa.timestamp("us")
    if format is not None:
        return pc.strptime(present, format, "us", error_is_null=True)
    for cells in (present, local := pc.replace_substring_regex(present, ZONE, "")):
        try:
            return cells.cast(kind)
        except pa.ArrowInvalid:
            continue
    return pc.coalesce(*(pc.strptime(local, f, "us", error_is_null=True) for f in ISO_FORMATS))


def _begins_with_zero(present: pa.ChunkedArray) -> bool:
    """Whether a cell such as 007 is among whole numbers."""
    zero = pc.and_(pc.starts_with(present, "0"), pc.greater(pc.binary_length(present), scalar(1, "int32")))
    return bool(pc.any(zero).as_py())


def _collect(name: str, before: pa.ChunkedArray, after: pa.ChunkedArray, start: int, cells: Cells) -> None:
    """List the cells that are there before conversion and missing after it."""
    lost = pc.and_(_present(before).is_valid(), after.is_null())
    rows = np.flatnonzero(to_numpy(lost))[: MOST_LISTED - len(cells.rows)]
    cells.rows += (rows + start).tolist()
    cells.columns += [name] * len(rows)
    cells.texts += [shorten(cell) for cell in before.take(from_numpy(rows)).to_pylist()]
