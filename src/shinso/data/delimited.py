"""CSV files, one or several of one schema, to typed columns."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import pyarrow as pa
import pyarrow.csv

from ..config import DataConfig
from ..errors import DataError
from .cores import cores
from .dialect import NO_SEPARATOR, Dialect, check_names, parse, same_names, sniff
from .entries import Entries, make_key
from .infer import EXPECTED, Typing, read_typed
from .loaded import Loaded, Span, find_span
from .notes import MOST_LISTED, Bad, Note, plural, shorten
from .spool import FORMAT as SPOOL_FORMAT
from .spool import LARGE, Facts, gather, restore, spool
from .textfile import SAMPLE, TextFile, lines_of_records

FORMAT = 1  # changes when the same file is read differently


@dataclass(frozen=True)
class Plan:
    """How one file is read."""

    file: TextFile
    dialect: Dialect
    names: list[str]  # in the order of this file
    wanted: list[str]  # in the order of the first file


@dataclass
class Outcome:
    """What the reading of one file met: rows kept, and those that were not, by their number in the file."""

    rows: int = 0
    numbers: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def read_delimited(files: list[TextFile], options: DataConfig, entries: Entries) -> Loaded:
    """Read CSV files as one table; they must have the same columns, in any order."""
    plans = make_plans(files, options)
    asked = [options.header, options.separator, options.encoding, options.bad_rows]
    hashes = [file.fingerprint for file in files]
    key = make_key("csv", FORMAT, SPOOL_FORMAT, hashes, [file.name for file in files], asked)
    fingerprint = (
        hashes[0] if len(files) == 1 and asked[:3] == ["auto", None, None] else make_key(hashes, asked[:3])
    )
    large = sum(file.size for file in files) >= LARGE
    if large:
        stored = restore(fingerprint, entries, key, [_lines(plan) for plan in plans])
        if stored is not None:
            return stored
    outcomes: list[Outcome] = []
    kept = [] if large else list(_parse(plans, outcomes))

    def pieces() -> Iterator[pa.Table]:
        return _parse(plans, outcomes) if large else iter(kept)

    def keep(typed: Iterator[pa.Table], typing: Typing) -> Loaded:
        def facts() -> Facts:
            _check(plans, outcomes, options)
            return _facts(plans, outcomes, typing)

        return spool(typed, facts, fingerprint, entries, key) if large else gather(typed, facts, fingerprint)

    dialect = plans[0].dialect
    loaded = read_typed(pieces, keep, decimal_comma=dialect.separator != ",", strip=dialect.spaces)
    if loaded is None:
        _check(plans, outcomes, options)
        raise AssertionError("a file without rows is refused")
    return loaded


def make_plans(files: list[TextFile], options: DataConfig) -> list[Plan]:
    """Separator, header and column names of every file, checked against the first one's."""
    plans: list[Plan] = []
    for file in files:
        text = file.head(SAMPLE)
        if not text.strip():
            raise DataError(f"{file.name} is empty. Expected a header line and at least one row below it.")
        dialect = sniff(text, options)
        if not dialect.width:
            raise DataError(
                f"{file.name} begins with a cell of more than {csv.field_size_limit():,} characters, so its "
                f"columns cannot be told. Expected a header line and rows below it: is it a table?"
            )
        names = _names(text, dialect, file.name)
        wanted = plans[0].names if plans else names
        same_names(wanted, files[0].name, names, file.name)
        plans.append(Plan(file, dialect, names, wanted))
    return plans


def _names(text: str, dialect: Dialect, file: str) -> list[str]:
    if not dialect.header:
        alone = dialect.width == 1
        return ["text"] if alone else [f"column_{i + 1}" for i in range(dialect.width)]
    first = parse(text, dialect.separator, dialect.quote)[0]
    names = [cell.strip() or f"column_{i + 1}" for i, cell in enumerate(first)]
    check_names(names, file)
    return names


def _parse(plans: list[Plan], outcomes: list[Outcome]) -> Iterator[pa.Table]:
    """Text tables of all files, parsed on several cores, in order; `outcomes` is filled anew."""
    outcomes[:] = [Outcome() for _ in plans]
    threads = cores()
    with ThreadPoolExecutor(threads) as pool:
        for plan, outcome in zip(plans, outcomes, strict=True):
            waiting: deque[Future[Parsed]] = deque()
            segments = enumerate(plan.file.segments(plan.dialect.quote))
            line = 0
            while True:
                for i, segment in islice(segments, threads + 1 - len(waiting)):
                    waiting.append(
                        pool.submit(_parse_segment, segment, plan, header=i == 0 and plan.dialect.header)
                    )
                if not waiting:
                    break
                parsed = waiting.popleft().result()
                line = _note_outcome(outcome, parsed, line)
                if len(parsed.table):
                    yield parsed.table


@dataclass(frozen=True)
class Parsed:
    """One segment of a file as a text table."""

    table: pa.Table
    lines: int
    numbers: list[int]  # of records that do not fit, counted from 1 in the segment, less the header
    bad_lines: list[int]  # counted from 0 in the segment
    reasons: list[str]


def _parse_segment(segment: bytes, plan: Plan, *, header: bool) -> Parsed:
    rejected: list[pyarrow.csv.InvalidRow] = []

    def reject(row: pyarrow.csv.InvalidRow) -> str:
        rejected.append(row)
        return "skip"

    blank = len(plan.names) == 1  # an empty line is a missing value there
    table = _read(segment, plan, reject, header=header, blank=blank)
    bad_lines: list[int] = []
    if rejected:
        where = lines_of_records(segment, plan.dialect.quote, blank=blank)
        bad_lines = [int(where[row.number - 1]) if row.number <= len(where) else 0 for row in rejected]
    _refuse_open_quote(segment, table, rejected, plan)
    shift = 1 if header else 0
    return Parsed(
        table.select(plan.wanted),
        segment.count(b"\n"),
        [row.number - shift for row in rejected],
        bad_lines,
        [
            f"{plural(row.actual_columns, 'cell')} where {row.expected_columns} are expected"
            for row in rejected
        ],
    )


def _refuse_open_quote(
    segment: bytes, table: pa.Table, rejected: list[pyarrow.csv.InvalidRow], plan: Plan
) -> None:
    """Raise `DataError` where a quote is never closed, so that one cell swallows the rest of a file."""
    mark = plan.dialect.quote
    if segment.count(mark.encode()) % 2 == 0:
        return
    last = [rejected[-1].text] if rejected else []
    if len(table):
        last += [column[-1].as_py() for column in table.columns]
    longest = max((cell.count("\n") for cell in last), default=0)
    if longest:
        opened = next(cell for cell in last if cell.count("\n") == longest)
        raise DataError(
            f"{plan.file.name}: a quote {mark} is opened and never closed, so that a cell swallows the last "
            f"{plural(longest, 'line')} of the file. It begins with {shorten(opened.splitlines()[0])!r}. "
            "Close the quote, or remove it."
        )


def _read(
    segment: bytes, plan: Plan, reject: Callable[[pyarrow.csv.InvalidRow], str], *, header: bool, blank: bool
) -> pa.Table:
    try:
        return pyarrow.csv.read_csv(
            io.BytesIO(segment),
            pyarrow.csv.ReadOptions(
                use_threads=False,  # rows that do not fit have no number otherwise
                column_names=plan.names,
                skip_rows_after_names=1 if header else 0,
                block_size=len(segment) + 1,
            ),
            pyarrow.csv.ParseOptions(
                delimiter=plan.dialect.separator,
                quote_char=plan.dialect.quote,
                newlines_in_values=True,
                invalid_row_handler=reject,
                ignore_empty_lines=not blank,
            ),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(plan.names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(f"{plan.file.name} cannot be read as CSV: {error}.") from None


def _note_outcome(outcome: Outcome, parsed: Parsed, line: int) -> int:
    """Add what a segment met to its file's outcome; returns the line at which the next segment begins."""
    before = outcome.rows + len(outcome.numbers)
    outcome.rows += len(parsed.table)
    outcome.numbers += [before + number for number in parsed.numbers]
    outcome.lines += [line + number + 1 for number in parsed.bad_lines]
    outcome.reasons += parsed.reasons
    return line + parsed.lines


def _check(plans: list[Plan], outcomes: list[Outcome], options: DataConfig) -> None:
    """Raise `DataError` when there are no rows, or too many that cannot be read."""
    rows = sum(outcome.rows for outcome in outcomes)
    bad = sum(len(outcome.numbers) for outcome in outcomes)
    names = plans[0].file.name if len(plans) == 1 else f"{plans[0].file.name} and {len(plans) - 1} more files"
    if not rows and not bad:
        raise DataError(f"{names} has a header but no rows. Add at least one row below the first line.")
    if bad > options.bad_rows * (rows + bad):
        i = next(i for i, outcome in enumerate(outcomes) if outcome.numbers)
        raise DataError(
            f"{bad:,} of {rows + bad:,} rows of {names} cannot be read; the first is "
            f"{plans[i].file.name}, line "
            f"{outcomes[i].lines[0]}: {outcomes[i].reasons[0]}. Correct them, name the separator, as in "
            f"--set data.separator=';' (used: {plans[i].dialect.separator!r}), or let them be left out with "
            "--set data.bad_rows=1."
        )


def _facts(plans: list[Plan], outcomes: list[Outcome], typing: Typing) -> Facts:
    spans = tuple(
        Span(plan.file.name, outcome.rows, tuple(outcome.numbers), _lines(plan))
        for plan, outcome in zip(plans, outcomes, strict=True)
    )
    bad = [
        Bad(span.file, number, None, reason, line=line)
        for span, outcome in zip(spans, outcomes, strict=True)
        for number, line, reason in zip(outcome.numbers, outcome.lines, outcome.reasons, strict=True)
    ][:MOST_LISTED]
    cells = typing.cells
    for row, column, text in zip(cells.rows, cells.columns, cells.texts, strict=True):
        span, index = find_span(spans, row)
        reason = f"missing: the column holds {EXPECTED[typing.guesses[column].kind]}"
        bad.append(Bad(span.file, span.number(index), column, reason, text))
    return spans, tuple(_notes(plans, outcomes, typing)), tuple(bad)


def _notes(plans: list[Plan], outcomes: list[Outcome], typing: Typing) -> Iterator[Note]:
    for plan, outcome in zip(plans, outcomes, strict=True):
        file = plan.file
        if file.encoding not in ("utf-8", "utf-8-sig"):
            yield Note("info", f"{file.name} is read as {file.encoding}")
        if file.damaged:
            message = (
                f"{file.name} has bytes that are not valid UTF-8; they are read as \N{REPLACEMENT CHARACTER}"
            )
            yield Note("warning", message, None, file.damaged)
        if outcome.numbers:
            message = f"{plural(len(outcome.numbers), 'row')} of {file.name} left out: wrong number of cells"
            yield Note("warning", message, None, len(outcome.numbers))
    if not plans[0].dialect.header and plans[0].dialect.separator != NO_SEPARATOR:
        yield Note("info", "the first line holds data, not names: columns are called column_1, column_2, ...")
    cells = typing.cells
    for name, found in typing.guesses.items():
        if found.odd:
            example = next((t for c, t in zip(cells.columns, cells.texts, strict=True) if c == name), "")
            message = (
                f"{plural(found.odd, 'cell')} of {name!r} not readable as {EXPECTED[found.kind]}: missing"
            )
            yield Note("warning", f"{message} (as {shorten(example)!r})", name, found.odd)
        if found.infinite:
            yield Note(
                "warning",
                f"{plural(found.infinite, 'cell')} of {name!r} infinite: missing",
                name,
                found.infinite,
            )


def _lines(plan: Plan) -> Callable[[int], int | None]:
    """A function from a row's number in the file to its line; reads the file again, as errors are rare."""

    def line_of(number: int) -> int | None:
        record, line = number - 1 + (1 if plan.dialect.header else 0), 0
        for segment in plan.file.segments(plan.dialect.quote):
            where = lines_of_records(segment, plan.dialect.quote, blank=len(plan.names) == 1)
            if record < len(where):
                return line + int(where[record]) + 1
            record -= len(where)
            line += segment.count(b"\n")
        return None

    return line_of
