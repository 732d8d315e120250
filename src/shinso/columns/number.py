"""Numbers: standardised by statistics of the training rows that a few wild values cannot spoil."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .base import LARGEST_FLOAT, Array, Column, Value, Values, missing_mask

PERCENTS = np.linspace(0, 1, 101)
DECILES = slice(0, None, 10)
KNOTS = 129  # most values at which an embedding of the number may bend
BIN_ROWS = 24  # training rows that a bin should have, so that small tables are not learned by heart
SAMPLE = 1 << 20  # quantiles of more rows than this are taken from every n-th row
LARGEST = np.finfo(np.float32).max
MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-", "--", "nil", "missing", "#n/a"})
THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d*)?")
LEADING_ZERO = re.compile(r"\s*[-+]?0\d+\s*")


@dataclass(frozen=True, kw_only=True)
class Number(Column):
    """One number a row. Encoded to a 0-d float32, (value - mean) / std; missing is NaN; infinity is an error.

    >>> column = Number(name="age").fit(np.array([10.0, 20.0, 30.0]))
    >>> column.decode(column.encode("20"))
    20.0
    """

    kind: ClassVar[str] = "number"
    scalar: ClassVar[bool] = True
    mean: float = 0.0
    std: float = 1.0
    low: float = 0.0  # smallest and largest training value
    high: float = 0.0
    integers: bool = False
    missing: float = 0.0  # share of the training rows that had no value
    quantiles: tuple[float, ...] = ()  # percentiles 0 to 100
    knots: tuple[
        float, ...
    ] = ()  # increasing values between which about equally many rows lie, repeats aside

    @classmethod
    def matches(cls, values: Values) -> float:
        """Sure of floats, fairly of whole numbers and of strings that parse and have no leading zeros."""
        if values.dtype.kind != "O":
            return {"f": 0.95, "i": 0.9, "u": 0.9, "b": 0.3}.get(values.dtype.kind, 0.0)
        present = values[~missing_mask(values)]
        words = [v for v in present if not (isinstance(v, str) and v.strip().lower() in MISSING_WORDS)]
        if not words or any(isinstance(v, str) and LEADING_ZERO.fullmatch(v) for v in words):
            return 0.0
        share = sum(_parses(v) for v in words) / len(words)
        return 0.9 * share if share >= 0.95 else 0.0

    @classmethod
    def examples(cls, rng: np.random.Generator, n: int) -> Values:
        """Normal numbers, a tenth of them missing."""
        values = rng.normal(50, 20, n).round(2)
        values[rng.random(n) < 0.1] = np.nan
        return values

    def fit(self, values: Values) -> Self:
        """Learn centre, spread, range, quantiles and knots; wild values count as the fence before them."""
        numbers = self._floats(values)
        present = np.clip(numbers[~np.isnan(numbers)], -LARGEST_FLOAT, LARGEST_FLOAT)
        if not len(present):
            return replace(self, missing=1.0 if len(values) else 0.0, quantiles=(0.0,) * 101, knots=(0.0,))
        sample = present[:: max(1, len(present) // SAMPLE)]
        quantiles = np.quantile(sample, PERCENTS)
        quantiles[0], quantiles[-1] = present.min(), present.max()
        mean, std = _centre_and_spread(present, quantiles)
        return replace(
            self,
            mean=mean,
            std=std,
            low=float(quantiles[0]),
            high=float(quantiles[-1]),
            integers=bool((sample == np.floor(sample)).all()),
            missing=1 - len(present) / len(values),
            quantiles=tuple(quantiles.tolist()),
            knots=tuple(_knots(sample, quantiles[0], quantiles[-1])),
        )

    def encode(self, value: Value) -> Array:
        """0-d float32, NaN where missing. Numeric strings parse: "39", " 5 ", "1,234", "1e3"."""
        return self._standardise(np.float64(self._parse(value)))

    def encode_many(self, values: Values) -> Array:
        """(n,) float32."""
        return self._standardise(self._floats(values))

    def decode(self, array: Array) -> float:
        """A standardised scalar to a number in the column's own unit."""
        return float(array) * self.std + self.mean

    def hide(self, value: Value, part: Hashable) -> Value:
        """The median of the training rows."""
        return self.quantiles[50] if self.quantiles else None

    def summary(self, values: Values) -> dict[str, Any]:
        """Mean, deviation, range, deciles, and `shares` of rows between the training deciles (for drift)."""
        numbers = self._floats(values)
        present = numbers[~np.isnan(numbers)]
        facts: dict[str, Any] = {"rows": len(values), "missing": len(values) - len(present)}
        if not len(present):
            return facts
        size = float(np.abs(present).max()) or 1.0  # squares of very large numbers are infinite
        facts |= {"mean": float((present / size).mean()) * size, "std": float((present / size).std()) * size}
        facts |= {"min": float(present.min()), "max": float(present.max())}
        facts["deciles"] = np.quantile(present, PERCENTS[DECILES]).tolist()
        if self.quantiles:
            inner = self.quantiles[DECILES][1:-1]
            counts = np.bincount(np.searchsorted(inner, present, side="right"), minlength=10)
            facts["shares"] = (counts / len(present)).tolist()
            facts["outside"] = int(((present < self.low) | (present > self.high)).sum())
        return facts

    def show(self, value: Value) -> str:
        """The number with at most 6 digits, or what could not be read, escaped."""
        try:
            number = self._parse(value)
        except DataError:
            return html.escape(str(value))
        return "" if math.isnan(number) else f"{number:.6g}"

    def json_schema(self) -> dict[str, Any]:
        """A number, a numeric string, or null."""
        schema: dict[str, Any] = {"title": self.name, "type": ["number", "string", "null"]}
        if self.quantiles:
            schema |= {"examples": [self.quantiles[50]]}
            schema |= {"description": f"Training rows had {self.low:.9g} to {self.high:.9g}."}
        return schema

    def _standardise(self, numbers: Any) -> Array:
        with np.errstate(over="ignore"):
            scaled = (numbers - self.mean) / self.std
        return np.asarray(np.clip(scaled, -LARGEST, LARGEST), np.float32)

    def _floats(self, values: Values) -> NDArray[np.float64]:
        """(n,) float64, NaN where missing; infinities are refused."""
        try:
            numbers = values.astype(np.float64)  # calls float() on objects, and knows None
        except (TypeError, ValueError, OverflowError):
            numbers = np.fromiter((self._parse(v) for v in values), np.float64, len(values))
        bad = np.isinf(numbers)
        if bad.any():
            self._parse(values[int(bad.argmax())])
        return numbers

    def _parse(self, value: Value) -> float:
        try:
            number = parse_number(value)
        except (TypeError, ValueError, OverflowError):
            raise DataError(
                f"Column {self.name!r} holds numbers; received {value!r}. Correct the value, leave it empty, "
                f"or give the column another type: --types {self.name}=category."
            ) from None
        if math.isinf(number):
            raise DataError(
                f"Column {self.name!r}: {value!r} is infinite. Give a finite number, or leave it empty."
            )
        return number


def parse_number(value: Value) -> float:
    """A float, NaN where missing; ValueError, TypeError or OverflowError where it is no number.

    >>> [parse_number(v) for v in (" 5 ", "1,234.5", True, "n/a")]
    [5.0, 1234.5, 1.0, nan]
    """
    if value is None:
        return math.nan
    try:
        return float(value)
    except ValueError:
        if not isinstance(value, str):
            raise
    text = value.strip()
    if text.lower() in MISSING_WORDS:
        return math.nan
    text = text.replace("\N{MINUS SIGN}", "-")
    return float(text.replace(",", "") if THOUSANDS.fullmatch(text) else text)


def _parses(value: Value) -> bool:
    try:
        return not isinstance(value, bool | bytes) and math.isfinite(parse_number(value))
    except (TypeError, ValueError, OverflowError):
        return False


def _centre_and_spread(present: NDArray[np.float64], quantiles: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and deviation, with values clipped to 3 times the reach of all but the outermost percent."""
    low, high = quantiles[1], quantiles[-2]
    with np.errstate(over="ignore"):
        reach = 3 * (high - low)
        clipped = np.clip(present, low - reach, high + reach) if reach > 0 else present
    unit = float(np.abs(clipped).max()) or 1.0  # so that squares cannot overflow
    scaled = clipped / unit
    mean, std = float(scaled.mean()) * unit, float(scaled.std()) * unit
    constant = not std > 1e-12 * unit
    return mean, 1.0 if constant else std


def _knots(sample: NDArray[np.float64], low: float, high: float) -> list[float]:
    """Every distinct value where they are few; else quantiles in which no value counts for more than one bin.

    Plain quantiles of a column that is mostly zero would all be zero, and leave its other values to one bin.
    """
    values, counts = np.unique(sample, return_counts=True)
    most = min(KNOTS, max(9, len(sample) // BIN_ROWS + 1))
    if len(values) > most:
        weights = np.cumsum(np.minimum(counts, len(sample) / most))
        places = np.searchsorted(weights, np.linspace(0, weights[-1], most))
        values = np.unique(np.append(values[places[1:-1]], (low, high)))
    found: list[float] = values.tolist()
    return found
