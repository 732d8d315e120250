"""Encoded columns: the same in memory and on disk; cache entries are whole or not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shinso.columns.base import Array, Column, Value, Values, object_array
from shinso.columns.category import Category
from shinso.columns.number import Number
from shinso.data import cache, store
from shinso.data.cache import encode_table
from shinso.data.encoding import DenseFile, RaggedFile, npy_header, open_encoded
from shinso.data.entries import META, Entries, make_key
from shinso.data.store import Dense, Ragged, Resident, Store
from shinso.data.table import Table
from shinso.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Letters(Column):
    """Text as its code points: ragged, and refusing what begins with '!'."""

    kind: ClassVar[str] = "letters"
    ragged: ClassVar[bool] = True
    shift: int = 0

    @classmethod
    def matches(cls, values: Values) -> float:
        return 0.0

    @classmethod
    def examples(cls, rng: np.random.Generator, n: int) -> Values:
        return object_array(["x"] * n)

    def encode(self, value: Value) -> Array:
        if str(value).startswith("!"):
            raise DataError(f"{value!r} begins with '!'.")
        return np.array([ord(c) + self.shift for c in str(value)], np.int32)


def assert_same(first: Store, second: Store) -> None:
    np.testing.assert_array_equal(first.usable, second.usable)
    assert first.bad == second.bad
    for name in first.columns:
        one, two = first[name].take(slice(None)), second[name].take(slice(None))
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(first[name].lengths(slice(None)), second[name].lengths(slice(None)))


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "ROWS_TO_KEEP", 0)
    monkeypatch.setattr(cache, "FILES_TO_KEEP", 0)
    monkeypatch.setattr(cache, "CHUNK", 7)


def mixed(n: int = 50) -> tuple[Table, list[Column]]:
    rng = np.random.default_rng(0)
    words = ["!bad" if i % 9 == 4 else "x" * int(rng.integers(0, 5)) for i in range(n)]
    table = Table.read({"n": rng.normal(size=n), "c": [f"k{i % 3}" for i in range(n)], "w": words})
    columns: list[Column] = [
        Number(name="n").fit(table.values("n")), Category(name="c").fit(table.values("c")), Letters(name="w"),
    ]  # fmt: skip
    return table, columns


def test_disk_gives_what_memory_gives(tmp_path: Path, on_disk: None) -> None:
    table, columns = mixed()
    memory = encode_table(table, columns)
    written = encode_table(table, columns, folder=tmp_path)
    found = encode_table(table, columns, folder=tmp_path)
    assert_same(memory, written)
    assert_same(memory, found)
    assert isinstance(found["n"], Dense) and isinstance(found["w"], Ragged)
    rows = np.array([3, 3, 49, 0])
    np.testing.assert_array_equal(found["n"].take(rows), memory["n"].take(rows))
    assert [a.tolist() for a in found["w"].take(rows)] == [a.tolist() for a in memory["w"].take(rows)]
    assert found["w"].lengths(rows).tolist() == [len(a) for a in memory["w"].take(rows)]
    assert found["n"].lengths(rows).tolist() == [1] * 4


def test_rows_that_cannot_be_encoded_are_named() -> None:
    table, columns = mixed()
    result = encode_table(table, columns)
    bad = [i for i in range(50) if i % 9 == 4]
    assert np.flatnonzero(~result.usable).tolist() == bad and [one.row for one in result.bad] == [
        i + 1 for i in bad
    ]
    assert result.bad[0].reason == "'!bad' begins with '!'." and result.bad[0].column == "w"
    assert result["w"].lengths(np.array(bad)).tolist() == [0] * len(bad)


def test_some_rows(tmp_path: Path, on_disk: None) -> None:
    table, columns = mixed()
    rows = np.array([40, 4, 7])
    for folder in (None, tmp_path, tmp_path):
        part = encode_table(table, columns, rows, folder=folder)
        assert len(part) == 3 and part.usable.tolist() == [False, False, True]
        assert [one.row for one in part.bad] == [41, 5]
    whole = encode_table(table, columns)
    np.testing.assert_array_equal(part["n"].take(slice(None)), whole["n"].take(rows))


def test_only_what_changed_is_encoded_again(tmp_path: Path, on_disk: None) -> None:
    table, columns = mixed()
    encode_table(table, columns, folder=tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    assert len(before) == 3
    encode_table(table, [*columns[:2], Letters(name="w", shift=1)], folder=tmp_path)
    after = {path.name for path in tmp_path.iterdir()}
    assert before < after and len(after) == 4
    encode_table(table.take(slice(0, 20)), columns, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 7


def test_progress_reaches_the_end(tmp_path: Path, on_disk: None) -> None:
    table, columns = mixed()
    for _ in range(2):
        seen: list[tuple[int, int]] = []
        encode_table(table, columns, folder=tmp_path, progress=lambda *counts, into=seen: into.append(counts))
        assert seen[-1] == (150, 150) and [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("name", ["data.npy", META, "failed.npy", "counts.npy"])
@pytest.mark.parametrize("harm", ["cut", "gone", "zeros", "text"])
def test_a_damaged_entry_is_made_again(name: str, harm: str, tmp_path: Path, on_disk: None) -> None:
    table, columns = mixed()
    memory = encode_table(table, columns)
    encode_table(table, columns, folder=tmp_path)
    for place in tmp_path.iterdir():
        path = place / name
        if not path.exists():
            continue
        data = path.read_bytes()
        if harm == "gone":
            path.unlink()
        else:
            path.write_bytes({"cut": data[: len(data) // 2], "zeros": bytes(len(data)), "text": b"[]"}[harm])
    assert_same(memory, encode_table(table, columns, folder=tmp_path))
    assert_same(memory, encode_table(table, columns, folder=tmp_path))


def test_an_entry_with_pickled_objects_is_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="objects"):
        Resident().open(tmp_path / "data.npy")


def test_an_interrupted_writing_leaves_nothing(
    tmp_path: Path, on_disk: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, columns = mixed()

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_table(table, columns, folder=tmp_path, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_two_writers_at_once(tmp_path: Path, on_disk: None) -> None:
    table, columns = mixed(200)
    results: list[Store] = []
    threads = [
        threading.Thread(target=lambda: results.append(encode_table(table, columns, folder=tmp_path)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6 and len(list(tmp_path.iterdir())) == 3
    for result in results:
        assert_same(results[0], result)


def test_a_killed_writer_leaves_no_entry(tmp_path: Path) -> None:
    script = f"""
import os, numpy as np
from shinso.data import cache
from shinso.data.table import Table
from shinso.columns.number import Number
cache.ROWS_TO_KEEP = 0
cache.CHUNK = 10
table = Table.read({{"n": np.arange(100.0)}})
def stop(done, total):
    if done >= 50:
        os._exit(9)
from pathlib import Path
cache.encode_table(table, [Number(name="n")], folder=Path({str(tmp_path)!r}), progress=stop)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    left = [path.name for path in tmp_path.iterdir()]
    assert left and all(name.startswith(".") for name in left)
    entries = Entries(tmp_path)
    old = time.time() - 10 * 86_400
    for name in left:
        os.utime(tmp_path / name, (old, old))
    entries.evict(keep="")
    assert list(tmp_path.iterdir()) == []


def test_eviction_removes_the_least_recently_used(tmp_path: Path) -> None:
    entries = Entries(tmp_path, limit=3500)
    now = time.time()
    for i, key in enumerate("abc"):
        with entries.writing(key, {}) as place:
            (place / "data.bin").write_bytes(bytes(1000))
        os.utime(tmp_path / key / META, (now - 100 + i, now - 100 + i))
    assert entries.find("a") is not None  # used again
    with entries.writing("d", {}) as place:
        (place / "data.bin").write_bytes(bytes(1000))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c", "d"]


def test_meta_of_another_shape_is_no_entry(tmp_path: Path) -> None:
    for content in ("", "{}", "[]", "null", '{"files": 1}', '{"files": {"../../x": "y"}}', '{"files": null}'):
        (tmp_path / "key").mkdir(exist_ok=True)
        (tmp_path / "key" / META).write_text(content)
        assert Entries(tmp_path).find("key") is None
        assert not (tmp_path / "key").exists()


def test_memory_of_mapped_files_is_given_back(tmp_path: Path) -> None:
    data = np.arange(1 << 20, dtype=np.float32)
    np.save(tmp_path / "x.npy", data)
    resident = Resident(limit=1 << 20)
    column = Dense(resident.open(tmp_path / "x.npy"), resident)
    rng = np.random.default_rng(0)
    for _ in range(50):
        rows = rng.integers(0, len(data), 512)
        np.testing.assert_array_equal(column.take(rows), data[rows])
    assert resident.touched < 50 * 512 * store.READ_AROUND


def test_reading_ahead_gives_the_same_batches(
    tmp_path: Path, on_disk: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, columns = mixed(500)
    memory = encode_table(table, columns)
    monkeypatch.setattr(Resident.__init__, "__defaults__", (0,))
    monkeypatch.setattr(store, "AHEAD", 2_000)
    monkeypatch.setattr(store, "PIECE", 16)
    near = encode_table(table, columns, folder=tmp_path)
    assert near.crowded and not memory.crowded
    order = np.array_split(np.random.default_rng(0).permutation(500), 41)
    assert near._rows_ahead(["n", "w"]) > len(order[0])
    for first, second in zip(memory.batches(order, ["n", "w"]), near.batches(order, ["n", "w"]), strict=True):
        np.testing.assert_array_equal(first["n"], second["n"])
        assert [a.tolist() for a in first["w"]] == [a.tolist() for a in second["w"]]


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=30),
    width=st.integers(1, 3),
    cuts=st.integers(1, 8),
    reverse=st.booleans(),
)
def test_ragged_files_give_back_what_was_put(
    lengths: list[int], width: int, cuts: int, reverse: bool, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(n, width)).astype(np.float32) for n in lengths]
    sink = RaggedFile(len(arrays), tmp_path)
    starts = list(range(0, len(arrays), cuts))
    for start in reversed(starts) if reverse else starts:
        sink.put((start, list(arrays[start : start + cuts])))
    sink.finish()
    sink.close()
    found = open_encoded(tmp_path, Resident(), ragged=True)
    for taken, array in zip(found.take(slice(None)), arrays, strict=True):
        np.testing.assert_array_equal(taken, array)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 1)])
def test_dense_files_give_back_what_was_put(dtype: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    data: NDArray[Any] = np.random.default_rng(0).integers(0, 100, (10, *shape)).astype(dtype)
    sink = DenseFile(12, tmp_path)
    sink.put((4, data[4:]))
    sink.put((0, data[:3]))
    sink.finish()
    sink.close()
    found = np.asarray(open_encoded(tmp_path, Resident(), ragged=False).take(slice(None)))
    expected = np.zeros((12, *shape), dtype)
    expected[:3], expected[4:10] = data[:3], data[4:]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.load(tmp_path / "data.npy", allow_pickle=False), expected)


def test_headers_have_one_size() -> None:
    for shape in ((0,), (10**12, 224, 224, 3)):
        assert len(npy_header(shape, np.dtype(np.uint8))) == 256


def test_keys() -> None:
    assert make_key({"b": 1, "a": [1.5, None]}) == make_key({"a": [1.5, None], "b": 1})
    assert len({make_key("a", "b"), make_key("ab"), make_key(["a", "b"])}) == 3
    assert json.loads(json.dumps({"k": make_key(1)}))["k"] == make_key(1)
