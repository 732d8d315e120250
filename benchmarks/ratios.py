"""The arithmetic of the suite: medians, ranges, how many times better, and the gate of the short form."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

GATE = 0.7  # a ratio below this share of the committed one fails


@dataclass(frozen=True)
class Metric:
    """One number that every side of a measurement answers with.

    A ratio says how many times better ours is, whichever way the metric goes. `total` names the metric that
    stands in as a lower bound where a target was not reached, and so does the time limit of a peer.
    """

    name: str
    unit: str = ""
    better: Literal["less", "more"] = "less"
    must: float | None = None  # ratio
    moonshot: float | None = None
    total: str = ""
    roof: float | None = None  # share of the machine's measured roof that is asked of ours


@dataclass(frozen=True)
class Spread:
    """Repeats of one number; `missing` of them have none."""

    values: tuple[float, ...]
    missing: int = 0

    @property
    def median(self) -> float | None:
        """The middle of the values; None unless every repeat gave one."""
        return statistics.median(self.values) if self.values and not self.missing else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        ends = {"low": min(self.values), "high": max(self.values)} if self.values else {}
        return {"median": self.median, **ends, "values": list(self.values), "missing": self.missing}


@dataclass(frozen=True)
class Ratio:
    """How many times better ours is; `at_least` where the peer did not reach its target in time."""

    value: float
    at_least: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"value": self.value, "at_least": self.at_least}


def spread(repeats: Iterable[Mapping[str, Any]], name: str) -> Spread:
    """One metric over the repeats of a side; a repeat that failed or reached no target is missing.

    >>> spread([{"seconds": 3.0}, {"seconds": None}, {"failed": "no memory"}], "seconds")
    Spread(values=(3.0,), missing=2)
    """
    found = [repeat.get(name) for repeat in repeats]
    return Spread(tuple(float(v) for v in found if v is not None), sum(v is None for v in found))


def ratio(
    metric: Metric, ours: Sequence[Mapping[str, Any]], peer: Sequence[Mapping[str, Any]]
) -> Ratio | None:
    """How many times better ours is; None where ours has no figure, or the peer nothing to compare with.

    >>> seconds = Metric("seconds", total="total_seconds")
    >>> ratio(seconds, [{"seconds": 2.0}], [{"seconds": None, "total_seconds": 9.0}])
    Ratio(value=4.5, at_least=True)
    """
    own, other, bound = spread(ours, metric.name).median, spread(peer, metric.name).median, False
    if other is None and metric.total:
        ended = [{metric.total: repeat.get(metric.total, repeat.get("limit"))} for repeat in peer]
        other, bound = spread(ended, metric.total).median, True
    if own is None or other is None or min(own, other) <= 0:
        return None
    return Ratio(other / own if metric.better == "less" else own / other, bound)


def verdict(metric: Metric, found: Ratio | None, share: float | None = None) -> str:
    """Against what was asked: moonshot, met, missed; not settled where a lower bound is too low to tell.

    `share` is what ours is of the machine's roof.

    >>> verdict(Metric("mlp", must=3, roof=0.45), Ratio(3.2), 0.37)
    'met; **37% of the roof missed**'
    """
    if metric.must is None:
        return ""
    if metric.roof and share is not None:
        told = verdict(replace(metric, roof=None), found)
        return f"{told}; {f'{share:.0%}' if share >= metric.roof else f'**{share:.0%} of the roof missed**'}"
    if found is None:
        return "not measured"
    if metric.moonshot is not None and found.value >= metric.moonshot:
        return "moonshot"
    if found.value >= metric.must:
        return "met"
    return "not settled" if found.at_least else "**missed**"


def comparable(entry: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """True where two lines of results.jsonl are the same measurement in the same form on like machines."""
    if any(entry.get(key) != other.get(key) for key in ("measurement", "form")):
        return False
    machines = entry.get("machine", {}), other.get("machine", {})
    return all(machines[0].get(key) == machines[1].get(key) for key in ("processor", "cores", "accelerator"))


def committed(entry: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The newest line of the history that `entry` can be held against."""
    return next((old for old in reversed(history) if comparable(entry, old)), None)


def fallen(entry: Mapping[str, Any], old: Mapping[str, Any], share: float = GATE) -> list[str]:
    """What became worse than `share` of the committed ratio, or lost its figure, as lines for a person."""
    lines = []
    for peer, metrics in old["ratios"].items():
        for name, before in metrics.items():
            now = entry["ratios"].get(peer, {}).get(name)
            if before is None or (now is not None and now["value"] >= share * before["value"]):
                continue
            shown = "no figure" if now is None else f"{now['value']:.2f}"
            lines.append(
                f"{entry['measurement']}, {name} against {peer}: {shown}, "
                f"committed {before['value']:.2f}; at least {share:g} of it is asked"
            )
    return lines
