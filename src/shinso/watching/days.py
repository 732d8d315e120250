"""How much days differ by themselves: what the monitor allows a day before it says that something moved.

Rows of one day are more alike than rows of many days: they share a season, a weather, a price. Tests that
take rows to be independent then find that every day differs. Where training rows have a time, each training
day is tested as a day in service will be. By how much their evidence, -log p, is larger than that of
independent rows is the design effect (Kish, 1965); evidence is divided by it. Beyond the strangest training
day that is an exponential tail, fitted to those days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..columns import Column, Values
from ..columns.datetime import Datetime
from .condensing import UNREADABLE, Privacy, condensed
from .daily import LEAST_ROWS, compared
from .drift import of_shares

Rows = NDArray[np.int64]
MOST_DAYS, ROWS_A_DAY = 300, 200
LARGE_DAYS, LARGE_ROWS = 40, 40  # of a column whose values are portrayed
LEAST_DAYS = 12
LARGEST = 700.0  # evidence that is counted
QUANTILES = (0.5, 0.8, 0.9, 0.95)  # of the days, and the strangest of them
OUTER = (0.9, 0.95)  # the same, of how far out their medians are
DOUBT = 2.5  # standard errors by which days have to differ more than rows, before it counts


@dataclass(frozen=True)
class Dated:
    """Training rows of some days: values by column, and the number of the day of each row."""

    columns: Mapping[Column, Values]
    day_n: Rows


def spread_over_days(dated: Dated, known: Mapping[str, Any], private: Privacy) -> dict[str, dict[str, Any]]:
    """By column: how alike rows of a day are in their values and in being missing, and from how many days."""
    found: dict[str, dict[str, Any]] = {}
    days = [np.flatnonzero(dated.day_n == day) for day in np.unique(dated.day_n)]
    for column, values in dated.columns.items():
        if column.name in private.dropped or column.name not in known:
            continue
        large = column.kind in ("image", "text", "audio", "series", "mask", "boxes")
        chosen = spread(days, LARGE_DAYS if large else MOST_DAYS)
        most = LARGE_ROWS if large else ROWS_A_DAY
        tested = [_of_day(column, values[rows[:most]], known[column.name]) for rows in chosen]
        sizes = np.array([min(len(rows), most) for rows in chosen])
        kinds = ("values", "missing")
        facts = {kind: within([one[kind] for one in tested if kind in one], sizes) for kind in kinds}
        found[column.name] = {"days": len(chosen), **facts}
        if facts["values"] and column.kind == "number":
            found[column.name] |= _medians(column, [values[rows] for rows in chosen])
    return found


def within(ps: Sequence[float], sizes: Rows) -> float:
    """How alike rows of a day are, 0 to 1: from the p of days that were tested as if rows were independent.

    >>> within([0.5] * 20, np.full(20, 50)), within([1e-9] * 20, np.full(20, 50)) > 0.3
    (0.0, True)
    """
    if len(ps) < LEAST_DAYS:
        return 0.0
    evidence = np.sort(np.minimum(-np.log(np.maximum(ps, 1e-305)), LARGEST))
    if evidence.mean() <= 1 + DOUBT / np.sqrt(len(ps)):
        return 0.0  # of independent rows it is 1
    ratio = tail(evidence, QUANTILES)
    rows = float(np.median(sizes))
    return round(min(1.0, max(0.0, (ratio - 1) / max(1.0, rows - 1))), 6)


def tail(values: NDArray[np.float64], quantiles: Sequence[float]) -> float:
    """The scale of the exponential tail that none of some quantiles, nor the largest value, lies beyond."""
    shares = np.array([*quantiles, 1 - 1 / (len(values) + 1)])
    return float((np.quantile(values, shares) / -np.log1p(-shares)).max())


def _medians(column: Column, days: Sequence[Values]) -> dict[str, float]:
    """Where the medians of days lie, and how far from it the outer ones are."""
    read = [[v for v in (condensed(column, value) for value in day) if isinstance(v, float)] for day in days]
    medians = np.array([np.median(day) for day in read if day])
    centre = float(np.median(medians))
    return {"centre": centre, "scale": tail(np.abs(medians - centre), OUTER)}


def days_of(times: Values, rows: Rows) -> tuple[Rows, Rows]:
    """Of rows with times: those of days that can be tested, at most `ROWS_A_DAY` each, and their days."""
    day_n, known = calendar_days(times)
    order = np.argsort(day_n, kind="stable")
    groups = np.split(known[order], np.flatnonzero(np.diff(day_n[order])) + 1)
    kept = spread([group for group in groups if len(group) >= LEAST_ROWS], MOST_DAYS)
    if len(kept) < LEAST_DAYS:
        return rows[:0], rows[:0]
    thin = [group[np.unique(np.linspace(0, len(group) - 1, ROWS_A_DAY).astype(np.int64))] for group in kept]
    days = np.concatenate([np.full(len(group), i, np.int64) for i, group in enumerate(thin)])
    return rows[np.concatenate(thin)], days


def calendar_days(times: Values) -> tuple[Rows, Rows]:
    """(n,) days since 1970 in UTC of the values that are dates, and their places."""
    if times.dtype.kind == "M":
        stamps = times.astype("datetime64[s]")
    else:
        column = Datetime(name="time")
        found = [_stamp(column, value) for value in times] if times.dtype.kind == "O" else []
        stamps = np.array(found, "datetime64[s]")
    known = np.flatnonzero(~np.isnat(stamps)).astype(np.int64)
    return stamps[known].astype("datetime64[D]").astype(np.int64), known


def _stamp(column: Datetime, value: Any) -> np.datetime64:
    try:
        return np.datetime64(column.show(value) or "NaT", "s")
    except ValueError:  # DataError is one
        return np.datetime64("NaT", "s")


def _of_day(column: Column, values: Values, known: Mapping[str, Any]) -> dict[str, float]:
    kept = [condensed(column, value) for value in values]
    present = [value for value in kept if value is not None and value != UNREADABLE]
    missing = len(kept) - len(present)
    found = {"missing": of_shares(missing, len(kept), known["missing"], known["rows"]).p}
    values_found = compared(column, present, known["values"], Privacy(), None)
    return found if values_found is None else {**found, "values": values_found.p}


def spread(days: Sequence[Rows], most: int) -> list[Rows]:
    """At most so many of the days, evenly spread over all."""
    if not len(days):
        return []
    return [days[i] for i in np.unique(np.linspace(0, len(days) - 1, min(len(days), most)).astype(np.int64))]
