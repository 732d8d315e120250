"""Windows of an ordered table: what they hold, and that no part sees the future of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shinso.data.table import Table
from shinso.data.windows import WindowTable, latest_window, window_parts, windows
from shinso.errors import DataError, SettingError


def hourly(rows: int = 100, **more: Any) -> Table:
    hours = np.datetime64("2024-01-01T00", "us") + np.arange(rows) * np.timedelta64(1, "h")
    data = {"time": hours, "load": np.arange(rows, dtype=float), "heat": np.arange(rows) * 2.0}
    return Table.read(data | more)


def cut(table: Table, **options: Any) -> WindowTable:
    return WindowTable(table, **{"past": 5, "ahead": 3, "predict": ["load"], **options})


def test_windows_follow_each_other_without_copies() -> None:
    values = np.arange(20.0).reshape(10, 2)
    past, future = windows(values, 3, 2, slice(None))
    assert past.shape == (6, 3, 2) and future.shape == (6, 2, 2)
    assert np.shares_memory(past, values) and np.shares_memory(future, values)
    np.testing.assert_array_equal(past[4], values[4:7])
    np.testing.assert_array_equal(future[4], values[7:9])
    chosen, _ = windows(values, 3, 2, np.array([4, 0]))
    np.testing.assert_array_equal(chosen, past[[4, 0]])


SPLITS = st.sampled_from(["8:1:1", "7:2:1", "1:0:0", "12:4:4"])


@given(st.integers(1, 200), st.integers(1, 30), st.integers(1, 30), SPLITS)
@settings(max_examples=200, deadline=None)
def test_no_part_sees_the_future_of_another(times: int, past: int, ahead: int, split: str) -> None:
    starts, parts = window_parts(times, past, ahead, split)
    if not len(starts):
        return
    assert starts.min() >= 0 and starts.max() + past + ahead <= times
    futures = {part: _futures(starts[parts == part], past, ahead) for part in range(3)}
    for earlier, later in ((0, 1), (0, 2), (1, 2)):
        assert not futures[earlier] & futures[later], "futures of two parts overlap"
        if futures[earlier] and futures[later]:
            assert max(futures[earlier]) < min(futures[later])
    seen_in_training = futures[0] | {t for s in starts[parts == 0] for t in range(s, s + past)}
    assert not seen_in_training & (futures[1] | futures[2]), "training reads what others are scored on"


def _futures(starts: np.ndarray, past: int, ahead: int) -> set[int]:
    return {t for s in starts.tolist() for t in range(s + past, s + past + ahead)}


def test_the_parts_of_the_public_benchmark() -> None:
    """12, 4 and 4 months of hours give the 8209, 2785 and 2785 windows on which others report."""
    _, parts = window_parts(14_400, 336, 96, "12:4:4")
    assert np.bincount(parts).tolist() == [8209, 2785, 2785]


def test_it_is_a_table() -> None:
    table = cut(hourly())
    assert table.names == ("past", "load") and len(table) == len(table.parts)
    past, future = table.values("past"), table.values("load")
    assert past.dtype == object and past[0].shape == (5, 2) and future[0].shape == (3, 1)
    for i in (0, 7, len(table) - 1):
        np.testing.assert_array_equal(past[i][:, 1], past[i][:, 0] * 2)
        np.testing.assert_array_equal(future[i][:, 0], past[i][-1, 0] + np.arange(1, 4))
    assert table.values("load", slice(2, 4)).shape == (2,)
    assert table.values("load", np.array([3]))[0].tolist() == future[3].tolist()
    assert table.rows([1])[0]["load"].tolist() == future[1].tolist()
    assert np.shares_memory(past[0], past[1]), "windows are views of one array"


def test_a_window_is_named_after_the_row_its_future_begins_with(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    path.write_text("load\n" + "\n".join(str(i) for i in range(40)) + "\n", "utf-8")
    table = cut(Table.read(path))
    assert table.keys(slice(0, 2)) == [6, 7] and table.where(0) == "load.csv, line 7"
    assert table.file(0) == "load.csv" and table.describe() == "load.csv"
    assert [note.message for note in table.notes if "order of the table" in note.message]


def test_rows_are_put_in_time_order() -> None:
    table = hourly(60)
    shuffled = table.take(np.random.default_rng(0).permutation(60))
    for one, other in zip(cut(shuffled).values("load"), cut(table).values("load"), strict=True):
        np.testing.assert_array_equal(one, other)
    assert cut(shuffled).keys() == cut(table).keys()
    np.testing.assert_array_equal(latest_window(shuffled, 3, ["load"]), [[57], [58], [59]])


def test_uneven_times_are_said_aloud() -> None:
    table = hourly(60).take(np.r_[0:20, 25:60])
    notes = [note for note in cut(table).notes if note.level == "warning"]
    assert len(notes) == 1 and notes[0].count == 1 and "missing or doubled" in notes[0].message
    assert not [note for note in cut(hourly(60)).notes if note.level == "warning"]


def test_gaps_stay_gaps() -> None:
    load = np.arange(60.0)
    load[30] = np.nan
    futures = np.concatenate([f.ravel() for f in cut(hourly(60, load=load)).values("load")])
    assert np.isnan(futures).sum() == 3


def test_the_columns_are_fitted_to_training_readings_alone() -> None:
    load = np.r_[np.zeros(40), np.ones(40), np.full(20, 1e9)]
    past, future = cut(hourly(load=load)).columns()
    assert (past.name, past.length, past.variables) == ("past", 5, 2)
    assert (future.name, future.length, future.variables) == ("load", 3, 1)
    assert past.mean[:1] == future.mean == (0.5,) and past.std[:1] == future.std == (0.5,)


def test_which_columns_are_read() -> None:
    table = hourly(text=["a"] * 100)
    assert cut(table).variables == ("load", "heat")
    assert any("text" in note.message for note in cut(table).notes)
    assert cut(table, given=[]).variables == ("load",)
    assert cut(table, predict=["heat", "load"]).names == ("past", "heat, load")


def test_parts_of_it_and_fingerprints() -> None:
    table = cut(hourly())
    part = table.take(np.flatnonzero(table.parts == 1))
    assert len(part) and (part.parts == 1).all() and part.names == table.names
    first = int(np.flatnonzero(table.parts == 1)[0])
    assert part.values("load")[0].tolist() == table.values("load")[first].tolist()
    others = (cut(hourly(), past=6), cut(hourly(), given=[]), cut(hourly(99)))
    assert len({t.fingerprint for t in (table, part, *others)}) == 5
    assert cut(hourly()).fingerprint == table.fingerprint


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"past": 0}, SettingError, "1 or more"), ({"ahead": 0}, SettingError, "1 or more"),
        ({"past": 90}, DataError, "no window"), ({"predict": []}, SettingError, "--predict"),
        ({"predict": ["lod"]}, DataError, "Did you mean 'load'"),
        ({"predict": ["text"]}, DataError, "not numeric"), ({"given": ["text"]}, DataError, "not numeric"),
        ({"time": "text"}, DataError, "dates or numbers"),
        ({"split": "1:2"}, SettingError, "shares"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_cut_is_refused(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        cut(hourly(text=["a"] * 100), **options)


def test_columns_that_are_not_there() -> None:
    with pytest.raises(DataError, match="Did you mean 'past'"):
        cut(hourly()).values("pas")
    with pytest.raises(DataError, match="looks back on 200"):
        latest_window(hourly(), 200, ["load"])
