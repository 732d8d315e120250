"""What bad input gets: an error that names file, row, column and remedy, or a note and quarantine."""

from __future__ import annotations

import errno
import gzip
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow

from shinso.columns.category import Category
from shinso.columns.image import Image
from shinso.config import DataConfig
from shinso.data import entries
from shinso.data.cache import encode_table
from shinso.data.clean import examine
from shinso.data.notes import Bad
from shinso.data.split import split
from shinso.data.table import Table
from shinso.errors import DataError, SettingError


def written(folder: Path, text: str | bytes, name: str = "houses.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def fails(source: Any, *expected: str, options: DataConfig | None = None) -> str:
    """Read, expect a `DataError` that says all of `expected`, and give its text."""
    with pytest.raises(DataError) as caught:
        Table.read(source, options)
    for words in expected:
        assert words in str(caught.value), str(caught.value)
    return str(caught.value)


# --- files ----------------------------------------------------------------------------------------


def test_no_such_file(tmp_path: Path) -> None:
    written(tmp_path, "a,b\n1,2\n")
    fails(tmp_path / "house.csv", "house.csv", "Did you mean 'houses.csv'?")
    fails(tmp_path / "hous" / "x.csv", "no file or folder", "hous'")
    fails(str(tmp_path / "*.parquet"), "No file matches")
    fails([tmp_path / "houses.csv", tmp_path / "gone.csv"], "gone.csv")


@pytest.mark.parametrize("content", ["", " \n \n", "\ufeff", "\n\n\n"])
@pytest.mark.parametrize("name", ["houses.csv", "houses.jsonl", "houses.txt"])
def test_empty_file(content: str, name: str, tmp_path: Path) -> None:
    fails(written(tmp_path, content, name), name, "empty", "Expected")


def test_header_only(tmp_path: Path) -> None:
    fails(written(tmp_path, "area,price\n"), "houses.csv", "no rows", "Add at least one row")
    pq.write_table(pa.table({"x": pa.array([], pa.int64())}), tmp_path / "x.parquet")
    fails(tmp_path / "x.parquet", "x.parquet", "no rows")


def test_columns_with_one_name(tmp_path: Path) -> None:
    fails(written(tmp_path, "area,price,area\n1,2,3\n"), "houses.csv", "'area' (columns 1 and 3)", "rename")
    fails(written(tmp_path, '{"a": 1, "a": 2}\n', "x.jsonl"), "'a' (columns 1 and 2)")
    fails(pd.DataFrame([[1, 2]], columns=["x", "x"]), "'x' (columns 1 and 2)")
    fails(pa.table([pa.array([1]), pa.array([2])], names=["x", "x"]), "'x' (columns 1 and 2)")


def test_target_that_is_not_there(tmp_path: Path) -> None:
    table = Table.read(written(tmp_path, "area,price\n1,2\n3,4\n"))
    with pytest.raises(DataError, match=r"no column 'prise' in houses.csv. Did you mean 'price'\?"):
        table.check("prise")


@pytest.mark.parametrize("text", ["x.xlsx", "x.csv"])
def test_formats_that_are_not_read(text: str, tmp_path: Path) -> None:
    fails(written(tmp_path, b"PK\x03\x04rest", text), text, "save the sheet as CSV")
    fails(written(tmp_path, pickle.dumps({"a": 1}), text), text, "pickle", "Parquet or CSV")


@pytest.mark.parametrize("keep", [0, 3, 50, 0.5, 0.95])
def test_truncated_parquet(keep: float, tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": np.arange(1000)}), tmp_path / "x.parquet")
    data = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(data[: int(keep if keep >= 1 else len(data) * keep)])
    fails(tmp_path / "x.parquet", "x.parquet", "not a complete Parquet file")


def test_damaged_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": np.random.default_rng(0).normal(size=5000)}), tmp_path / "x.parquet")
    data = bytearray((tmp_path / "x.parquet").read_bytes())
    data[4:2000] = bytes(1996)
    (tmp_path / "x.parquet").write_bytes(data)
    fails(tmp_path / "x.parquet", "x.parquet", "damaged")


def test_truncated_gzip(tmp_path: Path) -> None:
    data = gzip.compress(os.urandom(10_000).hex().encode())
    fails(written(tmp_path, data[:-500], "x.csv.gz"), "x.csv.gz", "Check that it is complete")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="this user may read everything")
def test_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = written(tmp_path, "a,b\n1,2\n")
    path.chmod(0)
    fails(path, "houses.csv", "Permission denied")


def test_files_that_do_not_fit_together(tmp_path: Path) -> None:
    first = written(tmp_path, "area,price\n1,2\n", "1.csv")
    second = written(tmp_path, "area,prise\n3,4\n", "2.csv")
    fails([first, second], "2.csv lacks 'price' and has 'prise' besides", "1.csv", "Did you mean 'price'?")
    fails([first, written(tmp_path, "{}\n", "3.jsonl")], "different formats")


# --- rows and cells -------------------------------------------------------------------------------


def test_uneven_rows(tmp_path: Path) -> None:
    lines = ["area,price", *(f"{i},{i}" for i in range(100))]
    lines[50] = "7"
    lines[70] = "7,8,9"
    table = Table.read(written(tmp_path, "\n".join(lines)))
    assert len(table) == 98
    assert table.quarantine == (
        Bad("houses.csv", 50, None, "1 cell where 2 are expected", line=51),
        Bad("houses.csv", 70, None, "3 cells where 2 are expected", line=71),
    )
    assert [note.count for note in table.notes] == [2] and "left out" in table.notes[0].message
    assert table.keys()[48:50] == [49, 51] and table.where(49) == "houses.csv, line 52"
    lines[10:20] = ["1"] * 10
    fails(written(tmp_path, "\n".join(lines)), "12 of 100 rows", "line 11", "1 cell where 2", "data.bad_rows")
    assert len(Table.read(tmp_path / "houses.csv", DataConfig(bad_rows=1))) == 88


def test_wrong_separator(tmp_path: Path) -> None:
    path = written(tmp_path, "a;b;c\n" + "1;2,5;3\n" * 10)
    assert Table.read(path).names == ("a", "b", "c")
    fails(path, "data.separator", options=DataConfig(separator=",", header="yes"))
    fails(path, "one character", options=DataConfig(separator=";;"))


def test_quote_that_never_closes(tmp_path: Path) -> None:
    text = 'a,b\n1,x\n2,"y\n' + "3,z\n" * 50
    fails(written(tmp_path, text), "houses.csv", "never closed", "51 lines")
    table = Table.read(written(tmp_path, 'a,b\n1,5" pipe\n2,6" pipe\n3,7" pipe\n'))
    assert table.values("b").tolist() == ['5" pipe', '6" pipe', '7" pipe']


def test_mixed_types(tmp_path: Path) -> None:
    cells = [str(i) for i in range(100)]
    cells[30], cells[60] = "many", "n.a."
    table = Table.read(written(tmp_path, "area,n\n" + "".join(f"{cell},1\n" for cell in cells)))
    values = table.values("area")
    assert (
        len(table) == 100
        and values.dtype == np.float64
        and np.flatnonzero(np.isnan(values)).tolist() == [30, 60]
    )
    assert [(bad.row, bad.column, bad.value) for bad in table.quarantine] == [
        (31, "area", "many"),
        (61, "area", "n.a."),
    ]
    assert "2 cells of 'area'" in table.notes[0].message and "'many'" in table.notes[0].message
    cells[:10] = ["few"] * 10
    table = Table.read(written(tmp_path, "area,n\n" + "".join(f"{cell},1\n" for cell in cells)))
    assert table.values("area").dtype == object and table.values("area")[99] == "99" and not table.notes


def test_mixed_types_in_frames_and_json(tmp_path: Path) -> None:
    mixed: list[Any] = [*range(99), "many"]
    lines = "".join(
        f'{{"area": {value if isinstance(value, int) else chr(34) + value + chr(34)}}}\n' for value in mixed
    )
    for source in ({"area": mixed}, pd.DataFrame({"area": mixed}), written(tmp_path, lines, "x.jsonl")):
        table = Table.read(source)
        assert np.isnan(table.values("area")[99]) and table.values("area")[98] == 98
        assert [(bad.row, bad.column, bad.value) for bad in table.quarantine] == [(100, "area", "many")]
    assert Table.read({"area": [1, 2, "a"]}).values("area").tolist() == ["1", "2", "a"]


def test_infinity_and_nan(tmp_path: Path) -> None:
    path = written(tmp_path, "area,n\n1.5,1\ninf,2\n-Infinity,3\nNaN,4\n1e999,5\n")
    frame = pd.DataFrame({"area": [1.5, np.inf, -np.inf, np.nan, np.inf], "n": [1, 2, 3, 4, 5]})
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "x.parquet")
    for source in (path, frame, tmp_path / "x.parquet"):
        table = Table.read(source)
        np.testing.assert_array_equal(table.values("area"), [1.5, *[np.nan] * 4])
        assert [bad.row for bad in table.quarantine] == [2, 3, 5] and {
            bad.column for bad in table.quarantine
        } == {"area"}
        assert [(note.column, note.count, note.level) for note in table.notes] == [("area", 3, "warning")]


def test_bad_json_lines(tmp_path: Path) -> None:
    lines = [f'{{"x": {i}}}' for i in range(60)]
    lines[10], lines[20] = "{broken", "[1, 2]"
    lines.insert(5, "")
    table = Table.read(written(tmp_path, "\n".join(lines), "x.jsonl"))
    assert [(bad.row, bad.line) for bad in table.quarantine] == [(11, 12), (21, 22)]
    assert len(table) == 58 and table.where(57) == "x.jsonl, line 61" and table.keys()[57] == 60
    fails(
        written(tmp_path, '{"x": 1}\nno\nno\n', "y.jsonl"),
        "y.jsonl, line 2",
        "one JSON object a line",
    )
    fails(written(tmp_path, '{"x": [1, 2', "z.json"), "z.json", "not valid JSON")
    fails(written(tmp_path, "[1, 2]", "z.json"), "z.json", "Expected an array of objects")
    fails(written(tmp_path, "[" * 100_000, "z.json"), "z.json", "not valid JSON")


def test_columns_that_differ_in_length() -> None:
    fails({"a": [1, 2, 3], "b": [1, 2]}, "differ in length", "'b': 2")
    fails({}, "no columns")
    fails({"a": "text"}, "Column 'a' is str")
    fails(7, "Expected a path")


# --- encodings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoding", ["cp932", "euc_jp", "utf-16", "utf-16-le", "utf-8-sig", "iso2022_jp", "cp1252"]
)
def test_encodings_are_found(encoding: str, tmp_path: Path) -> None:
    words = (
        ["café", "naïve", "über"] if encoding == "cp1252" else ["東京都の家", "大阪のアパート", "名古屋です"]
    )
    text = "city,n\n" + "".join(f"{word},{i}\n" for i, word in enumerate(words * 20))
    table = Table.read(written(tmp_path, text.encode(encoding)))
    assert table.values("city").tolist() == words * 20 and table.names == ("city", "n")
    if not encoding.startswith("utf-8"):
        assert any("is read as" in note.message for note in table.notes)


def test_encoding_that_does_not_fit(tmp_path: Path) -> None:
    path = written(tmp_path, "city,n\n東京,1\n大阪,2\n".encode("cp932"))
    fails(
        path, "houses.csv, line 2", "not valid utf-8", "data.encoding", options=DataConfig(encoding="utf-8")
    )
    with pytest.raises(SettingError, match="no encoding 'latin-99'"):
        Table.read(path, DataConfig(encoding="latin-99"))
    assert Table.read(path, DataConfig(encoding="cp932")).values("city").tolist() == ["東京", "大阪"]


def test_one_bad_byte_in_utf8(tmp_path: Path) -> None:
    text = "city,n\n" + "東京都千代田区,1\n" * 100
    data = bytearray(text.encode())
    data[len("city,n\n") + 2] = 0xFF
    table = Table.read(written(tmp_path, bytes(data)))
    assert table.values("city")[5] == "東京都千代田区" and "\ufffd" in table.values("city")[0]
    assert any("not valid UTF-8" in note.message and note.level == "warning" for note in table.notes)


# --- images ---------------------------------------------------------------------------------------


def test_images_that_cannot_be_read_are_quarantined(tmp_path: Path) -> None:
    for i in range(8):
        (tmp_path / "cat").mkdir(exist_ok=True)
        Pillow.fromarray(np.random.default_rng(i).integers(0, 255, (32, 32, 3), np.uint8)).save(
            tmp_path / f"cat/{i}.png"
        )
    whole = (tmp_path / "cat/0.png").read_bytes()
    written(tmp_path, whole[: len(whole) // 2], "cat/cut.png")
    written(tmp_path, b"", "cat/empty.png")
    written(tmp_path, b"not an image", "cat/text.png")
    table = Table.read(tmp_path)
    assert any("without content" in note.message for note in table.notes)
    image = Image(name="image", height=16, width=16).fit(table.values("image"))
    store = encode_table(table, [image])
    bad = {str(one.row): one for one in store.bad}
    assert set(bad) == {"cat/cut.png", "cat/empty.png", "cat/text.png"} and all(
        one.column == "image" for one in store.bad
    )
    assert store.usable.sum() == 8 and [table.keys()[i] for i in np.flatnonzero(~store.usable)] == sorted(bad)
    assert all(one.reason for one in store.bad)


def test_no_image_can_be_read(tmp_path: Path) -> None:
    for i in range(3):
        written(tmp_path, b"no", f"cat/{i}.png")
    image = Image(name="image", height=16, width=16, channels=3)
    with pytest.raises(DataError, match=r"No value of column 'image' can be used.*0.png"):
        encode_table(Table.read(tmp_path), [image])


# --- targets and sizes ----------------------------------------------------------------------------


def test_targets_that_are_missing(tmp_path: Path) -> None:
    table = Table.read(written(tmp_path, "area,price\n1,2\n3,\n5,6\n7,NA\n"))
    looked = examine(table, ["price"], ["area"])
    assert looked.rows.tolist() == [0, 2]
    assert [(bad.row, bad.column, bad.reason) for bad in looked.quarantine] == [
        (2, "price", "no target"),
        (4, "price", "no target"),
    ]
    assert (
        "2 rows without a value of 'price' left out (the first: houses.csv, line 3)"
        in looked.notes[0].message
    )


def test_one_row(tmp_path: Path) -> None:
    table = Table.read(written(tmp_path, "area,price\n1,2\n"))
    with pytest.raises(DataError, match=r"houses.csv has 1 usable row. Expected at least 2"):
        split(table, DataConfig(), table.values("price"), 0)


def test_unseen_target_label_is_quarantined(tmp_path: Path) -> None:
    table = Table.read({"y": ["a", "b", "a", "c"]})
    column = Category(name="y").fit(table.values("y", slice(0, 3)))
    store = encode_table(table, [column])
    assert len(store) == 4  # an unseen label of a given column is no error: it has a number of its own


# --- disks ----------------------------------------------------------------------------------------


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(entries, "_sync", full)
    monkeypatch.setattr("shinso.data.delimited.LARGE", 0)
    cache = tmp_path / "cache"
    fails(
        written(tmp_path, "a,b\n1,2\n3,4\n"),
        str(cache),
        "is full",
        "data.cache",
        options=DataConfig(cache=str(cache)),
    )
    assert not list(cache.iterdir())


def test_cache_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shinso.data.delimited.LARGE", 0)
    blocked = written(tmp_path, "a file", "cache")
    fails(written(tmp_path, "a,b\n1,2\n3,4\n"), "cannot be written", options=DataConfig(cache=str(blocked)))
