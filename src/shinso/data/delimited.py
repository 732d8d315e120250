"""CSV in all its forms: separator, quotes, header, encoding, uneven rows."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from ..config import DataConfig
from ..errors import DataError
from .infer import MISSING, Cells, convert, guess
from .loaded import Loaded, Span
from .notes import Bad, Note, plural, shorten

SEPARATORS = (",", "\t", ";", "|")
NO_SEPARATOR = "\x1f"
SAMPLE_BYTES = 1 << 18
SAMPLE_ROWS = 500


@dataclass(frozen=True)
class Dialect:
    """How one file is written."""

    separator: str
    quote: str
    header: bool
    spaces: bool  # blanks follow the separators


def sniff(text: str, options: DataConfig) -> Dialect:
    """Find separator, quote and header from the beginning of a file."""
    quote = _quote(text)
    candidates = (options.separator,) if options.separator else SEPARATORS
    tables = {s: _parse(text, s, quote) for s in candidates}
    separator = max(tables, key=lambda s: _evenness(tables[s]))
    if options.separator is None and _evenness(tables[separator]) <= 0.5:
        separator, tables = NO_SEPARATOR, {NO_SEPARATOR: [[line] for line in text.splitlines() if line]}
    rows = tables[separator]
    later = [cell for row in rows for cell in row[1:]]
    spaces = bool(later) and sum(cell[:1] == " " for cell in later) > 0.9 * len(later)
    header = options.header == "yes" or (options.header == "auto" and looks_like_header(rows))
    return Dialect(separator, quote, header, spaces)


def _quote(text: str) -> str:
    return "'" if '"' not in text and (text.count("'") >= 4 and text.count(",'") > 0.3 * text.count("'")) else '"'


def _parse(text: str, separator: str, quote: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quotechar=quote)
    rows: list[list[str]] = []
    try:
        for row in reader:
            if row:
                rows.append(row)
            if len(rows) >= SAMPLE_ROWS:
                break
    except csv.Error:  # a field beyond the limit of the csv module: what came before it is sample enough
        pass
    return rows


def _evenness(rows: list[list[str]]) -> float:
    """The share of rows that have the usual number of cells, 0 when that is one."""
    widths = Counter(len(row) for row in rows)
    if not widths:
        return 0.0
    width, count = max(widths.items(), key=lambda item: (item[1], item[0]))
    return count / len(rows) if width > 1 else 0.0


def is_number(cell: str) -> bool:
    """True for text that reads as a number."""
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return "_" not in cell


def looks_like_header(rows: list[list[str]]) -> bool:
    """Whether the first row names the columns."""
    first = [cell.strip() for cell in rows[0]] if rows else []
    rest = rows[1:]
    if first == [str(i) for i in range(len(first))] and rest:
        return True
    if not any(first) or any(is_number(cell) for cell in first):
        return False
    for i, cell in enumerate(first):
        below = [row[i].strip() for row in rest if len(row) > i and row[i].strip() not in MISSING]
        if cell and below and sum(map(is_number, below)) >= 0.8 * len(below):
            return True
    if any(cell in {row[i].strip() for row in rest if len(row) > i} for i, cell in enumerate(first) if cell):
        return False
    return all(len(cell) <= 40 and len(cell.split()) <= 4 and cell[-1:] not in (".", "!", "?", "。") for cell in first)


def read_delimited(path: Path, name: str, data: bytes, options: DataConfig, fingerprint: str) -> Loaded:
    """Read one CSV file."""
    if not data.strip():
        raise DataError(f"{name} is empty. Expected a header line and at least one row.")
    text, encoding = data.decode("utf-8-sig"), "utf-8"
    dialect = sniff(text[:SAMPLE_BYTES], options)
    names = _names(text, dialect, name)
    rejected: list[tuple[int, str]] = []
    strings = _read(text.encode(), dialect, names, rejected)
    if not len(strings):
        raise DataError(f"{name} has a header but no rows. Add at least one row below the first line.")
    guesses = guess(lambda: [strings], decimal_comma=dialect.separator != ",")
    cells = Cells()
    typed = pa.concat_tables(list(convert(lambda: [strings], guesses, strip=dialect.spaces, cells=cells)))
    shift = 1 if dialect.header else 0
    skipped = tuple(number - shift for number, _ in rejected)
    bad = [Bad(name, n - shift, None, why, line=n) for n, why in rejected]
    span = Span(name, len(typed), skipped, lambda number: number + shift)
    bad += [
        Bad(name, span.number(row), column, f"not a value of this column, which holds {guesses[column].kind}", text)
        for row, column, text in zip(cells.rows, cells.columns, cells.texts, strict=True)
    ]
    notes = [
        Note("warning", f"{plural(g.odd + g.infinite, 'cell')} of column {n!r} cannot be read", n, g.odd + g.infinite)
        for n, g in guesses.items()
        if g.odd or g.infinite
    ]
    del encoding
    return Loaded(typed, (span,), fingerprint, tuple(notes), tuple(bad), folder=path.parent)


def _names(text: str, dialect: Dialect, name: str) -> list[str]:
    first = _parse(text[:SAMPLE_BYTES], dialect.separator, dialect.quote)[0]
    if not dialect.header:
        return [f"column_{i + 1}" for i in range(len(first))]
    names = [cell.strip() or f"column_{i + 1}" for i, cell in enumerate(first)]
    check_names(names, name)
    return names


def check_names(names: list[str], file: str) -> None:
    """Raise `DataError` when two columns have one name."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        places = ", ".join(
            f"{name!r} (columns {' and '.join(str(i + 1) for i, n in enumerate(names) if n == name)})" for name in twice
        )
        raise DataError(f"{file} has two columns with one name: {places}. Rename one of them in the first line.")


def _read(data: bytes, dialect: Dialect, names: list[str], rejected: list[tuple[int, str]]) -> pa.Table:
    def reject(row: pyarrow.csv.InvalidRow) -> str:
        why = f"{row.actual_columns} cells where {row.expected_columns} are expected: {shorten(row.text)}"
        rejected.append((row.number, why))
        return "skip"

    return pyarrow.csv.read_csv(
        io.BytesIO(data),
        pyarrow.csv.ReadOptions(
            use_threads=False, column_names=names, skip_rows_after_names=1 if dialect.header else 0, block_size=1 << 24
        ),
        pyarrow.csv.ParseOptions(
            delimiter=dialect.separator,
            quote_char=dialect.quote,
            newlines_in_values=True,
            invalid_row_handler=reject,
            ignore_empty_lines=len(names) > 1,
        ),
        pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
    )
