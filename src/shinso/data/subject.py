"""What an audit looks at, and what it says: shared by all checks.

n = rows that are looked at; places are positions among them, rows are row numbers of the table.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..columns import Column, Values
from ..columns.base import missing_mask
from ..config import DataConfig
from ..schema import fit_column
from .tabular import Tabular
from .values import codes_of

Rows = NDArray[np.int64]
Severity = Literal["severe", "warning", "note"]
Basis = Literal["given", "time", "group", "chance"]
SEVERITIES: tuple[Severity, ...] = ("severe", "warning", "note")
MOST_SHOWN = 100  # rows of a finding that are listed
COMPARABLE = frozenset({"number", "category", "datetime"})


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong with the data, the number that says so, and what to do."""

    check: str  # the name of the check, as in --only
    severity: Severity
    message: str
    columns: tuple[str, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)
    rows: Rows = field(default_factory=lambda: np.empty(0, np.int64))  # of the table, the most telling first
    others: Rows = field(default_factory=lambda: np.empty(0, np.int64))  # the partner of each, where any
    count: int = 0
    remedy: str = ""  # one command
    drop_rows: Rows = field(default_factory=lambda: np.empty(0, np.int64))  # by --fix
    drop_columns: tuple[str, ...] = ()  # by --fix

    def to_dict(self, table: Tabular) -> dict[str, Any]:
        """Plain JSON data; rows by the names that a user knows them by."""
        return {
            "check": self.check,
            "severity": self.severity,
            "message": self.message,
            "columns": list(self.columns),
            "measured": {name: _plain(value) for name, value in self.measured.items()},
            "count": self.count,
            "rows": _keys(table, self.rows),
            "others": _keys(table, self.others),
            "remedy": self.remedy,
            "fix": {"rows": len(self.drop_rows), "columns": list(self.drop_columns)},
        }


def _keys(table: Tabular, rows: Rows) -> list[int | str]:
    return table.keys(np.asarray(rows[:MOST_SHOWN], np.int64)) if len(rows) else []


def _plain(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


@dataclass(frozen=True)
class Subject:
    """Rows with their parts and columns, and what was computed of them already."""

    table: Tabular
    rows: Rows  # that are looked at
    part_n: NDArray[np.int8]  # 0 train, 1 validation, 2 test
    kinds: Mapping[str, str]  # of the columns that are read, the target among them
    target: str
    basis: Basis = "chance"  # how the rows were split
    source: str = "DATA"  # as in the commands that are proposed
    tested: str = ""  # ` --test FILE`, where the test rows came from a second file
    options: DataConfig = field(default_factory=DataConfig)
    seed: int = 0
    quick: bool = False
    _values: dict[str, Values] = field(default_factory=dict, repr=False)
    _codes: dict[str, NDArray[np.int64] | None] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def given(self) -> tuple[str, ...]:
        """The columns that are read, without the target."""
        return tuple(name for name in self.kinds if name != self.target)

    def of_kind(self, *kinds: str) -> list[str]:
        """The given columns of some kinds."""
        return [name for name in self.given if self.kinds[name] in kinds]

    def values(self, name: str) -> Values:
        """(n,) raw values of a column."""
        if name not in self._values:
            self._values[name] = self.table.values(name, self.rows)
        return self._values[name]

    def codes(self, name: str) -> NDArray[np.int64] | None:
        """(n,) numbers from 0 on, equal for equal values, -1 where missing; None where none can be had."""
        if name not in self._codes:
            codes = codes_of(self.values(name))
            self._codes[name] = None if codes is None else codes.astype(np.int64)
        return self._codes[name]

    def column(self, name: str) -> Column:
        """A column that learned from the training rows."""
        values = self.values(name)
        return fit_column(name, self.kinds[name], values[self.train], self.options)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """(n,) a number or a date as a number, NaN where missing."""
        values = self.values(name)
        if values.dtype.kind in "ifb":
            return values.astype(np.float64)
        if values.dtype.kind == "M":
            return np.where(np.isnat(values), np.nan, values.astype("datetime64[s]").astype(np.float64))
        encoded = np.asarray(self.column(name).encode_many(values), np.float64)
        return encoded.reshape(len(values), -1)[:, 0]

    @cached_property
    def train(self) -> Rows:
        """Places of the training rows."""
        return np.flatnonzero(self.part_n == 0)

    @cached_property
    def held(self) -> Rows:
        """Places of the test rows, or of the validation rows where there are no test rows."""
        test = np.flatnonzero(self.part_n == 2)
        return test if len(test) else np.flatnonzero(self.part_n == 1)

    @cached_property
    def labels_n(self) -> NDArray[np.int64] | None:
        """(n,) classes of the target, -1 where missing; None where it is no category."""
        return self.codes(self.target) if self.kinds[self.target] == "category" else None

    @cached_property
    def known_target(self) -> NDArray[np.bool_]:
        """(n,) which rows have a target."""
        return ~missing_mask(self.values(self.target))

    def fix(self, check: str) -> str:
        """The command that writes a cleaned copy."""
        out = "cleaned" if self.table.key_name == "file" else "cleaned.csv"
        target = shlex.quote(self.target)
        return f"shinso audit {self.source}{self.tested} --predict {target} --only {check} --fix {out}"

    def again(self, setting: str) -> str:
        """The command that trains with one setting more."""
        return f"shinso train {self.source} --predict {shlex.quote(self.target)} --set {shlex.quote(setting)}"

    def without(self, names: Sequence[str]) -> str:
        """The command that trains without some columns."""
        left = ",".join(name for name in self.given if name not in names) or "nothing"
        target = shlex.quote(self.target)
        return f"shinso train {self.source} --predict {target} --given {shlex.quote(left)}"


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for how many tests were made (Holm, 1979).

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    corrected, worst = [1.0] * len(p_values), 0.0
    for place, i in enumerate(order.tolist()):
        worst = max(worst, min(1.0, (len(p_values) - place) * float(p_values[i])))
        corrected[i] = worst
    return corrected
