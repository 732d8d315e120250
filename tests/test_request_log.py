"""The request log: what is acknowledged is on the disk, what is private is not, and it stays bounded."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shinso.columns.category import Category
from shinso.columns.image import Image
from shinso.columns.number import Number
from shinso.columns.text import Text
from shinso.console import Console
from shinso.errors import DataError, MissingExtraError, RunError, SettingError
from shinso.schema import Schema
from shinso.serving.observers import Observer, Seen, Watchers
from shinso.watching.condensing import UNREADABLE, Privacy, condensed, privacy
from shinso.watching.labelling import label
from shinso.watching.log import LogOptions, RequestLog, row_ids, sampled
from shinso.watching.portraits import PORTRAITS
from shinso.watching.sampling import MOST, share_of
from shinso.watching.store import DAY, Entry, Label, Limits, Store

HERE = Path(__file__).parent
AGE = Number(name="age").fit(np.arange(20.0, 60.0))
TOWN = Category(name="town").fit(np.array(["Kyoto", "Nara"] * 20, object))
NOTE = Text(name="note").fit(np.array(["a house in the north", "a flat by the sea"] * 20, object))
BUYS = Category(name="buys").fit(np.array(["no", "yes"] * 20, object))
NOW = time.time()
SCHEMA = Schema((AGE, TOWN, NOTE), (BUYS,))


def entry(id: str, at: float = NOW, **changes: Any) -> Entry:
    values = {"model": "m", "version": "1", "route": "answer", "status": 200, "seconds": 0.01,
              "inputs": {"age": 30.0}, "answers": {"buys": {"answer": "no"}}}  # fmt: skip
    return Entry(id, at, **(values | changes))


def seen(id: str = "r", rows: dict[str, list[Any]] | None = None, **changes: Any) -> Seen:
    rows = {"age": [31], "town": ["Nara"], "note": ["by the sea"]} if rows is None else rows
    answers = {"buys": ["yes"], "buys: no": [0.2], "buys: yes": [0.8]}
    values = {"model": "m", "version": "1", "rows": rows, "answers": answers, "seconds": 0.01, "status": 200,
              "route": "answer", "key": None}  # fmt: skip
    return Seen(request_id=id, **(values | changes))


def stored(place: Path) -> list[Entry]:
    store = Store(place)
    try:
        return list(store.entries(0, 1e12))
    finally:
        store.close()


def test_an_observer_keeps_rows_that_the_server_tells_of(tmp_path: Path) -> None:
    log: Observer = RequestLog(tmp_path / "log.db", SCHEMA)
    watchers = Watchers([log])
    watchers.seen(seen("a", key="anna"))
    watchers.seen(seen("b", {"age": ["40", None, "x"], "town": ["Nara", "Oslo", ""], "note": ["", "n", None]},
                       answers={"buys": ["no", "no", "yes"]}))  # fmt: skip
    watchers.seen(seen("c", {}, answers={}, status=400))
    watchers.close()
    found = {e.id: e for e in stored(tmp_path / "log.db")}
    assert set(found) == {"a", "b/0", "b/1", "b/2", "c"}
    assert found["a"].inputs["age"] == 31.0 and found["a"].inputs["town"] == "Nara"
    assert found["a"].answers == {"buys": {"answer": "yes", "sure": 0.8}}
    assert found["a"].routed and "anna" not in found["a"].routed
    assert [found[f"b/{i}"].inputs["age"] for i in range(3)] == [40.0, None, UNREADABLE]
    assert found["b/1"].inputs["town"] == "Oslo" and found["b/2"].inputs["town"] is None
    assert len(found["a"].inputs["note"]["portrait"]) == 39 and "sea" not in str(found["a"].inputs["note"])
    assert found["c"].status == 400 and not found["c"].inputs


def test_wait_is_true_only_for_what_another_connection_can_read(tmp_path: Path) -> None:
    log = RequestLog(tmp_path / "log.db", SCHEMA)
    ticket = log.append([entry(f"r{i}", NOW + i) for i in range(5000)])
    assert log.wait(ticket)
    assert len(stored(tmp_path / "log.db")) == 5000
    assert log.facts() == {"written": 5000, "dropped": 0, "lost": 0, "waiting": 0}
    log.close()
    assert not log.wait(log.append([entry("late")])), "a closed log acknowledges nothing"


def test_a_disk_that_fails_loses_rows_aloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = RequestLog(tmp_path / "log.db", SCHEMA)
    good = log.append([entry("good")])
    assert log.wait(good)

    def full(self: Store, entries: Any, labels: Any = ()) -> None:
        raise RunError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "add", full)
        bad = log.append([entry("bad")])
        assert not log.wait(bad)
    again = log.append([entry("again")])
    assert log.wait(again) and log.wait(good) and not log.wait(bad)
    assert log.facts()["lost"] == 1
    log.close()
    assert [e.id for e in stored(tmp_path / "log.db")] == ["good", "again"]


def test_rows_beyond_the_memory_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shinso.watching.log.MOST_WAITING", 3)
    log = RequestLog(tmp_path / "log.db", SCHEMA)
    assert not log.wait(log.append([entry(str(i)) for i in range(4)]))
    assert log.facts()["dropped"] == 4
    log.close()


def test_kill_9_loses_no_acknowledged_row(tmp_path: Path) -> None:
    place = tmp_path / "log.db"
    acknowledged: set[str] = set()
    for life in range(8):
        acknowledged |= killed_writer(place, life)
        found = {e.id for e in stored(place)}
        assert acknowledged <= found, f"life {life}: {len(acknowledged - found)} acknowledged rows are gone"
    assert len(acknowledged) > 100
    store = Store(place)
    assert store.check() == "ok"
    by_day: dict[int, list[str]] = {}
    for one in stored(place):
        by_day.setdefault(int(one.time // DAY), []).append(one.id)
    wanted = {id for ids in by_day.values() for id in sorted(ids, key=rank)[:MOST]}
    assert {vector.id for vector in store.vectors(0, 1e12)} == wanted, "vectors stay with their rows"
    store.close()


def rank(id: str) -> float:
    return share_of(id, "vectors")


def killed_writer(place: Path, life: int) -> set[str]:
    """Ids that a process said were on the disk before it was killed in the middle of its work."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "log_writer.py"), str(place), str(life)],
        stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parent / "src")},
    )  # fmt: skip
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if len(said) >= 3 + 5 * life:
            process.send_signal(signal.SIGKILL)
            break
    said += process.stdout.readlines()
    process.stdout.close()
    process.wait(30)
    return {id for line in said if line.endswith("\n") for id in line.split()}


def test_several_processes_and_threads_write_one_log(tmp_path: Path) -> None:
    logs = [RequestLog(tmp_path / "log.db", SCHEMA) for _ in range(2)]

    def write(log: RequestLog, name: str) -> None:
        for i in range(50):
            assert log.wait(log.append([entry(f"{name}{i}")]))

    threads = [threading.Thread(target=write, args=(log, name)) for log, name in zip(logs, "ab", strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for log in logs:
        log.close()
    assert len(stored(tmp_path / "log.db")) == 100


def test_private_columns_are_hashed_with_a_key_or_left_out(tmp_path: Path) -> None:
    place = tmp_path / "log.db"
    log = RequestLog(place, SCHEMA, LogOptions(private="town=hash, note=drop"))
    assert log.wait(log.append(log.entries(seen(), NOW)))
    log.close()
    (kept,) = stored(place)
    assert set(kept.inputs) == {"age", "town"} and set(kept.inputs["town"]) == {"hash"}
    for name in ("log.db", "log.db-wal"):
        if (tmp_path / name).exists():
            assert b'"Nara"}' not in (tmp_path / name).read_bytes()
    key = tmp_path / "log.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and stat.S_IMODE(place.stat().st_mode) == 0o600
    again = privacy("town=hash", ["town"], key)
    assert again.hash("Nara") == kept.inputs["town"]["hash"] == again.hash(" Nara ")
    assert Privacy(key=b"x" * 32).hash("Nara") != again.hash("Nara")


@pytest.mark.parametrize(
    ("text", "said"),
    [("town", "name=hash or name=drop"), ("twn=drop", "Did you mean 'town'"), ("town=keep", "name=hash")],
)
def test_privacy_says_what_it_does_not_understand(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=said):
        privacy(text, ["town"], tmp_path / "key")


def test_sampling_keeps_its_share_and_always_the_same_requests() -> None:
    kept = [f"r{i}" for i in range(4000) if sampled(f"r{i}", 0.25)]
    assert 850 < len(kept) < 1150
    assert all(sampled(id, 0.5) for id in kept), "a larger share keeps what a smaller one kept"


def test_the_log_stays_within_its_limits(tmp_path: Path) -> None:
    store = Store(tmp_path / "log.db", create=True)
    store.add([entry(f"r{i}", float(i), inputs={"x": "y" * 500}) for i in range(3000)],
              [Label("r1", 0.0, {"buys": "no"}), Label("r2999", 0.0, {"buys": "no"})])  # fmt: skip
    assert store.prune(Limits(rows=2000, size=1 << 40, days=1e6), 3000.0) == 1000
    assert store.count() == 2000 and set(store.labels()) == {"r2999"}
    before = store.size()
    assert store.prune(Limits(rows=10**9, size=before // 2, days=1e6), 3000.0) > 900
    assert store.size() < before * 0.6
    assert [e.id for e in store.entries(0, 1e9)][-1] == "r2999", "the oldest go first"
    assert store.prune(Limits(days=1.0), 2990.0 + DAY) > 0
    assert min(e.time for e in store.entries(0, 1e9)) >= 2990.0
    store.close()


def test_labels_come_later_by_id(tmp_path: Path) -> None:
    log = RequestLog(tmp_path / "log.db", SCHEMA)
    log.append([entry("a"), entry("b")])
    assert log.wait(log.label({"a": {"buys": "yes"}}))
    with pytest.raises(DataError, match="by predicted column"):
        log.label({"a": {"age": 3}})
    log.close()
    told = label(
        tmp_path / "log.db",
        {"id": ["a", "b", "zz"], "buys": ["no", "yes", "no"]},
        id="id",
        console=Console(quiet=True),
    )
    assert told == {"log": str(tmp_path / "log.db"), "labels": 2, "unknown": 1}
    store = Store(tmp_path / "log.db")
    assert store.labels() == {"a": {"buys": "no"}, "b": {"buys": "yes"}}, "the later label counts"
    assert [(e.id, t["buys"]) for e, t in store.labelled(0)] == [("a", "yes"), ("a", "no"), ("b", "yes")]
    store.close()
    with pytest.raises(DataError, match="need a column 'id'"):
        label(tmp_path / "log.db", {"key": ["a"], "buys": ["no"]}, id="id", console=Console(quiet=True))


def test_a_file_that_is_no_log_and_a_log_of_the_future_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database at all, " * 100)
    with pytest.raises(RunError, match="cannot be used"):
        Store(tmp_path / "text.db")
    with pytest.raises(RunError, match="no request log"):
        Store(tmp_path / "none.db")
    Store(tmp_path / "log.db", create=True).close()
    with sqlite3.connect(tmp_path / "log.db") as raw:
        raw.execute("UPDATE meta SET value = '99' WHERE name = 'format'")
    raw.close()
    with pytest.raises(RunError, match="format 99"):
        Store(tmp_path / "log.db")


def test_strange_strings_are_stored_as_they_are(tmp_path: Path) -> None:
    bad = "x'); DROP TABLE requests; --\n\x1b[31m\x00\ud800 深層"
    store = Store(tmp_path / "log.db", create=True)
    store.add([entry(bad.replace("\x00", "").replace("\ud800", ""), inputs={"town": bad})])
    (kept,) = store.entries(0, 1e12)
    assert kept.inputs["town"] == bad and store.count() == 1
    store.close()


def test_portraits_are_small_and_move_with_the_picture() -> None:
    assert set(PORTRAITS) == {"image", "text", "audio", "series", "boxes", "mask"}
    rng = np.random.default_rng(0)
    column = Image(name="photo", height=16, width=16).fit(Image.examples(rng, 20))
    value = rng.integers(0, 200, (20, 18, 3)).astype(np.uint8)
    light, dark = (condensed(column, (value * f).astype(np.uint8))["portrait"] for f in (1.0, 0.8))
    assert len(light) == 22 and dark[0] == pytest.approx(0.8 * light[0], rel=0.02)
    assert condensed(column, b"no picture") == UNREADABLE
    assert row_ids("a", 2) == ["a/0", "a/1"]


def test_the_log_needs_no_torch_and_no_scipy() -> None:
    heavy = "('torch', 'scipy', 'pyarrow')"
    code = f"import sys, shinso.watching.log; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_postgresql_takes_the_same_sql(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'shinso[postgresql]'")
    url = os.environ.get("SHINSO_POSTGRESQL")
    if url is None:
        pytest.skip("name an empty PostgreSQL database in SHINSO_POSTGRESQL")
    store = Store(url, create=True)
    base = time.time()
    name = f"t{time.time_ns()}"
    store.add([entry(f"{name}{i}", base + i, inputs={"town": "a\x00b %s ?"}) for i in range(10)],
              [Label(f"{name}3", base, {"buys": "no"})])  # fmt: skip
    store.add([entry(f"{name}3", base)])
    found = list(store.entries(base, base + 10))
    assert [e.id for e in found] == [f"{name}{i}" for i in range(10)]
    assert found[0].inputs == {"town": "a\x00b %s ?"}
    assert store.labels(base) == {f"{name}3": {"buys": "no"}}
    assert sum(store.days(base, base + 10).values()) == 10
    assert store.known([f"{name}1", "nobody"]) == {f"{name}1"}
    store.describe({"a": 1})
    assert store.facts()["a"] == 1
    assert store.prune(Limits(rows=0), base) >= 10
    store.close()


def test_without_psycopg_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'shinso\[postgresql\]'"):
        Store("postgresql://nowhere/none", create=True)
