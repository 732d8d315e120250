"""Every task learns a planted signal, end to end, in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shinso
from shinso.columns.base import object_array

ONE_THREAD = {"train.threads": 1}


def learn(
    folder: Path, data: dict[str, Any], predict: str, settings: dict[str, Any], **options: Any
) -> tuple[shinso.Run, dict[str, Any]]:
    run = shinso.train(
        data, predict=predict, out=folder / "run", settings={**ONE_THREAD, **settings}, quiet=True, **options
    )
    return run, {name: m["value"] for name, m in run.evaluation["outputs"][predict]["metrics"].items()}


def squares(rows: int, rng: np.random.Generator) -> tuple[list[Any], list[Any]]:
    """Grey pictures with a brighter square, and the masks of the squares."""
    images, masks = [], []
    for _ in range(rows):
        mask = np.zeros((16, 16), np.uint8)
        y, x = rng.integers(0, 9, 2)
        mask[y : y + 7, x : x + 7] = 1
        images.append((mask[..., None] * 120 + rng.integers(0, 60, (16, 16, 1))).astype(np.uint8))
        masks.append(mask)
    return images, masks


def test_number_from_numbers_and_dates(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    days = np.datetime64("2024-01-01") + rng.integers(0, 365, 400).astype("timedelta64[D]")
    size = rng.normal(size=400)
    weekend = (days.astype("datetime64[D]").view("int64") - 4) % 7 >= 5
    data = {"day": days.astype("datetime64[us]"), "size": size, "sales": 2 * size + 5 * weekend}
    _, metrics = learn(tmp_path, data, "sales", {"train.epochs": 60})
    assert metrics["r2"] > 0.9


def test_category_from_a_missing_value(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    gone = rng.random(400) < 0.5
    data = {
        "x": np.where(gone, np.nan, x),
        "noise": rng.normal(size=400),
        "y": np.where(gone, "lost", "kept"),
    }
    _, metrics = learn(tmp_path, data, "y", {"train.epochs": 20})
    assert metrics["accuracy"] > 0.97


def test_several_labels_at_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    tags = object_array([[name for name, v in zip("abc", row, strict=True) if v > 0] for row in x])
    data = {**{f"x{i}": x[:, i] for i in range(3)}, "tags": tags}
    run, metrics = learn(tmp_path, data, "tags", {"train.epochs": 40}, types={"tags": "labels"})
    assert metrics["f1_micro"] > 0.9
    found = run.predict({"x0": [3.0, -3.0], "x1": [-3.0, 3.0], "x2": [3.0, -3.0]})
    assert [sorted(t) for t in found["tags"]] == [["a", "c"], ["b"]]


def test_category_from_text_and_number_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    word, number = rng.integers(0, 2, 500), rng.integers(0, 2, 500)
    data = {
        "note": [f"荷物{i}は{['重い', '軽い'][w]}です" for i, w in enumerate(word)],
        "weight": number + rng.normal(0, 0.1, 500),
        "y": np.where(word ^ number, "same", "other").tolist(),
    }
    _, metrics = learn(tmp_path, data, "y", {"train.epochs": 30}, types={"note": "text"})
    assert metrics["accuracy"] > 0.95


def test_mask_from_image(tmp_path: Path) -> None:
    images, masks = squares(160, np.random.default_rng(0))
    data = {"photo": object_array(images), "region": object_array(masks)}
    settings = {"train.epochs": 8, "model.width": 32}
    run, metrics = learn(tmp_path, data, "region", settings, types={"photo": "image", "region": "mask"})
    assert metrics["mean_iou"] > 0.9
    found = run.predict({"photo": object_array(images[:3])})["region"]
    assert np.mean([np.mean(f == m) for f, m in zip(found, masks, strict=False)]) > 0.95


def test_image_from_nothing_and_from_a_word(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mood = rng.choice(["dark", "bright"], 200)
    images = [np.full((8, 8, 1), 40 if m == "dark" else 215, np.uint8) for m in mood]
    settings = {"train.epochs": 30, "model.width": 32}
    data = {"mood": mood.tolist(), "photo": object_array(images)}
    run, _ = learn(tmp_path / "word", data, "photo", settings, types={"photo": "image"})
    dark, bright = run.predict({"mood": ["dark", "bright"]})["photo"]
    assert np.mean(dark) + 80 < np.mean(bright)
    only = {"photo": object_array([np.full((8, 8, 1), 200, np.uint8)] * 120)}
    run, metrics = learn(
        tmp_path / "nothing", only, "photo", settings, given="nothing", types={"photo": "image"}
    )
    assert metrics["mse"] < 40**2


def test_text_from_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = {"one": "いち", "two": "に", "three": "さん", "four": "よん"}
    words = rng.choice(list(pairs), (400, 2))
    data = {
        "en": [" ".join(row) for row in words],
        "ja": ["".join(pairs[w] for w in row) for row in words],
    }
    settings = {"train.epochs": 25, "model.width": 64, "train.learning_rate": 3e-3}
    run, metrics = learn(tmp_path, data, "ja", settings, types={"en": "text", "ja": "text"})
    assert metrics["exact_match"] > 0.8
    assert run.predict({"en": ["two three"]})["ja"] == ["にさん"]


def test_series_from_series(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    time = np.arange(24)
    waves = [np.sin(0.5 * time + phase) for phase in rng.uniform(0, 6, 300)]
    data = {"past": object_array([w[:16] for w in waves]), "future": object_array([w[16:] for w in waves])}
    _, metrics = learn(
        tmp_path, data, "future", {"train.epochs": 30}, types={"past": "series", "future": "series"}
    )
    assert metrics["mse"] < 0.05


def test_a_forecast_of_an_ordered_table(tmp_path: Path) -> None:
    hours = np.arange(600)
    load = 10 + 3 * np.sin(2 * np.pi * hours / 24) + np.random.default_rng(0).normal(0, 0.1, 600)
    stamps = (np.datetime64("2024-01-01T00") + hours.astype("timedelta64[h]")).astype("datetime64[us]")
    run = shinso.train(
        {"time": stamps, "load": load}, predict="load", past=48, ahead=12, out=tmp_path / "run", quiet=True,
        settings={**ONE_THREAD, "train.epochs": 15},
    )  # fmt: skip
    assert run.evaluation["outputs"]["load"]["metrics"]["mse"]["value"] < 0.5
    found = run.predict({"time": stamps, "load": load})
    expected = 10 + 3 * np.sin(2 * np.pi * np.arange(600, 612) / 24)
    assert found["step"] == list(range(1, 13))
    assert np.abs(np.array(found["load"]) - expected).max() < 1.5
    assert (
        shinso.evaluate(run, {"time": stamps, "load": load})["outputs"]["load"]["metrics"]["mse"]["value"]
        < 0.5
    )


@pytest.mark.parametrize("effort", ["quick", "best"])
def test_efforts_differ_in_how_long_they_train(tmp_path: Path, effort: str) -> None:
    x = np.random.default_rng(0).normal(size=120)
    data = {"x": x, "y": 2 * x}
    for name in ("balanced", effort):
        shinso.train(
            data, predict="y", effort=name, out=tmp_path / name, quiet=True,
            settings={**ONE_THREAD, "train.patience": 1, "model.width": 8, "model.members": 2},
        )  # fmt: skip
    texts = {
        name: (tmp_path / name / "config.toml").read_text().splitlines() for name in ("balanced", effort)
    }
    epochs = {
        n: int(next(line for line in t if line.startswith("epochs")).split("=")[1]) for n, t in texts.items()
    }
    assert (epochs[effort] < epochs["balanced"]) == (effort == "quick")
