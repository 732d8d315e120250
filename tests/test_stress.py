"""Robustness: attacks stay within reach and hurt, corruptions keep their kind, training on attacks helps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import shinso
from shinso.attacks import attackable, attacked
from shinso.columns import COLUMNS
from shinso.data.table import Table
from shinso.run import RunDirectory
from shinso.stress.measure import Bench
from shinso.stress.worse import CORRUPTIONS
from small_runs import FAST, houses, train
from test_explaining import seen, texts, waves

PICTURES = {
    **FAST,
    "train.augment": "none",
    "train.epochs": 14,
    "train.batch_size": 20,
    "train.precision": "fp32",
}

FINE = "東京は今日もとても晴れていて気持ちが良いですね" * 3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> shinso.Run:
    return train(tmp_path_factory.mktemp("plain"), seen(), predict="shape", settings=PICTURES)


def bench_of(run: shinso.Run, data: Any) -> Bench:
    directory = RunDirectory(run.path)
    table = Table.read(data)
    return Bench(directory, table, np.arange(len(table)), directory.plan)


def test_an_attack_stays_within_reach_and_raises_the_loss(run: shinso.Run) -> None:
    bench = bench_of(run, seen(40))
    schema, network = bench.run.schema, bench.network
    batch = {c.name: torch.from_numpy(np.asarray(bench.store[c.name].take(slice(None)))) for c in schema}
    clean = float(bench.losses(batch)["shape"].total.detach())
    totals = []
    for steps in (1, 10):
        draw = torch.Generator().manual_seed(0)
        moved = attacked(bench.losses, batch, attackable(schema.given), 8 / 255, steps=steps, generator=draw)
        assert float((moved["image"] - batch["image"].float()).abs().max()) <= 8.001
        assert 0 <= float(moved["image"].min()) and float(moved["image"].max()) <= 255
        totals.append(float(bench.losses(moved)["shape"].total.detach()))
    assert clean < totals[0] <= totals[1] * 1.05
    assert all(p.grad is None for p in network.parameters())


def test_missing_numbers_stay_missing_under_attack(tmp_path: Path) -> None:
    data = houses(80)
    data["area"][::7] = [float("nan")] * len(data["area"][::7])
    made = train(tmp_path, data, predict="dear", given=["area", "city"])
    bench = bench_of(made, data)
    batch = {
        c.name: torch.from_numpy(np.asarray(bench.store[c.name].take(slice(None)))) for c in bench.run.schema
    }
    moved = attacked(bench.losses, batch, attackable(bench.run.schema.given), 0.5)
    assert torch.equal(moved["area"].isnan(), batch["area"].isnan())
    assert "city" not in attackable(bench.run.schema.given)


def test_accuracy_falls_with_strength_and_the_page_says_so(run: shinso.Run) -> None:
    found = run.robustness(seen(120), against="pgd,noise,blur")
    by_name = {curve["against"]: curve["points"] for curve in found["curves"]}
    assert list(by_name) == ["pgd", "noise", "blur"]
    for points in by_name.values():
        assert points[0]["strength"] == 0 and points[-1]["value"] <= points[0]["value"]
        assert all(p["low"] <= p["value"] <= p["high"] for p in points)
    assert by_name["noise"][-1]["value"] < by_name["noise"][0]["low"]
    stored = json.loads((run.path / "robustness" / "robustness.json").read_text("utf-8"))
    assert stored["curves"] == found["curves"]
    assert "What to take away" in (run.path / "robustness" / "page.html").read_text("utf-8")


@pytest.mark.parametrize("kind", sorted(CORRUPTIONS))
def test_corruptions_keep_the_kind_and_strength_0_changes_nothing(kind: str) -> None:
    rng = np.random.default_rng(0)
    (made,) = (c for c in COLUMNS if c.kind == kind)
    values = made.examples(rng, 12)
    column = made(name="x").fit(values)
    present = [v for v in values if v is not None and not (isinstance(v, float) and np.isnan(v))]
    for name, change in CORRUPTIONS[kind].items():
        plain = [column.encode(v) for v in present]
        same, worse = (
            [
                column.encode(change(column, v, strength, np.random.default_rng(i)))
                for i, v in enumerate(present)
            ]
            for strength in (0.0, 1.0)
        )
        if name != "compressed":  # a JPEG of quality 95 is not the picture itself
            assert all(np.allclose(a, b, atol=1e-5, equal_nan=True) for a, b in zip(same, plain, strict=True))
        changed = [a.shape != b.shape or (a != b).any() for a, b in zip(worse, plain, strict=True)]
        assert any(changed), name


def test_typos_are_made_in_japanese_too() -> None:
    (made,) = (c for c in COLUMNS if c.kind == "text")
    column = made(name="t")
    found = CORRUPTIONS["text"]["typos"](column, FINE, 1.0, np.random.default_rng(0))
    assert found != FINE and not any(c.isascii() for c in found)


def test_training_on_attacks_holds_better_and_repeats(run: shinso.Run, tmp_path: Path) -> None:
    settings = {**PICTURES, "train.adversarial": 0.1}
    one = train(tmp_path / "a", seen(), predict="shape", settings=settings)
    two = train(tmp_path / "b", seen(), predict="shape", settings=settings)
    first, second = ((r.path / "weights.safetensors").read_bytes() for r in (one, two))
    assert first == second
    plain, hard = (bench_of(r, seen(120)).attacked(10, 0.1)["value"] for r in (run, one))
    assert hard > plain


def test_what_does_not_apply_is_said(run: shinso.Run, tmp_path: Path) -> None:
    with pytest.raises(shinso.SettingError, match="'typos' does not apply to what this run reads"):
        run.robustness(seen(20), against="typos")
    with pytest.raises(shinso.SettingError, match="Did you mean 'fgsm'"):
        run.robustness(seen(20), against="fgms")
    with pytest.raises(shinso.DataError, match="no column 'shape'"):
        run.robustness({"image": seen(5)["image"]})
    with pytest.raises(shinso.SettingError, match="needs a given column that enters as numbers"):
        train(
            tmp_path, texts(40), predict="tone", types={"text": "text"},
            settings={**FAST, "train.adversarial": 0.1},
        )  # fmt: skip
    assert not (tmp_path / "run").exists()
    assert len(waves(4)["wave"]) == 4
