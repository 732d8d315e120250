"""Rows from every source, with the same values whatever they were read from."""

from __future__ import annotations

import codecs
import gzip
import json
import sqlite3
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
from PIL import Image

from shinso.config import DataConfig
from shinso.data import spool
from shinso.data.table import Table
from shinso.errors import DataError, ShinsoError

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
    as_csv, as_semicolons, as_tabs, as_cp932, as_euc_jp, as_utf16, as_bom, as_gzip, as_parquet, as_zip,
    as_two_files, as_pandas, as_polars, as_arrow, as_duckdb, as_lists, as_dicts,
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
    with pytest.raises(DataError, match=r"2 tables.*data.table"):
        Table.read(path)
    with pytest.raises(DataError, match=r"no table 'house'. Did you mean 'houses'"):
        Table.read(path, DataConfig(table="house"))
    for write in ("DELETE FROM houses", "DROP TABLE houses", "ATTACH 'x.db' AS x"):
        with pytest.raises(DataError, match=r"rows.db"):
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
        with pytest.raises(DataError, match=r"rows.duckdb"):
            Table.read(path, DataConfig(table=query))
    assert not (tmp_path / "x.csv").exists()


def test_postgres_says_what_to_install() -> None:
    url = "postgresql://user:secret@127.0.0.1:1/houses"
    with pytest.raises(DataError, match=r"data.table") as error:
        Table.read(url)
    assert "secret" not in str(error.value)
    with pytest.raises(ShinsoError, match=r"INSTALL postgres|127.0.0.1") as error:
        Table.read(url, DataConfig(table="houses"))
    assert "secret" not in str(error.value)


def test_dates_and_gaps_of_numpy_in_a_list() -> None:
    days = [np.datetime64("2024-01-05"), np.datetime64("NaT"), None]
    assert Table.read({"day": days}).values("day").dtype == np.dtype("datetime64[us]")


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
    with pytest.raises(DataError, match=r"no column 'prise'.*Did you mean 'price'"):
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
