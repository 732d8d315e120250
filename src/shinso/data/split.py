"""Which rows train, which choose, which test: by chance, by class, by group, by time, or as given."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..columns.base import Values, missing_mask
from ..columns.datetime import Datetime
from ..config import DataConfig
from ..errors import DataError, SettingError
from .notes import Note
from .tabular import Tabular
from .values import codes_of

Rows = NDArray[np.int64]
Codes = NDArray[np.int32]
Parts = NDArray[np.int8]  # 0 train, 1 validation, 2 test
MOST_SORTED = 2_000_000  # above this chance alone gives every class its share
MOST_CLASSES = 1_000  # a text target with more distinct values is not split by class


@dataclass(frozen=True)
class Split:
    """Row numbers of the three parts, each sorted; no row stands in two of them."""

    train: Rows
    validation: Rows
    test: Rows
    notes: tuple[Note, ...] = field(default=())


def split(
    table: Tabular, options: DataConfig, target_values: Values | None, seed: int,
    rows: Rows | None = None,
) -> Split:  # fmt: skip
    """Split `rows` (all when None) of a table; `target_values` are those of the rows, for a split by class.

    The same seed gives the same split. Raises `DataError` when there are too few rows.
    """
    chosen = np.arange(len(table), dtype=np.int64) if rows is None else np.asarray(rows, np.int64)
    shares = parse_shares(options.split)
    if len(chosen) < 2:
        raise DataError(
            f"{table.describe()} has {len(chosen)} usable row{'s' if len(chosen) != 1 else ''}. "
            "Expected at least 2, one to train on and one to check with. Add rows."
        )
    rng = np.random.default_rng(seed)
    codes = _classes(target_values, len(chosen), options)
    notes: tuple[Note, ...] = ()
    if table.parts is not None:
        parts, notes = _given(table.parts[chosen], shares, codes, rng)
    elif options.time is not None:
        parts = _by_time(table.values(options.time, chosen), shares, options.time)
    elif options.group is not None:
        parts = _by_group(table.values(options.group, chosen), shares, options.group, rng)
    else:
        parts = _by_class(codes, shares, rng)
        if set(np.flatnonzero(counts_of(len(parts), shares))) != set(parts.tolist()):
            parts = _by_class(np.zeros_like(codes), shares, rng)  # too few rows to heed their classes
        notes = _notes(codes)
    notes = (*_unheeded(options, given=table.parts is not None), *notes)
    return Split(chosen[parts == 0], chosen[parts == 1], chosen[parts == 2], notes)


def parse_shares(text: str) -> NDArray[np.float64]:
    """`8:1:1` to shares that sum to one.

    >>> parse_shares("7:2:1")
    array([0.7, 0.2, 0.1])
    """
    try:
        parts = np.array([float(piece) for piece in text.split(":")])
    except ValueError:
        parts = np.zeros(0)
    if len(parts) != 3 or not np.isfinite(parts).all() or (parts < 0).any() or parts[0] <= 0:
        raise SettingError(
            "data.split takes the shares of training, validation and test rows, as in 8:1:1; received "
            f"{text!r}."
        )
    return np.asarray(parts / parts.sum())


def counts_of(n: int, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many of `n` rows each part gets: rounded, but at least one wherever the share is not zero.

    >>> counts_of(5, parse_shares("8:1:1"))
    array([3, 1, 1])
    """
    counts = np.floor(shares * n + 1e-9).astype(np.int64)
    for i in np.argsort(counts - shares * n)[: n - counts.sum()]:
        counts[i] += 1
    for i in (1, 2):
        if shares[i] > 0 and counts[i] == 0 and counts[0] > 1:
            counts[i] += 1
            counts[0] -= 1
    if counts[0] == 0:
        counts[int(np.argmax(counts))] -= 1
        counts[0] = 1
    return counts


def _classes(values: Values | None, n: int, options: DataConfig) -> Codes:
    """(n,) number of the class of each row: all 0 where the target is no category, or not to be split by."""
    none = np.zeros(n, np.int32)
    if values is None or not options.stratify or values.dtype.kind not in "Obi":
        return none
    codes = codes_of(values)
    if codes is None or codes.max(initial=0) >= min(MOST_CLASSES, max(2, n // 2)):
        return none
    return _with_missing(codes)


def _with_missing(codes: Codes) -> Codes:
    """Missing values as a class of their own."""
    codes[codes < 0] = codes.max(initial=-1) + 1
    return codes


def _by_class(codes: Codes, shares: NDArray[np.float64], rng: np.random.Generator) -> Parts:
    """Parts that have the classes in equal shares: rows in order of class, dealt out at even distances."""
    order = rng.permutation(len(codes))
    if len(codes) <= MOST_SORTED:
        order = order[np.argsort(codes[order], kind="stable")]
    sizes = np.bincount(codes)
    if sizes.min() <= 1:
        order = order[sizes[codes[order]] > 1]  # a class with one row is trained on
    parts = np.zeros(len(codes), np.int8)
    _, n_validation, n_test = counts_of(len(codes), shares)
    for part, count in ((2, n_test), (1, n_validation)):
        count = min(int(count), len(order) - 1)
        if count <= 0:
            continue
        places = np.floor((np.arange(count) + rng.random()) * len(order) / count).astype(np.int64)
        parts[order[places]] = part
        left = np.ones(len(order), np.bool_)
        left[places] = False
        order = order[left]
    return _train_on_every_class(parts, codes)


def _train_on_every_class(parts: Parts, codes: Codes) -> Parts:
    """Swap rows where a class has none in training, which small classes can meet."""
    in_training = np.bincount(codes[parts == 0], minlength=int(codes.max()) + 1)
    for code in np.flatnonzero(in_training == 0):
        row = int(np.flatnonzero(codes == code)[-1])
        giver = int(np.argmax(in_training))
        if in_training[giver] > 1:
            parts[np.flatnonzero((codes == giver) & (parts == 0))[0]] = parts[row]
            in_training[giver] -= 1
        parts[row] = 0
    return parts


def _by_time(times: Values, shares: NDArray[np.float64], name: str) -> Parts:
    """The latest rows test, those before them validate; rows of one time stay together where they can."""
    if times.dtype.kind == "O" and Datetime.matches(times) > 0:
        column = Datetime(name=name).fit(times)
        times = np.asarray(column.encode_many(times))[:, 0]  # standardised time, first of the features
    if times.dtype.kind not in "Mif":
        raise DataError(
            f"Column {name!r} holds text, so rows cannot be split by time with it. Expected dates or "
            "numbers. "
            "Write its dates as 2024-12-31, or choose another column with data.time."
        )
    missing = missing_mask(times)
    order = np.lexsort((times, ~missing))  # rows without a time are trained on
    ordered = times[order]
    ends = np.cumsum(counts_of(len(times), shares))
    parts = np.zeros(len(times), np.int8)
    first, second = (_between_times(ordered, int(end)) for end in ends[:2])
    parts[order[first:]] = 1
    parts[order[max(first, second) if ends[2] > ends[1] else len(order) :]] = 2
    return parts


def _between_times(ordered: Values, end: int) -> int:
    """The nearest place to `end` that does not cut through rows of one time, else `end` itself."""
    if end <= 0 or end >= len(ordered):
        return end
    low = int(np.searchsorted(ordered[:end], ordered[end], side="left"))
    high = int(np.searchsorted(ordered, ordered[end], side="right"))
    places = [place for place in (low, high) if 0 < place < len(ordered)]
    return min(places, key=lambda place: abs(place - end), default=end)


def _by_group(groups: Values, shares: NDArray[np.float64], name: str, rng: np.random.Generator) -> Parts:
    """Whole groups, the largest first, each to the part that lacks most rows."""
    found = codes_of(groups)
    if found is None:
        raise DataError(f"Column {name!r} holds no values to group by. Choose another with data.group.")
    codes = _with_missing(found)
    sizes = np.bincount(codes)
    wanted = int((shares > 0).sum())
    if len(sizes) < wanted:
        raise DataError(
            f"Column {name!r} has {len(sizes)} different values, too few to split rows into {wanted} parts. "
            f"Expected at least {wanted} groups. Choose another column with data.group."
        )
    lacking = shares * len(groups)
    empty = {int(part) for part in np.flatnonzero(shares > 0)}
    of_group = np.zeros(len(sizes), np.int8)
    shuffled = rng.permutation(len(sizes))
    for place, group in enumerate(shuffled[np.argsort(-sizes[shuffled], kind="stable")]):
        open_parts = sorted(empty) if len(sizes) - place <= len(empty) else range(3)
        part = max(open_parts, key=lambda part: lacking[part])
        lacking[part] -= sizes[group]
        empty.discard(part)
        of_group[group] = part
    return of_group[codes]


def _given(
    parts: Parts, shares: NDArray[np.float64], codes: Codes, rng: np.random.Generator,
) -> tuple[Parts, tuple[Note, ...]]:  # fmt: skip
    """The parts that folders name; validation rows are cut from the training rows where there are none."""
    parts = parts.copy()
    if not (parts == 0).any():
        raise DataError("There is a folder of test rows but none of training rows. Add a folder train/.")
    notes: tuple[Note, ...] = ()
    if not (parts == 2).any() and (parts == 1).any():
        parts[parts == 1] = 2
        notes = (
            Note(
                "info",
                "val/ is the test set; validation rows are cut from train/",
                None,
                int((parts == 2).sum()),
            ),
        )
    if not (parts == 1).any():
        training = np.flatnonzero(parts == 0)
        inner: NDArray[np.float64] = np.array([shares[0], max(shares[1], 0.05), 0.0])
        parts[training] = _by_class(_renumber(codes[training]), inner / inner.sum(), rng)
    return parts, notes


def _renumber(codes: Codes) -> Codes:
    """Class numbers without gaps."""
    return np.unique(codes, return_inverse=True)[1].astype(np.int32)


def _unheeded(options: DataConfig, *, given: bool) -> tuple[Note, ...]:
    """A warning where a setting about the split has no say."""
    asked = [f"data.{name}" for name, value in (("time", options.time), ("group", options.group)) if value]
    if len(asked) < (1 if given else 2):
        return ()
    lost = " and ".join(asked) if given else "data.group"
    why = "folders or files say which rows train and test" if given else "data.time splits the rows"
    return (Note("warning", f"{lost} is not heeded in the split: {why}"),)


def _notes(codes: Codes) -> tuple[Note, ...]:
    singles = int((np.bincount(codes) == 1).sum())
    if not singles:
        return ()
    return (Note("warning", "classes with one example: they are trained on and never tested", None, singles),)
