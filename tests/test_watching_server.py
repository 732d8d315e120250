"""The server with what is plugged in: rows in the log, labels by the ids it gave, splits, promotions."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import shinso
from shinso.cli import main
from shinso.watching.store import Store
from small_runs import FAST, houses

pytest.importorskip("uvicorn", reason="the server needs: pip install 'shinso[serve]'")
HERE = Path(__file__).parent
ROW = {"area": 50.0, "city": "Nara"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("versions")
    data = {name: values for name, values in houses(300).items() if name in ("area", "city", "dear")}
    for seed, name in enumerate(("one", "two")):
        shinso.train(data, predict="dear", out=folder / name, seed=seed, settings=FAST, quiet=True)
    return folder


class Running:
    """A server in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "shinso", "serve", *arguments, "--port", "0", "--drain", "0"]
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent / "src")}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        assert self.process.stderr is not None
        self.said = []
        for line in self.process.stderr:
            self.said.append(line)
            if (found := re.search(r'"port": ?(\d+)', line)) and "ready" in line:
                self.url = f"http://127.0.0.1:{found[1]}"
                return
        raise AssertionError("".join(self.said))

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stderr is not None
        self.said += self.process.stderr.readlines()
        self.process.stderr.close()
        assert self.process.wait(30) == 0, "".join(self.said)


@pytest.fixture
def running() -> Iterator[list[Running]]:
    started: list[Running] = []
    yield started
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


def test_rows_are_kept_labelled_and_watched(runs: Path, tmp_path: Path, running: list[Running]) -> None:
    log = tmp_path / "log.db"
    running.append(Running(str(runs / "one"), str(runs / "two"), "--log", str(log), "--shadow",
                           "--log-private", "city=drop"))  # fmt: skip
    ids = set[str]()
    for i in range(30):
        ids.add(ask(running[0], f"user{i}")["id"])
    assert tell(running[0], [min(ids), "nobody"]) == {"labels": 1, "unknown": 1}
    running[0].stop()
    store = Store(log)
    assert set(store.labels()) == {min(ids)}
    entries = list(store.entries(0, 1e12))
    store.close()
    routes = Counter((e.model, e.route) for e in entries)
    assert routes["one", "answer"] == 30 and routes["two", "shadow"] > 0
    assert all("city" not in e.inputs and e.inputs["area"] >= 20 for e in entries)
    assert all(e.answers["dear"]["answer"] in ("yes", "no") for e in entries if e.route == "answer")
    assert ids == {e.id for e in entries if e.route == "answer"}
    labels = tmp_path / "labels.csv"
    labels.write_text("id,dear\n" + "".join(f"{id},no\n" for id in ids))
    assert main(["label", str(log), str(labels)]) == 0
    found = shinso.monitor(runs / "one", log=log, quiet=True)
    assert found["rows"] == len(entries) and found["quality"]["dear"]["rows"] == 30
    assert found["experiments"][0]["how"].startswith("shadow")


def test_a_split_keeps_each_key_with_one_version(runs: Path, tmp_path: Path, running: list[Running]) -> None:
    log = tmp_path / "log.db"
    running.append(Running(str(runs / "one"), str(runs / "two"), "--log", str(log), "--split", "50:50"))
    for i in range(20):
        ask(running[0], f"user{i % 5}")
    running[0].stop()
    store = Store(log)
    by_key: dict[Any, set[str]] = {}
    for entry in store.entries(0, 1e12):
        by_key.setdefault(entry.routed, set()).add(entry.model)
    store.close()
    assert len(by_key) == 5 and all(len(models) == 1 for models in by_key.values())
    assert set.union(*by_key.values()) == {"one", "two"}


def test_a_server_follows_promotions_without_a_restart(runs: Path, running: list[Running]) -> None:
    assert main(["promote", str(runs / "one")]) == 0
    running.append(Running(str(runs)))
    assert ask(running[0], "a")["model"] == "one"
    assert main(["promote", str(runs / "two"), "--note", "better"]) == 0
    assert within(20, lambda: ask(running[0], "a")["model"] == "two")
    assert main(["rollback", str(runs)]) == 0
    assert within(20, lambda: ask(running[0], "a")["model"] == "one")
    running[0].stop()


def ask(running: Running, key: str) -> dict[str, Any]:
    """The whole answer to one row, with a key."""
    headers = {"content-type": "application/json", "x-shinso-key": key}
    request = urllib.request.Request(f"{running.url}/predict", json.dumps(ROW).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def tell(running: Running, ids: list[str]) -> dict[str, Any]:
    """Labels over the network."""
    body = json.dumps({"rows": [{"id": id, "dear": "yes"} for id in ids]}).encode()
    asked = urllib.request.Request(f"{running.url}/labels", body, {"content-type": "application/json"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def within(seconds: float, holds: Any) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.1)
    return False
