"""Checks of what goes in: scale, columns that give the target away, doubles and time across the split."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..columns.base import missing_mask
from ..later import Later
from ..preparing import spread
from .patient import Finding, Patient

trees = Later("sklearn.tree")

MIDDLE, WIDE, NARROW = (
    5.0,
    40.0,
    0.01,
)  # of encoded values: median, and width between the 5th and 95th of a hundred
TOLD = 0.99  # share of the target that one column alone may tell
TREE_ROWS = 4_000
DOUBLE, MANY_DOUBLE = 0.02, 0.05  # share of test rows that stand in training too
CLOSE = 0.5  # likeness of neighbours in time


def normalised(patient: Patient) -> Finding:
    """Medians and widths of the numbers that the network reads: far from 0 and 1 they spoil every layer."""
    rows, worst, name = spread(patient.prepared.split.train, 2_000), 0.0, ""
    for column in patient.prepared.schema.given:
        taken = patient.prepared.store[column.name].take(rows)
        values = np.concatenate([np.asarray(a, np.float64).ravel() for a in taken])
        if column.kind not in ("number", "series", "datetime") or np.isnan(values).all():
            continue
        low, middle, high = np.nanquantile(values, [0.05, 0.5, 0.95])
        off = max(abs(middle) / MIDDLE, (high - low) / WIDE)
        if 0 < high - low < NARROW:
            off = max(off, NARROW / (high - low))
        if off > worst:
            worst, name = float(off), column.name
    said = f"Encoded numbers are at most {worst:.2g} of the allowed distance from the usual scale"
    if worst <= 1:
        return Finding("input normalised", "fine", worst, said)
    return Finding(
        "input normalised", "severe", worst, 
        f"Column {name!r} reaches the network {worst:.3g} times off the usual scale.",
        "Train anew, so that the column learns its mean and deviation from these rows.", patient.command({}),
    )  # fmt: skip


def giveaway(patient: Patient) -> Finding:
    """How much of the target a small tree on one single column tells, for the most telling column."""
    kind, best, name = patient.output.kind, 0.0, ""
    scalars = [c for c in patient.prepared.schema.given if c.scalar]
    train, held = patient.rows("train", TREE_ROWS), patient.held_out
    if kind not in ("category", "number") or not scalars or len(held) < 20:
        return Finding("leakage", "fine", None, "No single value can be looked at")
    y, z = (np.asarray(patient.truths(rows)) for rows in (train, held))
    keep_y, keep_z = (t >= 0 if kind == "category" else np.isfinite(t) for t in (y, z))
    for column in scalars:
        a, b = (_plain(patient.prepared.store[column.name].take(rows)) for rows in (train, held))
        tree = (trees.DecisionTreeClassifier if kind == "category" else trees.DecisionTreeRegressor)(
            max_leaf_nodes=64, random_state=0
        )
        told = _told(tree.fit(a[keep_y], y[keep_y]), b[keep_z], z[keep_z], classes=kind == "category")
        if told > best:
            best, name = told, column.name
    said = (
        f"{name!r} alone tells {best:.1%} of what chance leaves open"
        if name
        else "No column alone tells anything"
    )
    if best < TOLD or len(scalars) == 1:
        return Finding("leakage", "fine", best, said)
    others = [c.name for c in patient.prepared.schema.given if c.name != name]
    return Finding(
        "leakage", "severe", best, f"{said}: it gives the target away.",
        "Leave the column out unless it is known before the target.", patient.command({}, given=others),
    )  # fmt: skip


def _plain(taken: Any) -> NDArray[np.float64]:
    values = np.asarray(taken, np.float64)
    return np.nan_to_num(values.reshape(len(values), -1), nan=-99.0)


def _told(tree: Any, inputs: Any, truth: Any, *, classes: bool) -> float:
    """0 for chance, 1 for all."""
    found = tree.predict(inputs)
    if not classes:
        return float(1 - ((truth - found) ** 2).sum() / max(((truth - truth.mean()) ** 2).sum(), 1e-12))
    shares = [float((found[truth == c] == c).mean()) for c in np.unique(truth)]
    chance = 1 / max(2, len(shares))
    return (float(np.mean(shares)) - chance) / (1 - chance)


def both_sides(patient: Patient) -> Finding:
    """The share of test rows whose given columns stand in the training rows too, letter by letter."""
    part = "test" if len(patient.prepared.split.test) else "validation"
    train = patient.rows("train", 50_000)
    own, asked = _digests(patient, train), _digests(patient, patient.rows(part))
    within = 1 - len(set(own)) / max(1, len(own))
    share = float(np.mean([d in set_ for set_ in [set(own)] for d in asked])) if asked else 0.0
    said = f"{share:.1%} of the {part} rows stand in the training rows too ({within:.1%} of those are double)"
    excess, count = share - (0.0 if rich(patient, train) else 2 * within), share * len(asked)
    if excess <= DOUBLE or count < 5:
        return Finding("duplicates", "fine", share, said)
    return Finding(
        "duplicates", "severe" if excess > MANY_DOUBLE else "warning", share,
        f"{said}: what is measured on them is remembered, not predicted.",
        "Remove duplicates, then train again.",
        patient.audit("duplicates", fix=True),
    )  # fmt: skip


def rich(patient: Patient, rows: Any) -> bool:
    """Whether rows can hardly be alike by chance: some column has a value of its own in every third row."""
    return any(
        len({np.ascontiguousarray(a).tobytes() for a in patient.prepared.store[c.name].take(rows)})
        > len(rows) / 3
        for c in patient.prepared.schema.given
    )


def _digests(patient: Patient, rows: Any) -> list[bytes]:
    hashes = [hashlib.blake2b(digest_size=16) for _ in rows]
    for column in patient.prepared.schema.given:
        for digest, array in zip(hashes, patient.prepared.store[column.name].take(rows), strict=True):
            digest.update(np.ascontiguousarray(array).tobytes())
    return [digest.digest() for digest in hashes]


def across_time(patient: Patient) -> Finding:
    """How alike the targets of neighbours in time are, where a random split puts them on both sides."""
    times = [c for c in patient.prepared.schema.given if c.kind == "datetime"]
    if not times or patient.config.data.time or patient.output.kind not in ("number", "category"):
        return Finding("time", "fine", None, "No time is split at random")
    rows = np.sort(np.concatenate(list(patient.prepared.parts.values())))[:50_000]
    values = patient.prepared.table.values(times[0].name, rows)
    known = ~missing_mask(values)
    order = np.argsort(_plain(patient.prepared.store[times[0].name].take(rows[known]))[:, 0], kind="stable")
    truth = np.asarray(patient.truths(rows[known]), np.float64)[order]
    alike = _alike(truth, classes=patient.output.kind == "category")
    said = f"Neighbours in {times[0].name!r} are {alike:.2f} alike (0 chance, 1 equal)"
    if alike < CLOSE:
        return Finding("time", "fine", alike, said)
    return Finding(
        "time", "severe", alike,
        f"{said}, and the random split puts them on both sides: the test is too easy.",
        "Split by time.", patient.command({"data.time": times[0].name}),
    )  # fmt: skip


def _alike(truth: NDArray[np.float64], *, classes: bool) -> float:
    if len(truth) < 3 or np.ptp(truth) == 0:
        return 0.0
    if not classes:
        return float(np.corrcoef(truth[1:], truth[:-1])[0, 1])
    chance = float(
        (np.unique(truth, return_counts=True)[1] / len(truth))
        @ (np.unique(truth, return_counts=True)[1] / len(truth))
    )
    return (float((truth[1:] == truth[:-1]).mean()) - chance) / max(1 - chance, 1e-9)
