"""The doctor names each planted fault first, and is silent about healthy runs and data."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

import shinso
from shinso.cli import build_parser
from shinso.console import Console
from shinso.diagnosis.examine import patient_of_run
from shinso.run import RunDirectory
from small_runs import houses
from test_explaining import seen, texts

SMALL = {
    "train.threads": 1, "model.width": 32, "model.members": 4, "train.batch_size": 32, "train.epochs": 12,
    "train.precision": "fp32",
}  # fmt: skip
BLIND = "blind_model:Blind"
UNFINISHED = {"train.epochs": 3, "train.learning_rate": 2e-3, "train.warmup": 1.0}
Plant = Callable[[RunDirectory], None]


def trained(folder: Path, data: Any, predict: str, **options: Any) -> shinso.Run:
    settings = {**SMALL, **options.pop("settings", {})}
    return shinso.train(data, predict=predict, out=folder, quiet=True, settings=settings, **options)


def homes(rows: int = 600) -> dict[str, list[Any]]:
    data = houses(rows)
    return {"area": data["area"], "city": data["city"], "dear": data["dear"]}


def flipped(rows: int = 1500, share: float = 0.15) -> dict[str, list[Any]]:
    data, rng = homes(rows), np.random.default_rng(4)
    wrong = rng.random(rows) < share
    data["dear"] = [
        ("no" if d == "yes" else "yes") if w else d for d, w in zip(data["dear"], wrong, strict=True)
    ]
    return data


def doubled() -> dict[str, list[Any]]:
    data = homes(400)
    return {name: values + values for name, values in data.items()}


def in_time() -> dict[str, list[Any]]:
    rng = np.random.default_rng(5)
    days = np.datetime64("2024-01-01") + np.arange(500)
    level = np.cumsum(rng.normal(0, 1, 500))
    return {"day": [str(d) for d in days], "other": rng.normal(size=500).tolist(), "level": level.tolist()}


def leaking() -> dict[str, list[Any]]:
    data = homes()
    return {**data, "verdict": ["high" if d == "yes" else "low" for d in data["dear"]]}


def by_heart() -> dict[str, list[Any]]:
    rng = np.random.default_rng(6)
    noise = {f"n{i}": rng.normal(size=400).tolist() for i in range(30)}
    truth = np.array(noise["n0"]) + rng.normal(0, 1.5, 400) > 0
    return {**noise, "y": np.where(truth, "a", "b").tolist()}


def weights(change: Callable[[dict[str, Any]], None]) -> Plant:
    def plant(run: RunDirectory) -> None:
        state = load_file(run.path / "weights.safetensors")
        change(state)
        run.write_weights(state)

    return plant


def edited(name: str, change: Callable[[Any], None]) -> Plant:
    def plant(run: RunDirectory) -> None:
        document = json.loads((run.path / name).read_text("utf-8"))
        change(document)
        run.write_json(name, document)

    return plant


def untouched(run: RunDirectory) -> None:
    """The fault is in the data or the settings."""


def freeze(run: RunDirectory) -> None:
    state, start = load_file(run.path / "weights.safetensors"), run.build_network().state_dict()
    state["encoders.scalars.layers.0.weight_DW"] = start["encoders.scalars.layers.0.weight_DW"]
    run.write_weights(state)


def interrupt(document: Any) -> None:
    document["training"].update(stopped="a request to end", steps=30)


def kill(state: dict[str, Any]) -> None:
    state["encoders.scalars.layers.1.bias_K1W"] -= 1e4


def mute(state: dict[str, Any]) -> None:
    (name,) = (n for n in state if n.startswith("heads") and "bias" in n)
    state[name][:, 0] += 60.0  # one class for every row


def thin(state: dict[str, Any]) -> None:
    state["encoders.scalars.layers.1.weight_DW"] *= 1e-8


def shout(state: dict[str, Any]) -> None:
    for name in state:
        if name.startswith("heads") and "weight" in name:
            state[name] *= 1e6


def scale(document: Any) -> None:
    document["given"][0]["mean"] -= 30 * document["given"][0]["std"]


def weigh(document: Any) -> None:
    document["class_weights"] = {"dear": [1.0, 60.0]}


def beaten(document: Any) -> None:
    for row in document["outputs"]["dear"]["baselines"]:
        if row.get("gain"):
            row["gain"].update(value=-0.1, low=-0.15, high=-0.05)


def flip(run: RunDirectory) -> None:
    path = run.path / "config.toml"
    path.write_text(re.sub('augment = ".*"', 'augment = "flip"', path.read_text()))


def ramps(rows: int = 240) -> dict[str, list[Any]]:
    """Pictures that get brighter to the left or to the right: mirrored, they mean the other."""
    rng = np.random.default_rng(7)
    slopes = rng.choice([-1, 1], rows)
    line = np.linspace(-60, 60, 12)[None, :, None]
    images = [(100 + s * line + rng.normal(0, 20, (12, 12, 1))).clip(0, 255).astype(np.uint8) for s in slopes]
    return {"image": images, "side": np.where(slopes > 0, "right", "left").tolist()}


Case = tuple[str, Callable[[], Any], str, dict[str, Any], Plant]
FAULTS: tuple[Case, ...] = (
    ("learning rate", homes, "dear", {"settings": {"train.learning_rate": 1.5e-4}}, untouched),
    ("learning rate", homes, "dear", {"settings": {"train.learning_rate": 3.0}}, untouched),
    ("frozen layers", homes, "dear", {}, freeze),
    ("dead units", homes, "dear", {}, weights(kill)),
    ("uses its inputs", homes, "dear", {}, weights(mute)),
    ("gradients", homes, "dear", {}, weights(shout)),
    ("gradients", homes, "dear", {}, weights(thin)),
    ("input normalised", homes, "dear", {}, edited("schema.json", scale)),
    ("loss weighting", homes, "dear", {}, edited("data.json", weigh)),
    ("leakage", leaking, "dear", {}, untouched),
    ("duplicates", doubled, "dear", {}, untouched),
    ("time", in_time, "level", {"given": ["day", "other"]}, untouched),
    ("label noise", flipped, "dear", {"settings": {"train.epochs": 6}}, untouched),
    ("train/validation gap", by_heart, "y", {"settings": {"train.epochs": 40}}, untouched),
    ("trained to the end", homes, "dear", {"settings": UNFINISHED}, untouched),
    ("baseline", homes, "dear", {}, edited("evaluation.json", beaten)),
    ("trained to the end", homes, "dear", {}, edited("evaluation.json", interrupt)),
    ("one batch", seen, "shape", {"settings": {"model.name": BLIND}, "allow": (BLIND,)}, untouched),
    ("augmentation", ramps, "side", {"settings": {"train.augment": "none", "train.batch_size": 20}}, flip),
)  # fmt: skip


@pytest.fixture(scope="module")
def home_run(tmp_path_factory: pytest.TempPathFactory) -> shinso.Run:
    run = trained(tmp_path_factory.mktemp("home") / "run", homes(), "dear")
    assert not run.evaluation["training"]["stopped"]  # SIGTERM would end it early, without an error
    return run


@pytest.mark.parametrize(
    ("check", "data", "predict", "options", "plant"),
    FAULTS,
    ids=[f"{i}-{c[0]}" for i, c in enumerate(FAULTS)],
)
def test_a_planted_fault_is_named_first(
    check: str,
    data: Callable[[], Any],
    predict: str,
    options: dict[str, Any],
    plant: Plant,
    tmp_path: Path,
    home_run: shinso.Run,
) -> None:
    if data is homes and not options:  # what is planted in the run needs no training of its own
        shutil.copytree(home_run.path, tmp_path / "run")
        run = shinso.Run(tmp_path / "run")
    else:
        run = trained(tmp_path / "run", data(), predict, **options)
    directory = RunDirectory(run.path, allow=options.get("allow", ()))
    plant(directory)
    directory.seal()
    found = shinso.doctor(run, data(), quiet=True)
    assert not found["healthy"]
    assert found["findings"][0]["check"] == check, [
        (f["check"], f["level"], f["said"]) for f in found["findings"]
    ]
    for one in found["next"]:  # a command that is proposed is one that the program takes
        program, *words = shlex.split(one["command"])
        assert program == "shinso" and build_parser().parse_args(words).verb in ("train", "audit")


@pytest.mark.parametrize(
    ("data", "predict", "options"),
    [
        (homes, "dear", {}),
        (lambda: {k: v for k, v in houses(600).items() if k in ("area", "city", "price")}, "price", {}),
        (seen, "shape", {"settings": {"train.augment": "none", "train.batch_size": 20, "train.epochs": 14}}),
        (lambda: texts(400), "tone", {"types": {"text": "text"}, "settings": {"train.epochs": 6}}),
    ],
    ids=["classes", "numbers", "images", "texts"],
)
def test_it_is_silent_about_a_healthy_run(data: Any, predict: str, options: Any, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", data(), predict, **options)
    found = run.doctor(data())
    bad = [f for f in found["findings"] if f["level"] in ("severe", "warning")]
    assert found["healthy"], bad


def test_data_is_examined_before_any_training(tmp_path: Path) -> None:
    settings = {"train.threads": 1, "model.width": 32, "model.members": 4, "train.batch_size": 32}
    found = shinso.doctor(leaking(), predict="dear", settings=settings, quiet=True)
    assert found["findings"][0]["check"] == "leakage"
    assert "--given area,city" in found["next"][0]["command"]
    assert shinso.doctor(homes(), predict="dear", settings=settings, quiet=True)["healthy"]


def test_a_run_takes_no_questions(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", homes(120), "dear", settings={"train.epochs": 1})
    with pytest.raises(shinso.SettingError, match="examined as it is"):
        shinso.doctor(run, homes(120), predict="dear", quiet=True)
    with pytest.raises(shinso.RunError, match="data in memory"):
        shinso.doctor(run, quiet=True)


def test_the_named_column_is_looked_at_and_a_page_written(tmp_path: Path) -> None:
    data = homes(200) | {"価格<b>": houses(200)["price"]}
    names, settings = ["dear", "価格<b>"], {"train.epochs": 1}
    run = trained(tmp_path / "run", data, names, given=["area", "city"], settings=settings)  # type: ignore[arg-type]
    page = tmp_path / "doctor.html"
    found = shinso.doctor(run, data, column="価格<b>", report=page, quiet=True)
    assert (found["column"], found["others"]) == ("価格<b>", ["dear"])
    text = page.read_text("utf-8")
    assert "価格&lt;b&gt;" in text and "価格<b>" not in text
    for finding in found["findings"]:
        assert finding["check"] in text
    with pytest.raises(shinso.SettingError, match="'deer' is not predicted"):
        shinso.doctor(run, data, column="deer", quiet=True)


def test_values_that_nobody_scaled_are_named(tmp_path: Path) -> None:
    """Pixels that reach the first weights as they are, inside a model of one's own."""
    model = "unscaled_model:Unscaled"
    settings = {"train.augment": "none", "train.batch_size": 20, "train.epochs": 1}
    run = trained(tmp_path / "run", seen(), "shape", model=model, settings=settings)
    found = shinso.doctor(run, seen(), allow=[model], quiet=True)
    (one,) = (f for f in found["findings"] if f["check"] == "input normalised")
    assert one["level"] == "severe" and one["measured"] > 50 and "weight reads values of size" in one["said"]


def test_a_model_that_was_not_allowed_is_not_imported(tmp_path: Path) -> None:
    settings = {"train.augment": "none", "train.batch_size": 20, "train.epochs": 1}
    run = trained(tmp_path / "run", seen(), "shape", model="unscaled_model:Unscaled", settings=settings)
    with pytest.raises(shinso.RunError, match="allow it by name: --allow unscaled_model:Unscaled"):
        shinso.doctor(run.path, seen(), quiet=True)


def test_a_command_asks_again_what_was_asked(tmp_path: Path) -> None:
    """Columns, types and settings of the user stand in it, beside the one thing that it changes."""
    data = {**homes(200), "two words": houses(200)["price"], "floor": [1 + i % 3 for i in range(200)]}
    source = tmp_path / "my homes.csv"
    lines = [",".join(data), *(",".join(map(str, row)) for row in zip(*data.values(), strict=True))]
    source.write_text("\n".join(lines) + "\n", "utf-8")
    options = {"given": ["two words", "floor"], "types": {"floor": "category"}}
    run = trained(tmp_path / "run", source, "dear", settings={"train.epochs": 1}, **options)
    patient = patient_of_run(RunDirectory(run.path), None, Console(quiet=True))
    words = shlex.split(patient.command({"train.epochs": 20, "model.dropout": 1 / 3}, "--effort", "best"))
    asked = vars(build_parser().parse_args(words[1:]))
    assert asked["data"] == str(source) and asked["effort"] == "best"
    assert asked["given"] == "two words,floor" and asked["types"] == ["floor=category"]
    assert {"train.epochs=20", "model.dropout=0.333", "model.width=32"} < set(asked["settings"])
    plain = trained(tmp_path / "plain", homes(120), "dear", settings={"train.epochs": 1})
    whole = patient_of_run(RunDirectory(plain.path), homes(120), Console(quiet=True)).command({})
    assert "--given" not in whole and "--types" not in whole


def test_a_forecast_is_asked_for_again_as_a_forecast(tmp_path: Path) -> None:
    data = {"load": np.sin(np.arange(300) / 5).tolist()}
    settings = {**SMALL, "train.epochs": 1}
    run = shinso.train(
        data, predict="load", past=12, ahead=3, out=tmp_path / "run", quiet=True, settings=settings
    )
    command = patient_of_run(RunDirectory(run.path), data, Console(quiet=True)).command({})
    assert command.startswith("shinso train DATA --predict load --past 12 --ahead 3 --set ")


def test_a_network_that_gives_no_numbers_is_examined() -> None:
    """No check breaks where every loss is NaN; what is said names it."""
    settings = {"train.threads": 1, "model.name": "nan_model:Broken"}
    found = shinso.doctor(
        seen(60), predict="shape", settings=settings, allow=["nan_model:Broken"], quiet=True
    )
    levels = {f["check"]: f["level"] for f in found["findings"]}
    assert levels["gradients"] == "severe" and levels["one batch"] == "severe"
    assert levels["learning rate"] == "note"
