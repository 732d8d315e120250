"""Write the reference of a run at the end of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from ..columns.category import Category
from ..config import RunConfig
from ..data.loader import Rows
from ..data.tabular import Tabular
from ..schema import Schema
from .condensing import Privacy
from .days import Dated, days_of, spread_over_days
from .reference import reference, some, write_reference

LOOKED_AT = 100_000  # training rows that samples are drawn from


def keep_reference(folder: Path, table: Tabular, rows: Rows, schema: Schema, config: RunConfig) -> None:
    """Sample the training rows, and the answers on the evaluated rows that the folder already holds."""
    private = Privacy(dropped=private_columns(config))
    some_rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_AT)).astype(np.int64))]
    columns = {c: table.values(c.name, some_rows) for c in schema.given}
    kept = reference(columns, config.seed, private)
    for name, facts in _days(table, rows, schema, config, kept, private).items():
        kept[name]["days"] = facts
    answers = answers_in(folder / "predictions.safetensors", schema, config.seed)
    write_reference(folder, kept, answers, table.describe(), private)


def private_columns(config: RunConfig) -> frozenset[str]:
    """Columns of which the run was told to keep nothing."""
    return frozenset(filter(None, (name.strip() for name in config.data.private.split(","))))


def time_column(schema: Schema, config: RunConfig, names: Sequence[str]) -> str | None:
    """The column that says when a row was, `data.time` or the one date that is given; None without."""
    dates = [c.name for c in schema.given if c.kind == "datetime"]
    name = config.data.time or (dates[0] if len(dates) == 1 else None)
    return name if name in names else None


def _days(
    table: Tabular, rows: Rows, schema: Schema, config: RunConfig, kept: Mapping[str, Any], private: Privacy
) -> dict[str, dict[str, Any]]:
    """By column how alike rows of a day are, where the rows have a time."""
    name = time_column(schema, config, table.names)
    if name is None:
        return {}
    chosen, day_n = days_of(table.values(name, rows), rows)
    if not len(chosen):
        return {}
    columns = {c: table.values(c.name, chosen) for c in schema.given if c.name != name}
    return spread_over_days(Dated(columns, day_n), kept, private)


def answers_in(path: Path, schema: Schema, seed: int) -> dict[str, Any]:
    """By predicted category or number: what was answered on held-back rows, how sure, and how far off."""
    stored = load_file(path) if path.is_file() else {}
    found: dict[str, Any] = {}
    for c in schema.predict:
        truth, prediction = stored.get(f"{c.name}.truth"), stored.get(f"{c.name}.prediction")
        if truth is None or prediction is None or not len(truth):
            continue
        if isinstance(c, Category):
            known = truth >= 0
            right = prediction.argmax(1) == truth
            parts = {
                "answers": [c.labels[i] for i in prediction.argmax(1)],
                "sure": [round(float(p), 6) for p in prediction.max(1)],
            }
            facts = {"rows": int(known.sum()), "right": int(right[known].sum())}
        else:
            known = np.isfinite(truth)
            parts = {
                "answers": [float(f"{v:.7g}") for v in prediction],
                "errors": [float(f"{v:.7g}") for v in np.abs(prediction - truth)[known]],
            }
            facts = {"rows": int(known.sum())}
        found[c.name] = {**{name: some(values, seed) for name, values in parts.items()}, **facts}
    return found
