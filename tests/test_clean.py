"""What is said about a table before training, and what is left out of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shinso.columns.base import object_array
from shinso.data import clean
from shinso.data.clean import Examination, examine
from shinso.data.table import Table

N = 100
RNG = np.random.default_rng(0)
TARGET = ["yes" if i % 3 else "no" for i in range(N)]


def look(**columns: Any) -> Examination:
    table = Table.read({**columns, "y": TARGET})
    return examine(table, ["y"], [name for name in table.names if name != "y"])


def said(looked: Examination, column: str | None) -> str:
    return "; ".join(f"{note.level}: {note.message}" for note in looked.notes if note.column == column)


NAMES = {
    "row numbers": list(range(1, N + 1)),
    "customer codes": [f"C{7 * i:04d}-X" for i in range(N)],
    "links": [f"http://example.org/{i}.html" for i in range(N)],
}
KEPT = {
    "sentences": [f"Mr. Owen Harris {i}" for i in range(N)],
    "japanese titles": [f"第{i}回の話" for i in range(N)],
    "populations": (RNG.permutation(10_000)[:N] * 3).tolist(),
    "real numbers": RNG.normal(size=N).tolist(),
    "words": [chr(97 + i // 26) + chr(97 + i % 26) for i in range(N)],
    "nearly constant": [1] * 99 + [2],
    "there or not": ["x"] * 50 + [None] * 50,
    "images": [Path(f"{i}.png") for i in range(N)],
}


@pytest.mark.parametrize("name", list(NAMES))
def test_names_of_rows_are_left_out(name: str) -> None:
    looked = look(code=NAMES[name], x=RNG.normal(size=N))
    assert looked.given == ("x",)
    assert "names the row" in said(looked, "code") and "--given" in said(looked, "code")


@pytest.mark.parametrize("name", list(KEPT))
def test_what_tells_something_is_kept(name: str) -> None:
    assert look(code=KEPT[name], x=RNG.normal(size=N)).given == ("code", "x")


def test_numbers_called_id_are_names_of_rows() -> None:
    numbers = (RNG.permutation(10_000)[:N] * 3).tolist()
    assert look(customer_id=numbers, x=[0.5, 1.5] * 50).given == ("x",)
    assert look(paid=numbers, x=[0.5, 1.5] * 50).given == ("paid", "x")


def test_constant_and_empty_columns() -> None:
    looked = look(same=["Kyoto"] * N, none=[None] * N, x=RNG.normal(size=N))
    assert looked.given == ("x",)
    assert "all rows hold 'Kyoto'" in said(looked, "same") and "it is empty" in said(looked, "none")


def test_nothing_is_left_out_when_nothing_would_remain() -> None:
    assert look(same=[1] * N).given == ("same",)


def test_mostly_missing() -> None:
    assert "90% of 'x' is missing" in said(look(x=[1.5, *[None] * 9] * 10), "x")


def test_far_out() -> None:
    x = RNG.normal(size=N)
    x[[3, 7]] = 1e6
    assert "2 values of 'x' far out" in said(look(x=x), "x")


def test_rare_categories() -> None:
    assert "2 of 4 values of 'c' in fewer than 5 rows" in said(
        look(c=["a"] * 48 + ["b"] * 49 + ["c", "c", "d"]), "c"
    )


def test_rows_that_are_equal(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b,y\n" + "1,x,p\n2,x,q\n1,x,p\n1,x,q\n,z,p\n,z,p\n")
    looked = examine(Table.read(path), ["y"], ["a", "b"])
    assert "2 rows stand in the table before (as x.csv, line 4); kept" in said(looked, None)
    assert len(looked.rows) == 6


def test_column_that_stands_for_the_target() -> None:
    looked = look(code=[1 if y == "yes" else 0 for y in TARGET], x=RNG.normal(size=N))
    assert "tells 'y' exactly" in said(looked, "code") and "code" in looked.given
    assert "tells" not in said(look(code=[i % 2 for i in range(N)]), "code")


def test_rows_need_one_of_several_targets() -> None:
    table = Table.read({"a": [1.0, None, None], "b": ["x", "y", None], "x": [1, 2, 3]})
    looked = examine(table, ["a", "b"], ["x"])
    assert looked.rows.tolist() == [0, 1] and [bad.row for bad in looked.quarantine] == [3]


def test_large_tables_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clean, "LOOKED_AT", 30)
    looked = look(x=RNG.normal(size=N), same=[1] * N)
    assert (
        "looked at 30 of 100 rows" in said(looked, None) and looked.given == ("x",) and len(looked.rows) == N
    )


def test_nothing_given_and_objects() -> None:
    table = Table.read({"image": object_array([np.zeros((2, 2)), np.ones((2, 2))])})
    looked = examine(table, ["image"], [])
    assert looked.rows.tolist() == [0, 1] and looked.given == () and looked.notes == ()


def test_real_tables(unpacked: Callable[[str], Path]) -> None:
    titanic = Table.read(unpacked("titanic") / "train.csv")
    looked = examine(titanic, ["Survived"], [name for name in titanic.names if name != "Survived"])
    assert set(titanic.names) - set(looked.given) == {"Survived", "PassengerId"}
    assert "77% of 'Cabin' is missing" in said(looked, "Cabin")
    news = Table.read(unpacked("livedoor_news.csv"))
    assert examine(news, ["category"], news.names[1:]).given == ("date", "title", "body")
