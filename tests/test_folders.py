"""Folders and archives of images, columns of file names, tables as parts."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shinso.config import DataConfig
from shinso.data.table import Table
from shinso.errors import DataError


def written(folder: Path, text: str | bytes, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def picture(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), shade).save(path)
    return path


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
