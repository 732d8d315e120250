"""Splits for cross-validation: by class, by group or by time, each row tested at most once. n = rows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..columns.base import Values, missing_mask
from ..columns.datetime import Datetime
from ..config import DataConfig
from ..errors import DataError, SettingError
from .split import Split
from .tabular import Tabular
from .values import codes_of

Rows = NDArray[np.int64]
Codes = NDArray[np.int64]
INNER = 10  # of the rows that are not tested, one in so many chooses


def folded(
    table: Tabular, options: DataConfig, target: Values | None, rows: Rows, folds: int, seed: int
) -> list[Split]:
    """`folds` splits of `rows`; `target` (n,) where classes are to have equal shares.

    By time (`options.time`) each fold is trained on all rows before those it is tested on, so the first block
    is never tested. By group no group stands on two sides. Raises `SettingError` where there are too few.
    """
    if not 2 <= folds <= min(50, len(rows) // 4):
        most = min(50, len(rows) // 4)
        raise SettingError(f"{len(rows):,} rows can be cut into 2 to {most} folds; received --folds {folds}.")
    rng = np.random.default_rng(seed)
    if options.time is not None:
        return _by_time(_times(table, options.time, rows), rows, folds)
    group = None if options.group is None else _groups(table, options.group, rows, folds)
    codes = None if target is None or group is not None else codes_of(target)
    whole = np.zeros(len(rows), np.int64) if codes is None else codes.astype(np.int64) + 1
    fold_n = deal(whole, folds, rng) if group is None else deal_groups(group, folds, rng)
    found = []
    for k in range(folds):
        rest = np.flatnonzero(fold_n != k)
        inner = deal(whole[rest], INNER, rng) if group is None else deal_groups(group[rest], INNER, rng)
        found.append(Split(rows[rest[inner != 0]], rows[rest[inner == 0]], rows[fold_n == k]))
    return found


def deal(codes_n: Codes, folds: int, rng: np.random.Generator) -> Codes:
    """(n,) folds that have the classes in equal shares.

    >>> codes = np.array([0] * 6 + [1] * 3)
    >>> fold = deal(codes, 3, np.random.default_rng(0))
    >>> [sorted(codes[fold == k].tolist()) for k in range(3)]
    [[0, 0, 1], [0, 0, 1], [0, 0, 1]]
    """
    order = rng.permutation(len(codes_n))
    order = order[np.argsort(codes_n[order], kind="stable")]
    fold = np.empty(len(codes_n), np.int64)
    fold[order] = np.arange(len(codes_n)) % folds
    return fold


def deal_groups(group_n: Codes, folds: int, rng: np.random.Generator) -> Codes:
    """(n,) folds that hold whole groups, the largest dealt first, each to the smallest fold."""
    _, group = np.unique(group_n, return_inverse=True)
    sizes = np.bincount(group)
    filled, of_group = np.zeros(folds), np.zeros(len(sizes), np.int64)
    shuffled = rng.permutation(len(sizes))
    for one in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        of_group[one] = int(filled.argmin())
        filled[of_group[one]] += sizes[one]
    return of_group[group]


def _groups(table: Tabular, name: str, rows: Rows, folds: int) -> Codes:
    codes = codes_of(table.values(name, rows))
    if codes is None or len(np.unique(codes)) <= folds:
        raise DataError(f"Column {name!r} has too few groups for {folds} folds. Ask for fewer.")
    return codes.astype(np.int64)


def _times(table: Tabular, name: str, rows: Rows) -> Values:
    times = table.values(name, rows)
    if times.dtype.kind == "O":
        return np.asarray(Datetime(name=name).fit(times).encode_many(times))[:, 0]
    return times


def _by_time(times: Values, rows: Rows, folds: int) -> list[Split]:
    missing = missing_mask(times)
    order = np.lexsort((times, ~missing))
    cuts = np.linspace(0, len(rows), folds + 2).astype(np.int64)[1:]
    found = []
    for start, end in pairwise(cuts.tolist()):
        inner = max(1, int(start) // INNER)
        found.append(
            Split(
                np.sort(rows[order[: start - inner]]), np.sort(rows[order[start - inner : start]]),
                np.sort(rows[order[start:end]]),
            )
        )  # fmt: skip
    return found
