"""Runs on made-up houses, small enough for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import shinso

FAST = {"train.epochs": 3, "train.threads": 1, "model.width": 16, "model.members": 2, "train.batch_size": 32}


def houses(rows: int = 240) -> dict[str, list[Any]]:
    rng = np.random.default_rng(0)
    area, city = rng.uniform(20, 120, rows), rng.choice(["Kyoto", "Osaka", "Nara"], rows)
    price = area * 3 + (city == "Kyoto") * 40 + rng.normal(0, 5, rows)
    return {
        "area": area.tolist(),
        "city": city.tolist(),
        "note": [f"{a:.0f} 平米の家 {c}" for a, c in zip(area, city, strict=True)],
        "price": price.tolist(),
        "dear": np.where(price > 220, "yes", "no").tolist(),
    }


def train(folder: Path, data: Any = None, **options: Any) -> shinso.Run:
    options = {"predict": "price", "quiet": True, "settings": FAST, "out": folder / "run", **options}
    return shinso.train(houses() if data is None else data, **options)
