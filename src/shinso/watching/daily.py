"""One day of requests, compared with training: a check for everything that can have moved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..columns import Column
from ..columns.category import Category
from ..columns.labels import Labels
from ..intervals import median, proportion
from . import drift
from .condensing import UNREADABLE, Privacy
from .drift import Found
from .portraits import Portrait, portrait_of
from .store import Entry

LEAST_ROWS = 20  # of a day, for it to be tested
RARE = 10  # training rows of a label that is rare
LONG_TAIL = 0.01  # share of training rows with labels of one or two rows from which they count as many
Floats = NDArray[np.float64]


@dataclass
class Day:
    """What was served on a day in UTC."""

    day: str
    rows: int  # of the day, of which `entries` may be a part
    entries: list[Entry] = field(default_factory=list)
    truths: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by id

    @property
    def answered(self) -> list[Entry]:
        """Rows that a client got an answer for."""
        return [e for e in self.entries if e.status < 400 and e.route != "shadow"]

    @property
    def heard(self) -> list[Entry]:
        """Rows that a client got an answer or a refusal for."""
        return [e for e in self.entries if e.route != "shadow"]


@dataclass(frozen=True)
class Check:
    """One hypothesis: that nothing about a column has moved on a day."""

    day: str
    column: str
    kind: str  # values, missing, answers, sureness or quality
    found: Found
    live: Any = None  # numbers for people: a share or a mean, then and now
    training: Any = None


def checks(
    day: Day, schema: Any, reference: Mapping[str, Any], private: Privacy, level: float, mine: Any
) -> Iterator[Check]:
    """All that is tested of a day. `mine` says whose answers are judged; `level` is for the smallest p."""
    answered = day.answered
    if len(answered) < LEAST_ROWS:
        return
    for column in schema.given:
        known = reference["columns"].get(column.name)
        held = [entry.inputs[column.name] for entry in answered if column.name in entry.inputs]
        if known and held:
            yield from of_column(day.day, column, held, known, private, level)
    own = [entry for entry in answered if mine(entry)]
    most = max((c.get("days") for c in reference["columns"].values()), key=alike, default=None)
    for column in schema.predict:
        known = reference["answers"].get(column.name)
        if known and len(own) >= LEAST_ROWS:
            yield from of_answers(day.day, column, own, known, private, most)
            yield from of_quality(day.day, column, own, known, day.truths)


def of_column(
    day: str, column: Column, held: Sequence[Any], known: Mapping[str, Any], private: Privacy, level: float
) -> Iterator[Check]:
    """Missing values, and what the others are."""
    present = [value for value in held if value is not None and value != UNREADABLE]
    n, missing = len(held), len(held) - len(present)
    shares = drift.of_shares(missing, n, known["missing"], known["rows"])
    shares = day_to_day(shares, n, known.get("days"), "missing")
    yield Check(day, column.name, "missing", shares, missing / n, known["missing"] / max(1, known["rows"]))
    days: Mapping[str, Any] = known.get("days") or {}
    found = compared(column, present, known["values"], private, None if alike(days) else level)
    if found is not None:
        found = day_to_day(found, len(present), days)
        if "centre" in days:
            found = drift.far_out(found, _numbers(present), days["centre"], days["scale"])
        yield Check(day, column.name, "values", found, *_typical(column, present, known["values"]))


def compared(
    column: Column, live: Sequence[Any], training: Sequence[Any], private: Privacy, level: float | None
) -> Found | None:
    """The test that suits a kind of column; None where nothing can be compared."""
    live = [value for value in live if private.key or not (isinstance(value, dict) and "hash" in value)]
    if not live or not training:
        return None
    if column.kind == "number":
        numbers = _numbers(live)
        return drift.of_numbers(numbers, _numbers(training)) if len(numbers) else None
    if column.kind == "datetime":
        return drift.of_numbers(_hours(live), _hours(training))
    if isinstance(column, Category):
        return _classes(column, live, training, _index(column, private))
    if isinstance(column, Labels):
        return _each_label(column, live, training)
    portrait = portrait_of(column)
    live_nD, reference_mD = (_portraits(side, portrait) for side in (live, training))
    if portrait is None or not len(live_nD) or not len(reference_mD):
        return None
    rng = np.random.default_rng(sum(column.name.encode()))  # its own generator: the same p each time
    return drift.of_features(live_nD, reference_mD, portrait.names, level, rng)


def alike(days: Mapping[str, Any] | None, kind: str = "values") -> float:
    """How alike rows of one day were in training, see `days.within`; 0 where rows had no time."""
    return float(days.get(kind, 0.0)) if days else 0.0


def day_to_day(found: Found, rows: int, days: Mapping[str, Any] | None, kind: str = "values") -> Found:
    """See `drift.allowed`."""
    return drift.allowed(found, rows, alike(days, kind), int(days["days"])) if days else found


def of_answers(
    day: str, column: Column, own: Sequence[Entry], known: Mapping[str, Any], private: Privacy,
    days: Mapping[str, Any] | None,
) -> Iterator[Check]:  # fmt: skip
    """What was answered, and how sure. Answers are as alike on a day as what they follow from."""
    given = [e.answers[column.name] for e in own if column.name in e.answers]
    answers = [found["answer"] for found in given if found["answer"] is not None]
    found = compared(column, answers, known.get("answers", ()), private, None if alike(days) else 1.0)
    if found is not None:
        found = day_to_day(found, len(answers), days)
        yield Check(day, column.name, "answers", found, *_typical(column, answers, known["answers"]))
    sure = _numbers([found["sure"] for found in given if "sure" in found])
    reference = _numbers(known.get("sure", ()))
    if len(sure) and len(reference):
        found = day_to_day(drift.of_numbers(sure, reference), len(sure), days)
        yield Check(day, column.name, "sureness", found, float(sure.mean()), float(reference.mean()))


def of_quality(
    day: str, column: Column, own: Sequence[Entry], known: Mapping[str, Any],
    truths: Mapping[str, Mapping[str, Any]],
) -> Iterator[Check]:  # fmt: skip
    """Whether answers are worse than on the test rows, where it is known what was true."""
    scored = scores(column, own, truths)
    if len(scored) < LEAST_ROWS:
        return
    if column.kind == "category" and known.get("rows"):
        right, n = int(scored.sum()), len(scored)
        found = drift.fewer_right(right, n, known["right"], known["rows"])
        yield Check(day, column.name, "quality", found, right / n, known["right"] / known["rows"])
    elif column.kind == "number" and known.get("errors"):
        reference = _numbers(known["errors"])
        yield Check(day, column.name, "quality", drift.worse(scored, reference),
                    float(scored.mean()), float(reference.mean()))  # fmt: skip


def scores(column: Column, entries: Iterable[Entry], truths: Mapping[str, Mapping[str, Any]]) -> Floats:
    """Of rows whose truth is known: 1 for a right label and 0 for a wrong one, or the absolute error."""
    found = []
    for entry in entries:
        truth = truths.get(entry.id, {}).get(column.name)
        answer = entry.answers.get(column.name, {}).get("answer")
        one = score(column, answer, truth)
        if one is not None:
            found.append(one)
    return np.array(found, np.float64)


def score(column: Column, answer: Any, truth: Any) -> float | None:
    """See `scores`, of one row; None where one of both is not known."""
    if answer is None or truth is None:
        return None
    if column.kind == "number" and isinstance(answer, int | float) and isinstance(truth, int | float):
        return abs(float(answer) - float(truth))
    if not isinstance(column, Category):
        return None
    if isinstance(answer, str) and isinstance(truth, str):
        return float(
            column.encode(answer) == column.encode(truth) and (answer == truth or _known(column, truth))
        )
    return float(answer == truth)


def quality_of(column: Column, scored: Floats) -> dict[str, Any]:
    """The figure of all rows whose truth is known, with its interval."""
    if column.kind == "category":
        return {
            "metric": "accuracy",
            "rows": len(scored),
            **proportion(int(scored.sum()), len(scored)).to_dict(),
        }
    return {"metric": "median_absolute_error", "rows": len(scored), **median(scored).to_dict()}


def _known(column: Category, label: str) -> bool:
    return int(column.encode(label)) < len(column.labels)


def _numbers(values: Iterable[Any]) -> Floats:
    return np.array([v for v in values if isinstance(v, int | float)], np.float64)


def _hours(values: Iterable[Any]) -> Floats:
    """The hour of the day: the date itself always moves on."""
    times = np.array([str(value) for value in values], "datetime64[s]").astype(np.int64)
    return np.asarray(times % 86_400 / 3_600, np.float64)


def _index(column: Category, private: Privacy) -> dict[str, int]:
    """By hash, where the column's values were hashed: which label that is."""
    if not private.key:
        return {}
    return {private.hash(label): i for i, label in enumerate(column.labels)}


def _classes(
    column: Category, live: Sequence[Any], training: Sequence[Any], hashes: Mapping[str, int]
) -> Found:
    """Labels against labels; those that training never saw are a class of their own.

    Training rows cannot have a label that training never saw. What stands for it are rows whose label no
    other training row has (Good, 1953). Where many are so, labels of up to 10 rows are one class, since how
    often such labels stood in training says more about chance than about them.
    """
    sizes = np.array([*column.counts, 0] if column.counts else [0] * (len(column.labels) + 1))
    unseen = len(column.labels)
    tail = (sizes == 1).sum() + 2 * (sizes == 2).sum() > LONG_TAIL * max(1, sizes.sum())
    merged = np.arange(unseen + 1)
    if tail:
        merged[(sizes > 0) & (sizes <= RARE)] = unseen + 1
    then = merged.copy()
    then[sizes == 1] = unseen
    now_C, then_C = (
        np.bincount(to[_places(column, values, hashes)], minlength=unseen + 2)
        for to, values in ((merged, live), (then, training))
    )
    return drift.of_classes(now_C, then_C, (*column.labels, "labels that training never saw", "rare labels"))


def _places(column: Category, values: Iterable[Any], hashes: Mapping[str, int]) -> NDArray[np.int64]:
    """(n,): the label of each value, C for those that training never saw."""
    unseen = len(column.labels)
    found = [
        hashes.get(v.get("hash", ""), unseen) if isinstance(v, dict) else int(column.encode(v))
        for v in values
    ]
    return np.array(found, np.int64)


def _each_label(column: Labels, live: Sequence[Any], training: Sequence[Any]) -> Found:
    """Fisher's exact test of each label, corrected for their number."""
    sides = [
        np.array([sum(label in row for row in side) for label in column.labels]) for side in (live, training)
    ]
    p_C = drift.fisher(sides[0], len(live), sides[1], len(training))
    apart_C = sides[0] / len(live) - sides[1] / len(training)
    most = int(np.argmin(p_C))
    way = "more" if apart_C[most] > 0 else "gone" if not sides[0][most] else "less"
    return Found(
        min(1.0, len(p_C) * float(p_C[most])),
        float(np.abs(apart_C).max()),
        what=f"{way}: {column.labels[most]}",
    )


def _portraits(values: Iterable[Any], portrait: Portrait | None) -> Floats:
    """(n, D): those that were made as this release makes them."""
    size = len(portrait.names) if portrait else 0
    rows = [v["portrait"] for v in values if isinstance(v, dict) and len(v.get("portrait", ())) == size]
    return np.array(rows, np.float64).reshape(-1, size)


def _typical(column: Column, live: Sequence[Any], training: Sequence[Any]) -> tuple[Any, Any]:
    """The median of numbers, then and now; the rest says more in words."""
    if column.kind != "number":
        return None, None
    sides = [_numbers(live), _numbers(training)]
    return tuple(float(np.median(side)) if len(side) else None for side in sides)  # type: ignore[return-value]
