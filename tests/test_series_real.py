"""Series and forecasts on real data, with the recipes that docs/log.md justifies."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import shinso
from shinso.columns.base import object_array
from shinso.data.table import Table

CLASSES = {
    "train.threads": 1, "data.split": "9:1:0", "train.optimizer": "adamw", "train.schedule": "cosine",
    "model.dropout": 0.1, "train.learning_rate": 3e-3, "train.weight_decay": 0.05,
    "train.warmup": 0.1, "train.ema": 0.0, "train.clip": 0.0, "train.patience": 0,
}  # fmt: skip
FORECAST = {
    "train.threads": 1, "train.optimizer": "adamw", "train.schedule": "cosine", "data.split": "12:4:4",
    "model.name": "shinso.models.window:Window", "train.learning_rate": 3e-3, "train.weight_decay": 0.0,
    "train.warmup": 0.05, "train.ema": 0.0, "train.clip": 0.0, "train.patience": 0, "train.batch_size": 64,
    "train.epochs": 5,
}  # fmt: skip


def read_ts(path: Path) -> dict[str, Any]:
    """The rows of a .ts file: variables between colons, readings between commas, the class last."""
    lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    start = next(i for i, line in enumerate(lines) if line.lower() == "@data") + 1
    rows = [line.split(":") for line in lines[start:] if line]
    values = [np.array([[float(x) for x in d.split(",")] for d in row[:-1]]).T for row in rows]
    return {"series": object_array(values), "label": [f"class {row[-1]}" for row in rows]}


def accuracy(folder: Path, train: dict[str, Any], test: dict[str, Any], settings: dict[str, Any]) -> float:
    kinds = {"series": "series"} if "series" in train else {}
    out = folder / "run"
    run = shinso.train(train, predict="label", types=kinds, out=out, settings=settings, quiet=True)
    found = float(shinso.evaluate(run, test)["outputs"]["label"]["metrics"]["accuracy"]["value"])
    print(f"accuracy {found:.4f} after {sum(m['seconds'] for m in run.metrics):.1f} s of training")
    return found


@pytest.mark.parametrize(
    ("name", "epochs", "least"),
    [("GunPoint", 80, 0.9), ("JapaneseVowels", 30, 0.95), ("BasicMotions", 80, 0.9)],
)
def test_classes_of_series(
    name: str, epochs: int, least: float, unpacked: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = unpacked("ucr") / name
    train, test = (read_ts(folder / f"{name}_{part}.ts") for part in ("TRAIN", "TEST"))
    settings = {
        **CLASSES,
        "model.width": 64,
        "model.depth": 4,
        "train.batch_size": 16,
        "train.epochs": epochs,
    }
    assert accuracy(tmp_path, train, test, settings) > least


def test_a_public_forecast(unpacked: Callable[[str], Path], tmp_path: Path) -> None:
    """Mean squared error at 96 hours on standardised data, where DLinear has .375."""
    (path,) = unpacked("ETTh1").glob("*.csv") if unpacked("ETTh1").is_dir() else (unpacked("ETTh1"),)
    table = Table.read(path)
    names = [name for name in table.names if name != "date"]
    data = {name: _standardised(table.values(name)[:14_400], 8640) for name in names}
    run = shinso.train(
        data, predict=names, past=336, ahead=96, out=tmp_path / "run", quiet=True, settings=FORECAST
    )
    (output,) = run.evaluation["outputs"].values()
    assert output["metrics"]["mse"]["value"] < 0.39


def _standardised(values: NDArray[Any], train: int) -> NDArray[Any]:
    return (values - values[:train].mean()) / values[:train].std()


@pytest.fixture(autouse=True)
def one_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows take 100 MB of cache: they go with the test."""
    assert os.environ["SHINSO_CACHE"]
    monkeypatch.setenv("SHINSO_CACHE", str(tmp_path / "cache"))
