"""Run directories from strangers: nothing runs, nothing is allocated blindly, and what is wrong is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import shinso
from shinso.errors import DataError, RunError
from shinso.run import RunDirectory
from small_runs import houses, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("trained")).path


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def unsealed(run: Path) -> Path:
    """The attacker writes a fitting manifest too."""
    RunDirectory(run).seal()
    return run


def predicts(run: Path) -> None:
    shinso.predict(run, houses(5))


def test_a_copied_run_predicts_what_the_original_does(trained: Path, copy: Path) -> None:
    assert shinso.predict(copy, houses(20)) == shinso.predict(trained, houses(20))


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "schema.json", "config.toml", "calibration.json", "data.json"]
)
def test_a_truncated_altered_or_missing_file_is_named(copy: Path, name: str) -> None:
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match=f"{name} was truncated or altered"):
        predicts(copy)
    (copy / name).write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
    with pytest.raises(RunError, match=f"{name} was truncated or altered"):
        predicts(copy)
    (copy / name).unlink()
    with pytest.raises(RunError, match=name):
        predicts(copy)


def test_a_pickle_in_place_of_the_weights_is_refused(copy: Path) -> None:
    torch.save({"w": torch.zeros(3)}, copy / "weights.safetensors")
    with pytest.raises(RunError, match="no readable safetensors file"):
        predicts(unsealed(copy))


def test_weights_of_another_shape_are_refused_before_they_are_loaded(copy: Path) -> None:
    state = load_file(copy / "weights.safetensors")
    name = next(iter(state))
    state[name] = torch.zeros(1)
    save_file(state, copy / "weights.safetensors")
    with pytest.raises(RunError, match="does not fit the network"):
        predicts(unsealed(copy))


def test_a_config_that_asks_for_a_giant_network_takes_no_memory(copy: Path) -> None:
    text = (copy / "config.toml").read_text()
    (copy / "config.toml").write_text(
        text.replace("width = 16", "width = 8192").replace("depth = ", "depth = 9 # ")
    )
    with pytest.raises(RunError, match="does not fit the network"):
        predicts(unsealed(copy))


def test_code_named_in_a_config_is_not_imported(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil_module.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    text = (copy / "config.toml").read_text().replace("# name = (not set)", 'name = "evil_module:Net"')
    assert "evil_module" in text
    (copy / "config.toml").write_text(text)
    with pytest.raises(RunError, match="allow it by name: --allow evil_module:Net"):
        predicts(unsealed(copy))


@pytest.mark.parametrize(
    "change",
    [
        lambda schema: [],
        lambda schema: {"given": []},
        lambda schema: {**schema, "given": "x"},
        lambda schema: {**schema, "given": [{"kind": "number"}]},
        lambda schema: {**schema, "given": [{"kind": "os.system", "name": "x"}]},
        lambda schema: {**schema, "given": [{**schema["given"][0], "surprise": 1}]},
        lambda schema: {**schema, "given": [1, 2]},
    ],
)
def test_a_schema_that_is_no_schema_is_refused(copy: Path, change: object) -> None:
    schema = json.loads((copy / "schema.json").read_text())
    (copy / "schema.json").write_text(json.dumps(change(schema)))  # type: ignore[operator]
    with pytest.raises(RunError, match=r"schema.json"):
        predicts(unsealed(copy))


def test_a_run_of_a_newer_format_says_so(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(RunError, match="written in format 99"):
        predicts(copy)


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run directory"):
        predicts(tmp_path / "nothing")
    with pytest.raises(RunError, match=r"has no config.toml"):
        predicts(tmp_path)


def test_missing_columns_are_named(trained: Path) -> None:
    with pytest.raises(DataError, match="has no column 'city'"):
        shinso.predict(trained, {k: v for k, v in houses(5).items() if k != "city"})
    with pytest.raises(DataError, match="has no column 'price'"):
        shinso.evaluate(trained, {k: v for k, v in houses(5).items() if k != "price"})


def test_new_labels_missing_values_and_odd_numbers_are_predicted(trained: Path) -> None:
    rows = houses(4)
    rows["city"] = ["Tokyo", None, "Nara", "Kyoto"]
    rows["area"] = [float("nan"), 1e30, -5.0, 60.0]
    assert np.isfinite(shinso.predict(trained, rows)["price"]).all()


def test_compare_pairs_runs_on_the_same_rows(trained: Path, tmp_path: Path) -> None:
    other = train(
        tmp_path, settings={"train.epochs": 1, "train.threads": 1, "model.width": 16, "model.members": 2}
    )
    found = shinso.compare(trained, other)
    assert found["paired"] and found["settings"]["train.epochs"] == [3, 1]
    assert found["outputs"]["price"]["differences"]["rmse"]["real"] is True
    same = shinso.compare(trained, trained)["outputs"]["price"]["differences"]["rmse"]
    expected = {"value": 0.0, "low": 0.0, "high": 0.0, "p": 1.0, "corrected_p": 1.0, "real": False}
    assert same == expected
    assert any("no real difference" in line for line in shinso.compare(trained, trained)["lines"])


def test_compare_refuses_other_types_and_survives_a_damaged_neighbour(trained: Path, tmp_path: Path) -> None:
    data = {**houses(120), "rooms": [1 + i % 3 for i in range(120)]}
    settings = {"train.epochs": 1, "train.threads": 1, "model.width": 16, "model.members": 2}
    options: dict[str, Any] = {"predict": "rooms", "quiet": True, "settings": settings}
    a, b, c = (
        shinso.train(data, out=tmp_path / kind / name, types={"rooms": kind}, **options).path
        for name, kind in (("a", "number"), ("b", "category"), ("c", "category"))
    )
    with pytest.raises(RunError, match=r"rooms \(number\).*rooms \(category\).*as the same type"):
        shinso.compare(a, b)
    shutil.copytree(b, b.with_name("d"))
    stored = b.with_name("d") / "predictions.safetensors"
    stored.write_bytes(stored.read_bytes()[:40])
    found = shinso.compare(b, c)
    assert found["tried"] == 3 and found["outputs"]["rooms"]["differences"]["accuracy"]["value"] == 0
