"""A look at a table before training: what is missing, constant, doubled, far out, or merely names the row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..columns.base import Values, missing_mask
from .notes import MOST_LISTED, Bad, Note, plural
from .tabular import Tabular
from .values import codes_of

Rows = NDArray[np.int64]
LOOKED_AT = 1_000_000  # rows, evenly spread over a larger table
MOSTLY_MISSING = 0.6
FAR_OUT = 3.0  # quartile distances beyond the quartiles
FEWEST_ROWS = 20  # below this everything looks unique or constant
RARE = 5
MOST_CATEGORIES = 1_000
ID_VALUE = re.compile(r"[A-Za-z0-9_\-./:@#?=&%+~]{1,120}")
ID_NAME = re.compile(r"(?i:(^|[_\W])(id|uuid|guid|index|key|no)$|^unnamed)|[a-z](Id|ID)$|番号$")


@dataclass(frozen=True)
class Examination:
    """Which rows and columns to use, and what there is to say."""

    rows: Rows  # that have a target
    given: tuple[str, ...]  # without constant columns and names of rows
    notes: tuple[Note, ...]
    quarantine: tuple[Bad, ...]


@dataclass(frozen=True)
class _Look:
    """The values of one column at the rows looked at."""

    name: str
    values: Values
    missing: NDArray[np.bool_]
    codes: NDArray[np.int32] | None  # equal values have equal codes; None for values that cannot be compared

    @property
    def distinct(self) -> int:
        return (
            int(self.codes[~self.missing].max(initial=-1)) + 1 if self.codes is not None else len(self.values)
        )


def examine(table: Tabular, predict: Sequence[str], given: Sequence[str]) -> Examination:
    """Look at the columns of a table that are to be used; nothing is changed, what is left out is said.

    >>> from shinso.data.table import Table
    >>> table = Table.read({"y": [1, None, 3], "x": [5, 5, 5]})
    >>> looked = examine(table, ["y"], ["x"])
    >>> looked.rows.tolist(), looked.given, [bad.row for bad in looked.quarantine]
    ([0, 2], ('x',), [2])
    """
    rows, bad, notes = _rows_with_target(table, predict)
    seen = rows if len(rows) <= LOOKED_AT else rows[np.linspace(0, len(rows) - 1, LOOKED_AT).astype(np.int64)]
    if len(seen) < len(rows):
        notes.append(Note("info", f"looked at {len(seen):,} of {plural(len(rows), 'row')}, evenly spread"))
    targets = [_look(table, name, seen) for name in predict]
    looks = [_look(table, name, seen) for name in given]
    kept: list[str] = []
    for look in looks:
        reason = _useless(look)
        if reason is None:
            kept.append(look.name)
            notes += _remarks(look)
            notes += _leaks(look, targets)
        else:
            message = f"{look.name!r} is left out: {reason}. To keep it, name it with --given"
            notes.append(Note("warning", message, look.name))
    if not kept:
        kept, notes = list(given), [note for note in notes if note.column not in given]
    notes += _duplicates(table, [*looks, *targets], seen)
    return Examination(rows, tuple(kept), tuple(notes), tuple(bad))


def _rows_with_target(table: Tabular, predict: Sequence[str]) -> tuple[Rows, list[Bad], list[Note]]:
    lacking = np.full(len(table), bool(predict))
    for start in range(0, len(table) if predict else 0, LOOKED_AT):
        part = slice(start, min(len(table), start + LOOKED_AT))
        for name in predict:
            lacking[part] &= missing_mask(table.values(name, part))
    without = np.flatnonzero(lacking)
    if not len(without):
        return np.arange(len(table), dtype=np.int64), [], []
    names = ", ".join(map(repr, predict))
    listed = without[:MOST_LISTED]
    keys = table.keys(listed)
    bad = [
        Bad(table.file(int(row)), key, predict[0], "no target")
        for row, key in zip(listed, keys, strict=True)
    ]  # fmt: skip
    place = table.where(int(without[0]))
    message = f"{plural(len(without), 'row')} without a value of {names} left out (the first: {place})"
    return np.flatnonzero(~lacking), bad, [Note("warning", message, predict[0], len(without))]


def _look(table: Tabular, name: str, rows: Rows) -> _Look:
    values = table.values(name, None if len(rows) == len(table) else rows)
    codes = codes_of(values)
    missing = missing_mask(values) if codes is None else codes < 0
    if codes is not None:
        codes[missing] = codes.max(initial=-1) + 1
    return _Look(name, values, missing, codes)


def _useless(look: _Look) -> str | None:
    """Why a column tells nothing, if so."""
    rows, missing = len(look.values), int(look.missing.sum())
    if rows < FEWEST_ROWS:
        return None
    if missing == rows:
        return "it is empty"
    if look.codes is None:
        return None
    if look.distinct == 1 and not missing:
        return f"all rows hold {str(look.values[0])[:40]!r}"
    if look.distinct == rows and _is_identifier(look):
        return "every row has another value, so it names the row (identifier)"
    return None


def _is_identifier(look: _Look) -> bool:
    values = look.values
    if values.dtype.kind in "iu":
        consecutive = int(values.max()) - int(values.min()) + 1 == len(values)
        return consecutive or ID_NAME.search(look.name) is not None
    if values.dtype.kind != "O":
        return False
    sample = [str(value) for value in values[:: max(1, len(values) // 1000)]]
    with_digit = sum(any(c.isdigit() for c in value) for value in sample)
    return with_digit > 0.5 * len(sample) and all(ID_VALUE.fullmatch(value) for value in sample)


def _remarks(look: _Look) -> Iterator[Note]:
    share = float(look.missing.mean()) if len(look.values) else 0.0
    if share > MOSTLY_MISSING:
        yield Note("warning", f"{share:.0%} of {look.name!r} is missing", look.name, int(look.missing.sum()))
    if look.values.dtype.kind in "if" and look.distinct > 10:
        count = _count_far_out(look.values[~look.missing].astype(np.float64))
        if count:
            message = (
                f"{plural(count, 'value')} of {look.name!r} far out (over {FAR_OUT:g} quartile distances)"
            )
            yield Note("info", message, look.name, count)
    if look.values.dtype.kind == "O" and look.codes is not None and len(look.values) >= FEWEST_ROWS:
        counts = np.bincount(look.codes[~look.missing])
        rare = int((counts < RARE).sum())
        if rare and len(counts) <= min(MOST_CATEGORIES, len(look.values) // 5):
            message = (
                f"{rare} of {plural(len(counts), 'value')} of {look.name!r} in fewer than {RARE} rows each"
            )
            yield Note("info", message, look.name, rare)


def _count_far_out(values: NDArray[np.float64]) -> int:
    low, high = np.quantile(values, (0.25, 0.75))
    reach = FAR_OUT * (high - low)
    return int(((values < low - reach) | (values > high + reach)).sum()) if reach > 0 else 0


def _leaks(look: _Look, targets: Sequence[_Look]) -> Iterator[Note]:
    """A column that stands for the target, value by value."""
    for target in targets:
        if look.codes is None or target.codes is None or not 1 < target.distinct == look.distinct <= 100:
            continue
        pairs = np.unique(look.codes.astype(np.int64) * (int(target.codes.max()) + 1) + target.codes)
        if len(pairs) == target.distinct and len(look.values) >= FEWEST_ROWS:
            message = f"{look.name!r} tells {target.name!r} exactly: will it be known when predicting?"
            yield Note("warning", message, look.name)


def _duplicates(table: Tabular, looks: Sequence[_Look], seen: Rows) -> Iterator[Note]:
    """Rows that are equal in all columns; not searched where values cannot be compared, as with images."""
    codes = [look.codes for look in looks if look.codes is not None]
    if len(codes) < len(looks) or len(seen) < 2:
        return
    groups = np.zeros(len(seen), np.int64)
    for column in codes:
        groups = np.unique(groups * (int(column.max()) + 1) + column, return_inverse=True)[1]
    _, first = np.unique(groups, return_index=True)
    count = len(seen) - len(first)
    if count:
        again = np.setdiff1d(np.arange(len(seen)), first)[0]
        where = table.where(int(seen[again]))
        message = (
            f"{plural(count, 'row')} stand{'s' if count == 1 else ''} in the table before (as {where}); kept"
        )
        yield Note("info", message, None, count)
