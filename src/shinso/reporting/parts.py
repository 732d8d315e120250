"""The section of the report on parts of the rows: slices, protected groups, folds, more and fewer rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .data import ReportData
from .markup import Content, Html, h, section, table
from .words import count, interval, measured, number, percent, word

Json = Mapping[str, Any]


def parts_section(data: ReportData) -> Html | None:
    """None where nothing was measured on parts."""
    blocks = [*slices(data), *worst(data), *groups(data), *folds(data), *curve(data)]
    return section("parts", "Parts of the rows", *blocks) if blocks else None


def slices(data: ReportData) -> Iterator[Content]:
    """The slices that were asked for."""
    found = data.parts.get("slices", ())
    for name in data.outputs if found else ():
        rows: list[list[Content]] = []
        for one in found:
            output = one["outputs"][name]
            main = output["main"]
            value = output["metrics"][main]
            known = value["value"] is not None
            rows.append(
                [one["slice"], count(one["rows"]), measured(main, value) if known else "no target",
                 interval(main, value) if known else ""]
            )  # fmt: skip
        head = ["slice", "rows", word(main).name, "95% interval"]
        yield table(head, rows, numeric=(1, 2, 3), caption=f"{name}, by slice", sortable=True)


def worst(data: ReportData) -> Iterator[Content]:
    """The worst slices, found by search."""
    for name, found in data.parts.get("worst_slices", {}).items():
        if not found:
            yield h("p", None, f"{name}: of all slices of one or two given columns none is surely worse.")
            continue
        rows: list[list[Content]] = [
            [one["slice"], count(one["rows"]), number(one["value"], 3), number(one["others"], 3),
             f"{one['p']:.1g}"]
            for one in found
        ]  # fmt: skip
        head = ["slice", "rows", found[0]["what"], "others", "corrected p"]
        caption = f"{name}, the worst of {count(found[0]['searched'])} slices that were searched"
        yield table(head, rows, numeric=(1, 2, 3, 4), caption=caption)


def groups(data: ReportData) -> Iterator[Content]:
    """Protected groups and the gaps between them."""
    found = data.parts.get("fairness") or {}
    for name, output in found.get("outputs", {}).items():
        first = output["by_group"][0]
        if "mae" in first:
            head = ["group", "rows", "mean error", "bias"]
            rows: list[list[Content]] = [
                [g["group"], count(g["rows"]), number(g["mae"]), number(g["bias"])]
                for g in output["by_group"]
            ]
        else:
            keys = ("base_rate", "selected", "true_positive_rate", "false_positive_rate", "accuracy")
            head = ["group", "rows", "true", "chosen", "found", "false alarms", "accuracy"]
            rows = [
                [g["group"], count(g["rows"]), *(_share(g[k]["value"]) for k in keys)]
                for g in output["by_group"]
            ]
        yield table(head, rows, numeric=range(1, len(head)), caption=f"{name}, by {found['protect']}")
        gaps: list[list[Content]] = [
            [gap.replace("_", " "), *_ends(gap, value)] for gap, value in output["gaps"].items()
        ]
        yield table(["gap", "value", "95% interval"], gaps, numeric=(1, 2), caption="Gaps between groups")


def folds(data: ReportData) -> Iterator[Content]:
    """Cross-validation."""
    found = data.parts.get("cross_validation") or {}
    for name, output in found.get("outputs", {}).items():
        rows: list[list[Content]] = [
            [word(metric).name, *_ends(metric, value),
             "  ".join(measured(metric, {"value": v}, value) for v in value["folds"])]
            for metric, value in output["metrics"].items()
        ]  # fmt: skip
        caption = f"{name}, cross-validated in {found['folds']} folds by {found['by']}"
        yield table(["metric", "mean", "95% interval", "folds"], rows, numeric=(1, 2), caption=caption)


def curve(data: ReportData) -> Iterator[Content]:
    """The learning curve."""
    found = data.parts.get("learning_curve")
    if found:
        rows: list[list[Content]] = [
            [count(n), *_ends(found["metric"], point)]
            for n, point in zip(found["rows"], found["points"], strict=True)
        ]
        head = ["training rows", word(found["metric"]).name, "95% interval"]
        yield table(head, rows, numeric=(0, 1, 2), caption=f"{found['column']}, by training rows")
        yield h("p", None, found["verdict"])


def _share(value: float | None) -> str:
    return "n/a" if value is None else percent(value)


def _ends(metric: str, estimate: Json) -> tuple[str, str]:
    if estimate["value"] is None:
        return "unknown", str(estimate.get("reason", ""))
    return measured(metric, estimate), interval(metric, estimate)
