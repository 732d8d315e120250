"""A training is walked through before it costs hours: what works is said, and what will not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import shinso
from shinso import cli
from shinso.config import RunConfig
from shinso.data.split import Split
from shinso.data.table import Table
from shinso.drawing import cut_down, draw
from shinso.preparing import Question
from small_runs import FAST, houses

STAGES = [
    "place", "data", "labels", "network", "training", "kill and resume", "evaluation", "explanation",
    "prediction",
]  # fmt: skip


def walk(data: Any, out: Path, **options: Any) -> tuple[bool, dict[str, dict[str, Any]]]:
    settings = {**FAST, **options.pop("settings", {})}
    found = shinso.check(data, out=out, settings=settings, quiet=True, **options)
    assert [stage["stage"] for stage in found["stages"]] == STAGES
    return found["passed"], {stage["stage"]: stage for stage in found["stages"]}


def verdicts(stages: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, stage in stages.items():
        found.setdefault(stage["verdict"], []).append(name)
    return found


def photos(folder: Path, count: int = 40) -> Path:
    rng = np.random.default_rng(0)
    for i in range(count):
        place = folder / ("cat" if i % 2 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).save(place / f"{i:03d}.png")
    return folder


def test_what_is_well_passes_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "houses"
    passed, stages = walk(houses(), out, predict="price")
    assert passed and verdicts(stages) == {"works": STAGES}
    assert "same bits" in stages["kill and resume"]["said"] and "rmse" in stages["evaluation"]["said"]
    assert not out.parent.exists()


def test_own_model_is_killed_in_a_process_of_its_own(tmp_path: Path) -> None:
    passed, stages = walk(photos(tmp_path / "photos"), tmp_path / "run", model="blind_model:Blind")
    assert passed and stages["kill and resume"]["verdict"] == "works", stages
    assert "blind_model:Blind" in stages["network"]["said"]


def test_forecasts_pass(tmp_path: Path) -> None:
    load = np.sin(np.arange(400) / 7).tolist()
    passed, stages = walk({"load": load}, tmp_path / "run", predict="load", past=16, ahead=4)
    assert passed and stages["prediction"]["said"].startswith("4 rows"), stages


def test_a_place_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "data.csv").write_text("a,b\n" + "".join(f"{i},{i % 2}\n" for i in range(60)))
    arguments = ["train", str(tmp_path / "data.csv"), "--predict", "b", "--check", "--json", "--quiet"]
    sets = [word for name, value in FAST.items() for word in ("--set", f"{name}={value}")]
    assert cli.main([*arguments, "--out", str(tmp_path / "taken" / "run"), *sets]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] is False and "is no folder" in found["stages"][0]["said"]
    assert [s["verdict"] for s in found["stages"][1:]] == ["works"] * 8  # the rest is looked at all the same


def test_a_model_that_gives_no_numbers(tmp_path: Path) -> None:
    passed, stages = walk(photos(tmp_path / "photos"), tmp_path / "run", model="nan_model:Broken")
    assert not passed and "never finite" in stages["training"]["said"]
    assert verdicts(stages)["not reached"] == STAGES[5:]


def test_pictures_that_are_broken(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos")
    for path in sorted(folder.rglob("*.png"))[:10]:
        path.write_bytes(path.read_bytes()[:60])
    passed, stages = walk(folder, tmp_path / "run")
    assert not passed and "could not be read" in stages["data"]["said"]
    assert verdicts(stages) == {"works": ["place"], "fails": ["data"], "not reached": STAGES[2:]}
    for path in sorted(folder.rglob("*.png"))[1:10]:
        path.unlink()
    passed, stages = walk(
        folder, tmp_path / "run", model="blind_model:Blind", settings={"data.bad_rows": 0.2}
    )
    assert passed and stages["data"]["verdict"] == "warning" and "001.png" in stages["data"]["said"]


def test_a_label_that_stands_only_in_test(tmp_path: Path) -> None:
    data = houses(300)
    data["sold"] = [str(np.datetime64("2024-01-01") + i) for i in range(300)]
    data["dear"] = [*data["dear"][:280], *["a palace"] * 20]
    options = {"predict": "dear", "given": "area,city", "settings": {"data.time": "sold"}}
    passed, stages = walk(data, tmp_path / "run", **options)
    assert not passed and "'a palace'" in stages["labels"]["said"]
    assert stages["prediction"]["verdict"] == "works"


def test_a_state_that_no_checkpoint_knows(tmp_path: Path) -> None:
    passed, stages = walk(photos(tmp_path / "photos"), tmp_path / "run", model="forgetful_model:Forgetful")
    assert not passed and "goes on to other weights" in stages["kill and resume"]["said"], stages
    assert stages["evaluation"]["verdict"] == "works"


def test_what_goes_in_no_pair(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--resume", "runs/x", "--check"]) == 2
    assert "--resume does not go with --check" in capsys.readouterr().err
    assert cli.main(["train", "--check"]) == 2
    assert "Say what to train on" in capsys.readouterr().err


def test_the_lines_end_in_a_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    out = tmp_path / "run"
    command = ["train", str(tmp_path / "data.csv"), "--predict", "c", "--check", "--out", str(out)]
    assert cli.main(command) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[1].startswith("✗ data: ") and "'c'" in said[1] and "It will not work" in said[-1]
    assert not out.exists()


def test_drawn_rows_have_every_class_and_part() -> None:
    labels = np.where(np.arange(9_000) % 3_000 == 7, "rare", "common").tolist()
    drawn = draw(Table.read({"x": list(range(9_000)), "y": labels}), Question(("y",)), RunConfig())
    assert drawn.parts is not None and sum(drawn.counts) == 9_000 and len(drawn.table) < 2_400
    assert "rare" in drawn.table.values("y", drawn.parts.train).tolist()
    assert len(drawn.parts.validation) == len(drawn.parts.test) == 128


def test_rows_come_again_where_batches_are_large() -> None:
    parts = Split(np.arange(10), np.arange(10, 12), np.arange(12, 14))
    assert len(cut_down(parts, 2, 64, 1_000).train) == 128
    assert cut_down(parts, 2, 64, 10).train.tolist() == list(range(10))
    assert len(cut_down(parts, 2, 3, 10).train) == 6
