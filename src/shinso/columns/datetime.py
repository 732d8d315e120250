"""Dates and times: where in the year, month, week and day, and how far along."""

from __future__ import annotations

import datetime
import html
import math
import numbers
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .base import Array, Column, Value, Values, is_missing, missing_mask

Times = NDArray[np.datetime64]

NAT = np.datetime64("NaT", "us")
DATES = (
    "%Y/%m/%d", "%Y.%m.%d", "%Y年%m月%d日", "%d-%m-%Y", "%m-%d-%Y", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y",
    "%m/%d/%y", "%d/%m/%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y",
    "%Y%m%d", "%a, %d %b %Y",
)  # fmt: skip
CLOCKS = (
    "", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p", " %H:%M:%S.%f", " %H:%M:%S %z",
    "%H時%M分", " %H時%M分",
)  # fmt: skip
FORMATS = tuple(date + clock for date in DATES for clock in CLOCKS)
ISO = "iso"
# Unix times below each limit are seconds, milli-, micro- or nanoseconds; microseconds in one unit.
UNITS = ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0), (math.inf, 1e-3))
SIZE = 13
EPOCH = datetime.datetime(1970, 1, 1)
FIRST, LAST = -62_135_596_800, 253_402_300_799  # seconds of the years 1 to 9999, which datetime can hold


@dataclass(frozen=True, kw_only=True)
class Datetime(Column):
    """A point in time. Encoded to float32 (13,): standardised time, calendar features; NaN where missing.

    The features are sines, then cosines, of the place in the year, the month, the week, the day and the hour,
    whether it is a weekend, and the decades since the training mean. Times with a zone are brought to UTC.
    Strings are ISO 8601 or of the one form that fits the training rows; whole numbers are Unix times.

    >>> column = Datetime(name="day").fit(np.array(["31/01/2024", "01/02/2024"], object))
    >>> column.format, column.decode(column.encode("31/01/2024")[0])
    ('%d/%m/%Y', datetime.datetime(2024, 1, 31, 0, 0))
    """

    kind: ClassVar[str] = "datetime"
    scalar: ClassVar[bool] = True
    mean: float = 0.0  # seconds since 1970
    std: float = 1.0  # seconds
    low: float = 0.0
    high: float = 0.0
    step: int = 1  # seconds: 86400 where the training rows are whole days
    format: str = ISO
    missing: float = 0.0

    @classmethod
    def matches(cls, values: Values) -> float:
        """Sure of datetime64 and of strings that all parse in one form."""
        if values.dtype.kind == "M":
            return 1.0
        if values.dtype.kind != "O":
            return 0.0
        present = [v for v in values[~missing_mask(values)] if not (isinstance(v, str) and v == "")]
        if not present:
            return 0.0
        if all(isinstance(v, datetime.date) for v in present):
            return 1.0
        if not all(isinstance(v, str) and 6 <= len(v) <= 40 and any(c.isdigit() for c in v) for v in present):
            return 0.0
        return 0.97 if find_format(present[:200]) and not all(v.isdigit() for v in present) else 0.0

    @classmethod
    def examples(cls, rng: np.random.Generator, n: int) -> Values:
        """Seconds of the years 2020 to 2025, a tenth of them missing."""
        seconds = rng.integers(1_577_836_800, 1_767_225_600, n)
        times = seconds.astype("datetime64[s]").astype("datetime64[us]")
        times[rng.random(n) < 0.1] = NAT
        return times

    def fit(self, values: Values) -> Self:
        """Learn the form of the strings, then centre, spread and fineness."""
        texts = [v for v in values[:10_000].tolist() if isinstance(v, str) and v.strip()]
        column = replace(self, format=find_format(texts) or self.format) if texts else self
        times = column._times(values)
        seconds = _seconds(times[~np.isnat(times)])
        if not len(seconds):
            return replace(column, missing=1.0 if len(values) else 0.0)
        whole_days = bool((seconds % 86400 == 0).all())
        return replace(
            column,
            mean=float(seconds.mean()),
            std=float(seconds.std()) or 86400.0,
            low=float(seconds.min()),
            high=float(seconds.max()),
            step=86400 if whole_days else 1,
            missing=1 - len(seconds) / len(values),
        )

    def encode(self, value: Value) -> Array:
        """(13,) float32."""
        return self._features(np.array([self._time(value)], "datetime64[us]"))[0]

    def encode_many(self, values: Values) -> Array:
        """(n, 13) float32."""
        return self._features(self._times(values))

    def decode(self, array: Array) -> datetime.datetime:
        """Standardised time to a datetime in UTC, rounded to days where the training rows were days."""
        seconds = float(np.asarray(array).reshape(-1)[0]) * self.std + self.mean
        seconds = min(max(round(seconds / self.step) * self.step, FIRST), LAST)
        return EPOCH + datetime.timedelta(seconds=seconds)

    def hide(self, value: Value, part: Hashable) -> Value:
        """The mean time of the training rows."""
        return self.decode(np.zeros(1))

    def summary(self, values: Values) -> dict[str, Any]:
        """Earliest, latest, and the share of each weekday."""
        times = self._times(values)
        present = times[~np.isnat(times)]
        facts: dict[str, Any] = {"rows": len(values), "missing": len(values) - len(present)}
        if len(present):
            weekdays = np.bincount(_weekday(present), minlength=7) / len(present)
            facts |= {"min": str(present.min()), "max": str(present.max()), "weekdays": weekdays.tolist()}
            facts["outside"] = int(((_seconds(present) < self.low) | (_seconds(present) > self.high)).sum())
        return facts

    def show(self, value: Value) -> str:
        """ISO 8601, without a midnight."""
        try:
            time = self._time(value)
        except DataError:
            return html.escape(str(value))
        if np.isnat(time):
            return ""
        return str(time.astype("datetime64[s]")).replace("T", " ").removesuffix(" 00:00:00")

    def json_schema(self) -> dict[str, Any]:
        """An ISO 8601 string, a Unix time, or null."""
        return {"title": self.name, "type": ["string", "number", "null"], "format": "date-time"}

    def _features(self, times: Times) -> Array:
        """(n,) datetime64[us] to (n, 13) float32."""
        known = ~np.isnat(times)
        seconds = _seconds(times[known])
        days = times[known].astype("datetime64[D]")
        months, years = days.astype("datetime64[M]"), days.astype("datetime64[Y]")
        in_year = (days - years).astype(np.int64) / 365.2425
        in_month = (days - months).astype(np.int64) / 31
        weekday = _weekday(times[known])
        in_day = (seconds % 86400) / 86400
        turns = np.stack([in_year, in_month, weekday / 7 + in_day / 7, in_day, (seconds % 3600) / 3600], 1)
        decades = (years.astype(np.int64) + 1970 - (1970 + self.mean / 31_556_952)) / 10
        out = np.full((len(times), SIZE), np.nan, np.float32)
        out[known, 0] = (seconds - self.mean) / self.std
        out[known, 1:6], out[known, 6:11] = np.sin(2 * np.pi * turns), np.cos(2 * np.pi * turns)
        out[known, 11], out[known, 12] = weekday >= 5, decades
        return out

    def _times(self, values: Values) -> Times:
        if values.dtype.kind == "M":
            return values.astype("datetime64[us]")
        plain = values.tolist()
        texts = dict.fromkeys(v for v in plain if isinstance(v, str))  # dates repeat, and parsing is slow
        known = {text: self._time(text) for text in texts}
        return np.array([known[v] if isinstance(v, str) else self._time(v) for v in plain], "datetime64[us]")

    def _time(self, value: Value) -> np.datetime64:
        if is_missing(value) or (isinstance(value, str) and not value.strip()):
            return NAT
        time = parse_time(value, self.format)
        if time is None:
            form = "ISO 8601 (2024-01-31 or 2024-01-31T12:00:00)"
            expected = form if self.format == ISO else f"{self.format} as in the training rows, or {form}"
            raise DataError(
                f"Column {self.name!r} holds dates or times; received {value!r}. Expected {expected}."
            )
        return time


def parse_time(value: Value, form: str) -> np.datetime64 | None:
    """One value to datetime64[us] in UTC, or None where it is no time. `form` is ISO or a strptime format."""
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]")
    if isinstance(value, datetime.datetime):
        return _naive(value)
    if isinstance(value, datetime.date):
        return np.datetime64(value, "us")
    if isinstance(value, str):
        return _parse_text(value.strip(), form)
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return _unix_time(value)
    return None


def _unix_time(value: numbers.Real) -> np.datetime64 | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    microseconds = number * next((unit for limit, unit in UNITS if abs(number) < limit), math.nan)
    inside = FIRST * 1e6 <= microseconds <= LAST * 1e6
    return np.datetime64(round(microseconds), "us") if inside else None


def find_format(texts: Sequence[str]) -> str | None:
    """The form that parses all `texts`; of several (day or month first), that which puts them best in order.

    >>> find_format(["2024-01-31", "2024-02-01T10:00"]), find_format(["01/31/2024"]), find_format(["soon"])
    ('iso', '%m/%d/%Y', None)
    """
    texts = [text.strip() for text in texts if text.strip()][:1000]
    candidates = []
    for form in (ISO, *FORMATS):
        if texts and _parse_text(texts[0], form, strict=True) is not None:
            times = [_parse_text(text, form, strict=True) for text in texts]
            if all(time is not None for time in times):
                array = np.array(times, "datetime64[us]")
                candidates.append((int((np.diff(array) < np.timedelta64(0)).sum()), form))
    return min(candidates, key=lambda found: found[0])[1] if candidates else None


def _parse_text(text: str, form: str, *, strict: bool = False) -> np.datetime64 | None:
    if form != ISO:
        try:
            return _naive(datetime.datetime.strptime(text, form))
        except ValueError:
            if strict:
                return None
    try:
        return _naive(datetime.datetime.fromisoformat(text)) if not text.isdigit() else None
    except ValueError:
        return None


def _naive(time: datetime.datetime) -> np.datetime64 | None:
    """In UTC; None where that lies outside of the years 1 to 9999."""
    if time.tzinfo is not None:
        try:
            time = time.astimezone(datetime.UTC).replace(tzinfo=None)
        except OverflowError:
            return None
    return np.datetime64(time, "us")


def _seconds(times: Times) -> NDArray[np.float64]:
    return times.astype("datetime64[us]").astype(np.int64) / 1e6


def _weekday(times: Times) -> NDArray[np.int64]:
    """Monday is 0."""
    return (times.astype("datetime64[D]").astype(np.int64) + 3) % 7
