"""Simple models find what is planted, keep to their time, and never fail a run."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest

from shinso import baselines as module
from shinso.baselines import LEARNERS, Part, baselines
from shinso.columns.base import object_array
from shinso.columns.category import Category
from shinso.columns.datetime import Datetime
from shinso.columns.image import Image
from shinso.columns.number import Number
from shinso.columns.text import Text
from shinso.data.cheap import small_pixels


def table(n: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    area = rng.normal(100, 30, n)
    area[::20] = np.nan
    town = object_array([str(t) for t in rng.choice(["Kyoto", "Nara", "Osaka"], n)])
    day = np.datetime64("2024-01-01", "us") + rng.integers(300, size=n) * np.timedelta64(1, "D")
    inputs: dict[str, Any] = {
        "area": (Number(name="area").fit(area), area),
        "town": (Category(name="town").fit(town), town),
        "day": (Datetime(name="day").fit(day), day),
    }
    return inputs


def planted(n: int, kind: str) -> Part:
    inputs = table(n)
    area, town = np.nan_to_num(inputs["area"][1], nan=100.0), inputs["town"][1]
    value = area + 40 * (town == "Kyoto")
    target = (value > 110).astype(np.int64) if kind == "category" else value
    return Part(inputs=inputs, target=target)


def split(part: Part, first: int) -> tuple[Part, Part]:
    return part.take(np.arange(first)), part.take(np.arange(first, len(part.target)))


@pytest.mark.parametrize(("kind", "main"), [("category", "accuracy"), ("number", "r2")])
def test_a_table_has_three_baselines(kind: str, main: str) -> None:
    train, test = split(planted(1200, kind), 900)
    rows = baselines(kind, train, test, ("no", "yes") if kind == "category" else (), seconds=20)
    json.dumps(rows, allow_nan=False)
    assert [row["name"] for row in rows] == list(LEARNERS[kind])
    values = [row["metrics"][main]["value"] for row in rows]
    assert min(values[1:]) > 0.9 > 0.7 > values[0]
    assert all(row["seconds"] >= 0 and row["train_rows"] == 900 for row in rows)


@pytest.mark.parametrize("japanese", [False, True])
def test_texts(*, japanese: bool) -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(2, size=300)
    ends = (
        ["とても良い映画だった", "ひどい映画だった"] if japanese else ["a very fine film", "a very poor film"]
    )
    texts = object_array([ends[t] + ("。" if i % 3 else " !") for i, t in enumerate(target)])
    texts[5] = None
    column = Text(name="review").fit(texts)
    train, test = split(Part(inputs={"review": (column, texts)}, target=target), 200)
    rows = baselines("category", train, test, ("good", "bad"))
    assert rows[1]["metrics"]["accuracy"]["value"] == 1.0
    assert rows[2] == {
        "name": "gradient boosting",
        "skipped": "None of the given columns is a number, category or date.",
    }


def test_images() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(3, size=120)
    noise = rng.integers(60, size=(120, 24, 24, 3), dtype=np.uint8)
    images = object_array(
        [pixels + np.uint8(60) * np.uint8(t) for pixels, t in zip(noise, target, strict=True)]
    )
    column = Image(name="photo").fit(images)
    train, test = split(Part(inputs={"photo": (column, images)}, target=target), 80)
    rows = baselines("category", train, test, tuple("abc"))
    assert rows[1]["metrics"]["accuracy"]["value"] == 1.0


def test_images_are_averaged_down() -> None:
    image = np.random.default_rng(0).integers(256, size=(32, 48, 3), dtype=np.uint8)
    wanted = image.reshape(16, 2, 16, 3, 3).mean((1, 3)) / 127.5 - 1
    np.testing.assert_allclose(small_pixels(image), wanted.reshape(-1), atol=1e-6)
    assert small_pixels(image[:8, :8]).shape == (8 * 8 * 3,)


def test_rows_without_a_target_and_unseen_values() -> None:
    train, test = split(planted(400, "category"), 300)
    train.target[:50] = -1
    town = object_array(["Tokyo"] * 100)
    test = Part(inputs={**test.inputs, "town": (train.inputs["town"][0], town)}, target=test.target)
    rows = baselines("category", train, test, ("no", "yes"))
    assert rows[0]["train_rows"] == 250
    assert not any("skipped" in row for row in rows)


def test_a_sample_says_so_and_time_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 600)
    monkeypatch.setattr(module, "FIRST_ROWS", 100)
    train, test = split(planted(1100, "category"), 1000)
    rows = baselines("category", train, test, ("no", "yes"), seconds=20)
    assert rows[0]["name"] == "majority class"
    assert rows[1]["name"] == "logistic regression (600 training rows)"
    start = time.perf_counter()
    rows = baselines("category", train, test, ("no", "yes"), seconds=0.01)
    assert time.perf_counter() - start < 2
    assert rows[0]["metrics"]["accuracy"]["value"] is not None
    assert "100 training rows" in rows[1]["name"] or "skipped" in rows[1]
    assert (
        baselines("category", train, test, ("no", "yes"), seconds=0)[2]["skipped"]
        == "There was no time left."
    )


def test_one_class_or_no_rows_give_reasons() -> None:
    train, test = split(planted(60, "category"), 50)
    train.target[:] = 1
    rows = baselines("category", train, test, ("no", "yes"))
    assert "only one class" in rows[1]["skipped"]
    train.target[:] = -1
    assert baselines("category", train, test, ("no", "yes")) == []


def test_several_labels() -> None:
    part = planted(500, "category")
    hot = np.stack([part.target, 1 - part.target, np.zeros(500)], 1).astype(np.float32)
    hot[:20] = np.nan
    train, test = split(Part(inputs=part.inputs, target=hot), 400)
    rows = baselines("labels", train, test, tuple("abc"))
    assert [row["train_rows"] for row in rows] == [380, 380]
    values = [row["metrics"]["f1_micro"]["value"] for row in rows]
    assert values[1] > 0.9 > values[0]


def test_the_gain_of_the_network_is_measured_on_the_same_rows() -> None:
    train, test = split(planted(500, "category"), 400)
    rows = baselines("category", train, test, ("no", "yes"), prediction=np.eye(2)[test.target])
    for row in rows:
        assert row["gain"]["value"] == pytest.approx(1 - row["metrics"]["accuracy"]["value"])
    sampled = Part(inputs=train.inputs, target=train.target, sampled_from=9000)
    rows = baselines("category", sampled, test, ("no", "yes"))
    assert rows[1]["name"] == "logistic regression (400 training rows)"


def test_kinds_without_baselines() -> None:
    part = planted(10, "number")
    assert baselines("mask", part, part) == []


def test_the_same_seed_gives_the_same_rows() -> None:
    train, test = split(planted(300, "number"), 200)
    first, second = (baselines("number", train, test, seconds=20) for _ in range(2))
    for row in first + second:
        del row["seconds"]
    assert first == second
