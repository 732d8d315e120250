"""An ordered table as rows of past and future, to forecast. T = times, V = variables, P = past, A = ahead."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..columns.base import Values, object_array
from ..columns.series import Series
from ..errors import DataError, SettingError, did_you_mean
from .notes import Bad, Note, plural
from .split import counts_of, parse_shares
from .table import Table

Rows = NDArray[np.int64]
Readings = NDArray[np.float64]
PAST = "past"


def windows(values_TV: Readings, past: int, ahead: int, starts: Rows | slice) -> tuple[Readings, Readings]:
    """(N, P, V) and (N, A, V): what lies from each start on, and what follows. A slice copies nothing.

    >>> before, after = windows(np.arange(6.0)[:, None], 3, 2, slice(None))
    >>> before[:, :, 0].tolist(), after[:, :, 0].tolist()
    ([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]], [[3.0, 4.0], [4.0, 5.0]])
    """
    both_NWV = sliding_window_view(values_TV, past + ahead, axis=0).transpose(0, 2, 1)[starts]
    return both_NWV[:, :past], both_NWV[:, past:]


def window_parts(times: int, past: int, ahead: int, split: str) -> tuple[Rows, NDArray[np.int8]]:
    """The starts of all windows, and for each 0 train, 1 validation, 2 test.

    `split` cuts the times; a window belongs to the part in which its whole future lies, so its past may
    reach back into an earlier part, while no part is ever trained or scored on another's future. Windows
    whose future lies across a border are left out.

    >>> window_parts(10, 2, 2, "6:2:2")
    (array([0, 1, 2, 4, 6]), array([0, 0, 0, 1, 2], dtype=int8))
    """
    borders = np.concatenate([[0], np.cumsum(counts_of(times, parse_shares(split)))])
    starts, parts = [], []
    for part in range(3):
        first = max(0, int(borders[part]) - past)
        found = np.arange(first, int(borders[part + 1]) - past - ahead + 1, dtype=np.int64)
        starts.append(found)
        parts.append(np.full(len(found), part, np.int8))
    return np.concatenate(starts), np.concatenate(parts)


def latest_window(table: Table, past: int, variables: Sequence[str], time: str | None = None) -> Readings:
    """(P, V): the last `past` readings of a table in time order, from which its future is forecast."""
    if len(table) < past:
        raise DataError(
            f"{table.describe()} has {plural(len(table), 'row')}; a forecast looks back on {past}. "
            "Add earlier rows."
        )
    last = in_time_order(table, time)[0][-past:]
    return np.stack([readings_of(table, name, last) for name in variables], 1)


class WindowTable:
    """A table in time order as rows of two series: `past` (P readings) and the future of the predicted (A).

    Has what `Table` has. The series are views of one array: a window takes no memory of its own. A row is
    named after the table's row with which its future begins.

    >>> load = Table.read({"load": list(range(20))})
    >>> table = WindowTable(load, past=4, ahead=2, predict=["load"], split="3:1:1")
    >>> table.names, len(table), table.values("load", slice(0, 1))[0].ravel().tolist()
    (('past', 'load'), 13, [4.0, 5.0])
    """

    def __init__(
        self, table: Table, *, past: int, ahead: int, predict: Sequence[str],
        given: Sequence[str] | None = None, time: str | None = None, split: str = "8:1:1",
    ) -> None:  # fmt: skip
        """`given`: further columns whose past is read (all numeric ones by default); `time` orders rows."""
        self.past, self.ahead, self.split = past, ahead, split
        self.predicted, self.variables, notes = _choose(table, predict, given)
        self._table = table
        self._order, time_notes = in_time_order(table, time)
        self._values_TV = np.stack([readings_of(table, name, self._order) for name in self.variables], 1)
        self._starts, self.parts = self._cut(len(table))
        self.names = (PAST, future_name(self.predicted))
        joined = Note(
            "warning", "files of training and test rows are read as one series, which data.split cuts"
        )
        self.notes: tuple[Note, ...] = (
            *table.notes, *notes, *time_notes, *(() if table.parts is None else (joined,))
        )  # fmt: skip
        self.quarantine: tuple[Bad, ...] = table.quarantine
        self.key_name = table.key_name

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def fingerprint(self) -> str:
        """A hash of the table's content and of everything that says which windows these are."""
        settings = repr((self._table.fingerprint, self.past, self.ahead, self.variables, self.predicted))
        return hashlib.blake2b(settings.encode() + self._starts.tobytes(), digest_size=16).hexdigest()

    def columns(self) -> tuple[Series, Series]:
        """The two series, fitted to the readings of the training part; both scale a variable alike."""
        last = self._starts[self.parts == 0].max() + self.past + self.ahead
        whole = Series(name=PAST).fit(object_array([self._values_TV[:last]]))
        count = len(self.predicted)
        future = replace(
            whole, name=self.names[1], variables=count, length=self.ahead,
            mean=whole.mean[:count], std=whole.std[:count],
        )  # fmt: skip
        return replace(whole, length=self.past), future

    def values(self, name: str, rows: Rows | slice | None = None) -> Values:
        """Object array of (P, V) or (A, V) views, NaN where a reading is missing."""
        self.check(name)
        starts = self._starts[slice(None) if rows is None else rows]
        views = sliding_window_view(self._values_TV, self.past + self.ahead, axis=0)
        if name == PAST:
            return object_array([views[s, :, : self.past].T for s in starts])
        return object_array([views[s, : len(self.predicted), self.past :].T for s in starts])

    def check(self, name: str) -> None:
        """Raise `DataError` when there is no column `name`."""
        if name not in self.names:
            known = did_you_mean(name, self.names)
            raise DataError(f"There is no column {name!r} in {self.describe()}. {known}")

    def describe(self) -> str:
        """The files of the table, for messages."""
        return self._table.describe()

    def take(self, rows: Rows | slice) -> WindowTable:
        """Some of the windows, in the order asked."""
        part: WindowTable = object.__new__(WindowTable)
        part.__dict__.update(self.__dict__)
        part._starts, part.parts = self._starts[rows], self.parts[rows]
        return part

    def rows(self, indices: Sequence[int] | Rows) -> list[dict[str, Any]]:
        """Some rows as dicts, for showing."""
        wanted = np.asarray(indices, np.int64)
        columns = {name: self.values(name, wanted) for name in self.names}
        return [{name: values[i] for name, values in columns.items()} for i in range(len(wanted))]

    def keys(self, rows: Rows | slice | None = None) -> list[int | str]:
        """What a user calls each window: the key of the row with which its future begins."""
        starts = self._starts[slice(None) if rows is None else rows]
        return self._table.keys(self._order[starts + self.past])

    def where(self, row: int) -> str:
        """The place of the row with which a window's future begins."""
        return self._table.where(int(self._order[self._starts[row] + self.past]))

    def file(self, row: int) -> str:
        """The name of the file in which a window's future begins."""
        return self._table.file(int(self._order[self._starts[row] + self.past]))

    def _cut(self, times: int) -> tuple[Rows, NDArray[np.int8]]:
        if self.past < 1 or self.ahead < 1:
            raise SettingError(f"--past and --ahead are 1 or more; received {self.past} and {self.ahead}.")
        starts, parts = window_parts(times, self.past, self.ahead, self.split)
        if not (parts == 0).any():
            raise DataError(
                f"{self.describe()} has {plural(times, 'row')}: its training part holds no window of "
                f"{self.past} + {self.ahead}. Shorten --past or --ahead, or add rows."
            )
        return starts, parts


def future_name(predicted: Sequence[str]) -> str:
    """The name of the predicted series: the column's own, or all of them.

    >>> future_name(["OT"]), future_name(["a", "b"])
    ('OT', 'a, b')
    """
    return ", ".join(predicted)


def _choose(
    table: Table, predict: Sequence[str], given: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[Note, ...]]:
    """The predicted columns, then all that are read (the predicted ones first), and what was left out."""
    predicted = tuple(dict.fromkeys(predict))
    if not predicted:
        raise SettingError("Forecasting needs a column to predict: --predict NAME.")
    for name in (*predicted, *(given or ())):
        table.check(name)
        if not _is_numeric(table, name):
            raise DataError(f"Column {name!r} is not numeric: it cannot be forecast, nor its past be read.")
    others = given if given is not None else [name for name in table.names if _is_numeric(table, name)]
    variables = tuple(dict.fromkeys((*predicted, *others)))
    if PAST in predicted:
        raise DataError(f"A predicted column cannot be called {PAST!r} in forecasting. Rename it.")
    left = [] if given is not None else [n for n in table.names if n not in variables]
    note = Note("info", f"forecasting reads numeric columns only; left out: {', '.join(left)}")
    return predicted, variables, (note,) if left else ()


def _is_numeric(table: Table, name: str) -> bool:
    return table.values(name, slice(0, 1)).dtype.kind in "fib"


def readings_of(table: Table, name: str, order: Rows) -> Readings:
    """(T,) the numbers of a column in some order; `DataError` where it holds others."""
    values = table.values(name, order)
    if values.dtype.kind not in "fib":
        raise DataError(
            f"Column {name!r} of {table.describe()} holds no numbers, such as {str(values[0])[:40]!r}: its "
            f"past cannot be read. Correct its values, or leave those cells empty."
        )
    return np.asarray(values, np.float64)


def in_time_order(table: Table, time: str | None) -> tuple[Rows, tuple[Note, ...]]:
    """The table's rows by time, and what is odd about the times."""
    dates = [name for name in table.names if table.values(name, slice(0, 1)).dtype.kind == "M"]
    found = dates if time is None else [time]
    if len(found) != 1:
        why = "several columns of dates" if found else "no column of dates"
        say = f"the rows are taken in the order of the table ({why}); --set data.time=NAME names a column"
        return np.arange(len(table), dtype=np.int64), (Note("info", say),)
    table.check(found[0])
    times = table.values(found[0])
    if times.dtype.kind not in "Mfi" or np.isnan(times).any():
        raise DataError(f"Column {found[0]!r} orders the rows: it needs dates or numbers, none missing.")
    order = np.argsort(times, kind="stable").astype(np.int64)
    steps = np.diff(times[order]).astype(np.float64)
    odd = int((steps != np.median(steps)).sum()) if len(steps) else 0
    if not odd:
        return order, ()
    say = f"{plural(odd, 'step')} of {found[0]!r} differ from the usual one: readings are missing or doubled"
    return order, (Note("warning", say, found[0], odd),)
