"""How good a model is on parts of the rows: those that a user names, and the worst, found by search.

n = rows, K = cells of a column or of a pair of columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import measures, metrics
from .columns import Column, Values
from .columns.base import missing_mask
from .data.filters import is_condition, parse
from .data.subject import holm
from .data.tabular import Tabular
from .data.values import codes_of
from .errors import DataError
from .evaluation import calibrated, labels_of
from .later import Later

special = Later("scipy.special")

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]
MOST_VALUES = 30  # of a column in --by; rarer ones are put together
QUARTERS = 4
LEAST_ROWS = 20  # of a slice that the search looks at
LEAST_SHARE = 0.005
MOST_CELLS = 12  # values of a column that the search tells apart
MOST_COLUMNS = 24  # that are paired with each other
LEVEL = 0.05
SHOWN = 10


@dataclass(frozen=True)
class Measured:
    """Rows with what is true and what was predicted of them."""

    table: Tabular
    columns: tuple[Column, ...]  # predicted
    given: tuple[str, ...]
    truths: Mapping[str, Any]
    predictions: Mapping[str, Any]  # calibrated
    seed: int = 0
    block: int = 1

    def values(self, name: str) -> Values:
        """(n,) raw values of any column of the table."""
        return self.table.values(name)


def by_slices(measured: Measured, by: Sequence[str]) -> list[dict[str, Any]]:
    """Metrics with intervals on each slice that `by` names: a column (each value) or a condition."""
    found = []
    for text in by:
        cells = conditions(measured, text) if is_condition(text) else values_of(measured, text)
        for name, mask in cells:
            found.append({"slice": name, "by": text, "rows": int(mask.sum()), "outputs": on(measured, mask)})
    return found


def conditions(measured: Measured, text: str) -> list[tuple[str, NDArray[np.bool_]]]:
    """The rows of a condition, and the others."""
    mask = parse(text, measured.table.names)(measured.values)
    if not mask.any():
        raise DataError(
            f"No row of {measured.table.describe()} fulfils {text!r}, so there is nothing to measure. "
            f"Check the spelling of its values, or widen it."
        )
    return [(text, mask), (f"not ({text})", ~mask)] if not mask.all() else [(text, mask)]


def values_of(measured: Measured, name: str) -> list[tuple[str, NDArray[np.bool_]]]:
    """The rows of each value of a column, of each quarter of a number."""
    measured.table.check(name)
    names, codes = cells_of(measured.values(name), MOST_VALUES)
    if names is None:
        raise DataError(
            f"Column {name!r} cannot be sliced by: it holds files or texts. Choose a column of values."
        )
    counts = np.bincount(codes, minlength=len(names))
    return [(f"{name}{cell}", codes == i) for i, cell in enumerate(names) if counts[i]]


def on(measured: Measured, mask: NDArray[np.bool_]) -> dict[str, Any]:
    """By predicted column: kind, main metric, and all metrics with intervals on the rows of a mask."""
    rows, found = np.flatnonzero(mask), {}
    for c in measured.columns:
        truth, prediction = (picked(side[c.name], rows) for side in (measured.truths, measured.predictions))
        result = metrics.evaluate_predictions(
            c.kind, truth, prediction, labels_of(c), measured.seed, block=measured.block
        )
        found[c.name] = {name: result[name] for name in ("kind", "main", "metrics")}
    return found


def picked(values: Any, rows: Codes) -> Any:
    """Some rows of an array or a list."""
    return values[rows] if isinstance(values, np.ndarray) else [values[i] for i in rows.tolist()]


def cells_of(values: Values, most: int) -> tuple[list[str] | None, Codes]:
    """Names such as `=Kyoto` or ` from 20 to 31.5`, and (n,) which of them each row has; None for files."""
    missing = missing_mask(values)
    if values.dtype.kind == "M" or (values.dtype.kind in "if" and len(np.unique(values[~missing])) > most):
        return _quarters(values, missing)
    codes = codes_of(values)
    if codes is None or int(codes.max(initial=-1)) + 1 > max(1000, len(codes) // 2):
        return None, np.zeros(len(values), np.int64)
    codes = codes.astype(np.int64)
    counts = np.bincount(codes[codes >= 0])
    kept = np.sort(np.argsort(-counts, kind="stable")[: most if len(counts) <= most else most - 1])
    place = np.full(len(counts) + 1, len(kept))
    place[kept] = np.arange(len(kept))
    place[-1] = len(kept) + 1  # missing: codes of -1
    first = {int(code): str(values[int(np.flatnonzero(codes == code)[0])]) for code in kept}
    return [*(f"={first[int(code)]}" for code in kept), " (rare values)", " is missing"], place[codes]


def _quarters(values: Values, missing: NDArray[np.bool_]) -> tuple[list[str], Codes]:
    numbers = values.astype("datetime64[us]").astype(np.int64) if values.dtype.kind == "M" else values
    known = np.asarray(numbers[~missing], np.float64)
    if not len(known):
        return [" is missing"], np.zeros(len(values), np.int64)
    edges = np.unique(np.quantile(known, np.arange(QUARTERS + 1) / QUARTERS))
    edges = np.repeat(edges, 2) if len(edges) == 1 else edges  # all rows hold one value
    codes = np.clip(
        np.searchsorted(edges, np.asarray(numbers, np.float64), side="right") - 1, 0, len(edges) - 2
    )
    shown = [
        str(np.datetime64(round(e), "us"))[:10] if values.dtype.kind == "M" else f"{e:.6g}" for e in edges
    ]
    names = [f" from {a} to {b}" for a, b in pairwise(shown)]
    return [*names, " is missing"], np.where(missing, len(names), codes)


# ---------------------------------------------------------------- the worst slices


def worst_slices(measured: Measured) -> dict[str, list[dict[str, Any]]]:
    """By predicted column: the slices whose rows are predicted worse than the others, beyond chance.

    Every value of every given column, and every pair of values of two columns, is compared with all other
    rows; p-values are corrected for the whole search (Holm), so that the worst of many is not taken for bad.
    """
    cells = {name: cells_of(measured.values(name), MOST_CELLS) for name in measured.given}
    usable = {name: (names, codes) for name, (names, codes) in cells.items() if names is not None}
    found = {}
    for c in measured.columns:
        loss = losses(c.kind, measured.truths[c.name], measured.predictions[c.name])
        if loss is not None:
            found[c.name] = _search(usable, *loss)
    return found


def losses(kind: str, truth: Any, prediction: Any) -> tuple[str, Floats, NDArray[np.bool_]] | None:
    """(what it is, (n,) how wrong each row is, (n,) which rows have a target); None for kinds without."""
    if kind == "category":
        known = np.asarray(truth) >= 0
        return "error rate", (np.asarray(prediction).argmax(1) != np.asarray(truth)).astype(np.float64), known
    if kind in ("number", "datetime"):
        plain = measures.days if kind == "datetime" else np.asarray
        error = np.abs(np.asarray(plain(prediction), np.float64) - np.asarray(plain(truth), np.float64))
        return "mean absolute error", np.nan_to_num(error), np.isfinite(error)
    return None


def _search(
    cells: Mapping[str, tuple[list[str], Codes]], what: str, loss: Floats, known: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    loss = loss[known]
    cells = {name: (names, codes[known]) for name, (names, codes) in cells.items()}
    tried: list[tuple[str, int, float, float]] = []  # name, rows, mean, p
    for name, (names, codes) in cells.items():
        tried += _compared(lambda i, n=name, k=names: f"{n}{k[i]}", codes, len(names), loss)  # type: ignore[misc]
    for a, b in combinations(list(cells)[:MOST_COLUMNS], 2):
        (left, codes), (right, others) = cells[a], cells[b]
        label = _pair_name(a, left, b, right)
        tried += _compared(label, codes * len(right) + others, len(left) * len(right), loss)
    corrected = holm([p for *_, p in tried])
    bad = [(*one, p) for one, p in zip(tried, corrected, strict=True) if p < LEVEL]
    bad.sort(key=lambda one: -(one[2] - loss.mean()) * one[1])
    return [
        {"slice": name, "rows": rows, "value": mean, "others": _rest(loss, rows, mean), "what": what, "p": p,
         "searched": len(tried)}
        for name, rows, mean, _, p in _apart(bad)[:SHOWN]
    ]  # fmt: skip


def _pair_name(a: str, left: list[str], b: str, right: list[str]) -> Callable[[int], str]:
    return lambda i: f"{a}{left[i // len(right)]} and {b}{right[i % len(right)]}"


def _compared(
    name: Callable[[int], str], codes: Codes, size: int, loss: Floats
) -> list[tuple[str, int, float, float]]:
    """Each cell against all other rows, by Welch's test of one side."""
    n = len(loss)
    counts = np.bincount(codes, minlength=size).astype(np.float64)
    sums, squares = np.bincount(codes, loss, minlength=size), np.bincount(codes, loss**2, minlength=size)
    least = max(LEAST_ROWS, LEAST_SHARE * n)
    chosen = np.flatnonzero((counts >= least) & (counts <= n - least))
    m, rest = counts[chosen], n - counts[chosen]
    inside, outside = sums[chosen] / m, (loss.sum() - sums[chosen]) / rest
    # A variance of nought (a slice without a mistake, or without a hit) is that of one row in between.
    floor = loss.var() / np.minimum(m, rest)
    spread = np.maximum(squares[chosen] / m - inside**2, floor) / m
    spread = spread + np.maximum((np.square(loss).sum() - squares[chosen]) / rest - outside**2, floor) / rest
    p = special.ndtr((outside - inside) / np.sqrt(np.maximum(spread, 1e-300)))
    return [
        (name(int(i)), int(counts[i]), float(mean), float(one))
        for i, mean, one in zip(chosen, inside, p, strict=True)
    ]


def _rest(loss: Floats, rows: int, mean: float) -> float:
    return float((loss.sum() - rows * mean) / max(1, len(loss) - rows))


def _apart(bad: list[tuple[str, int, float, float, float]]) -> list[tuple[str, int, float, float, float]]:
    """Without pairs that are hardly worse than one of their two columns alone."""
    single = {name: mean for name, _, mean, *_ in bad if " and " not in name}
    return [
        one
        for one in bad
        if " and " not in one[0]
        or one[2] > 1.15 * max((single.get(part, 0.0) for part in one[0].split(" and ")), default=0.0)
    ]


def measured_rows(
    table: Tabular, schema: Any, truths: Mapping[str, Any], predictions: Mapping[str, Any],
    calibration: Mapping[str, Any], seed: int = 0, block: int = 1,
) -> Measured:  # fmt: skip
    """Rows as slices and fairness take them."""
    said = {c.name: calibrated(c, predictions[c.name], calibration) for c in schema.predict}
    given = tuple(c.name for c in schema.given if c.name in table.names)
    return Measured(table, tuple(schema.predict), given, truths, said, seed, block)
