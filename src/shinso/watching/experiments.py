"""Two versions side by side: which one is better, by intervals that hold however often one looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..columns import Column
from . import sequences
from .daily import score
from .store import Entry, Store

Arm = tuple[str, str, str]  # model, version, route
SCALE = 0.95  # quantile of the errors on the test rows, twice of which counts as fully wrong


def experiments(
    schema: Any, store: Store, since: float, mine: Callable[[Entry], bool], reference: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """This model beside each other one in the log, by the first label of each row, in order of the labels.

    Rows that a shadow answered as well are compared in pairs; the others as two groups.
    """
    found: list[dict[str, Any]] = []
    arms = store.arms(since, 1e15)
    if len({arm[:2] for arm in arms}) < 2:
        return found
    for column in schema.predict:
        measured = outcomes(column, store, since, _scale(column, reference))
        if measured is None:
            continue
        own = {arm[:2] for arm in arms if mine(_probe(arm))}
        for model in sorted({arm[:2] for arm in arms} - own):
            found.append(_compared(column, measured, own, model))
    return found


def outcomes(
    column: Column, store: Store, since: float, scale: float | None
) -> dict[Arm, dict[str, float]] | None:
    """By arm, by row id: how good an answer was, from 0 to 1, in the order in which that became known."""
    if column.kind != "category" and scale is None:
        return None
    found: dict[Arm, dict[str, float]] = {}
    for entry, truth in store.labelled(since):
        answer = entry.answers.get(column.name, {}).get("answer")
        one = score(column, answer, truth.get(column.name))
        if one is not None:
            good = one if column.kind == "category" else 1.0 - min(1.0, one / (scale or 1.0))
            found.setdefault((entry.model, entry.version, entry.route), {}).setdefault(entry.id, good)
    return found


def _compared(
    column: Column,
    measured: Mapping[Arm, Mapping[str, float]],
    own: set[tuple[str, str]],
    other: tuple[str, str],
) -> dict[str, Any]:
    first: dict[str, float] = {}
    for arm, rows in measured.items():
        if arm[:2] in own and arm[2] != "shadow":
            first |= rows
    second = dict(measured.get((*other, "answer"), {}))
    shadow = measured.get((*other, "shadow"), {})
    pairs = [id for id in shadow if id in first]
    if pairs:
        difference = np.array([shadow[id] - first[id] for id in pairs], np.float64)
        result, how = sequences.of_pairs(difference), "shadow, the same rows"
        counted = [len(pairs)] * 2
    else:
        result = sequences.of_difference(np.array([*first.values()]), np.array([*second.values()]))
        counted, how = [len(first), len(second)], "split"
    measure = "accuracy" if column.kind == "category" else "closeness, 0 to 1"
    names = [" ".join(filter(None, model)) for model in (*sorted(own)[:1], other)]
    return {"column": column.name, "first": names[0], "second": names[1], "how": how, "measure": measure,
            "rows": counted, **result}  # fmt: skip


def _scale(column: Column, reference: Mapping[str, Any]) -> float | None:
    """The error that counts as fully wrong: known before the experiment, so that outcomes are bounded."""
    errors = reference["answers"].get(column.name, {}).get("errors")
    return 2 * float(np.quantile(errors, SCALE)) or None if errors else None


def _probe(arm: Arm) -> Entry:
    return Entry("", 0.0, arm[0], arm[1], arm[2], 200, 0.0, {}, {})
