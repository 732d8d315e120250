"""JSON: one object a line, or one array of objects."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ..config import DataConfig
from ..errors import DataError
from .columnar import Remarks, from_lists
from .dialect import check_names
from .entries import Entries, make_key
from .infer import EXPECTED, SHARE
from .loaded import Loaded, Span, find_span
from .notes import MOST_LISTED, Bad, Note, plural, shorten
from .spool import FORMAT, LARGE, Facts, gather, restore, spool
from .textfile import TextFile, lines_of_records
from .values import whole_text

Row = dict[str, Any]
Chunks = Callable[[], Iterator[list[Row]]]
LARGEST_ARRAY = 2 << 30  # bytes of a file that holds one JSON value
FIRST = 4096  # bytes that are looked at first


@dataclass
class _Tally:
    """What stood in one column."""

    whole: int = 0
    fractions: int = 0
    texts: int = 0
    truths: int = 0
    others: int = 0

    def add(self, value: Any) -> None:
        if value is None:
            return
        if isinstance(value, bool):
            self.truths += 1
        elif isinstance(value, int):
            self.whole += abs(value) < 1 << 63
            self.fractions += abs(value) >= 1 << 63
        elif isinstance(value, float):
            self.fractions += 1
        elif isinstance(value, str):
            self.texts += 1
        else:
            self.others += 1

    @property
    def kind(self) -> pa.DataType | None:
        """The column's Arrow type; None where Arrow has to find it (lists)."""
        numbers = self.whole + self.fractions
        words = self.texts + self.truths
        if self.others:
            return None
        if numbers and numbers >= SHARE * (numbers + words):
            return pa.float64() if self.fractions or words else pa.int64()
        if self.truths and not self.texts and not numbers:
            return pa.bool_()
        return pa.string() if numbers + words else pa.null()


@dataclass
class _Outcome:
    """What the reading of one file met."""

    rows: int = 0
    numbers: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def read_json(files: list[TextFile], options: DataConfig, entries: Entries) -> Loaded:
    """Read files of JSON lines as one table, or one file that holds an array of objects."""
    start = files[0].head(FIRST).lstrip()
    if not start:
        raise DataError(f'{files[0].name} is empty. Expected one JSON object a line, as in {{"price": 1}}.')
    if len(files) == 1 and (start[0] == "[" or not _is_object(_first_line(files[0]))):
        return _read_whole(files[0])
    hashes = [file.fingerprint for file in files]
    fingerprint = hashes[0] if len(hashes) == 1 else make_key(hashes)
    key = make_key("json", FORMAT, hashes, [file.name for file in files], options.bad_rows)
    large = sum(file.size for file in files) >= LARGE
    if large:
        stored = restore(fingerprint, entries, key, [_lines(file) for file in files])
        if stored is not None:
            return stored
    outcomes: list[_Outcome] = []
    kept = [] if large else list(_parse(files, outcomes))

    def chunks() -> Iterator[list[Row]]:
        return _parse(files, outcomes) if large else iter(kept)

    kinds = _kinds(chunks)
    _check(files, outcomes, options)
    lost: list[tuple[int, str, Any]] = []
    remarks = Remarks()

    def pieces() -> Iterator[pa.Table]:
        spans, at = _spans(files, outcomes), 0
        for rows in chunks():
            piece = _table(rows, kinds, at, lost)
            remarks.look(piece, spans, at)
            at += len(rows)
            yield piece

    def facts() -> Facts:
        spans = _spans(files, outcomes)
        bad, notes = _describe(spans, outcomes, lost)
        return spans, (*notes, *remarks.notes()), (*bad, *remarks.bad)

    if large:
        return spool(pieces(), facts, fingerprint, entries, key)
    return gather(pieces(), facts, fingerprint)


def _first_line(file: TextFile) -> str:
    """The first line that is not blank, however long."""
    size = FIRST
    while "\n" not in (text := file.head(size).lstrip()) and size <= 4 * file.size:
        size *= 16
    return text.partition("\n")[0]


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _read_whole(file: TextFile) -> Loaded:
    """A file that is one JSON value: an array of objects, or an object of columns."""
    if file.size > LARGEST_ARRAY:
        raise DataError(
            f"{file.name} is one JSON value of {file.size >> 20} MiB. Write one object a line instead."
        )
    try:
        value = json.loads(b"".join(file.chunks()))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{file.name} is not valid JSON: {error}. Correct it, or write one object a line."
        ) from None
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        flat = [flatten(row) for row in value]
        names = list(dict.fromkeys(name for row in flat for name in row))
        loaded = from_lists({name: [row.get(name) for row in flat] for name in names}, file.name)
    elif isinstance(value, dict) and value and all(isinstance(column, list) for column in value.values()):
        loaded = from_lists(value, file.name)
    else:
        raise DataError(
            f"{file.name} holds {_describe_value(value)}. Expected an array of objects, an object of "
            "columns, or one "
            'object a line, as in {"price": 1}.'
        )
    return loaded.named(file.fingerprint)


def _describe_value(value: Any) -> str:
    if isinstance(value, dict):
        return f"one object with the keys {', '.join(map(repr, list(value)[:5]))}"
    if isinstance(value, list):
        return "an empty array" if not value else "an array of other things than objects"
    return shorten(value)


def flatten(row: Row, prefix: str = "") -> Row:
    """Objects inside objects as columns of their own.

    >>> flatten({"a": {"b": 1, "c": {"d": 2}}})
    {'a.b': 1, 'a.c.d': 2}
    """
    if not prefix and not any(isinstance(value, dict) for value in row.values()):
        return row
    flat: Row = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _parse(files: list[TextFile], outcomes: list[_Outcome]) -> Iterator[list[Row]]:
    """The objects of all files, segment by segment; `outcomes` is filled anew."""
    outcomes[:] = [_Outcome() for _ in files]
    for file, outcome in zip(files, outcomes, strict=True):
        line = 0
        for segment in file.segments(None):
            rows: list[Row] = []
            for text in segment.split(b"\n"):
                line += 1
                if text.strip():
                    _parse_line(text, line, rows, outcome)
            line -= segment.endswith(b"\n")
            outcome.rows += len(rows)
            if rows:
                yield rows


def _parse_line(text: bytes, line: int, rows: list[Row], outcome: _Outcome) -> None:
    row: Row = {}
    try:
        value = json.loads(text) if outcome.rows or rows else json.loads(text, object_pairs_hook=_no_doubles)
        reason = "" if isinstance(value, dict) else f"{shorten(value)} is not an object"
        row = flatten(value) if not reason else {}
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        reason = f"not valid JSON: {error}"
    except RecursionError:
        reason = "nested too deeply"
    if not reason:
        rows.append(row)
        return
    outcome.numbers.append(outcome.rows + len(rows) + len(outcome.numbers) + 1)
    outcome.lines.append(line)
    outcome.reasons.append(reason)


def _no_doubles(pairs: list[tuple[str, Any]]) -> Row:
    check_names([name for name, _ in pairs], "The first object")
    return dict(pairs)


def _kinds(chunks: Chunks) -> dict[str, pa.DataType | None]:
    """The Arrow type of every column, from all rows; None for lists."""
    tallies: dict[str, _Tally] = {}
    for rows in chunks():
        for row in rows:
            for name, value in row.items():
                tallies.setdefault(name, _Tally()).add(value)
    kinds = {name: tally.kind for name, tally in tallies.items()}
    unknown = {name for name, kind in kinds.items() if kind is None}
    for rows in chunks() if unknown else ():
        for name in list(unknown):
            values = [row[name] for row in rows if row.get(name)]
            if values:
                kinds[name] = _array(values, name, None).type
                unknown.discard(name)
    return kinds


def _array(values: list[Any], name: str, kind: pa.DataType | None) -> pa.Array:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        return pa.array([whole_text(value) for value in values], kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise DataError(
            f"Column {name!r} holds lists that differ in kind: {error}. Give every row the same."
        ) from None


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond all floats is told as infinite
        return math.inf if value > 0 else -math.inf


def _table(rows: list[Row], kinds: dict[str, pa.DataType | None], start: int, lost: list[Any]) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    for name, kind in kinds.items():
        values = [row.get(name) for row in rows]
        if kind == pa.string():
            values = [value if value is None or isinstance(value, str) else str(value) for value in values]
        elif kind == pa.float64():
            odd = [i for i, value in enumerate(values) if isinstance(value, str | bool)]
            lost += [(start + i, name, values[i]) for i in odd]
            values = [
                None if value is None or isinstance(value, str | bool) else _float(value) for value in values
            ]
        columns[name] = _array(values, name, kind)
    return pa.table(columns)


def _check(files: list[TextFile], outcomes: list[_Outcome], options: DataConfig) -> None:
    rows = sum(outcome.rows for outcome in outcomes)
    bad = sum(len(outcome.numbers) for outcome in outcomes)
    if bad > options.bad_rows * (rows + bad) or not rows:
        i = next(i for i, outcome in enumerate(outcomes) if outcome.numbers)
        raise DataError(
            f"{bad:,} of {rows + bad:,} rows cannot be read; the first is {files[i].name}, line "
            f"{outcomes[i].lines[0]}: {outcomes[i].reasons[0]}. Expected one JSON object a line. Correct "
            "them, or let "
            "them be left out with --set data.bad_rows=1."
        )


def _spans(files: list[TextFile], outcomes: list[_Outcome]) -> tuple[Span, ...]:
    return tuple(
        Span(file.name, outcome.rows, tuple(outcome.numbers), _lines(file))
        for file, outcome in zip(files, outcomes, strict=True)
    )


def _describe(
    spans: tuple[Span, ...], outcomes: list[_Outcome], lost: list[tuple[int, str, Any]]
) -> tuple[list[Bad], list[Note]]:  # fmt: skip
    bad: list[Bad] = []
    notes: list[Note] = []
    for span, outcome in zip(spans, outcomes, strict=True):
        listed = list(zip(outcome.numbers, outcome.lines, outcome.reasons, strict=True))[:MOST_LISTED]
        bad += [Bad(span.file, number, None, reason, line=line) for number, line, reason in listed]
        if listed:
            message = f"{plural(len(outcome.numbers), 'row')} of {span.file} left out: not valid JSON"
            notes.append(Note("warning", message, None, len(outcome.numbers)))
    for row, name, value in lost[:MOST_LISTED]:
        span, index = find_span(spans, row)
        reason = f"missing: the column holds {EXPECTED['float']}"
        bad.append(Bad(span.file, span.number(index), name, reason, shorten(value)))
    for name in dict.fromkeys(name for _, name, _ in lost):
        mine = [value for _, other, value in lost if other == name]
        message = f"{plural(len(mine), 'cell')} of {name!r} not readable as numbers: missing"
        notes.append(Note("warning", f"{message} (as {shorten(mine[0])!r})", name, len(mine)))
    return bad, notes


def _lines(file: TextFile) -> Callable[[int], int | None]:
    def line_of(number: int) -> int | None:
        record, line = number - 1, 0
        for segment in file.segments(None):
            where = lines_of_records(segment, None, blank=False)
            if record < len(where):
                return line + int(where[record]) + 1
            record -= len(where)
            line += segment.count(b"\n")
        return None

    return line_of
