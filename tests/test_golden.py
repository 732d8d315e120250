"""Golden losses: 20 steps a task on fixed data. What should not change numbers must not change these.

After a change that should, write them again with `python tests/test_golden.py` and look at the difference.
Rounding differs between processors, so that only the one that wrote the file is held to six digits.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shinso
from shinso.columns.base import object_array
from shinso.machine import versions

FILE = Path(__file__).parent / "golden.json"
STEPS = 20
SETTINGS = {
    "train.threads": 1, "train.precision": "fp32", "train.batch_size": 16, "train.epochs": 4,
    "train.optimizer": "adamw", "train.learning_rate": 1e-3, "train.ema": 0.0, "train.augment": "none",
    "model.width": 16, "model.depth": 1, "model.members": 2, "model.embedding": 4, "data.split": "1:0:0",
}  # fmt: skip
ROWS = 80  # five batches of sixteen, four epochs: twenty steps


def table() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x, c = rng.normal(size=ROWS), rng.choice(["a", "b"], ROWS)
    return {"x": x, "c": c.tolist(), "y": x + (c == "a") + rng.normal(0, 0.1, ROWS)}


def classes() -> dict[str, Any]:
    data = table()
    return {"x": data["x"], "c": data["c"]}


def words() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    mood = rng.choice(["よい", "わるい"], ROWS)
    return {"note": [f"{i}番目は{m}本でした" for i, m in enumerate(mood)], "mood": mood.tolist()}


def pictures() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    light = rng.integers(0, 2, ROWS)
    images = [(rng.integers(0, 90, (8, 8, 1)) + 150 * v).astype(np.uint8) for v in light]
    return {"photo": object_array(images), "light": [str(v) for v in light]}


def waves() -> dict[str, Any]:
    phase = np.random.default_rng(0).uniform(0, 6, ROWS)
    both = np.sin(0.5 * np.arange(24) + phase[:, None])
    return {"past": object_array([*both[:, :16]]), "future": object_array([*both[:, 16:]])}


SERIES = {"past": "series", "future": "series"}
TASKS: dict[str, tuple[Callable[[], dict[str, Any]], str, dict[str, str]]] = {
    "regress": (table, "y", {}),
    "classify": (classes, "c", {}),
    "read": (words, "mood", {"note": "text"}),
    "look": (pictures, "light", {"photo": "image", "light": "category"}),
    "forecast": (waves, "future", SERIES),
}


def losses(task: str) -> list[float]:
    """The mean losses of the validation points within twenty steps."""
    data, predict, types = TASKS[task]
    with tempfile.TemporaryDirectory() as folder:
        run = shinso.train(
            data(), predict=predict, types=types, settings=SETTINGS, out=Path(folder) / "run", quiet=True
        )
        assert run.metrics[-1]["step"] == STEPS
        return [entry["loss"][predict] for entry in run.metrics]


def processor() -> str:
    return str(versions()["processor"])


@pytest.mark.parametrize("task", TASKS)
def test_losses_are_what_they_were(task: str) -> None:
    golden = json.loads(FILE.read_text("utf-8"))
    tolerance = 1e-6 if golden["processor"] == processor() else 1e-3
    assert losses(task) == pytest.approx(golden["losses"][task], rel=tolerance)


if __name__ == "__main__":
    found = {"processor": processor(), "losses": {task: losses(task) for task in TASKS}}
    FILE.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
