"""CSV in all its forms."""

from __future__ import annotations

import csv
import io
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shinso.config import DataConfig
from shinso.data import textfile
from shinso.data.infer import MISSING
from shinso.data.table import Table
from shinso.errors import DataError


def written(folder: Path, text: str | bytes, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_without_header(tmp_path: Path) -> None:
    table = Table.read(written(tmp_path, "5.1,3.5,setosa\n4.9,3.0,setosa\n6.3,2.9,virginica\n"))
    assert table.names == ("column_1", "column_2", "column_3") and len(table) == 3
    assert any("column_1" in note.message for note in table.notes)
    assert table.where(0) == "rows.csv, line 1"


def test_header_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, "1,2\n3,4\n")
    assert len(Table.read(path)) == 2
    table = Table.read(path, DataConfig(header="yes"))
    assert table.names == ("1", "2") and len(table) == 1
    assert len(Table.read(written(tmp_path, "a,b\nc,d\n"), DataConfig(header="no"))) == 2


def test_one_column_of_sentences(tmp_path: Path) -> None:
    text = "It was, all in all, a good film.\nNot so good; really.\nIt, was, fine, I, think.\nBad.\n"
    table = Table.read(written(tmp_path, text, "train.en"))
    assert table.names == ("text",) and table.values("text").tolist() == text.splitlines()


def test_blanks_after_separators_are_no_part_of_values(tmp_path: Path) -> None:
    table = Table.read(written(tmp_path, "age, job\n39, clerk\n50, ?\n28, cook\n"))
    assert table.names == ("age", "job") and table.values("job").tolist() == ["clerk", None, "cook"]


def test_cells_with_separators_quotes_and_lines(tmp_path: Path) -> None:
    table = Table.read(written(tmp_path, 'a,b\n1,"x, ""y""\nz"\n2,w\n'))
    assert table.values("b").tolist() == ['x, "y"\nz', "w"]
    assert table.where(1) == "rows.csv, line 4" and table.keys() == [1, 2]


def test_single_quotes(tmp_path: Path) -> None:
    table = Table.read(written(tmp_path, "0.5,'-1'\n0.25,'1'\n0.5,'-1'\n"))
    assert table.values("column_2").tolist() == [-1, 1, -1]


def test_leading_zeros_stay(tmp_path: Path) -> None:
    table = Table.read(written(tmp_path, "postcode,n\n00123,1\n04567,0\n10999,2\n"))
    assert table.values("postcode").tolist() == ["00123", "04567", "10999"] and table.values(
        "n"
    ).tolist() == [1, 0, 2]


def test_thousands_separators(tmp_path: Path) -> None:
    table = Table.read(written(tmp_path, 'pay,n\n"1,234.5",1\n"12,000",2\n900,3\n'))
    assert table.values("pay").tolist() == [1234.5, 12000, 900]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["2024-01-05", "2024-12-31"], "2024-01-05"),
        (["2024/01/05", "2024/12/31"], "2024-01-05"),
        (["2024-01-05T10:20:30Z", "2024-01-05 10:20"], "2024-01-05T10:20:30"),
        (["2024-01-05 10:20:30.25", "2024-01-06"], "2024-01-05T10:20:30.25"),
        (["2024-01-05T10:20:30+09:00", "2024-01-06T00:00:00+09:00"], "2024-01-05T10:20:30"),
        (["2024年1月5日", "2024年12月31日"], "2024-01-05"),
        (["5 Jan 2024", "31 Dec 2024"], "2024-01-05"),
        (["05.01.2024", "31.12.2024"], "2024-01-05"),
    ],
)
def test_dates(cells: list[str], expected: str, tmp_path: Path) -> None:
    table = Table.read(written(tmp_path, "day,n\n" + "".join(f"{cell},1\n" for cell in cells)))
    assert table.values("day")[0] == np.datetime64(expected, "us")


def test_dates_that_can_be_read_in_two_ways_stay_text(tmp_path: Path) -> None:
    table = Table.read(written(tmp_path, "day,n\n01/02/2024,1\n03/04/2024,2\n"))
    assert table.values("day").tolist() == ["01/02/2024", "03/04/2024"]


def test_words_for_truth_stay_the_users_words(tmp_path: Path) -> None:
    assert Table.read(written(tmp_path, "ok,n\ntrue,1\nfalse,2\n")).values("ok").tolist() == ["true", "false"]
    values = Table.read({"ok": [True, False]}).values("ok")
    assert values.dtype == np.bool_ and Table.read({"ok": [True, None]}).values("ok").tolist() == [True, None]


def test_every_part_of_a_column_has_one_type(tmp_path: Path) -> None:
    table = Table.read({"n": [1, 2, None], "ok": [True, None, False]})
    assert (
        table.values("n", slice(0, 2)).dtype == np.float64 and table.values("ok", slice(0, 1)).dtype == object
    )


CELLS = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\x1f"), max_size=12)
TEXTS = CELLS.filter(lambda cell: cell.strip() not in MISSING and not cell.strip()[:1].isdigit()).map(
    lambda c: "x" + c
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(
        st.tuples(TEXTS, st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)),
        min_size=2, max_size=30,
    ),
    separator=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
)  # fmt: skip
def test_csv_round_trip(rows: list[Any], separator: str, end: str, tmp_path: Path) -> None:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, lineterminator=end)
    writer.writerow(["words", "whole", "real"])
    writer.writerows([word, whole, repr(real)] for word, whole, real in rows)
    table = Table.read(written(tmp_path, file.getvalue()), DataConfig(header="yes", separator=separator))
    assert table.values("words").tolist() == [row[0] for row in rows]
    assert table.values("whole").tolist() == [row[1] for row in rows]
    assert table.values("real").tolist() == [row[2] for row in rows]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=200) | st.text("\",;\n\r\t ab1.-é{}[]:'", max_size=60).map(str.encode))
def test_any_bytes_are_rows_or_a_clear_error(content: bytes, tmp_path: Path) -> None:
    for name in ("rows.csv", "rows.jsonl", "rows.parquet", "rows.zip"):
        try:
            Table.read(written(tmp_path, content, name))
        except DataError as error:
            assert str(error)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    cells=st.lists(st.text(string.printable, max_size=20), min_size=1, max_size=40), size=st.integers(1, 64)
)
def test_segments_join_to_the_file(cells: list[str], size: int, tmp_path: Path) -> None:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([cell.replace("\r", ""), "1"] for cell in cells)
    path = written(tmp_path, file.getvalue())
    before = textfile.SEGMENT
    textfile.SEGMENT = size
    try:
        segments = list(textfile.scan(path, "rows.csv").segments('"'))
    finally:
        textfile.SEGMENT = before
    assert b"".join(segments).decode() == file.getvalue()


def test_many_segments_number_rows_and_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textfile, "SEGMENT", 64)
    monkeypatch.setattr(
        textfile, "_raw", lambda path: (path.read_bytes()[i : i + 50] for i in range(0, 10**4, 50))
    )
    lines = ["a,b", *(f'{i},"x\ny"' if i % 7 == 0 else f"{i},z" for i in range(100))]
    lines.insert(51, "bad")
    table = Table.read(written(tmp_path, "\n".join(lines) + "\n"), DataConfig(bad_rows=0.1))
    assert table.values("a").tolist() == list(range(100))
    text = "\n".join(lines).split("\n")
    assert table.quarantine[0].row == 51 and text[(table.quarantine[0].line or 0) - 1] == "bad"
    for row in (0, 7, 49, 50, 51, 99):
        line = int(table.where(row).rpartition(" ")[2])
        assert text[line - 1].startswith(f"{row},") and table.keys()[row] == row + 1 + (row >= 50)
