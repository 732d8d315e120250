"""An ordered table as windows of past and future, at training, evaluation and prediction."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .columns.base import object_array
from .config import DataConfig
from .data.table import Table
from .data.windows import PAST, WindowTable, latest_window
from .errors import SettingError
from .schema import Schema


@dataclass(frozen=True)
class Window:
    """How a run cuts a table: readings looked back on, readings predicted, which columns. Plain data."""

    past: int
    ahead: int
    predict: tuple[str, ...]
    given: tuple[str, ...] | None = None
    time: str | None = None

    @classmethod
    def of(
        cls, past: int | None, ahead: int | None, predict: tuple[str, ...],
        given: tuple[str, ...] | None, time: str | None,
    ) -> Window | None:  # fmt: skip
        """The window that the user asked for; None where none was asked for."""
        if past is None and ahead is None:
            return None
        if past is None or ahead is None:
            missing = "--past" if past is None else "--ahead"
            raise SettingError(f"A forecast needs both --past and --ahead; {missing} is missing.")
        return cls(past, ahead, predict, given, time)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    @classmethod
    def restore(cls, data: dict[str, Any]) -> Window:
        """The inverse of `to_dict`."""
        given = data["given"]
        return cls(
            int(data["past"]), int(data["ahead"]), tuple(data["predict"]),
            None if given is None else tuple(given), data["time"],
        )  # fmt: skip

    def cut(self, table: Table, options: DataConfig) -> WindowTable:
        """The rows (past, future) of a table in time order."""
        return WindowTable(
            table, past=self.past, ahead=self.ahead, predict=self.predict, given=self.given, time=self.time,
            split=options.split,
        )  # fmt: skip

    def everything(self, table: Table, options: DataConfig) -> WindowTable:
        """All windows of new data, whatever part they would have stood in."""
        return self.cut(table, options.model_copy(update={"split": "1:0:0"}))

    def last(self, table: Table, schema: Schema) -> Table:
        """One row: the newest `past` readings, from which what comes next is predicted."""
        series = schema[PAST].to_dict()
        values = latest_window(table, self.past, self.variables(table), self.time)
        assert values.shape[1] == series["variables"], "the run and the data have equal numbers of variables"
        return Table.read({PAST: object_array([values])})

    def steps(self, future: Any) -> dict[str, list[Any]]:
        """A predicted future as a table: a row for each step ahead, a column for each predicted one."""
        future_AV = np.asarray(future).reshape(self.ahead, -1)
        columns = {column: future_AV[:, i].tolist() for i, column in enumerate(self.predict)}
        return {"step": list(range(1, self.ahead + 1)), **columns}

    def variables(self, table: Table) -> list[str]:
        """The columns that are read: the predicted ones first."""
        names = list(dict.fromkeys((*self.predict, *(self.given or ()))))
        for name in names:
            table.check(name)
        return names
