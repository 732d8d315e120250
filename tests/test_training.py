"""Training from data to a complete run: exact resume after kill -9, limits, interrupts, mistakes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import shinso
from shinso.errors import DataError, RunError, SettingError
from small_runs import FAST, houses, train


def test_a_run_holds_all_that_the_design_names_and_nothing_that_runs_code(tmp_path: Path) -> None:
    run = train(tmp_path)
    names = {p.name for p in run.path.iterdir()}
    assert names >= {
        "config.toml", "schema.json", "weights.safetensors", "metrics.jsonl", "evaluation.json",
        "environment.json",
        "data.json", "quarantine.jsonl", "report.html", "calibration.json", "manifest.json",
    }  # fmt: skip
    assert {p.suffix for p in run.path.iterdir()} <= {
        ".toml", ".json", ".jsonl", ".safetensors", ".html", ".md",
    }  # fmt: skip
    assert not (run.path / "checkpoints").exists()
    evaluation = run.evaluation
    rmse = evaluation["outputs"]["price"]["metrics"]["rmse"]
    assert rmse["low"] <= rmse["value"] <= rmse["high"]
    assert evaluation["outputs"]["price"]["baselines"]
    training = evaluation["training"]
    assert training["flops_per_second"] > 0 and training["peak_memory_bytes"] > 1e6
    assert sum(evaluation["rows"].values()) == 240


def test_several_inputs_and_outputs_together(tmp_path: Path) -> None:
    run = train(tmp_path, predict="price,dear", given="area,city,note")
    kinds = {c.name: c.kind for c in run.schema}
    assert kinds == {
        "area": "number",
        "city": "category",
        "note": "text",
        "price": "number",
        "dear": "category",
    }
    found = run.predict(
        {"area": [50.0, 110.0], "city": ["Nara", "Kyoto"], "note": ["小さい家", "大きい家 Kyoto"]}
    )
    assert list(found)[:2] == ["row", "price"] and len(found["dear"]) == 2
    assert found["price low"][0] < found["price"][0] < found["price high"][0]
    assert found["dear: yes"][0] + found["dear: no"][0] == pytest.approx(1, abs=1e-5)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(tmp_path: Path) -> None:
    weights = [
        (train(tmp_path / str(i), seed=seed).path / "weights.safetensors").read_bytes()
        for i, seed in enumerate((0, 0, 1))
    ]
    assert weights[0] == weights[1] != weights[2]


def test_predictions_do_not_depend_on_the_order_of_columns_or_rows(tmp_path: Path) -> None:
    run = train(tmp_path)
    rows = {k: v[:9] for k, v in houses().items() if k not in ("price", "dear")}
    rows["dear"] = ["no"] * 9
    turned = {k: rows[k][::-1] for k in reversed(rows)}
    assert run.predict(turned)["price"][::-1] == pytest.approx(run.predict(rows)["price"], rel=1e-2)


SCRIPT = """
import sys, shinso
sys.path.insert(0, {tests!r})
from small_runs import FAST, houses
settings = {{**FAST, "train.epochs": 12, "train.checkpoint_seconds": 0.0, "train.ema": 0.9}}
import json, pathlib
pathlib.Path("data.json").write_text(json.dumps([dict(zip(houses(), r)) for r in zip(*houses().values())]))
shinso.train("data.json", predict="price", settings=settings, out="run")
"""


def test_kill_minus_nine_and_resume_gives_the_same_bits(tmp_path: Path) -> None:
    (tmp_path / "killed").mkdir()
    (tmp_path / "straight").mkdir()
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path / "straight", check=True, capture_output=True)
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path / "killed", stderr=subprocess.DEVNULL
    )
    folder = tmp_path / "killed" / "run" / "checkpoints"
    while not list(folder.glob("step-0000[1-9]*.checkpoint")) and not list(
        folder.glob("step-00000003*.checkpoint")
    ):
        assert process.poll() is None, "training ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = tmp_path / "killed" / "run"
    assert not (killed / "weights.safetensors").exists()
    with pytest.raises(RunError, match="--resume"):
        shinso.predict(killed, houses())
    shinso.train(resume=killed, quiet=True)
    straight = tmp_path / "straight" / "run"
    assert (killed / "weights.safetensors").read_bytes() == (straight / "weights.safetensors").read_bytes()
    lines = []
    for path in (killed, straight):
        entries = map(json.loads, (path / "metrics.jsonl").read_text("utf-8").splitlines())
        lines.append([{k: v for k, v in entry.items() if k != "seconds"} for entry in entries])
    assert lines[0] == lines[1]


def test_resume_refuses_other_data(tmp_path: Path) -> None:
    data = houses()
    path = interrupted(tmp_path, data)
    data["area"][0] += 1
    with pytest.raises(RunError, match="its content has changed"):
        shinso.train(data, resume=path, quiet=True)
    with pytest.raises(RunError, match="Give the same data again"):
        shinso.train(resume=path, quiet=True)


def interrupted(folder: Path, data: dict[str, list[Any]]) -> Path:
    """A run whose process ended without a word after its first checkpoint."""
    pid = os.fork()
    if pid == 0:
        import shinso.keeper

        save = shinso.keeper.save_checkpoint

        def die(*arguments: Any) -> None:
            save(*arguments)
            os._exit(0)

        shinso.keeper.save_checkpoint = die  # type: ignore[assignment]
        train(folder, data, settings={**FAST, "train.checkpoint_seconds": 0.0})
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    return folder / "run"


def test_an_interrupt_leaves_a_complete_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shinso.keeper

    report = shinso.keeper.RunKeeper.report

    def interrupting(self: Any, progress: Any, entry: Any) -> None:
        report(self, progress, entry)
        if not self.interrupted:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(shinso.keeper.RunKeeper, "report", interrupting)
    before = signal.getsignal(signal.SIGINT)
    run = train(tmp_path, settings={**FAST, "train.epochs": 500})
    assert signal.getsignal(signal.SIGINT) is before
    assert run.evaluation["training"]["stopped"] == "an interrupt"
    assert run.evaluation["training"]["epochs"] < 500
    assert run.predict(houses())["price"]


def test_minutes_are_a_hard_limit_that_leaves_a_complete_run(tmp_path: Path) -> None:
    started = time.monotonic()
    run = train(tmp_path, minutes=0.15, settings={**FAST, "train.epochs": 100_000})
    assert time.monotonic() - started < 9.0 + 1.0
    training = run.evaluation["training"]
    assert 10 < training["steps"] < 100_000
    assert run.metrics[-1]["learning_rate"] < 1e-3  # the schedule was fitted to the limit


def test_an_existing_folder_is_never_written_into(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("keep me")
    with pytest.raises(RunError, match=r"exists already.*--out"):
        train(tmp_path)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["precious.txt"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"predict": "prise"}, DataError, "no column 'prise' to predict. Did you mean 'price'"),
        ({"given": "are"}, DataError, "no column 'are' to give. Did you mean 'area'"),
        ({"given": "price"}, DataError, "cannot be given too"),
        ({"types": {"city": "categry"}}, SettingError, "Did you mean 'category'"),
        ({"types": {"citi": "category"}}, SettingError, "Did you mean 'city'"),
        ({"predict": None}, DataError, "Say which column to predict: --predict NAME"),
        ({"settings": {"train.epoch": 3}}, SettingError, "Did you mean 'train.epochs'"),
        ({"settings": {"model.name": "resnett"}}, SettingError, "no model 'resnett'"),
        (
            {"settings": {"train.augment": "flop"}},
            SettingError,
            "no augmentation 'flop'. Did you mean 'flip'",
        ),
    ],
)
def test_mistakes_are_found_before_anything_is_written(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train(tmp_path, **options)
    assert not (tmp_path / "run").exists()


def test_class_weights_and_other_settings_reach_the_loss(tmp_path: Path) -> None:
    run = train(tmp_path, predict="dear", given="area", settings={**FAST, "train.class_weights": "balanced"})
    data = json.loads((run.path / "data.json").read_text())
    counts = np.array([houses()["dear"].count(label) for label in run.schema["dear"].labels])
    weights = np.array(data["class_weights"]["dear"])
    assert weights[counts.argmin()] > 1 > weights[counts.argmax()]


def test_weights_are_float32_whatever_the_precision(tmp_path: Path) -> None:
    for precision in ("bf16", "fp32"):
        run = train(tmp_path / precision, settings={**FAST, "train.precision": precision})
        assert {str(w.dtype) for w in load_file(run.path / "weights.safetensors").values()} == {"float32"}


def test_a_run_that_was_left_after_an_interrupt_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shinso.keeper

    data, settings = houses(), {**FAST, "train.epochs": 6, "train.checkpoint_seconds": 0.0}
    straight = train(tmp_path / "straight", data, settings=settings)
    report = shinso.keeper.RunKeeper.report

    def interrupting(self: Any, progress: Any, entry: Any) -> None:
        report(self, progress, entry)
        if not self.interrupted:
            os.kill(os.getpid(), signal.SIGINT)

    def leave(*arguments: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shinso.keeper.RunKeeper, "report", interrupting)
    monkeypatch.setattr("shinso.training.finish", leave)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "left", data, settings=settings)
    monkeypatch.undo()
    resumed = shinso.train(data, resume=tmp_path / "left" / "run", quiet=True)
    weights = [(run.path / "weights.safetensors").read_bytes() for run in (straight, resumed)]
    assert weights[0] == weights[1] and not resumed.evaluation["training"]["stopped"]
    assert len(straight.metrics) == len(resumed.metrics)
