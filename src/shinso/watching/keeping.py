"""Write the reference of a run at the end of its training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from ..columns import Column, Values
from ..columns.category import Category
from ..config import RunConfig
from ..schema import Schema
from .condensing import Privacy
from .reference import reference, some, write_reference


def keep_reference(
    folder: Path, columns: Mapping[Column, Values], schema: Schema, config: RunConfig, source: str
) -> None:
    """Sample the training values, and the answers on the evaluated rows that the folder already holds."""
    private = Privacy(dropped=frozenset(filter(None, (n.strip() for n in config.data.private.split(",")))))
    kept = reference(columns, config.seed, private)
    answers = answers_in(folder / "predictions.safetensors", schema, config.seed)
    write_reference(folder, kept, answers, source, private)


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
