"""How a CSV file is written: separator, quotes, header; found from its beginning."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..config import DataConfig
from ..errors import DataError, did_you_mean
from .infer import MISSING

SEPARATORS = (",", "\t", ";", "|")
NO_SEPARATOR = "\x1f"  # a file of one column, whose text may hold any separator
SAMPLE_ROWS = 500
ENDS_OF_SENTENCES = (".", "!", "?", "。", "！", "？")


@dataclass(frozen=True)
class Dialect:
    """How one file is written."""

    separator: str
    quote: str
    header: bool
    spaces: bool  # blanks follow the separators: they are no part of the values
    width: int  # the usual number of cells in a row


def sniff(text: str, options: DataConfig) -> Dialect:
    """Find separator, quote and header from the beginning of a file.

    >>> sniff("a;b\\n1;2,5\\n", DataConfig())
    Dialect(separator=';', quote='"', header=True, spaces=False, width=2)
    """
    quote = _quote(text)
    candidates = (_separator(options.separator),) if options.separator else SEPARATORS
    tables = {separator: parse(text, separator, quote) for separator in candidates}
    separator = max(tables, key=lambda separator: _evenness(tables[separator]))
    if not options.separator and _evenness(tables[separator]) <= 0.5:
        separator, tables = NO_SEPARATOR, {NO_SEPARATOR: parse(text, NO_SEPARATOR, quote)}
    rows = tables[separator]
    later = [cell for row in rows for cell in row[1:]]
    spaces = bool(later) and sum(cell[:1] == " " for cell in later) > 0.9 * len(later)
    header = options.header == "yes" or (options.header == "auto" and looks_like_header(rows))
    return Dialect(separator, quote, header, spaces, _width(rows))


def parse(text: str, separator: str, quote: str) -> list[list[str]]:
    """The first rows of a text as lists of cells."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quotechar=quote)
    rows: list[list[str]] = []
    try:
        for row in reader:
            if row:
                rows.append(row)
            if len(rows) >= SAMPLE_ROWS:
                break
    except csv.Error:  # a cell beyond the limit of the csv module: what came before it is sample enough
        pass
    return rows


def looks_like_header(rows: list[list[str]]) -> bool:
    """Whether the first row names the columns rather than being data."""
    first = [cell.strip() for cell in rows[0]] if rows else []
    rest = rows[1:]
    if rest and first == [str(i) for i in range(len(first))]:
        return True
    if not any(first) or any(is_number(cell) for cell in first):
        return False
    columns = [[row[i].strip() for row in rest if len(row) > i] for i in range(len(first))]
    if any(cell and _is_numeric(column) for cell, column in zip(first, columns, strict=True)):
        return True
    if any(cell and cell in column for cell, column in zip(first, columns, strict=True)):
        return False
    return all(
        len(cell) <= 40 and len(cell.split()) <= 4 and not cell.endswith(ENDS_OF_SENTENCES) for cell in first
    )


def is_number(cell: str) -> bool:
    """True for text that reads as a number.

    >>> [is_number(cell) for cell in ("1e3", "2,5", "1_000", "x")]
    [True, True, False, False]
    """
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return "_" not in cell


def check_names(names: list[str], file: str) -> None:
    """Raise `DataError` when two columns have one name."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if not twice:
        return
    places = {name: [str(i + 1) for i, other in enumerate(names) if other == name] for name in twice}
    listed = ", ".join(f"{name!r} (columns {' and '.join(where)})" for name, where in places.items())
    raise DataError(
        f"{file} has two columns with one name: {listed}. Expected every name once; rename one of them."
    )


def same_names(wanted: Sequence[str], first: str, names: Sequence[str], other: str) -> None:
    """Raise `DataError` when two files that are read as one table have other columns."""
    missing = [name for name in wanted if name not in names]
    added = [name for name in names if name not in wanted]
    if not missing and not added:
        return
    what = [f"lacks {', '.join(map(repr, missing))}"] if missing else []
    what += [f"has {', '.join(map(repr, added))} besides"] if added else []
    near = f" {did_you_mean(added[0], missing)}" if missing and added else ""
    raise DataError(
        f"{other} {' and '.join(what)}, compared with {first}.{near} Files that are read together need "
        "the same "
        "columns: rename or remove what differs, or give the files one by one."
    )


def _separator(text: str) -> str:
    named = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " "}.get(text, text)
    if len(named) != 1 or named in '\n\r"' or not named.isascii():
        raise DataError(
            f"data.separator is one ASCII character, or 'tab'; received {text!r}. Left out, it is found."
        )
    return named


def _quote(text: str) -> str:
    """Single quotes only where there are no double ones and cells are wrapped in them."""
    single = text.count("'")
    return "'" if '"' not in text and single >= 4 and text.count(",'") > 0.3 * single else '"'


def _width(rows: list[list[str]]) -> int:
    widths = Counter(len(row) for row in rows)
    return max(widths, key=lambda width: (widths[width], width), default=0)


def _evenness(rows: list[list[str]]) -> float:
    """The share of rows that have the usual number of cells; 0 when that is one."""
    width = _width(rows)
    return sum(len(row) == width for row in rows) / len(rows) if width > 1 else 0.0


def _is_numeric(cells: list[str]) -> bool:
    there = [cell for cell in cells if cell not in MISSING]
    return bool(there) and sum(map(is_number, there)) >= 0.8 * len(there)
