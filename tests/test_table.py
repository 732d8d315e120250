"""Rows from every source, with the same values whatever they were read from."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import sqlite3
import string
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from shinso.config import DataConfig
from shinso.data import spool, textfile
from shinso.data.infer import MISSING
from shinso.data.table import Table
from shinso.errors import DataError

ROWS = {
    "area": [50, 70, 90],
    "price": [1.5, None, 3.25],
    "city": ["京都", "大阪, 北", None],
    "day": [datetime(2024, 1, 5), datetime(2024, 2, 29, 12, 30), None],
}
CSV = 'area,price,city,day\n50,1.5,京都,2024-01-05\n70,,"大阪, 北",2024-02-29 12:30:00\n90,3.25,NA,\n'


def written(folder: Path, text: str | bytes, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def picture(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), shade).save(path)
    return path


def check(table: Table) -> None:
    assert table.names == ("area", "price", "city", "day") and len(table) == 3
    assert table.values("area").dtype == np.int64 and table.values("area").tolist() == [50, 70, 90]
    np.testing.assert_array_equal(table.values("price"), [1.5, np.nan, 3.25])
    assert table.values("city").tolist() == ["京都", "大阪, 北", None]
    assert table.values("day").dtype == np.dtype("datetime64[us]")
    np.testing.assert_array_equal(table.values("day"), np.array(ROWS["day"], "datetime64[us]"))
    assert table.keys() == [1, 2, 3] and table.key_name == "row"


def as_csv(folder: Path) -> Any:
    return written(folder, CSV)


def as_semicolons(folder: Path) -> Any:
    text = 'area;price;city;day\n50;1,5;京都;2024-01-05\n70;;"大阪, 北";2024-02-29 12:30:00\n90;3,25;?;\n'
    return written(folder, text)


def as_tabs(folder: Path) -> Any:
    return written(
        folder, CSV.replace('"大阪, 北"', "大阪; 北").replace(",", "\t").replace("; ", ", "), "rows.tsv"
    )


def as_cp932(folder: Path) -> Any:
    return written(folder, CSV.encode("cp932"))


def as_euc_jp(folder: Path) -> Any:
    return written(folder, CSV.encode("euc_jp"))


def as_utf16(folder: Path) -> Any:
    return written(folder, CSV.encode("utf-16"))


def as_bom(folder: Path) -> Any:
    return written(folder, codecs.BOM_UTF8 + CSV.replace("\n", "\r\n").encode())


def as_gzip(folder: Path) -> Any:
    return written(folder, gzip.compress(CSV.encode()), "rows.csv.gz")


def as_parquet(folder: Path) -> Any:
    pq.write_table(pa.table(ROWS), folder / "rows.parquet")
    return folder / "rows.parquet"


def as_json_lines(folder: Path) -> Any:
    frame = pa.table(ROWS).to_pylist()
    return written(folder, "".join(json.dumps(row, default=str) + "\n" for row in frame), "rows.jsonl")


def as_json_array(folder: Path) -> Any:
    return written(folder, json.dumps(pa.table(ROWS).to_pylist(), default=str), "rows.json")


def as_zip(folder: Path) -> Any:
    with zipfile.ZipFile(folder / "rows.zip", "w") as archive:
        archive.writestr("data/rows.csv", CSV)
        archive.writestr("data/readme.md", "hello")
    return folder / "rows.zip"


def as_two_files(folder: Path) -> Any:
    lines = CSV.splitlines()
    written(folder, "\n".join(lines[:3]), "part1.csv")
    written(folder, "day,area,price,city\n,90,3.25,\n", "part2.csv")
    return str(folder / "part*.csv")


def as_pandas(folder: Path) -> Any:
    return pd.DataFrame(ROWS)


def as_polars(folder: Path) -> Any:
    return pl.DataFrame(pa.table(ROWS))


def as_arrow(folder: Path) -> Any:
    return pa.table(ROWS)


def as_duckdb(folder: Path) -> Any:
    with duckdb.connect(str(folder / "rows.duckdb")) as connection:
        rows = pa.table(ROWS)
        connection.register("rows", rows)
        connection.execute("CREATE TABLE houses AS SELECT * FROM rows")
    return folder / "rows.duckdb"


def as_lists(folder: Path) -> Any:
    return ROWS


def as_dicts(folder: Path) -> Any:
    return [dict(zip(ROWS, row, strict=True)) for row in zip(*ROWS.values(), strict=True)]


SOURCES: list[Callable[[Path], Any]] = [
    as_csv, as_semicolons, as_tabs, as_cp932, as_euc_jp, as_utf16, as_bom, as_gzip, as_parquet, as_zip, as_two_files,
    as_pandas, as_polars, as_arrow, as_duckdb, as_lists, as_dicts,
]  # fmt: skip


@pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__)
def test_every_source_gives_the_same_rows(make: Callable[[Path], Any], tmp_path: Path) -> None:
    check(Table.read(make(tmp_path), DataConfig(cache=str(tmp_path / "cache"))))


@pytest.mark.parametrize("make", [as_json_lines, as_json_array], ids=lambda make: make.__name__)
def test_json_gives_dates_as_text(make: Callable[[Path], Any], tmp_path: Path) -> None:
    table = Table.read(make(tmp_path))
    assert table.values("area").tolist() == [50, 70, 90] and table.values("city").tolist() == [
        "京都",
        "大阪, 北",
        None,
    ]
    np.testing.assert_array_equal(table.values("price"), [1.5, np.nan, 3.25])


@pytest.mark.parametrize("make", [as_csv, as_cp932, as_parquet, as_two_files, as_json_lines])
def test_rows_on_disk_are_the_rows_in_memory(
    make: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, options = make(tmp_path), DataConfig(cache=str(tmp_path / "cache"))
    small = Table.read(source, options)
    for module in ("delimited", "columnar", "jsonlines"):
        monkeypatch.setattr(f"shinso.data.{module}.LARGE", 0)
    for _ in range(2):  # written, then found
        large = Table.read(source, options)
        assert large._loaded.mapping is not None
        assert large.fingerprint == small.fingerprint and large.keys() == small.keys()
        assert large.where(2) == small.where(2) and large.notes == small.notes
        for name in small.names:
            np.testing.assert_array_equal(large.values(name), small.values(name))


def test_sqlite(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "rows.db")
    connection.execute("CREATE TABLE houses (area INTEGER, price REAL, city TEXT, day TEXT)")
    connection.executemany(
        "INSERT INTO houses VALUES (?, ?, ?, ?)", [(50, 1.5, "京都", "2024-01-05"), (70, None, None, None)]
    )
    connection.execute("CREATE TABLE other (x INTEGER)")
    connection.commit()
    connection.close()
    path = tmp_path / "rows.db"
    table = Table.read(path, DataConfig(table="houses"))
    assert table.values("area").tolist() == [50, 70] and table.values("city").tolist() == ["京都", None]
    query = "SELECT area * 2 AS twice FROM houses WHERE price IS NOT NULL"
    assert Table.read(path, DataConfig(table=query)).values("twice").tolist() == [100]
    with pytest.raises(DataError, match="2 tables.*data.table"):
        Table.read(path)
    with pytest.raises(DataError, match="no table 'house'. Did you mean 'houses'"):
        Table.read(path, DataConfig(table="house"))
    for write in ("DELETE FROM houses", "DROP TABLE houses", "ATTACH 'x.db' AS x"):
        with pytest.raises(DataError, match="rows.db"):
            Table.read(path, DataConfig(table=write))
    assert len(Table.read(path, DataConfig(table="houses"))) == 2


def test_duckdb_queries_read_nothing_else(tmp_path: Path) -> None:
    path = as_duckdb(tmp_path)
    as_csv(tmp_path)
    assert Table.read(path, DataConfig(table="SELECT area FROM houses WHERE area > 60")).values(
        "area"
    ).tolist() == [70, 90]
    for query in (
        f"SELECT * FROM '{tmp_path}/rows.csv'",
        f"COPY houses TO '{tmp_path}/x.csv'",
        "DELETE FROM houses",
    ):
        with pytest.raises(DataError, match="rows.duckdb"):
            Table.read(path, DataConfig(table=query))
    assert not (tmp_path / "x.csv").exists()


def test_postgres_says_what_to_install() -> None:
    url = "postgresql://user:secret@127.0.0.1:1/houses"
    with pytest.raises(DataError, match="data.table") as error:
        Table.read(url)
    assert "secret" not in str(error.value)


def test_dates_and_gaps_of_numpy_in_a_list() -> None:
    days = [np.datetime64("2024-01-05"), np.datetime64("NaT"), None]
    assert Table.read({"day": days}).values("day").dtype == np.dtype("datetime64[us]")


# --- CSV -------------------------------------------------------------------------------------------------------------


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


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
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


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
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


# --- folders and files -----------------------------------------------------------------------------------------------


def test_folder_of_images(tmp_path: Path) -> None:
    for name in ("photos/cat/1.png", "photos/cat/2.JPG", "photos/dog/3.png", "photos/dog/.hidden.png"):
        picture(tmp_path / name)
    (tmp_path / "photos" / "notes.txt").write_text("x")
    table = Table.read(tmp_path / "photos")
    assert table.names == ("image", "label") and table.parts is None and table.key_name == "file"
    assert table.keys() == ["cat/1.png", "cat/2.JPG", "dog/3.png"] and table.where(2) == "dog/3.png"
    assert table.values("label").tolist() == ["cat", "cat", "dog"]
    assert table.values("image")[0] == tmp_path / "photos" / "cat" / "1.png"
    assert table.take(np.array([2])).keys() == ["dog/3.png"]
    before = table.fingerprint
    picture(tmp_path / "photos" / "dog" / "4.png")
    assert Table.read(tmp_path / "photos").fingerprint != before


def test_folder_of_parts(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "Valid/cat/2.png", "test/dog/3.png", "train/dog/4.png"):
        picture(tmp_path / name)
    table = Table.read(tmp_path)
    parts = table.parts
    assert parts is not None
    assert dict(zip(table.keys(), parts.tolist(), strict=True)) == {
        "train/cat/1.png": 0, "Valid/cat/2.png": 1, "test/dog/3.png": 2, "train/dog/4.png": 0,
    }  # fmt: skip
    assert sorted(table.values("label")) == ["cat", "cat", "dog", "dog"]
    assert table.take(slice(0, 1)).parts is not None


def test_folder_without_labels_and_single_images(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / f"{i}.png")
    assert Table.read(tmp_path).names == ("image",)
    one = Table.read(tmp_path / "1.png")
    assert one.keys() == ["1.png"] and one.values("image").tolist() == [tmp_path / "1.png"]
    assert Table.read([tmp_path / "0.png", tmp_path / "2.png"]).keys() == ["0.png", "2.png"]
    assert len(Table.read(str(tmp_path / "*.png"))) == 3


def test_folder_named_train_may_be_a_label(tmp_path: Path) -> None:
    for name in ("train/1.png", "bus/2.png"):
        picture(tmp_path / name)
    table = Table.read(tmp_path)
    assert table.parts is None and sorted(table.values("label")) == ["bus", "train"]


def test_folder_of_tables_as_parts(tmp_path: Path) -> None:
    for name, rows in (("train", 4), ("dev", 2), ("test", 3)):
        written(tmp_path, "x,y\n" + "1,a\n" * rows, f"{name}.csv")
    table = Table.read(tmp_path)
    assert table.parts is not None and np.bincount(table.parts).tolist() == [4, 2, 3]
    assert table.where(0) == "dev.csv, line 2"


def test_column_of_images(tmp_path: Path) -> None:
    for i in range(4):
        picture(tmp_path / "images" / f"{i}.png")
    lines = ["photo,price", *(f"{i}.png,{i}" for i in range(4)), "gone.png,9"]
    table = Table.read(written(tmp_path, "\n".join(lines)), DataConfig(bad_rows=0.3))
    assert table.values("photo").tolist() == [tmp_path / "images" / f"{i}.png" for i in range(4)]
    assert [(bad.row, bad.column, bad.value) for bad in table.quarantine] == [(5, "photo", "gone.png")]
    assert table.key_name == "row" and table.keys() == [1, 2, 3, 4] and len(table.values("price")) == 4
    with pytest.raises(DataError, match=r"row 5, column 'photo': 'gone.png'"):
        Table.read(tmp_path / "rows.csv")


def test_text_that_merely_looks_like_files(tmp_path: Path) -> None:
    table = Table.read(written(tmp_path, "name,n\na.png,1\nb.png,2\n"))
    assert table.values("name").tolist() == ["a.png", "b.png"]
    assert any(note.column == "name" and note.level == "warning" for note in table.notes)


def test_text_in_memory_is_never_a_file(tmp_path: Path) -> None:
    path = picture(tmp_path / "x.png")
    assert Table.read({"image": [str(path)]}).values("image").tolist() == [str(path)]
    assert Table.read({"image": [path]}).values("image").tolist() == [path]


def test_images_in_zip(tmp_path: Path) -> None:
    data = picture(tmp_path / "x.png").read_bytes()
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name in ("photos/cat/1.png", "photos/dog/2.png", "__MACOSX/photos/cat/._1.png"):
            archive.writestr(name, data)
    options = DataConfig(cache=str(tmp_path / "cache"))
    table = Table.read(tmp_path / "photos.zip", options)
    assert table.keys() == ["cat/1.png", "dog/2.png"] and table.values("label").tolist() == ["cat", "dog"]
    assert table.values("image")[0].read_bytes() == data
    table.values("image")[0].unlink()  # a damaged cache is made again
    again = Table.read(tmp_path / "photos.zip", options)
    assert again.values("image")[0].read_bytes() == data and again.fingerprint == table.fingerprint


# --- what a table offers ---------------------------------------------------------------------------------------------


def test_objects_of_any_kind() -> None:
    pictures = np.zeros((2, 4, 4, 3), np.uint8)
    table = Table.read({"image": pictures, "series": [[1.0, 2.0], [3.0]], "n": [1, 2]})
    assert table.names == ("image", "series", "n")
    assert table.values("image")[1].shape == (4, 4, 3) and table.values("series")[0].tolist() == [1.0, 2.0]
    assert table.take(np.array([1])).rows([0])[0]["n"] == 2


def test_take_and_rows() -> None:
    table = Table.read({"x": list(range(10)), "c": list("abcdefghij")})
    part = table.take(np.array([7, 2, 2]))
    assert part.values("x").tolist() == [7, 2, 2] and part.keys() == [8, 3, 3]
    assert part.take(slice(1, 3)).values("c").tolist() == ["c", "c"] and part.where(0) == "the data, row 8"
    assert part.rows([0]) == [{"x": 7, "c": "h"}] and part.fingerprint != table.fingerprint
    assert table.values("x", np.array([3, 1])).tolist() == [3, 1]


def test_unknown_column() -> None:
    with pytest.raises(DataError, match="no column 'prise'.*Did you mean 'price'"):
        Table.read({"price": [1]}).values("prise")


def test_random_rows_over_many_chunks() -> None:
    chunks = pa.concat_tables(
        [
            pa.table({"x": np.arange(i, i + 10), "s": [str(j) for j in range(i, i + 10)]})
            for i in range(0, 100, 10)
        ]
    )
    table, rows = Table.read(chunks), np.random.default_rng(0).integers(0, 100, 50)
    assert table.values("x", rows).tolist() == rows.tolist() and table.values("s", rows).tolist() == [
        str(r) for r in rows
    ]


def test_same_content_same_fingerprint(tmp_path: Path) -> None:
    first, second = written(tmp_path, CSV, "a.csv"), written(tmp_path, CSV, "b.csv")
    assert Table.read(first).fingerprint == Table.read(second).fingerprint
    assert Table.read(ROWS).fingerprint == Table.read(ROWS).fingerprint != Table.read({"x": [1]}).fingerprint
    assert spool.LARGE > 0


def test_real_tables(unpacked: Callable[[str], Path]) -> None:
    titanic = Table.read(unpacked("titanic") / "train.csv")
    assert (
        len(titanic) == 891
        and titanic.values("Age").dtype == np.float64
        and titanic.values("Cabin")[0] is None
    )
    adult = Table.read(unpacked("adult") / "adult-train.csv")
    assert (
        len(adult) == 32561
        and adult.values("column_2")[0] == "State-gov"
        and None in adult.values("column_2")
    )
    telco = Table.read(unpacked("telco_churn"))
    assert (
        telco.values("TotalCharges").dtype == np.float64
        and np.isnan(telco.values("TotalCharges")).sum() == 11
    )
    etth1 = Table.read(unpacked("ETTh1"))
    assert etth1.values("date").dtype == np.dtype("datetime64[us]") and len(etth1) == 17420
    captions = Table.read(unpacked("captions"))
    assert len(captions) == 3000 and captions.values("image")[0].is_file()
