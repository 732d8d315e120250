"""Rows that stand in the data twice: equal, nearly equal, or equal with another target."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .likeness import ALIKE_IMAGES, ALIKE_TEXTS, groups_of, near_images, near_numbers, near_texts
from .notes import plural
from .subject import COMPARABLE, Finding, Rows, Severity, Subject

Codes = NDArray[np.int64]
BY_CHANCE = 0.05  # copies of a row expected by chance from which it is not told as a copy
SEVERE_SHARE, WARNING_SHARE = 0.005, 0.001  # of the held-out rows that stand among the training rows too
LEAST_LETTERS = 25  # of a text that is compared
CLOSE = 1e-3  # standard deviations between two numbers that are nearly equal
LEAST_NUMBERS, LEAST_DISTINCT = 2, 50  # columns, and values of each, before nearly equal rows say anything


def duplicates(subject: Subject) -> Iterator[Finding]:
    """Equal rows, across parts and within the training rows."""
    codes = row_codes(subject, [*subject.given, subject.target])
    if codes is None:
        return
    group_n, expected_n = codes
    telling = expected_n < BY_CHANCE
    yield from copies(subject, "duplicates", group_n, telling, "an equal row")


def near_duplicates(subject: Subject) -> Iterator[Finding]:
    """Rows whose images or texts, or all of whose numbers, are nearly the same."""
    yield from near_files(subject)
    yield from near_rows(subject)


def near_files(subject: Subject) -> Iterator[Finding]:
    """Images and texts that are nearly alike."""
    for name in _telling(subject):
        values = subject.values(name)
        if subject.kinds[name] == "image":
            pairs, alike = near_images(values)
            what = f"an image that looks the same in {name!r} (correlation of at least {ALIKE_IMAGES:g})"
        else:
            pairs, alike = near_texts([None if _short(v) else str(v) for v in values])
            what = f"nearly the same text in {name!r} (at least {ALIKE_TEXTS:.0%} of its runs of letters)"
        if len(pairs):
            group_n = groups_of(pairs, len(subject))
            pairs = pairs[np.argsort(-alike, kind="stable")]
            yield from copies(subject, "near_duplicates", group_n, np.ones(len(subject), bool), what)


def _telling(subject: Subject) -> list[str]:
    """The images, and the longest text: titles and tickets recur although their rows differ."""
    texts = subject.of_kind("text")
    sample = {n: [len(str(v)) for v in subject.values(n)[:1000] if v is not None] for n in texts}
    longest = sorted(texts, key=lambda name: -float(np.mean(sample[name] or [0])))[:1]
    return [*subject.of_kind("image"), *longest]


def _short(value: object) -> bool:
    return value is None or len(str(value)) < LEAST_LETTERS


def near_rows(subject: Subject) -> Iterator[Finding]:
    """Rows of a table that differ by less than rounding."""
    if not set(subject.kinds[name] for name in subject.given) <= COMPARABLE:
        return
    numeric = [n for n in subject.of_kind("number") if len(np.unique(subject.numbers(n))) > LEAST_DISTINCT]
    if len(numeric) < LEAST_NUMBERS:
        return
    if len(subject) ** 2 * CLOSE ** len(numeric) > BY_CHANCE:
        return  # so many rows in so few columns come this close by chance
    others = row_codes(subject, [n for n in subject.given if n not in numeric])
    same = np.zeros(len(subject), np.int64) if others is None else others[0]
    table_nK = np.stack([standardised(subject.numbers(n)) for n in numeric], axis=1)
    usable = np.isfinite(table_nK).all(1)
    pairs = near_numbers(same[usable], table_nK[usable].astype(np.float32), CLOSE)
    if len(pairs):
        group_n = groups_of(np.flatnonzero(usable)[pairs], len(subject))
        what = f"a row whose numbers differ by less than {CLOSE:g} standard deviations"
        yield from copies(subject, "near_duplicates", group_n, np.ones(len(subject), bool), what)


def contradictions(subject: Subject) -> Iterator[Finding]:
    """Rows that are given the same and have another target."""
    codes = row_codes(subject, subject.given)
    labels = subject.codes(subject.target)
    if codes is None or labels is None or subject.kinds[subject.target] != "category":
        return
    group_n, expected_n = codes
    telling = np.flatnonzero((expected_n < BY_CHANCE) & (labels >= 0))
    _, group = np.unique(group_n[telling], return_inverse=True)
    _, pair = np.unique(group * (int(labels.max()) + 1) + labels[telling], return_inverse=True)
    first = np.unique(pair, return_index=True)[1]
    several = np.bincount(group[first], minlength=int(group.max(initial=-1)) + 1) > 1
    wrong = telling[several[group]]
    if not len(wrong):
        return
    wrong = wrong[np.argsort(group_n[wrong], kind="stable")]
    share = len(wrong) / len(subject)
    severity: Severity = "warning" if share > WARNING_SHARE else "note"
    message = (
        f"{plural(len(wrong), 'row')} ({share:.1%}) are equal to another in all given columns but have "
        f"another {subject.target!r}"
    )
    yield Finding(
        check="contradictions", severity=severity, message=message, columns=(subject.target,),
        measured={"share": share}, rows=subject.rows[wrong], count=len(wrong),
        remedy=subject.fix("contradictions"), drop_rows=subject.rows[wrong],
    )  # fmt: skip


def copies(
    subject: Subject, check: str, group_n: Codes, telling_n: NDArray[np.bool_], what: str
) -> Iterator[Finding]:
    """Findings about groups of rows that are alike: leaking ones across parts, the others within training."""
    sizes = np.bincount(group_n, minlength=int(group_n.max()) + 1)
    told = np.flatnonzero(telling_n & (sizes[group_n] > 1))
    if not len(told):
        return
    order = told[np.argsort(group_n[told], kind="stable")]
    held = np.zeros(len(subject), bool)
    held[subject.held] = True
    seen = {int(group_n[i]): int(i) for i in order[::-1] if not held[i]}  # trained on, or validated with
    leaked = np.array([i for i in order if held[i] and int(group_n[i]) in seen], np.int64)
    if len(leaked):
        yield _leak(subject, check, leaked, group_n, seen, what)
    inside = np.array([i for i in order if not held[i] and seen[int(group_n[i])] != i], np.int64)
    if len(inside):
        share = len(inside) / int((~held).sum())
        partners = np.array([seen[int(group_n[i])] for i in inside], np.int64)
        yield Finding(
            check=check, severity="warning" if share > 0.05 else "note",
            message=f"{plural(len(inside), 'training row')} ({share:.1%}) have {what} among them",
            measured={"share": share}, rows=subject.rows[inside], others=subject.rows[partners],
            count=len(inside), remedy=subject.fix(check),
            drop_rows=subject.rows[inside] if check == "duplicates" else np.empty(0, np.int64),
        )  # fmt: skip


def _leak(
    subject: Subject, check: str, leaked: Rows, group_n: Codes, seen: dict[int, int], what: str
) -> Finding:
    share = len(leaked) / len(subject.held)
    severity: Severity = "note"
    if len(leaked) >= 2 and share >= WARNING_SHARE:
        severity = "severe" if share >= SEVERE_SHARE else "warning"
    partners = np.array([seen[int(group_n[i])] for i in leaked], np.int64)
    # Where the parts are given, the test rows stay as they are; a random split is drawn anew anyway.
    dropped = leaked
    if subject.basis == "given":
        others = np.setdiff1d(np.arange(len(subject)), subject.held)
        dropped = others[np.isin(group_n[others], group_n[leaked])]
    return Finding(
        check=check, severity=severity,
        message=f"{plural(len(leaked), 'test row')} ({share:.1%}) have {what} among the other rows",
        measured={"share": share}, rows=subject.rows[leaked], others=subject.rows[partners],
        count=len(leaked), remedy=subject.fix(check), drop_rows=subject.rows[np.unique(dropped)],
    )  # fmt: skip


def row_codes(
    subject: Subject, names: list[str] | tuple[str, ...]
) -> tuple[Codes, NDArray[np.float64]] | None:
    """(n,) equal numbers for equal rows, and (n,) how many copies chance would give each; None for files.

    The second takes the columns to be independent, so that rows of a few coarse columns, which recur
    naturally, are not told as copies. Nobody writes the same long text twice by chance.
    """
    group_n = np.zeros(len(subject), np.int64)
    log_share = np.zeros(len(subject))
    for name in names:
        codes = subject.codes(name)
        if codes is None:
            return None
        shifted = codes + 1
        counts = np.bincount(shifted)
        log_share += np.log(
            np.where(_long(subject, name), 1 / len(subject) ** 2, counts[shifted] / len(subject))
        )
        group_n = np.unique(group_n * len(counts) + shifted, return_inverse=True)[1].astype(np.int64)
    return (group_n, (len(subject) - 1) * np.exp(log_share)) if len(names) else None


def _long(subject: Subject, name: str) -> NDArray[np.bool_]:
    """(n,) where a column holds a text that is long enough to compare."""
    if subject.kinds[name] != "text":
        return np.zeros(len(subject), np.bool_)
    return np.array([not _short(value) for value in subject.values(name)], np.bool_)


def standardised(values_n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers with mean 0 and standard deviation 1."""
    size = float(np.nanmax(np.abs(values_n), initial=0.0))
    values_n = values_n / size if size > 1 else values_n  # squares of very large numbers are infinite
    spread = float(np.nanstd(values_n))
    centred: NDArray[np.float64] = values_n - np.nanmean(values_n)
    return centred / spread if spread > 0 else centred
