"""Days that differ by themselves: the monitor learns it from the times of training rows and stays quiet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shinso
from shinso.console import Console
from shinso.watching import days
from shinso.watching.drift import Found, allowed, of_numbers
from shinso.watching.log import RequestLog
from shinso.watching.monitor import Asked, monitor
from shinso.watching.store import DAY, Entry, Store
from small_runs import FAST

DAYS, ROWS, START = 80, 30, 20_000  # of training; live days follow them


def stream(first: int, count: int, rng: np.random.Generator) -> dict[str, list[Any]]:
    """Prices with a level of their own each day, sizes without one."""
    found: dict[str, list[Any]] = {"when": [], "price": [], "size": [], "dear": []}
    for day in range(first, first + count):
        level = rng.normal(0, 1)
        for row in range(ROWS):
            price = level + 0.3 * rng.normal()
            found["when"].append(np.datetime64(day, "D") + np.timedelta64(20 * row, "m"))
            found["price"].append(price)
            found["size"].append(rng.normal())
            found["dear"].append("yes" if price > 0 else "no")
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> shinso.Run:
    out = tmp_path_factory.mktemp("days") / "run"
    data = stream(START, DAYS, np.random.default_rng(0))
    settings = FAST | {"data.time": "when"}
    return shinso.train(data, predict="dear", given="price,size", settings=settings, out=out, quiet=True)


def watch(run: shinso.Run, place: Path, first: int, live: dict[str, list[Any]]) -> dict[str, Any]:
    RequestLog(place, run.schema).close()
    store = Store(place)
    entries = []
    for i, when in enumerate(live["when"]):
        inputs = {name: live[name][i] for name in ("price", "size")}
        time = float(when.astype("datetime64[s]").astype(np.int64))
        entries.append(Entry(str(i), time, "run", "1", "answer", 200, 0.005, inputs, {}))
    store.add(entries)
    store.close()
    now = (first + 40) * DAY
    return monitor(run.path, Asked(str(place)), Console(quiet=True), out=None, prometheus=None, now=now)


def test_a_run_with_a_time_knows_how_alike_rows_of_a_day_are(run: shinso.Run) -> None:
    kept = json.loads((run.path / "reference.json").read_text())["columns"]
    assert kept["price"]["days"]["values"] > 0.3 and kept["price"]["days"]["days"] == 64
    assert kept["size"]["days"] == {"days": 64, "values": 0.0, "missing": 0.0}
    assert abs(kept["price"]["days"]["centre"]) < 1


def test_days_that_differ_by_themselves_stay_quiet_and_what_moves_does_not(
    run: shinso.Run, tmp_path: Path
) -> None:
    first = START + DAYS
    quiet = stream(first, 20, np.random.default_rng(1))
    assert not watch(run, tmp_path / "quiet.db", first, quiet)["alarms"]
    known = np.array(
        json.loads((run.path / "reference.json").read_text())["columns"]["price"]["values"], float
    )
    blocks = np.array(quiet["price"]).reshape(20, ROWS)
    assert sum(of_numbers(block, known).p < 1e-6 for block in blocks) > 10, (
        "taken row by row most days differ"
    )
    moved = stream(first, 3, np.random.default_rng(2))
    moved["size"][ROWS:] = [value + 2 for value in moved["size"][ROWS:]]
    found = watch(run, tmp_path / "moved.db", first, moved)
    assert {(a["column"], a["check"]) for a in found["alarms"]} == {("size", "values")}
    assert len(found["alarms"]) == 2, "the second and the third day"
    far = stream(first, 1, np.random.default_rng(3))
    far["price"] = [value + 40 for value in far["price"]]
    assert watch(run, tmp_path / "far.db", first, far)["alarms"], "beyond all that training days were"


def test_rows_are_called_alike_only_where_they_are() -> None:
    rng = np.random.default_rng(4)
    wrong = [days.within(rng.random(100).tolist(), np.full(100, 30)) > 0 for _ in range(300)]
    assert np.mean(wrong) < 0.03
    assert days.within((rng.random(100) ** 12).tolist(), np.full(100, 30)) > 0.2
    assert days.within([1e-9] * 5, np.full(5, 30)) == 0.0, "five days say nothing"


def test_evidence_is_divided_by_the_design_effect() -> None:
    found = Found(1e-8, 0.5)
    assert allowed(found, 31, 0.1, 100).p == pytest.approx(1e-2)
    assert allowed(found, 31, 0.0, 100) is found
    assert allowed(Found(0.0, 1.0), 30, 1.0, 63).p == pytest.approx(1 / 64), "ranks end at the last day"


def test_days_are_read_from_dates_of_every_kind() -> None:
    times = np.array([np.datetime64("1970-01-03T23:59"), np.datetime64("NaT"), np.datetime64("1970-01-01")])
    day_n, places = days.calendar_days(times)
    assert day_n.tolist() == [2, 0] and places.tolist() == [0, 2]
    day_n, places = days.calendar_days(np.array(["1970-01-02 10:00", None, "no date"], object))
    assert day_n.tolist() == [1] and places.tolist() == [0]
    assert len(days.calendar_days(np.arange(3.0))[0]) == 0, "plain numbers are no dates"
    rows, _ = days.days_of(times, np.arange(3))
    assert len(rows) == 0, "too few rows a day"
