"""What `evaluate` and `mitigate` found, as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..schema import display_width, pad
from .terminal import summary_lines
from .words import count, interval, measured, number, percent, word

Json = Mapping[str, Any]


def evaluation_lines(result: Json) -> list[str]:
    """Metrics, then whatever else was asked for."""
    return [
        *summary_lines(result), *_coverage(result), *_slices(result), *_worst(result), *_fairness(result),
        *_folds(result), *_curve(result), *_required(result),
    ]  # fmt: skip


def _coverage(result: Json) -> Iterator[str]:
    for name, output in result["outputs"].items():
        held = output.get("coverage")
        if held and held.get("value") is not None and result.get("part") == "data":
            what = "sets of labels" if output["kind"] == "category" else "intervals"
            yield ""
            yield (
                f"{name}: {percent(held['promised'], 0)} {what} held the truth in "
                f"{percent(held['value'])} of the rows (mean size {number(held['size'], 3)})"
            )


def _slices(result: Json) -> Iterator[str]:
    found = result.get("slices", ())
    for name in result["outputs"] if found else ():
        yield from ("", f"{name}, by slice (95% interval)")
        yield from _table([_slice_row(one, name) for one in found])


def _slice_row(one: Json, name: str) -> list[str]:
    output = one["outputs"][name]
    main = output["metrics"][output["main"]]
    if main["value"] is None:
        return [one["slice"], count(one["rows"], "row"), "no row has a target", ""]
    ends = interval(output["main"], main)
    said = f"{word(output['main']).name} {measured(output['main'], main)}"
    return [one["slice"], count(one["rows"], "row"), said, f"({ends})" if ends else ""]


def _worst(result: Json) -> Iterator[str]:
    for name, found in result.get("worst_slices", {}).items():
        if not found:
            yield from ("", f"{name}: no slice is worse than the others, after correcting for the search.")
            continue
        searched = f"searched {count(found[0]['searched'])}; p-values corrected for the search"
        yield from ("", f"{name}, the worst slices by {found[0]['what']} ({searched})")
        yield from _table(
            [
                [one["slice"], count(one["rows"], "row"), number(one["value"], 3),
                 f"others {number(one['others'], 3)}, p {one['p']:.1g}"]
                for one in found
            ]
        )  # fmt: skip


def _fairness(result: Json) -> Iterator[str]:
    found = result.get("fairness")
    if not found:
        return
    for name, output in found["outputs"].items():
        positive = f", positive {output['positive']!r}" if output.get("positive") else ""
        yield from ("", f"{name}, by {found['protect']}{positive}")
        yield from _table([_group_row(row) for row in output["by_group"]])
        for gap, estimate in output["gaps"].items():
            yield f"  {gap} {_ends(gap, estimate)}"


def _group_row(row: Json) -> list[str]:
    if "mae" in row:
        return [row["group"], count(row["rows"], "row"), f"mean error {number(row['mae'])}",
                f"bias {number(row['bias'])}"]  # fmt: skip
    rates = {"true": "base_rate", "chosen": "selected", "found": "true_positive_rate",
             "false alarms": "false_positive_rate", "accuracy": "accuracy"}  # fmt: skip
    return [row["group"], count(row["rows"], "row"),
            *(f"{said} {percent(row[key]['value'])}" for said, key in rates.items())]  # fmt: skip


def _ends(metric: str, estimate: Json) -> str:
    if estimate["value"] is None:
        return f"unknown: {estimate.get('reason', '')}"
    ends = interval(metric, estimate)
    return measured(metric, estimate) + (f" ({ends})" if ends else "")


def _plain(estimate: Json) -> str:
    """As a requirement is written: a share as a fraction, with more digits than the interval justifies."""
    if estimate["value"] is None or estimate.get("low") is None:
        return number(estimate["value"]) if estimate["value"] is not None else _ends("", estimate)
    return f"{number(estimate['value'])} ({number(estimate['low'])} to {number(estimate['high'])})"


def _folds(result: Json) -> Iterator[str]:
    found = result.get("cross_validation")
    if not found:
        return
    for name, output in found["outputs"].items():
        yield from (
            "",
            f"{name}, cross-validated in {found['folds']} folds by {found['by']} (95% interval of the mean)",
        )
        yield from _table(
            [
                [word(metric).name, _ends(metric, estimate),
                 "folds " + " ".join(measured(metric, {"value": v}, estimate) for v in estimate["folds"])]
                for metric, estimate in output["metrics"].items()
            ]
        )  # fmt: skip


def _curve(result: Json) -> Iterator[str]:
    found = result.get("learning_curve")
    if not found:
        return
    yield from ("", f"{found['column']}, {word(found['metric']).name} on validation rows, by training rows")
    yield from _table(
        [
            [count(n), _ends(found["metric"], point)]
            for n, point in zip(found["rows"], found["points"], strict=True)
        ]
    )
    yield found["verdict"]


def _required(result: Json) -> Iterator[str]:
    if not result.get("required"):
        return
    yield ""
    for one in result["required"]:
        state = "holds" if one["holds"] else "DOES NOT HOLD"
        sure = "" if one["surely"] or not one["holds"] else ", though not over the whole interval"
        yield f"{one['require']} {state}{sure}: {one['output']} {_plain(one)}"


def mitigation_lines(result: Json) -> list[str]:
    """The thresholds that were stored."""
    reached = result["validation"]
    return [
        f"{result['column']} = {result['positive']!r} from these probabilities on, by {result['protect']}:",
        *_table([[label, f"{value:.4f}"] for label, value in result["thresholds"].items()]),
        f"{result['goal']} gap {reached['gap']:.4f}, accuracy {reached['accuracy']:.4f} on "
        f"{count(reached['rows'])} validation rows",
        f"Apply them: shinso predict {result['run']} DATA --fair",
    ]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [
        max(display_width(row[i]) for row in rows if i < len(row))
        for i in range(max(map(len, rows), default=0))
    ]
    return ["  " + "  ".join(pad(cell, widths[i]) for i, cell in enumerate(row)).rstrip() for row in rows]
