"""Types of the columns of a text table, found by reading every cell, and the conversion to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .cores import cores
from .notes import MOST_LISTED, shorten

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "None", "?", "-")
SHARE = 0.95  # a column holds numbers, or dates, when this share of its cells does
LIKELY = 0.5  # the share of a sample from which on a kind is tried at all
SAMPLE = 500
FEW = 20
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


def guess(pieces: Pieces, *, decimal_comma: bool, only_times: bool = False) -> dict[str, Guess]:
    """The kind of every column, from all of its cells; an empty dict when there are no pieces."""
    first = next(pieces(), None)
    if first is None:
        return {}
    numbers: tuple[Kind, ...] = ("float", "comma") if decimal_comma else ("float", "thousands")
    trials = [_trial(_sample(column), () if only_times else numbers) for column in first.columns]
    counts = [_Count() for _ in trials]
    with ThreadPoolExecutor(cores()) as pool:
        for piece in pieces():
            list(pool.map(_count, piece.columns, trials, counts))
    return {
        name: _decide(trial, count)
        for name, trial, count in zip(first.column_names, trials, counts, strict=True)
    }


def convert(pieces: Pieces, guesses: dict[str, Guess], *, strip: bool, cells: Cells) -> Iterator[pa.Table]:
    """The typed pieces; what does not fit its column's kind is missing and stands in `cells`."""
    start = 0
    with ThreadPoolExecutor(cores()) as pool:
        for piece in pieces():
            typed = list(pool.map(partial(_converted, strip=strip), piece.columns, guesses.values()))
            for (name, found), before, after in zip(guesses.items(), piece.columns, typed, strict=True):
                if found.odd or found.infinite:
                    _collect(name, before, after, start, cells)
            start += len(piece)
            yield pa.table(typed, names=list(guesses))


def _sample(column: pa.ChunkedArray) -> list[str]:
    """Cells spread over the column that are not missing."""
    step = max(1, len(column) // (2 * SAMPLE))
    cells = column.take(pa.array(np.arange(0, len(column), step))).to_pylist()
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


def _count(column: pa.ChunkedArray, trial: Guess, count: _Count) -> None:
    present = _present(column)
    there = len(present) - present.null_count
    count.there += there
    if trial.kind == "text":
        return
    values = _read(present, trial)
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
    return pc.if_else(
        pc.is_in(trimmed, pa.array(MISSING, column.type)), pa.scalar(None, column.type), trimmed
    )


def _read(present: pa.ChunkedArray, guess: Guess) -> pa.ChunkedArray:
    """Cells as int64, float64 or timestamp[us]; null where they are missing or something else."""
    if guess.kind == "time":
        return _read_times(present, guess.format)
    if guess.kind in ("float", "int"):
        for kind in (pa.int64(), pa.float64()):
            try:
                return present.cast(kind)  # most columns are clean: no cell needs to be looked at by itself
            except pa.ArrowInvalid:
                continue
    fits = pc.match_substring_regex(
        present, f"^({PATTERNS['float' if guess.kind == 'int' else guess.kind]})$"
    )
    fitting = pc.replace_substring_regex(pc.if_else(fits, present, None), r"^\+", "")
    if guess.kind == "thousands":
        fitting = pc.replace_substring(fitting, ",", "")
    if guess.kind == "comma":
        fitting = pc.replace_substring(pc.replace_substring(fitting, ".", ""), ",", ".")
    for kind in (pa.int64(), pa.float64()):
        try:
            return fitting.cast(kind)
        except pa.ArrowInvalid:
            continue
    raise AssertionError("the pattern lets through what Arrow does not read as a number")


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
    zero = pc.and_(pc.starts_with(present, "0"), pc.greater(pc.binary_length(present), 1))
    return bool(pc.any(zero).as_py())


def _converted(column: pa.ChunkedArray, guess: Guess, *, strip: bool) -> pa.ChunkedArray:
    if guess.kind == "empty":
        return pa.chunked_array([pa.nulls(len(column), pa.float64())])
    present = _present(column)
    if guess.kind == "text":
        return present if strip else pc.if_else(present.is_valid(), column, None)
    values = _read(present, guess)
    if guess.kind in ("int", "time"):
        return values
    values = values.cast(pa.float64())
    return pc.if_else(pc.is_finite(values), values, None) if guess.infinite else values


def _collect(name: str, before: pa.ChunkedArray, after: pa.ChunkedArray, start: int, cells: Cells) -> None:
    """List the cells that are there before conversion and missing after it."""
    lost = pc.and_(_present(before).is_valid(), after.is_null())
    rows = np.flatnonzero(lost.to_numpy())[: MOST_LISTED - len(cells.rows)]
    cells.rows += (rows + start).tolist()
    cells.columns += [name] * len(rows)
    cells.texts += [shorten(cell) for cell in before.take(pa.array(rows)).to_pylist()]
