"""The result of a run as lines for a terminal: no colour codes, aligned also where characters are wide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..metrics import lower_is_better
from ..schema import display_width
from .words import count, interval, measured, word

SHOWN = {
    "category": ("accuracy", "balanced_accuracy", "f1", "roc_auc", "log_loss"),
    "number": ("rmse", "mae", "r2"),
}  # of other kinds all metrics are shown


def summary_lines(evaluation: Mapping[str, Any]) -> list[str]:
    """The headline metrics with intervals, and beside them the baselines, as an aligned table.

    `evaluation` is what `evaluation.json` holds. Gives lines without a line break, for stderr or a log file.
    """
    lines: list[str] = []
    for name, output in evaluation.get("outputs", {}).items():
        lines += ["", _title(name, evaluation), *_table(_rows(output))]
        lines += [
            f"  {row['name']}: {row['skipped']}" for row in output.get("baselines", ()) if "skipped" in row
        ]
    return lines[1:]


def _title(name: str, evaluation: Mapping[str, Any]) -> str:
    rows = evaluation.get("rows", {})
    part = evaluation.get("part")
    n = evaluation.get("evaluated", rows.get(part, 0))
    return f"{name}, on {count(n)} {part + ' ' if part else ''}{'row' if n == 1 else 'rows'} (95% interval)"


def _rows(output: Mapping[str, Any]) -> Iterator[list[str]]:
    names = [name for name in SHOWN.get(output["kind"], ()) if name in output["metrics"]] or list(
        output["metrics"]
    )
    fitted = [row for row in output.get("baselines", ()) if "metrics" in row]
    yield ["", "this run", "", *(row["name"] for row in fitted)]
    for name in names:
        found = output["metrics"][name]
        ends = interval(name, found)
        others = [measured(name, row["metrics"].get(name, {}), like=found) for row in fitted]
        heading = word(name).name + (" (lower is better)" if lower_is_better(name) else "")
        yield [heading, measured(name, found), f"({ends})" if ends else "", *others]


def _table(rows: Iterator[Sequence[str]]) -> list[str]:
    cells = list(rows)
    widths = [max(display_width(cell) for cell in column) for column in zip(*cells, strict=True)]
    return [
        "  " + "  ".join(_padded(cell, widths[i], i) for i, cell in enumerate(row)).rstrip() for row in cells
    ]


def _padded(text: str, width: int, place: int) -> str:
    spaces = " " * (width - display_width(text))
    return text + spaces if place in (0, 2) else spaces + text
