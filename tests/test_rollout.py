"""Roll-out: who answers, sticky splits, shadows, intervals that hold under peeking, promote and rollback."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shinso.cli import main
from shinso.columns.category import Category
from shinso.columns.number import Number
from shinso.errors import RunError, SettingError
from shinso.files import write_json
from shinso.schema import Schema
from shinso.serving.observers import Router
from shinso.watching import sequences
from shinso.watching.deployment import promote, read_deployment, rollback
from shinso.watching.experiments import experiments
from shinso.watching.log import RequestLog
from shinso.watching.routing import DeploymentRouter, SplitRouter, split_router
from shinso.watching.store import Entry, Label, Store

AREA = Number(name="area").fit(np.arange(20.0, 60.0))
BUYS = Category(name="buys").fit(np.array(["no", "yes"] * 20, object))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        version(tmp_path / name, Schema((AREA,), (BUYS,)))
    return tmp_path


def version(path: Path, schema: Schema) -> Path:
    path.mkdir()
    write_json(path / "schema.json", schema.to_dict())
    write_json(path / "manifest.json", {"format": 1, "files": {}})
    return path


def test_promote_and_rollback_and_their_history(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b", "c"):
        assert main(["promote", str(folder / name), "--note", f"for {name}"]) == 0
    assert promote(folder / "b", share=10)["candidate"] == {"version": "b", "share": 0.1, "shadow": False}
    assert main(["rollback", str(folder)]) == 0
    state = read_deployment(folder)
    assert state is not None and state.candidate is None and state.live == "c", "first the trial is withdrawn"
    assert rollback(folder)["live"] == "b"
    assert rollback(folder)["live"] == "a"
    with pytest.raises(RunError, match="first version"):
        rollback(folder)
    state = read_deployment(folder)
    assert state is not None and state.generation == 7
    assert [h["verb"] for h in state.history] == ["promote"] * 4 + ["withdraw", "rollback", "rollback"]
    assert state.history[1]["note"] == "for b"
    assert "c is live" in capsys.readouterr().out


def test_what_cannot_answer_is_not_promoted(folder: Path) -> None:
    promote(folder / "a")
    before = (folder / "deployment.json").read_bytes()
    with pytest.raises(RunError, match="Did you mean"):
        promote(folder / "aa")
    (folder / "b" / "manifest.json").unlink()
    with pytest.raises(RunError, match="no complete run or export"):
        promote(folder / "b")
    other = Schema((AREA, Number(name="rooms").fit(np.arange(5.0))), (BUYS,))
    with pytest.raises(RunError, match="reads other columns than a"):
        promote(version(folder / "d", other))
    with pytest.raises(SettingError, match="stand beside itself"):
        promote(folder / "a", shadow=True)
    for share in (0.0, 100.0, -3.0):
        with pytest.raises(SettingError, match="0 to 100"):
            promote(folder / "c", share=share)
    assert (folder / "deployment.json").read_bytes() == before
    assert promote(folder / "d", force=True)["live"] == "d"


@pytest.mark.parametrize(
    "change",
    [{"live": "../../etc"}, {"live": ""}, {"format": 9}, {"generation": "x"},
     {"candidate": {"version": "a/b"}},
     {"candidate": {"nonsense": 1}}, {"history": None}],
)  # fmt: skip
def test_a_damaged_or_hostile_file_is_refused(folder: Path, change: dict[str, Any]) -> None:
    promote(folder / "a")
    found = json.loads((folder / "deployment.json").read_text())
    write_json(folder / "deployment.json", found | change)
    with pytest.raises(RunError):
        read_deployment(folder)


def test_many_promote_at_once_and_none_is_lost(folder: Path) -> None:
    threads = [threading.Thread(target=promote, args=(folder / "abc"[i % 3],)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = read_deployment(folder)
    assert state is not None and state.generation == len(state.history) == 12


def test_a_split_is_sticky_by_key_and_keeps_its_shares() -> None:
    router: Router = split_router(["a", "b"], "90:10", shadow=False)
    chosen = {f"u{i}": router.choose(None, None, {"x-shinso-key": f"u{i}"}).name for i in range(5000)}
    assert 0.085 < Counter(chosen.values())["b"] / 5000 < 0.115
    again = split_router(["a", "b"], "90:10", shadow=False)
    assert all(again.choose(None, None, {"x-shinso-key": key}).name == name for key, name in chosen.items())
    wider = split_router(["a", "b"], "70:30", shadow=False)
    kept = [key for key, name in chosen.items() if name == "b"]
    assert all(wider.choose(None, None, {"x-shinso-key": key}).name == "b" for key in kept)
    assert router.choose("b", "3", {"x-shinso-key": "u"}).version == "3", "what is asked for by name is given"
    keyless = Counter(router.choose(None, None, {}).name for _ in range(2000))
    assert 0.06 < keyless["b"] / 2000 < 0.14


def test_shadows_answer_along(folder: Path) -> None:
    route = split_router(["a", "b", "c"], None, shadow=True).choose(None, None, {})
    assert route.name == "a" and route.shadows == (("b", None), ("c", None))


@pytest.mark.parametrize("split", ["90", "90:10:5", "x:y", "-1:2", "0:0", "nan:1"])
def test_a_split_that_makes_no_sense_is_refused(split: str) -> None:
    with pytest.raises(SettingError, match="as in 90:10"):
        split_router(["a", "b"], split, shadow=False)


def test_a_server_follows_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shinso.watching.routing.LOOK", 0.0)
    loaded = {"a", "b"}
    router = DeploymentRouter(folder, "a", loaded)
    assert router.choose(None, None, {}).name == "a"
    promote(folder / "b")
    assert router.choose(None, None, {}).name == "b"
    promote(folder / "c")
    assert router.choose(None, None, {}).name == "b" and "not loaded: c" in router.problem
    assert router.missing(loaded) == [("c", folder / "c")]
    loaded.add("c")
    assert router.choose(None, None, {}).name == "c" and not router.problem
    promote(folder / "a", shadow=True)
    assert router.choose(None, None, {}).shadows == (("a", None),)
    promote(folder / "a", share=50)
    assert {router.choose(None, None, {}).name for _ in range(50)} == {"a", "c"}
    (folder / "deployment.json").write_text("{")
    assert router.choose(None, None, {}).name in ("a", "c") and "damaged" in router.problem
    rollback_to = SplitRouter(["x"], [1.0])
    assert rollback_to.choose(None, None, {}).name == "x"


def ever_excluded(found: sequences.Sequence, truth: float) -> bool:
    return bool(((found.low_n > truth) | (found.high_n < truth)).any())


@pytest.mark.parametrize("mean", [0.5, 0.9, 0.99])
def test_an_interval_holds_under_continuous_peeking(mean: float) -> None:
    rng = np.random.default_rng(0)
    wrong = [ever_excluded(sequences.of_mean((rng.random(2000) < mean) * 1.0), mean) for _ in range(400)]
    assert np.mean(wrong) <= 0.05


def test_a_difference_is_found_and_no_difference_is_not() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.random(4000) < 0.80) * 1.0, (rng.random(4000) < 0.88) * 1.0
    assert sequences.of_difference(a, b)["verdict"] == "better"
    assert sequences.of_difference(b, a)["verdict"] == "worse"
    assert sequences.of_difference(a, a)["verdict"] == "open"
    pairs = (rng.random(1500) < 0.06) * 1.0 - (rng.random(1500) < 0.02)
    paired = sequences.of_pairs(np.clip(pairs, -1, 1))
    assert paired["low"] <= paired["value"] <= paired["high"]
    none = sequences.of_difference(np.zeros(0), b)
    assert none["value"] is None and none["verdict"] == "open"


def fill(place: Path, shadow: bool) -> Store:
    """A log in which version b is right more often than a."""
    log = RequestLog(place, Schema((AREA,), (BUYS,)))
    log.close()
    store, rng = Store(place), np.random.default_rng(2)
    entries, labels = [], []
    for i in range(3000):
        right = {"a": rng.random() < 0.7, "b": rng.random() < 0.9}
        arms = ["a", "b"] if shadow else ["a" if i % 2 else "b"]
        for arm in arms:
            route = "shadow" if shadow and arm == "b" else "answer"
            answer = {"buys": {"answer": "yes" if right[arm] else "no"}}
            entries.append(Entry(f"r{i}", float(i), arm, "1", route, 200, 0.0, {}, answer))
        labels.append(Label(f"r{i}", float(i), {"buys": "yes"}))
    store.add(entries, labels)
    return store


@pytest.mark.parametrize("shadow", [False, True])
def test_versions_are_compared_from_the_log(tmp_path: Path, *, shadow: bool) -> None:
    store = fill(tmp_path / "log.db", shadow)
    (found,) = experiments(
        Schema((AREA,), (BUYS,)), store, 0.0, lambda e: e.model == "a", {"answers": {"buys": {}}}
    )
    store.close()
    assert found["verdict"] == "better" and found["low"] < 0.2 < found["high"]
    assert found["rows"] == ([3000, 3000] if shadow else [1500, 1500])
    assert found["how"].startswith("shadow" if shadow else "split")
