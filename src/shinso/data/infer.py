"""Types of the columns of a text table, found by counting every cell, and the conversion to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import duckdb
import numpy as np
import pyarrow as pa

from .notes import MOST_LISTED, shorten

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "None", "?", "-")
SHARE = 0.95  # a column is numeric, or of dates, when this share of its cells is
SAMPLE = 2_000
TIME_FORMATS = (
    "%Y年%m月%d日",
    "%Y年%m月%d日 %H:%M",
    "%Y.%m.%d",
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p",
    "%d-%b-%Y",
    "%d %b %Y",
    "%b %d, %Y",
    "%B %d, %Y",
)
Kind = Literal["int", "float", "thousands", "comma", "time", "text", "empty"]
Pieces = Callable[[], Iterable[pa.Table]]  # the text table, in parts that fit in memory, as often as asked


@dataclass
class Guess:
    """What a column of text holds."""

    kind: Kind
    format: str | None = None  # of times
    odd: int = 0  # cells that are not of that kind: missing after conversion
    infinite: int = 0


@dataclass
class Cells:
    """Cells that became missing: their place in the table and what stood there."""

    rows: list[int] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


def guess(pieces: Pieces, *, decimal_comma: bool) -> dict[str, Guess]:
    """The kind of every column, from all of its cells."""
    sample = next(iter(pieces()))[:SAMPLE]
    names = sample.column_names
    trials = {name: _trial(_cells(sample[name]), decimal_comma=decimal_comma) for name in names}
    counts = np.zeros((len(names), 5), np.int64)
    with _connect() as connection:
        for piece in pieces():
            counts += _count(connection, piece, [trials[name] for name in names])
    return {name: _decide(trials[name], row) for name, row in zip(names, counts.tolist(), strict=True)}


def convert(
    pieces: Pieces, guesses: dict[str, Guess], *, strip: bool, cells: Cells
) -> Iterator[pa.Table]:  # fmt: skip
    """The typed pieces; what does not fit its column's type is missing and stands in `cells`."""
    names = list(guesses)
    chosen = ", ".join(_expression(i, guesses[name], strip=strip) for i, name in enumerate(names))
    start = 0
    with _connect() as connection:
        for piece in pieces():
            piece = piece.rename_columns(_aliases(len(names)))
            connection.register("piece", piece)
            typed = connection.sql(f"SELECT {chosen} FROM piece").to_arrow_table()
            typed = typed.rename_columns(names)
            _collect(connection, piece, guesses, start, cells)
            connection.unregister("piece")
            yield typed
            start += len(piece)


def _connect() -> duckdb.DuckDBPyConnection:
    """A private engine that reads nothing but what it is given, and never asks the network for an extension."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "enable_external_access": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    return duckdb.connect(":memory:", config=settings)


def _aliases(n: int) -> list[str]:
    return [f"c{i}" for i in range(n)]


def _cells(column: pa.ChunkedArray) -> list[str]:
    cells = (cell.strip() for cell in column.to_pylist() if cell is not None)
    return [cell for cell in cells if cell not in MISSING]


def _trial(cells: list[str], *, decimal_comma: bool) -> Guess:
    """The most likely kind from a sample; the full count confirms it or falls back to text."""
    if not cells:
        return Guess("float")
    with _connect() as connection:
        connection.register("piece", pa.table({"c0": cells}))

        def share(kind: Kind, format: str | None = None) -> float:
            test = _test(0, Guess(kind, format))
            row = connection.execute(f"SELECT count(*) FILTER ({test}) FROM piece").fetchall()
            return float(row[0][0]) / len(cells)

        numbers: list[Kind] = ["float", "comma"] if decimal_comma else ["float", "thousands"]
        for kind in numbers:
            if share(kind) >= 0.5:
                return Guess(kind)
        if share("time") >= 0.5:
            return Guess("time")
        shares = {format: share("time", format) for format in TIME_FORMATS}
        best = max(shares, key=lambda format: shares[format])
        return Guess("time", best) if shares[best] >= 0.5 else Guess("text")


def _missing(i: int) -> str:
    markers = ", ".join(f"'{marker}'" for marker in MISSING)
    return f"(c{i} IS NULL OR trim(c{i}) IN ({markers}))"


def _value(i: int, guess: Guess) -> str:
    """SQL for the cell as a value of its kind, NULL where it is none."""
    cell = f"trim(c{i})"
    if guess.kind == "int":
        return f"TRY_CAST({cell} AS BIGINT)"
    if guess.kind == "float":
        return f"CASE WHEN contains({cell}, '_') THEN NULL ELSE TRY_CAST({cell} AS DOUBLE) END"
    if guess.kind == "thousands":
        plain = f"regexp_full_match({cell}, '[-+]?\\d{{1,3}}(,\\d{{3}})*(\\.\\d*)?')"
        return f"CASE WHEN {plain} THEN TRY_CAST(replace({cell}, ',', '') AS DOUBLE) END"
    if guess.kind == "comma":
        plain = f"regexp_full_match({cell}, '[-+]?(\\d+|\\d{{1,3}}(\\.\\d{{3}})+)(,\\d*)?')"
        return f"CASE WHEN {plain} THEN TRY_CAST(replace(replace({cell}, '.', ''), ',', '.') AS DOUBLE) END"
    if guess.kind == "time" and guess.format is None:
        return f"TRY_CAST({cell} AS TIMESTAMP)"
    return f"try_strptime({cell}, '{guess.format}')"


def _test(i: int, guess: Guess) -> str:
    value = _value(i, guess)
    return f"({value}) IS NOT NULL" if guess.kind == "time" else f"NOT isnan({value})"


def _count(connection: duckdb.DuckDBPyConnection, piece: pa.Table, trials: list[Guess]) -> Any:
    """(columns, 5): cells, cells of the kind, whole numbers, infinities, numbers that begin with a zero."""
    connection.register("piece", piece.rename_columns(_aliases(len(trials))))
    chosen: list[str] = []
    for i, trial in enumerate(trials):
        there = f"NOT {_missing(i)}"
        chosen.append(f"count(*) FILTER ({there})")
        if trial.kind == "text":
            chosen += ["0"] * 4
            continue
        value, cell = _value(i, trial), f"trim(c{i})"
        chosen.append(f"count(*) FILTER ({there} AND {_test(i, trial)})")
        if trial.kind != "float":
            chosen += ["0"] * 3
            continue
        whole = f"TRY_CAST({cell} AS BIGINT)::DOUBLE = ({value}) AND NOT contains({cell}, '.')"
        chosen.append(f"count(*) FILTER ({there} AND {whole})")
        chosen.append(f"count(*) FILTER ({there} AND isinf({value}))")
        chosen.append(f"count(*) FILTER ({there} AND starts_with({cell}, '0') AND length({cell}) > 1 AND {whole})")
    [row] = connection.execute(f"SELECT {', '.join(chosen)} FROM piece").fetchall()
    connection.unregister("piece")
    return np.asarray(row, np.int64).reshape(len(trials), 5)


def _decide(trial: Guess, counts: list[int]) -> Guess:
    there, fitting, whole, infinite, zeros = counts
    if there == 0:
        return Guess("empty")
    if trial.kind == "text" or fitting < SHARE * there:
        return Guess("text")
    if trial.kind == "float" and zeros and whole == fitting:
        return Guess("text")  # 00123: postcodes and telephone numbers lose their zeros as numbers
    kind: Kind = "int" if trial.kind == "float" and whole == fitting else trial.kind
    return Guess(kind, trial.format, odd=there - fitting, infinite=infinite)


def _expression(i: int, guess: Guess, *, strip: bool) -> str:
    if guess.kind == "empty":
        return "NULL::DOUBLE"
    if guess.kind == "text":
        return f"CASE WHEN {_missing(i)} THEN NULL ELSE {f'trim(c{i})' if strip else f'c{i}'} END"
    value = _value(i, guess)
    if guess.kind == "int" or guess.kind == "time":
        return f"CASE WHEN {_missing(i)} THEN NULL ELSE {value} END"
    return f"CASE WHEN {_missing(i)} OR NOT isfinite({value}) THEN NULL ELSE {value} END"


def _collect(
    connection: duckdb.DuckDBPyConnection, piece: pa.Table, guesses: dict[str, Guess], start: int, cells: Cells
) -> None:  # fmt: skip
    for i, (name, guess) in enumerate(guesses.items()):
        room = MOST_LISTED - len(cells.rows)
        if not (guess.odd or guess.infinite) or room <= 0:
            continue
        value = _value(i, guess)
        fits = f"({value}) IS NOT NULL" if guess.kind in ("int", "time") else f"isfinite({value})"
        found = connection.execute(
            f"SELECT row, text FROM (SELECT row_number() OVER () - 1 AS row, c{i} AS text, "
            f"NOT {_missing(i)} AND NOT coalesce({fits}, false) AS odd FROM piece) WHERE odd LIMIT {room}"
        ).fetchall()
        cells.rows += [start + row for row, _ in found]
        cells.columns += [name] * len(found)
        cells.texts += [shorten(text) for _, text in found]
