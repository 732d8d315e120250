"""Whether a model treats groups alike: what each group gets, the gaps with intervals, and what narrows them.

n = rows, G = groups, B = resamples. Gaps are those of Hardt et al. (2016) and Chouldechova (2017); of several
classes each is held against the rest and the widest gap counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .columns import Column, Values
from .errors import DataError, SettingError, did_you_mean
from .evaluation import labels_of
from .intervals import LEVEL, Estimate, Floats, proportion
from .slices import Measured, cells_of

Codes = NDArray[np.int64]
RESAMPLES = 1000
MOST_GROUPS, LEAST_OF_GROUP = 12, 10
BINS = 10
GAPS = ("demographic_parity", "equal_opportunity", "equalised_odds", "calibration_gap")
NUMBER_GAPS = ("error_gap", "bias_gap")
REQUIREMENT = re.compile(r"\s*([A-Za-z_0-9]+)\s*(<=|>=|<|>)\s*([-+0-9.eE]+)\s*")


@dataclass(frozen=True)
class Groups:
    """The groups of a protected column and which of them each row is in; -1 where too few rows are."""

    name: str
    labels: tuple[str, ...]
    codes_n: Codes


def groups_in(name: str, values: Values) -> Groups:
    """The groups of a column; `DataError` where there are not at least two to compare."""
    found, codes = cells_of(values, MOST_GROUPS)
    if found is None:
        raise DataError(
            f"Column {name!r} holds files or texts, which are no groups. Choose a column of values."
        )
    labels = [label.removeprefix("=").strip() for label in found]
    counts = np.bincount(codes, minlength=len(labels))
    large = np.flatnonzero(counts >= LEAST_OF_GROUP)
    if len(large) < 2:
        only = labels[int(counts.argmax())]
        raise DataError(
            f"Column {name!r} has only one group of at least {LEAST_OF_GROUP} rows, {only!r}, so there is "
            f"nothing to compare. Evaluate on rows of several groups, or protect another column."
        )
    place = np.full(len(labels), -1)
    place[large] = np.arange(len(large))
    return Groups(name, tuple(labels[i] for i in large), place[codes])


def fairness(measured: Measured, protect: str, positive: str | None = None) -> dict[str, Any]:
    """By predicted column: what each group gets, and the gaps between groups with 95% intervals."""
    measured.table.check(protect)
    groups = groups_in(protect, measured.values(protect))
    found = {}
    for c in measured.columns:
        truth, prediction = measured.truths[c.name], measured.predictions[c.name]
        if c.kind == "category":
            found[c.name] = of_classes(groups, c, np.asarray(truth), prediction, positive, measured.seed)
        elif c.kind == "number":
            found[c.name] = of_numbers(groups, np.asarray(truth, np.float64), prediction, measured.seed)
    if not found:
        raise DataError("Groups are compared for predicted categories and numbers; this run predicts none.")
    return {"protect": protect, "groups": list(groups.labels), "outputs": found}


def of_classes(
    groups: Groups, column: Column, truth: Codes, probabilities: Floats, positive: str | None, seed: int
) -> dict[str, Any]:
    """Rates of each group and their gaps, for the positive class, or for each class against the others."""
    labels = labels_of(column)
    wanted = _positive(labels, positive)
    known = (truth >= 0) & (groups.codes_n >= 0)
    group = groups.codes_n[known]
    said = probabilities[known].argmax(1)
    places = [np.flatnonzero(group == g) for g in range(len(groups.labels))]
    gaps: dict[str, tuple[float, Floats]] = {}
    for c in wanted:
        sums = _class_sums(truth[known] == c, said == c, probabilities[known, c])
        for name, gap in _class_gaps(sums, places, seed).items():
            if name not in gaps or gap[0] > gaps[name][0]:
                gaps[name] = gap
    main = wanted[-1]
    return {
        "positive": labels[main] if len(wanted) == 1 else None,
        "by_group": [
            _group_row(label, truth[known][group == g] == main, said[group == g] == main,
                       probabilities[known][group == g, main], (said == truth[known])[group == g])
            for g, label in enumerate(groups.labels)
        ],
        "gaps": {name: _estimate(*gap).to_dict() for name, gap in gaps.items()},
    }  # fmt: skip


def _positive(labels: Sequence[str], positive: str | None) -> list[int]:
    if positive is not None:
        if positive not in labels:
            raise SettingError(
                f"There is no label {positive!r} to call positive. {did_you_mean(positive, labels)}"
            )
        return [list(labels).index(positive)]
    return [1] if len(labels) == 2 else list(range(len(labels)))


def _class_sums(truth: NDArray[np.bool_], said: NDArray[np.bool_], probability: Floats) -> dict[str, Floats]:
    """What rates and calibration are made of, a number a row."""
    sums = {
        "rows": np.ones(len(truth)), "said": said, "true": truth, "hit": said & truth, "false": ~truth,
        "alarm": said & ~truth,
    }  # fmt: skip
    bins = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    sums |= {f"off{b}": (probability - truth) * (bins == b) for b in range(BINS)}
    return {name: np.asarray(value, np.float64) for name, value in sums.items()}


def _class_gaps(
    sums: Mapping[str, Floats], places: Sequence[Codes], seed: int
) -> dict[str, tuple[float, Floats]]:
    names = list(sums)
    table_nK = np.stack([sums[name] for name in names], axis=1)
    drawn_BGK = _resampled(table_nK, places, seed)
    whole_GK = np.stack([table_nK[rows].sum(0) for rows in places])
    resampled = _gaps_of(dict(zip(names, np.moveaxis(drawn_BGK, 2, 0), strict=True)))
    values = _gaps_of(dict(zip(names, whole_GK.T, strict=True)))
    return {name: (float(values[name]), resampled[name]) for name in GAPS}


def _resampled(table_nK: Floats, places: Sequence[Codes], seed: int) -> Floats:
    """(B, G, K): sums over rows drawn with replacement inside each group."""
    rng = np.random.default_rng(seed)
    out = np.empty((RESAMPLES, len(places), table_nK.shape[1]))
    for g, rows in enumerate(places):
        # Equal rows are drawn together, as counts, which costs little however many rows there are.
        kinds, counts = np.unique(_rounded(table_nK[rows]), axis=0, return_counts=True)
        out[:, g] = rng.multinomial(len(rows), counts / len(rows), size=RESAMPLES) @ kinds
    return out


def _rounded(table: Floats) -> Floats:
    return np.round(table, 2)


def _gaps_of(sums: Mapping[str, Floats]) -> dict[str, Floats]:
    """Gaps from sums (..., G)."""
    rate = {
        "said": _share(sums["said"], sums["rows"]),
        "hit": _share(sums["hit"], sums["true"]),
        "alarm": _share(sums["alarm"], sums["false"]),
    }
    hit, alarm = _range(rate["hit"]), _range(rate["alarm"])
    off = sum(np.abs(sums[f"off{b}"]) for b in range(BINS))
    return {
        "demographic_parity": _range(rate["said"]),
        "equal_opportunity": hit,
        "equalised_odds": np.fmax(hit, alarm),
        "calibration_gap": _range(_share(np.asarray(off), sums["rows"])),
    }


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def _range(rates: Floats) -> Floats:
    """The largest minus the smallest over groups (the last axis), those without a rate left out."""
    known = np.isfinite(rates)
    high = np.where(known, rates, -np.inf).max(-1)
    low = np.where(known, rates, np.inf).min(-1)
    return np.asarray(np.where(known.sum(-1) > 1, high - low, np.nan))


def _estimate(value: float, resampled_B: Floats) -> Estimate:
    """A gap with its bootstrap interval; resampled gaps are wider by chance alone, which is taken off."""
    known = resampled_B[np.isfinite(resampled_B)]
    if not math.isfinite(value) or len(known) < len(resampled_B) / 2:
        return Estimate(None, reason="Too few rows of too few groups have it.")
    spread = known - known.mean()
    low, high = np.quantile(spread, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(max(0.0, value + low)), float(value + high), "bootstrap within groups")


def _group_row(
    label: str,
    truth: NDArray[np.bool_],
    said: NDArray[np.bool_],
    probability: Floats,
    right: NDArray[np.bool_],
) -> dict[str, Any]:
    """What one group gets, each rate with its exact interval."""
    n = len(truth)
    bins = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    off = np.abs(np.bincount(bins, probability - truth, minlength=BINS)).sum() / max(1, n)
    return {
        "group": label,
        "rows": n,
        "base_rate": proportion(int(truth.sum()), n).to_dict(),
        "selected": proportion(int(said.sum()), n).to_dict(),
        "true_positive_rate": proportion(int((said & truth).sum()), int(truth.sum())).to_dict(),
        "false_positive_rate": proportion(int((said & ~truth).sum()), int((~truth).sum())).to_dict(),
        "accuracy": proportion(int(right.sum()), n).to_dict(),
        "calibration_error": float(off),
    }


def of_numbers(groups: Groups, truth: Floats, prediction: Floats, seed: int) -> dict[str, Any]:
    """Size and direction of the errors of each group, and their gaps."""
    error = np.asarray(prediction, np.float64) - truth
    known = np.isfinite(error) & (groups.codes_n >= 0)
    group, error = groups.codes_n[known], error[known]
    places = [np.flatnonzero(group == g) for g in range(len(groups.labels))]
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    means_BG, sizes_BG = [], []
    for label, mine in zip(groups.labels, places, strict=True):
        own = error[mine]
        if not len(own):
            raise DataError(f"The group {label!r} of {groups.name!r} has no row with a target.")
        drawn = own[rng.integers(0, len(own), (RESAMPLES, min(len(own), 5000)))]
        scale = math.sqrt(min(len(own), 5000) / len(own))  # of fewer draws than rows, as of all
        means_BG.append(own.mean() + scale * (drawn.mean(1) - own.mean()))
        sizes_BG.append(np.abs(own).mean() + scale * (np.abs(drawn).mean(1) - np.abs(own).mean()))
        rows.append(
            {"group": label, "rows": len(own), "mae": float(np.abs(own).mean()), "bias": float(own.mean())}
        )
    gaps = {}
    for name, key, resampled in (("error_gap", "mae", sizes_BG), ("bias_gap", "bias", means_BG)):
        values = [float(row[key]) for row in rows]
        gaps[name] = _estimate(max(values) - min(values), _range(np.stack(resampled, axis=-1))).to_dict()
    return {"by_group": rows, "gaps": gaps}


# ---------------------------------------------------------------- what is required


def check(requirements: Sequence[str], result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Whether each requirement, as `equal_opportunity<0.05` or `accuracy>0.9`, holds for every output.

    `holds` compares the value; `surely` says that the whole interval does.
    """
    known = _known(result)
    found = []
    for text in requirements:
        match = REQUIREMENT.fullmatch(text)
        limit = _limit(match[3]) if match else None
        if match is None or limit is None:
            raise SettingError(f"A requirement is a name, a sign and a number, as in equal_opportunity<0.05; "
                               f"received {text!r}.")  # fmt: skip
        name, sign = match[1], match[2]
        if name not in known:
            hint = " Gaps between groups need --protect COLUMN." if name in (*GAPS, *NUMBER_GAPS) else ""
            raise SettingError(f"There is no figure {name!r} to require.{hint} {did_you_mean(name, known)}")
        for output, estimate in known[name].items():
            found.append({"require": text, "output": output, **_judged(estimate, sign, limit)})
    return found


def _limit(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _known(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By name of a figure: its estimate for each output."""
    found: dict[str, dict[str, Any]] = {}
    sources = [(name, output["metrics"]) for name, output in result["outputs"].items()]
    sources += [(n, o["gaps"]) for n, o in result.get("fairness", {}).get("outputs", {}).items()]
    for output, figures in sources:
        for name, estimate in figures.items():
            found.setdefault(name, {})[output] = estimate
    return found


def _judged(estimate: Mapping[str, Any], sign: str, limit: float) -> dict[str, Any]:
    value, end = estimate["value"], estimate.get("high" if sign[0] == "<" else "low")

    def within(number: float | None) -> bool:
        if number is None:
            return False
        return {"<": number < limit, "<=": number <= limit, ">": number > limit, ">=": number >= limit}[sign]

    return {"value": value, "low": estimate.get("low"), "high": estimate.get("high"), "limit": limit,
            "holds": within(value), "surely": within(value) and within(end)}  # fmt: skip
