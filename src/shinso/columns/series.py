"""Readings over time: one value is a list of numbers (T,), or of rows (T, V). T = times, V = variables."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .base import Array, Column, Value, Values, is_missing, object_array

Readings = NDArray[np.float64]  # (T, V)
MAX_READINGS = 1 << 24  # numbers in one value: a bound on memory, far above what a network can read
MAX_VARIABLES = 1 << 14
SPANS = 16  # pieces of time that an explanation speaks of
WORDS_FOR_MISSING = ("", "nan", "na", "null", "none", "?")


@dataclass(frozen=True, kw_only=True)
class Series(Column):
    """Readings of one or several variables over time, each standardised by its training mean and deviation.

    A value is a list or array (T,) or (T, V), or a string: JSON, or numbers between spaces or commas with
    the times of several variables between semicolons ("1 2; 3 4" is T = 2, V = 2). `encode` gives float32
    (T, V) in which NaN is a missing reading; a missing value is one reading, NaN. `collate` pads with NaN
    at the end. Where a value has more than `max_length` readings, the latest ones are read.
    """

    kind: ClassVar[str] = "series"
    ragged: ClassVar[bool] = True
    variables: int = 1
    length: int = 0  # the usual T: the median over the training rows
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    max_length: int = 65_536

    def __post_init__(self) -> None:
        whole = (self.variables, self.length, self.max_length)
        what = f"Column {self.name!r}: a series has"
        if any(type(n) is not int for n in whole) or not 1 <= self.variables <= MAX_VARIABLES:
            raise DataError(f"{what} 1 to {MAX_VARIABLES} variables; received {whole!r:.80}.")
        if not 0 <= self.length <= MAX_READINGS or not 1 <= self.max_length <= MAX_READINGS:
            raise DataError(f"{what} at most {MAX_READINGS} readings; received {whole!r:.80}.")
        for numbers in (self.mean, self.std):
            if type(numbers) is not tuple or len(numbers) != self.variables or not all(map(_finite, numbers)):
                raise DataError(f"{what} a finite mean and deviation for each of {self.variables} variables.")
        if min(self.std) <= 0:
            raise DataError(f"{what} deviations above 0; received {self.std!r:.80}.")

    @classmethod
    def matches(cls, values: Values) -> float:
        """0.9 where all values are lists of two or more numbers, or strings of four or more.

        >>> [Series.matches(object_array(v)) for v in ([[1.0, 2.0], [3, None]], ["1;2;3;4"], ["12 Main St"])]
        [0.9, 0.9, 0.0]
        """
        seen = [v for v in values if not is_missing(v)] if values.dtype.kind == "O" else []
        return 0.9 if seen and all(_looks_like_readings(v) for v in seen) else 0.0

    @classmethod
    def examples(cls, rng: np.random.Generator, n: int) -> Values:
        """Noisy waves of 20 to 40 readings, one of them missing now and then."""
        waves: list[Any] = []
        for _ in range(n):
            times = np.arange(rng.integers(20, 41))
            wave = np.sin(times / rng.uniform(1, 5)) + rng.normal(0, 0.1, len(times)) + rng.normal()
            wave[rng.integers(len(times))] = np.nan if rng.random() < 0.2 else 0.0
            waves.append(wave.round(3).tolist())
        return object_array(waves)

    def fit(self, values: Values) -> Self:
        """Learn the number of variables, the usual length, and the mean and deviation of every variable."""
        read = [_readings(v, self.name) for v in values if not is_missing(v)]
        if not read:
            raise DataError(f"Column {self.name!r} has no values: every row is missing. Leave it out.")
        variables = read[0].shape[1]
        for array in read:
            self._check_variables(array, variables)
        mean, std = _mean_and_std(read, variables)
        length = math.ceil(np.median([min(len(r), self.max_length) for r in read]))
        return replace(self, variables=variables, length=length, mean=mean, std=std)

    def encode(self, value: Value) -> Array:
        """float32 (T, V), standardised; NaN where a reading is missing."""
        if is_missing(value):
            return np.full((1, self.variables), np.nan, np.float32)
        readings = _readings(value, self.name)[-self.max_length :]
        self._check_variables(readings, self.variables)
        return ((readings - self.mean) / self.std).astype(np.float32)

    def collate(self, arrays: Any) -> Array:
        """(B, T, V): shorter series are padded with NaN at the end."""
        longest = max(len(a) for a in arrays)
        batch = np.full((len(arrays), longest, self.variables), np.nan, np.float32)
        for row, array in zip(batch, arrays, strict=True):
            row[: len(array)] = array
        return batch

    def decode(self, array: Array) -> Value:
        """A predicted (T, V) to a list of T readings, each a list where there are several variables."""
        readings = np.asarray(array, np.float64) * self.std + self.mean
        plain: list[Any] = (readings[:, 0] if self.variables == 1 else readings).tolist()
        return plain

    def parts(self, value: Value) -> list[Hashable]:
        """Up to 16 spans of time, as (first, past the last)."""
        if is_missing(value):
            return ["value"]
        length = len(_readings(value, self.name))
        edges = np.linspace(0, length, min(SPANS, length) + 1).astype(int).tolist()
        return list(pairwise(edges))

    def hide(self, value: Value, part: Hashable) -> Value:
        """`value` with the training mean in the span `part`; nothing at all for "value"."""
        if is_missing(value) or not isinstance(part, tuple):
            return None
        start, stop = part
        readings = _readings(value, self.name).copy()
        self._check_variables(readings, self.variables)
        readings[start:stop] = self.mean
        plain: list[Any] = (readings[:, 0] if self.variables == 1 else readings).tolist()
        return plain

    def summary(self, values: Values) -> dict[str, Any]:
        """Rows, missing ones, quantiles of lengths, share of missing readings, mean and std by variable."""
        read = [_readings(v, self.name) for v in values if not is_missing(v)]
        facts: dict[str, Any] = {"rows": len(values), "missing": len(values) - len(read)}
        read = [r for r in read if r.shape[1] == self.variables]
        if not read:
            return facts
        mean, std = _mean_and_std(read, self.variables)
        gaps = float(np.mean(np.concatenate([np.isnan(r).ravel() for r in read])))
        quantiles = np.quantile([len(r) for r in read], (0, 0.5, 1)).tolist()
        return facts | {"length": quantiles, "missing_readings": gaps, "mean": list(mean), "std": list(std)}

    def show(self, value: Value) -> str:
        """A line drawing of up to four variables as inline SVG."""
        if is_missing(value):
            return "<i>missing</i>"
        try:
            readings = _readings(value, self.name)
        except DataError:
            return html.escape(str(value)[:200])
        return sparkline(readings[:, :4].T, f"{len(readings)} readings")

    def json_schema(self) -> dict[str, Any]:
        """A list of numbers or nulls, or of lists of them."""
        number: dict[str, Any] = {"type": ["number", "null"]}
        row = {"type": "array", "items": number, "minItems": self.variables, "maxItems": self.variables}
        items = number if self.variables == 1 else row
        return {"title": self.name, "type": ["array", "null"], "items": items, "minItems": 1}

    def _check_variables(self, readings: Readings, expected: int) -> None:
        if readings.shape[1] != expected:
            raise DataError(
                f"Column {self.name!r} has series of {expected} variables; received {readings.shape[1]}. "
                "Give every reading the same number of values."
            )


def sparkline(lines_VT: Readings, title: str) -> str:
    """Lines over time as a small inline SVG; every line is scaled to its own range, gaps are left open."""
    shapes = []
    for line, colour in zip(lines_VT, ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728"), strict=False):
        for points in _polylines(line):
            shapes.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1"/>')
    body = f"<title>{html.escape(title)}</title>" + "".join(shapes)
    return f'<svg viewBox="0 0 160 40" width="160" height="40" role="img">{body}</svg>'


def _polylines(line: Readings) -> list[str]:
    step = max(1, len(line) // 320)  # two points a pixel are enough
    line = line[::step]
    seen = np.isfinite(line)
    if not seen.any():
        return []
    low, high = float(line[seen].min()), float(line[seen].max())
    x = np.linspace(1, 159, len(line)) if len(line) > 1 else np.array([80.0])
    y = 38 - 36 * ((line - low) / (high - low) if high > low else np.where(seen, 0.5, np.nan))
    pieces = np.split(np.arange(len(line)), np.flatnonzero(np.diff(seen)) + 1)
    return [" ".join(f"{x[i]:.1f},{y[i]:.1f}" for i in piece) for piece in pieces if seen[piece[0]]]


def _looks_like_readings(value: Value) -> bool:
    if isinstance(value, str):
        if not value.strip()[:1].strip("+-.[0123456789"):
            try:
                return _readings(value, "").size >= 4
            except DataError:
                return False
        return False
    if isinstance(value, np.ndarray):
        return value.ndim in (1, 2) and value.dtype.kind in "fiuO" and len(value) > 1 and _reads(value)
    return isinstance(value, list | tuple) and len(value) > 1 and _plain_numbers(value) and _reads(value)


def _plain_numbers(value: Any) -> bool:
    return all(
        v is None or (isinstance(v, int | float | np.number) and not isinstance(v, bool))
        or (isinstance(v, list | tuple | np.ndarray) and _plain_numbers(list(v)))
        for v in value
    )  # fmt: skip


def _reads(value: Value) -> bool:
    try:
        return bool(_readings(value, "").size)
    except DataError:
        return False


def _readings(value: Value, name: str) -> Readings:
    """Any accepted form of a series as float64 (T, V); `DataError` for everything else."""
    if isinstance(value, str):
        value = _parse(value, name)
    if not isinstance(value, list | tuple | np.ndarray):
        found = f"{type(value).__name__} {str(value)[:60]!r}"
        raise DataError(f"Column {name!r} takes a list of numbers; received {found}.")
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        value = value.tolist()
    if isinstance(value, np.ndarray) and value.dtype.kind not in "fiub":
        raise DataError(f"Column {name!r} takes numbers; received an array of {value.dtype}.")
    try:
        readings = np.asarray(value, np.float64)
    except (ValueError, TypeError, OverflowError):
        raise DataError(
            f"Column {name!r} takes numbers, in rows of equal length; received {str(value)[:60]!r}. "
            "Write a missing reading as null or NaN."
        ) from None
    return _checked(readings, name)


def _checked(readings: Readings, name: str) -> Readings:
    if readings.ndim == 1:
        readings = readings[:, None]
    if readings.ndim != 2 or readings.size == 0:
        raise DataError(f"Column {name!r} takes readings (T,) or (T, V), T > 0; received {readings.shape}.")
    if readings.size > MAX_READINGS:
        raise DataError(f"Column {name!r} takes at most {MAX_READINGS} numbers; received {readings.size}.")
    if np.isinf(readings).any():
        raise DataError(f"Column {name!r} holds an infinite reading. Write a missing reading as null or NaN.")
    return readings


def _parse(text: str, name: str) -> list[Any]:
    if len(text) > 32 * MAX_READINGS:
        raise DataError(f"Column {name!r} takes at most {MAX_READINGS} numbers a value; the text is longer.")
    try:
        if text.lstrip().startswith("["):
            plain = json.loads(text)
            return plain if isinstance(plain, list) else [plain]
        return _split_numbers(text)
    except (ValueError, RecursionError):
        raise DataError(
            f"Column {name!r} takes numbers between spaces, commas or semicolons, or a JSON list; "
            f"received {text[:60]!r}."
        ) from None


def _split_numbers(text: str) -> list[Any]:
    rows = [row.replace(",", " ").split() for row in text.strip().removesuffix(";").split(";")]
    if len(rows) == 1:
        return [_number(word) for word in rows[0]]
    if all(len(row) <= 1 for row in rows):
        return [_number(row[0]) if row else math.nan for row in rows]
    return [[_number(word) for word in row] for row in rows]


def _number(word: str) -> float:
    return math.nan if word.lower() in WORDS_FOR_MISSING else float(word)


def _finite(number: Any) -> bool:
    return isinstance(number, float | int) and not isinstance(number, bool) and math.isfinite(number)


def _mean_and_std(read: list[Readings], variables: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """By variable, over all readings that are not missing; a constant variable has the deviation 1."""
    count = np.zeros(variables)
    total = np.zeros(variables)
    for r in read:
        count += (~np.isnan(r)).sum(0)
        total += np.nansum(r, 0)
    mean = total / np.maximum(count, 1)
    squares = np.zeros(variables)
    for r in read:
        squares += np.nansum((r - mean) ** 2, 0)
    std = np.sqrt(squares / np.maximum(count, 1))
    std = np.where(std > 1e-12 * (1 + np.abs(mean)), std, 1.0)
    return tuple(mean.tolist()), tuple(std.tolist())
