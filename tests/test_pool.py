"""Several processes that decode files give what one gives, and survive what kills them."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pytest
from PIL import Image as Pillow

from shinso.columns.base import Array, Column, Value, Values, object_array
from shinso.columns.image import Image
from shinso.data import cache
from shinso.data.cache import encode_table
from shinso.data.store import Store
from shinso.data.table import Table
from shinso.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Lengths(Column):
    """The size of a file; a file whose content is `die` ends the process that reads it."""

    kind: ClassVar[str] = "lengths"
    parent: int = 0
    many: bool = False

    @classmethod
    def matches(cls, values: Values) -> float:
        return 0.0

    @classmethod
    def examples(cls, rng: np.random.Generator, n: int) -> Values:
        return object_array([None] * n)

    def encode(self, value: Value) -> Array:
        content = value.read_bytes()
        if content == b"die" and os.getpid() != self.parent:
            os._exit(1)
        if content == b"bad":
            raise DataError(f"{value.name} is bad.")
        return np.array([len(content), os.getpid() != self.parent], np.int32)

    def fit(self, values: Values) -> Self:
        return self


def files(folder: Path, contents: Sequence[bytes]) -> Table:
    folder.mkdir(parents=True, exist_ok=True)
    for i, content in enumerate(contents):
        (folder / f"{i:05d}.png").write_bytes(content)
    return Table.read(folder)


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


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "FILES_FOR_WORKERS", 1)
    monkeypatch.setattr("shinso.data.pool.JOB", 4)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # so that the columns of this file are found


def test_processes_give_what_one_gives(tmp_path: Path, processes: None) -> None:
    contents = [b"bad" if i in (3, 17) else b"x" * i for i in range(30)]
    table, column = files(tmp_path / "in", contents), Lengths(name="image", parent=os.getpid())
    alone = encode_table(table, [column])
    several = encode_table(table, [column], workers=2)
    usable = several.usable
    assert alone.bad == several.bad and [one.row for one in several.bad] == ["00003.png", "00017.png"]
    taken, expected = (
        np.asarray(several["image"].take(slice(None))),
        np.asarray(alone["image"].take(slice(None))),
    )
    np.testing.assert_array_equal(taken[usable, 0], expected[usable, 0])
    assert taken[usable, 1].all() and not expected[:, 1].any()


def test_a_file_that_ends_the_decoder_is_the_only_one_lost(
    tmp_path: Path, processes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shinso.data.pool.JOB", 2)
    contents = [b"die" if i == 9 else b"x" * i for i in range(14)]
    table, column = files(tmp_path / "in", contents), Lengths(name="image", parent=os.getpid())
    result = encode_table(table, [column], workers=2)
    assert [one.row for one in result.bad] == ["00009.png"] and "stopped" in result.bad[0].reason
    sizes = np.asarray(result["image"].take(slice(None)))[:, 0]
    assert sizes.tolist() == [0 if i == 9 else i for i in range(14)]


def test_images_in_processes_and_on_disk(tmp_path: Path, processes: None, on_disk: None) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for i in range(20):
        Pillow.fromarray(rng.integers(0, 255, (6, 6, 3), np.uint8)).save(tmp_path / "in" / f"{i}.png")
    (tmp_path / "in" / "cut.png").write_bytes((tmp_path / "in" / "0.png").read_bytes()[:50])
    table = Table.read(tmp_path / "in")
    image = Image(name="image").fit(table.values("image"))
    memory = encode_table(table, [image])
    for _ in range(2):
        assert_same(memory, encode_table(table, [image], folder=tmp_path / "cache", workers=2))
    assert len(memory.bad) == 1


def test_a_column_of_the_main_module_needs_no_processes(tmp_path: Path, processes: None) -> None:
    class Local(Lengths):
        pass

    table = files(tmp_path / "in", [b"x"] * 5)
    assert encode_table(table, [Local(name="image", parent=os.getpid())], workers=2).usable.all()


def test_processes_that_cannot_start(
    tmp_path: Path, processes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    table = files(tmp_path / "in", [b"x"] * 5)
    assert encode_table(table, [Lengths(name="image", parent=os.getpid())], workers=2).usable.all()


def test_workers_import_no_torch() -> None:
    script = "import sys, shinso.data.encoding_worker, shinso.data.table; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
    assert multiprocessing.current_process().name == "MainProcess"


def test_real_images(unpacked: Callable[[str], Path], tmp_path: Path) -> None:
    table = Table.read(unpacked("ants_bees"))
    image = Image(name="image", height=32, width=32).fit(table.values("image", slice(0, 50)))
    result = encode_table(table, [image], folder=tmp_path, workers=2)
    assert result.usable.all() and np.asarray(result["image"].take(slice(0, 5))).shape == (5, 32, 32, 3)
