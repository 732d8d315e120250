"""The audit of data before training: what would make figures untrue, each with the number that says so.

To add a check, write a function from `Subject` to findings and add its line to `CHECKS`.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import RunConfig
from ..errors import did_you_mean
from .audit_columns import identifiers, imbalance, leaks, missingness
from .audit_copies import contradictions, duplicates, near_duplicates
from .audit_labels import label_errors
from .audit_parts import groups, shift, time
from .notes import Note
from .split import Split
from .subject import SEVERITIES, Basis, Finding, Rows, Subject
from .tabular import Tabular
from .windows import WindowTable

Check = Callable[[Subject], Iterator[Finding]]
CHECKS: dict[str, Check] = {
    "duplicates": duplicates,
    "near_duplicates": near_duplicates,
    "contradictions": contradictions,
    "groups": groups,
    "time": time,
    "leaks": leaks,
    "identifiers": identifiers,
    "shift": shift,
    "imbalance": imbalance,
    "label_errors": label_errors,
    "missingness": missingness,
}
SLOW = frozenset({"label_errors"})  # left out of the quick form
QUICK_ROWS = 50_000  # rows that the quick form looks at
QUICK_FILES = 2_000  # images or texts that it reads
FULL_ROWS = 1_000_000
FULL_FILES = 100_000
QUICK_SECONDS = 4.0
# Findings whose rows are taken out only when the check is named: a person should look at them first.
ASKED_ONLY = frozenset({"label_errors", "contradictions", "near_duplicates"})


@dataclass(frozen=True)
class Audited:
    """The findings, the worst first, and what was done to find them."""

    findings: tuple[Finding, ...]
    checks: tuple[str, ...]  # that ran
    skipped: tuple[str, ...]  # for want of time
    rows: int  # that were looked at
    seconds: float


def audit(subject: Subject, only: Sequence[str] = (), seconds: float | None = None) -> Audited:
    """Run the checks (all, or those named) on rows; those that `seconds` leave no time for are said.

    Each check uses a private generator, so the same data gives the same findings.
    """
    started, found, ran, skipped = clock.monotonic(), list[Finding](), list[str](), list[str]()
    for name in only or CHECKS:
        if seconds is not None and clock.monotonic() - started > seconds:
            skipped.append(name)
            continue
        if subject.quick and name in SLOW and not only:
            continue
        found += CHECKS[name](subject)
        ran.append(name)
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Audited(tuple(found), tuple(ran), tuple(skipped), len(subject), clock.monotonic() - started)


def unknown_check(name: str) -> str:
    """What to say of a check that does not exist."""
    return f"There is no check {name!r}. {did_you_mean(name, CHECKS)}"


def looked_at(rows: Rows, part_n: np.ndarray[tuple[int], np.dtype[np.int8]], most: int) -> Rows:
    """Places of at most `most` rows, evenly spread over each part, held-out ones first."""
    if len(rows) <= most:
        return np.arange(len(rows))
    held = np.flatnonzero(part_n != 0)
    train = np.flatnonzero(part_n == 0)
    kept_held = _spread(held, max(most // 2, most - len(train)))
    return np.sort(np.concatenate([kept_held, _spread(train, most - len(kept_held))]))


def _spread(places: Rows, most: int) -> Rows:
    if len(places) <= most:
        return places
    return places[np.linspace(0, len(places) - 1, most).astype(np.int64)]


def mended(findings: Sequence[Finding], rows: int, asked: Sequence[str]) -> tuple[Rows, tuple[str, ...]]:
    """(rows to keep, columns to drop) after the findings that can be mended without a person were.

    Checks in `ASKED_ONLY` are heeded where they were asked for by name; notes are left as they are otherwise.
    """
    chosen = [f for f in findings if f.check in asked or (not asked and _mends_itself(f))]
    keep = np.ones(rows, bool)
    for finding in chosen:
        keep[finding.drop_rows] = False
    columns = tuple(dict.fromkeys(name for finding in chosen for name in finding.drop_columns))
    return np.flatnonzero(keep), columns


def _mends_itself(finding: Finding) -> bool:
    return finding.check == "duplicates" or (finding.severity != "note" and finding.check not in ASKED_ONLY)


def subject_from(
    table: Tabular, parts: Split, kinds: Mapping[str, str], config: RunConfig, source: str, *,
    tested: str = "", quick: bool = False,
) -> Subject:  # fmt: skip
    """The rows of a split as a subject; `kinds` names the columns, the target last."""
    rows = np.sort(np.concatenate([parts.train, parts.validation, parts.test]))
    part_n = np.zeros(len(rows), np.int8)
    for number, chosen in ((1, parts.validation), (2, parts.test)):
        part_n[np.searchsorted(rows, chosen)] = number
    files = bool({"image", "text"} & set(kinds.values())) if quick else "image" in kinds.values()
    most = (QUICK_FILES if files else QUICK_ROWS) if quick else (FULL_FILES if files else FULL_ROWS)
    places = looked_at(rows, part_n, most)
    basis: Basis = "chance"
    if table.parts is not None:
        basis = "given"
    elif config.data.time is not None:
        basis = "time"
    elif config.data.group is not None:
        basis = "group"
    target = list(kinds)[-1]
    return Subject(
        table,
        rows[places],
        part_n[places],
        kinds,
        target,
        basis,
        source,
        tested,
        config.data,
        config.seed,
        quick,
    )


def quick_audit(
    table: Tabular, parts: Split, kinds: Mapping[str, str], config: RunConfig, source: str = "DATA"
) -> dict[str, Any] | None:
    """The quick form before training: a few seconds; None where rows are windows of a series."""
    if isinstance(table, WindowTable) or len(kinds) < 2:
        return None
    subject = subject_from(table, parts, kinds, config, source, quick=True)
    return described(subject, audit(subject, seconds=QUICK_SECONDS))


def notes_of(result: Mapping[str, Any] | None) -> tuple[Note, ...]:
    """The findings as notes, as training says them; what is only to know stands in the report."""
    if result is None:
        return ()
    return tuple(
        Note("info" if f["severity"] == "note" else "warning", f"{f['message']} [audit]", None, f["count"])
        for f in result["findings"]
        if f["severity"] != "note"
    )


def described(subject: Subject, found: Audited) -> dict[str, Any]:
    """The audit as plain JSON data."""
    counts = {
        name: int((subject.part_n == i).sum()) for i, name in enumerate(("train", "validation", "test"))
    }
    return {
        "data": subject.table.describe(),
        "predict": subject.target,
        "split": subject.basis,
        "rows": counts,
        "looked_at": found.rows,
        "of": len(subject.table),
        "key": subject.table.key_name,
        "quick": subject.quick,
        "checks": list(found.checks),
        "skipped": list(found.skipped),
        "severities": {s: sum(f.severity == s for f in found.findings) for s in SEVERITIES},
        "findings": [finding.to_dict(subject.table) for finding in found.findings],
        "seconds": round(found.seconds, 3),
    }
