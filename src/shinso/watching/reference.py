"""What training rows looked like: a small sample by column, kept in the run for the monitor.

Each column's sample is in an order of its own, so that no row can be put together from it. Of a column that
is private nothing is kept but how often it was missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..columns import Column, Values
from ..errors import RunError
from ..files import read_json, write_atomic
from .condensing import UNREADABLE, Privacy, condensed

NAME = "reference.json"
FORMAT = 1
ROWS = 2_000
LARGE_ROWS = 500  # of a column whose values are portrayed
CELLS = 400_000  # of all columns together
LARGE = frozenset({"image", "text", "audio", "series", "mask", "boxes"})


def reference(
    columns: Mapping[Column, Values],
    seed: int = 0,
    private: Privacy = Privacy(),  # noqa: B008
) -> dict[str, Any]:
    """By column: how often it was missing, and a sample of what the log would have kept of its values."""
    most = max(200, min(ROWS, CELLS // max(1, len(columns))))
    found = {}
    for i, (column, values) in enumerate(columns.items()):
        rng = np.random.default_rng([seed, i])
        kept = condensed_sample(column, values, min(most, LARGE_ROWS) if column.kind in LARGE else most, rng)
        if column.name in private.dropped:
            kept = {**kept, "values": []}
        found[column.name] = {"kind": column.kind, **kept}
    return found


def condensed_sample(column: Column, values: Values, most: int, rng: np.random.Generator) -> dict[str, Any]:
    """Rows looked at, how many of them were missing or unreadable, and the others in a random order."""
    chosen = rng.permutation(len(values))[:most]
    kept = [condensed(column, values[i]) for i in chosen.tolist()]
    present = [value for value in kept if value is not None and value != UNREADABLE]
    for value in present:
        if isinstance(value, dict):
            value.pop("digest", None)
    return {"rows": len(kept), "missing": len(kept) - len(present), "values": present}


def some(values: Sequence[Any], seed: int = 0) -> list[Any]:
    """At most `ROWS` of the values, in a random order."""
    chosen = np.random.default_rng([seed, len(values)]).permutation(len(values))[:ROWS]
    return [values[i] for i in chosen.tolist()]


def write_reference(
    folder: Path, columns: Mapping[str, Any], answers: Mapping[str, Any], source: str, private: Privacy
) -> None:
    """Write what `read_reference` reads: one line a column, since a number a line would be mostly spaces."""
    lines = [f"{json.dumps(name)}: {_compact(value)}" for name, value in columns.items()]
    joined = ",\n ".join(lines)
    text = (
        f'{{"format": {FORMAT}, "source": {json.dumps(source)}, '
        f'"private": {_compact(sorted(private.dropped))},\n "answers": {_compact(answers)},\n '
        f'"columns": {{\n {joined}}}}}\n'
    )
    write_atomic(folder / NAME, text)


def read_reference(folder: Path) -> dict[str, Any]:
    """The reference of a run; none is a `RunError` that says how to make one."""
    if not (folder / NAME).is_file():
        raise RunError(
            f"{folder} keeps no reference to compare with, as runs of older releases do. Make it from the "
            f"data that the run was trained on: shinso monitor {folder} --reference DATA."
        )
    found = read_json(folder / NAME)
    if (
        not isinstance(found, dict)
        or found.get("format") != FORMAT
        or not isinstance(found.get("columns"), dict)
    ):
        raise RunError(
            f"{folder / NAME} cannot be read by this release. Make it again: "
            f"shinso monitor {folder} --reference DATA."
        )
    return found


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
