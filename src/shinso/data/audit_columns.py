"""What single columns do wrong: give the target away, name the row, go missing with it, or balance badly.

n = rows, K = bins of a column, C = classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..intervals import chi_squared
from ..later import Later
from .clean import ID_NAME, ID_VALUE
from .notes import plural
from .subject import Finding, Rows, Severity, Subject, holm

stats = Later("scipy.stats")

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]
FEWEST = 40  # rows below which nothing is said
FOLDS = 5
LEAST_BINS, MOST_BINS = 8, 256
LEAST_OF_BIN = 5
TELLS_ALL = 0.97  # share of the errors (or of the variance) that one column takes away: nothing left to learn
TELLS_ALL_NUMBER = 0.995
TELLS_MUCH, TELLS_MUCH_NUMBER = 0.8, 0.9  # severe only where no other column comes near
FAR_BEHIND, FAR_BEHIND_NUMBER = 0.5, 0.65
EXACT = 0.99999  # variance that several columns together explain where their sum is the target
NEARLY_ALL = 0.95  # share of distinct values from which a column names its rows
LEVEL = 1e-3
LEAST_EFFECT, LARGE_EFFECT, LEAK_EFFECT = 0.1, 0.3, 0.9
RARE_SHARE, VERY_RARE_SHARE, FEW = 0.1, 0.02, 20


def leaks(subject: Subject) -> Iterator[Finding]:
    """Columns that give the target away: will they be known when the model is used?"""
    if len(subject.train) < FEWEST:
        return
    number = subject.kinds[subject.target] != "category"
    if subject.kinds[subject.target] not in ("category", "number"):
        return
    told = {name: score for name in subject.given if (score := tells(subject, name)) is not None}
    ranked = sorted(told, key=lambda name: -told[name])
    all_of, much, behind = (
        (TELLS_ALL_NUMBER, TELLS_MUCH_NUMBER, FAR_BEHIND_NUMBER)
        if number
        else (TELLS_ALL, TELLS_MUCH, FAR_BEHIND)
    )
    what = "of its variance" if number else "of the errors"
    for place, name in enumerate(ranked):
        honest = [told[other] for other in ranked[place + 1 :] if told[other] < all_of]
        score, rest = told[name], max(honest, default=0.0)
        alone = score >= much and (len(honest) > 0 and rest < behind)
        if score < all_of and not alone:
            break
        message = (
            f"{name!r} alone gives {subject.target!r} away: it takes away {score:.1%} {what}, the next "
            f"column {rest:.1%}. Will it be known when predicting?"
        )
        yield Finding(
            check="leaks", severity="severe" if len(ranked) > 1 else "warning", message=message,
            columns=(name,), measured={"told": score, "next": rest}, count=len(subject),
            remedy=subject.fix("leaks"), drop_columns=(name,),
        )  # fmt: skip
        if score < all_of:
            break
    if number:
        yield from _sums(subject, [n for n in ranked if told[n] >= all_of])


def _sums(subject: Subject, known: list[str]) -> Iterator[Finding]:
    """Several numbers of which the target is a sum."""
    names = [name for name in subject.of_kind("number") if name not in known]
    target = subject.numbers(subject.target)[subject.train]
    if len(names) < 2 or len(target) < 4 * len(names):
        return
    table = np.stack([subject.numbers(name)[subject.train] for name in names], axis=1)
    usable = np.isfinite(table).all(1) & np.isfinite(target)
    table, target = table[usable], target[usable]
    if len(target) < 4 * len(names) or not target.std() > 0:
        return
    spread = table.std(0)
    design = np.column_stack([(table - table.mean(0)) / np.where(spread > 0, spread, 1), np.ones(len(table))])
    weights, *_ = np.linalg.lstsq(design, target, rcond=None)
    explained = 1 - float(np.var(target - design @ weights) / np.var(target))
    parts = [name for name, w in zip(names, weights, strict=False) if abs(w) > 0.02 * target.std()]
    if explained < EXACT or len(parts) < 2:
        return
    listed = " and ".join(map(repr, parts[:4])) + (" and others" if len(parts) > 4 else "")
    message = (
        f"{listed} together are {subject.target!r} (R² {explained:.6f} as a weighted sum). "
        f"Will they be known when predicting?"
    )
    yield Finding(
        check="leaks", severity="severe", message=message, columns=tuple(parts),
        measured={"r2": explained}, count=len(subject), remedy=subject.fix("leaks"),
        drop_columns=tuple(parts),
    )  # fmt: skip


def tells(subject: Subject, name: str) -> float | None:
    """How much of the target one column tells by itself, out of fold: 0 nothing, 1 everything.

    Share of the majority's errors that is taken away (Goodman and Kruskal's lambda), or of the variance.
    """
    bins = bins_of(subject, name)
    if bins is None:
        return None
    bins = bins[subject.train]
    fold = np.random.default_rng(subject.seed).permutation(len(bins)) % FOLDS
    if subject.labels_n is not None:
        labels = subject.labels_n[subject.train]
        known = labels >= 0
        return _told_classes(bins[known], labels[known], fold[known])
    target = subject.numbers(subject.target)[subject.train]
    known = np.isfinite(target)
    told = _told_number(bins[known], target[known], fold[known])
    return max(told, _straight(subject, name, known, target))


def _straight(subject: Subject, name: str, known: NDArray[np.bool_], target: Floats) -> float:
    """The squared correlation, which a target in another unit drives to 1 where bins are too coarse."""
    if subject.kinds[name] != "number":
        return 0.0
    values = subject.numbers(name)[subject.train]
    both = known & np.isfinite(values)
    spread = values[both].std() * target[both].std() if both.mean() > NEARLY_ALL else 0.0
    if not spread > 0:
        return 0.0
    product = (values[both] - values[both].mean()) * (target[both] - target[both].mean())
    return float((product.mean() / spread) ** 2)


def bins_of(subject: Subject, name: str) -> Codes | None:
    """(n,) a column in at most 256 bins, missing values in one of their own; None where none can be had."""
    kind = subject.kinds[name]
    if kind in ("number", "datetime"):
        return number_bins(subject.numbers(name), len(subject.train))
    codes = subject.codes(name) if kind in ("category", "text") else None
    if codes is None or codes.max(initial=-1) + 1 > len(codes) / LEAST_OF_BIN:
        return None
    return codes + 1


def number_bins(values_n: Floats, rows: int) -> Codes:
    """(n,) numbers in bins of about equal size; frequent values have bins of their own; 0 where missing."""
    most = int(np.clip(rows // 20, LEAST_BINS, MOST_BINS))
    known = values_n[np.isfinite(values_n)]
    distinct = np.unique(known)
    if len(distinct) > most:
        distinct = np.unique(np.quantile(known, np.arange(1, most) / most))
    return np.where(np.isfinite(values_n), 1 + np.searchsorted(distinct, values_n, side="right"), 0)


def _told_classes(bins: Codes, labels: Codes, fold: Codes) -> float:
    size, classes = int(bins.max(initial=0)) + 1, int(labels.max(initial=0)) + 1
    if size * classes > 4_000_000:
        return 0.0
    majority = int(np.bincount(labels).argmax())
    wrong, by_chance = 0, 0
    for k in range(FOLDS):
        mine = fold == k
        cells = np.bincount(bins[~mine] * classes + labels[~mine], minlength=size * classes)
        table_KC = cells.reshape(size, classes)
        says = np.where(table_KC.sum(1) > 0, table_KC.argmax(1), majority)
        wrong += int((says[bins[mine]] != labels[mine]).sum())
        by_chance += int((labels[mine] != majority).sum())
    return 1 - wrong / by_chance if by_chance else 0.0


def _told_number(bins: Codes, target: Floats, fold: Codes) -> float:
    size, error = int(bins.max(initial=0)) + 1, 0.0
    for k in range(FOLDS):
        mine = fold == k
        counts = np.bincount(bins[~mine], minlength=size)
        sums = np.bincount(bins[~mine], target[~mine], minlength=size)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), target[~mine].mean() if len(target) else 0)
        error += float(((target[mine] - means[bins[mine]]) ** 2).sum())
    spread = float(((target - target.mean()) ** 2).sum()) if len(target) else 0.0
    return 1 - error / spread if spread > 0 else 0.0


def identifiers(subject: Subject) -> Iterator[Finding]:
    """Columns that name the row: a network learns them by heart."""
    if len(subject) < FEWEST:
        return
    for name in subject.given:
        codes = subject.codes(name) if subject.kinds[name] in ("category", "number", "text") else None
        if codes is None:
            continue
        distinct = int(codes.max(initial=-1)) + 1
        share = distinct / len(codes)
        if share < NEARLY_ALL or not _names_rows(subject, name, distinct):
            continue
        message = f"{name!r} has another value in {share:.1%} of the rows and looks like a name of the row"
        yield Finding(
            check="identifiers", severity="warning", message=message, columns=(name,),
            measured={"distinct": share}, count=distinct, remedy=subject.fix("identifiers"),
            drop_columns=(name,),
        )  # fmt: skip


def _names_rows(subject: Subject, name: str, distinct: int) -> bool:
    values = subject.values(name)
    if values.dtype.kind in "iu":
        run = int(values.max()) - int(values.min()) + 1
        return ID_NAME.search(name) is not None or run <= 1.05 * distinct
    if values.dtype.kind != "O":
        return False
    sample = [str(v) for v in values[:: max(1, len(values) // 1000)] if v is not None]
    digits = sum(any(c.isdigit() for c in value) for value in sample)
    return digits > 0.5 * len(sample) and all(ID_VALUE.fullmatch(value) for value in sample)


def missingness(subject: Subject) -> Iterator[Finding]:
    """Columns that are missing more often for some targets than for others."""
    tested = []
    for name in subject.given:
        codes = subject.codes(name)
        missing = None if codes is None else codes < 0
        if missing is not None and FEW <= missing.sum() <= len(missing) - FEW:
            found = _depends(subject, missing)
            if found is not None:
                tested.append((name, missing, *found))
    for (name, missing, _, effect), p in zip(tested, holm([t[2] for t in tested]), strict=True):
        if p >= LEVEL or effect < LEAST_EFFECT:
            continue
        severity: Severity = "note" if effect < LARGE_EFFECT else "warning"
        message = (
            f"whether {name!r} is missing depends on {subject.target!r} (effect {effect:.2f} of 1, "
            f"corrected p {p:.1g}): it may be filled in only after the fact"
        )
        yield Finding(
            check="missingness", severity="severe" if effect >= LEAK_EFFECT else severity, message=message,
            columns=(name,), measured={"effect": effect, "p": p},
            rows=subject.rows[np.flatnonzero(missing)[:100]], count=int(missing.sum()),
            remedy=subject.without([name]), drop_columns=(name,) if effect >= LEAK_EFFECT else (),
        )  # fmt: skip


def _depends(subject: Subject, missing: NDArray[np.bool_]) -> tuple[float, float] | None:
    """(p-value, effect from 0 to 1) of the target's dependence on a column being missing."""
    labels = subject.labels_n
    if labels is not None:
        known = labels >= 0
        table = np.bincount(labels[known] * 2 + missing[known], minlength=2 * (int(labels.max()) + 1))
        table_C2 = table.reshape(-1, 2)
        table_C2 = table_C2[table_C2.sum(1) > 0]
        if len(table_C2) < 2 or not table_C2.sum(0).all():
            return None
        statistic, p = chi_squared(table_C2)
        return p, float(np.sqrt(statistic / table_C2.sum()))
    if subject.kinds[subject.target] != "number":
        return None
    target = subject.numbers(subject.target)
    one, two = target[missing & np.isfinite(target)], target[~missing & np.isfinite(target)]
    if min(len(one), len(two)) < FEW or not np.nanstd(target) > 0:
        return None
    share = missing.mean()
    effect = abs(one.mean() - two.mean()) / np.nanstd(target) * np.sqrt(share * (1 - share))
    return float(stats.ttest_ind(one, two, equal_var=False).pvalue), float(min(1.0, effect))


def imbalance(subject: Subject) -> Iterator[Finding]:
    """Classes that are so rare that accuracy says little about them."""
    labels = subject.labels_n
    if labels is None or len(subject) < FEWEST:
        return
    counts = np.bincount(labels[labels >= 0])
    values = subject.values(subject.target)
    if len(counts) < 2:
        return
    expected = 1 / len(counts)
    share = counts / counts.sum()
    rare = np.flatnonzero((share < RARE_SHARE * 2 * expected) | (counts < FEW))
    if not len(rare):
        return
    worst = int(rare[np.argmin(counts[rare])])
    label = values[int(np.flatnonzero(labels == worst)[0])]
    very = bool(share[worst] < VERY_RARE_SHARE * 2 * expected or counts[worst] < FEW)
    places = _places(labels, rare)
    few = "1 class of {} is rare," if len(rare) == 1 else f"{len(rare)} classes of {{}} are rare, the rarest"
    message = (
        f"{few.format(repr(subject.target))} "
        f"{str(label)[:40]!r} with {plural(int(counts[worst]), 'row')} ({share[worst]:.2%}); "
        f"look at balanced accuracy, not at accuracy"
    )
    yield Finding(
        check="imbalance", severity="warning" if very else "note", message=message, columns=(subject.target,),
        measured={"share": float(share[worst]), "ratio": float(counts.max() / counts[worst])},
        rows=subject.rows[places], count=int(counts[rare].sum()),
        remedy=subject.again("train.class_weights=balanced"),
    )  # fmt: skip


def _places(labels: Codes, rare: Rows) -> Rows:
    return np.flatnonzero(np.isin(labels, rare))[:100]
