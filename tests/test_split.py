"""Splits: nothing in two parts, nothing lost, the same every time; classes, groups and times as asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shinso.config import DataConfig
from shinso.data.loaded import Loaded
from shinso.data.split import Split, counts_of, parse_shares, split
from shinso.data.table import Table
from shinso.errors import DataError, SettingError

SPLITS = st.sampled_from(["8:1:1", "7:2:1", "9:1:0", "6:2:2", "1:0:0", "98:1:1"])


def sizes(parts: Split) -> list[int]:
    return [len(parts.train), len(parts.validation), len(parts.test)]


def check(parts: Split, rows: Any) -> None:
    """No row is lost or stands in two parts, and there is something to train on."""
    together = np.concatenate([parts.train, parts.validation, parts.test])
    assert sorted(together.tolist()) == sorted(np.asarray(rows).tolist())
    assert len(parts.train) and all(
        part.dtype == np.int64 for part in (parts.train, parts.validation, parts.test)
    )


def of_parts(values: dict[str, Any], parts: list[int]) -> Table:
    loaded: Loaded = Table.read(values)._loaded
    return Table(replace(loaded, parts=np.array(parts, np.int8)))


@settings(deadline=None)
@given(st.integers(2, 5000), SPLITS)
def test_counts(n: int, shares: str) -> None:
    wanted = parse_shares(shares)
    counts = counts_of(n, wanted)
    assert counts.sum() == n and counts[0] >= 1 and (counts >= 0).all()
    assert (np.abs(counts - wanted * n) <= 2).all()
    if n >= 3:
        assert ((counts > 0) == (wanted > 0)).all()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from("aaabbc"), min_size=2, max_size=200), SPLITS, st.integers(0, 2**31 - 1))
def test_by_class(labels: list[str], shares: str, seed: int) -> None:
    table, options = Table.read({"y": labels}), DataConfig(split=shares)
    parts = split(table, options, table.values("y"), seed)
    check(parts, range(len(labels)))
    again = split(table, options, table.values("y"), seed)
    assert all(np.array_equal(getattr(parts, p), getattr(again, p)) for p in ("train", "validation", "test"))
    y = np.array(labels)
    if len(labels) >= 20:
        assert set(y[parts.train]) == set(y)  # every class is trained on
        if min(np.unique(y, return_counts=True)[1]) >= 10:  # and has its share of every part
            for rows, share in zip((parts.validation, parts.test), parse_shares(shares)[1:], strict=True):
                for label in set(labels):
                    assert abs((y[rows] == label).sum() - share * (y == label).sum()) <= 2


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 12), min_size=20, max_size=200), SPLITS, st.integers(0, 99))
def test_by_group(groups: list[int], shares: str, seed: int) -> None:
    table = Table.read({"g": groups, "y": [i % 2 for i in range(len(groups))]})
    options = DataConfig(split=shares, group="g")
    wanted = int((parse_shares(shares) > 0).sum())
    if len(set(groups)) < wanted:
        with pytest.raises(DataError, match=r"Column 'g' has .* different values"):
            split(table, options, table.values("y"), seed)
        return
    parts = split(table, options, table.values("y"), seed)
    check(parts, range(len(groups)))
    g = np.array(groups)
    seen = [set(g[rows]) for rows in (parts.train, parts.validation, parts.test)]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    assert sum(bool(groups) for groups in seen) == wanted


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 1000), min_size=20, max_size=200, unique=True), SPLITS)
def test_by_time(times: list[int], shares: str) -> None:
    table = Table.read({"t": times})
    parts = split(table, DataConfig(split=shares, time="t"), None, 0)
    check(parts, range(len(times)))
    t = np.array(times)
    for earlier, later in (
        (parts.train, parts.validation),
        (parts.train, parts.test),
        (parts.validation, parts.test),
    ):
        if len(earlier) and len(later):
            assert t[earlier].max() < t[later].min()
    assert sizes(parts) == counts_of(len(times), parse_shares(shares)).tolist()


def test_times_that_are_alike_stay_together() -> None:
    table = Table.read({"t": np.repeat(np.arange(10), 7)})
    parts = split(table, DataConfig(time="t"), None, 0)
    seen = [set(table.values("t", rows)) for rows in (parts.train, parts.validation, parts.test)]
    assert all(seen) and not seen[0] & seen[1] and not seen[1] & seen[2]


def test_time_that_is_missing_or_text() -> None:
    days = np.array(["2024-01-01", "NaT", "2024-01-03", "2024-01-02", "2024-01-04"], "datetime64[us]")
    parts = split(Table.read({"t": days}), DataConfig(split="3:1:1", time="t"), None, 0)
    assert 1 in parts.train and parts.test.tolist() == [4] and parts.validation.tolist() == [2]
    texts = ["31/12/2023", "15/01/2024", "01/02/2024", "20/01/2024", "05/02/2024"]
    assert split(Table.read({"t": texts}), DataConfig(split="3:1:1", time="t"), None, 0).test.tolist() == [4]
    with pytest.raises(DataError, match="Column 't' holds text"):
        split(Table.read({"t": ["x", "y", "z"]}), DataConfig(time="t"), None, 0)


def test_a_class_with_one_example_is_trained_on() -> None:
    labels = ["a"] * 50 + ["b"] * 50 + ["rare"]
    table = Table.read({"y": labels})
    for seed in range(20):
        parts = split(table, DataConfig(), table.values("y"), seed)
        assert 100 in parts.train
    assert [note.count for note in parts.notes] == [1]


def test_real_targets_are_split_at_random() -> None:
    table = Table.read({"y": np.random.default_rng(0).normal(size=1000)})
    first, second = (split(table, DataConfig(), table.values("y"), seed) for seed in (0, 1))
    assert sizes(first) == [800, 100, 100] and not np.array_equal(first.test, second.test)
    assert len(set(np.diff(first.test).tolist())) > 10


def test_stratification_can_be_turned_off() -> None:
    table = Table.read({"y": [0, 1] * 50})
    parts = split(table, DataConfig(stratify=False), table.values("y"), 3)
    check(parts, range(100))


def test_parts_that_are_given() -> None:
    table = of_parts({"y": ["a", "b"] * 50}, [0] * 80 + [2] * 20)
    parts = split(table, DataConfig(), table.values("y"), 0)
    check(parts, range(100))
    assert parts.test.tolist() == list(range(80, 100)) and sizes(parts) == [71, 9, 20]
    both = split(of_parts({"y": ["a"] * 100}, [0] * 60 + [1] * 20 + [2] * 20), DataConfig(), None, 0)
    assert both.validation.tolist() == list(range(60, 80)) and sizes(both) == [60, 20, 20]
    no_test = split(of_parts({"y": ["a"] * 100}, [0] * 60 + [1] * 40), DataConfig(), None, 0)
    assert (
        no_test.test.tolist() == list(range(60, 100)) and "val/ is the test set" in no_test.notes[0].message
    )
    with pytest.raises(DataError, match="Add a folder train"):
        split(of_parts({"y": ["a"] * 4}, [2] * 4), DataConfig(), None, 0)


@pytest.mark.parametrize("n", range(2, 21))
def test_tiny_tables(n: int) -> None:
    table = Table.read({"y": [["a", "b", "c"][i % 3] for i in range(n)]})
    parts = split(table, DataConfig(), table.values("y"), 0)
    check(parts, range(n))
    assert len(parts.validation) >= 1 and (n < 3 or len(parts.test) >= 1)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_rows(n: int) -> None:
    table = Table.read({"y": ["a", "b", "c"]}).take(np.arange(n))
    with pytest.raises(DataError, match="Expected at least 2"):
        split(table, DataConfig(), table.values("y"), 0)


def test_some_rows_of_a_table() -> None:
    table, rows = Table.read({"y": ["a", "b"] * 50}), np.arange(0, 100, 3)
    parts = split(table, DataConfig(), table.values("y", rows), 0, rows)
    check(parts, rows)


@pytest.mark.parametrize("shares", ["8:2", "a:b:c", "0:1:1", "8:-1:1", "", "8:1:1:1", "nan:1:1"])
def test_shares_that_make_no_sense(shares: str) -> None:
    with pytest.raises(SettingError, match=r"data\.split takes the shares"):
        parse_shares(shares)
