"""Archives that escape, lie, burst or are cut short, and folders without images."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from shinso.config import DataConfig
from shinso.data import archive
from shinso.data.table import Table
from shinso.errors import DataError


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


def test_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    fails(tmp_path / "photos", "no images below", "no files at all", "photos/LABEL/photo.jpg")
    written(tmp_path, "x", "photos/cat/readme.md")
    fails(tmp_path / "photos", "only .md")


@pytest.mark.parametrize(
    "name", ["../evil.csv", "/tmp/evil.csv", "a/../../evil.csv", "..\\evil.csv", "C:/evil.csv", "a\\b.csv"]
)
def test_zip_that_escapes(name: str, tmp_path: Path) -> None:
    path = tmp_path / "in" / "data.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("fine.csv", "a,b\n1,2\n")
        made.writestr(zipfile.ZipInfo(name), "a,b\n1,2\n")
    cache = tmp_path / "cache"
    fails(
        path,
        "data.zip",
        "outside its folder",
        "evil" if "evil" in name else "b.csv",
        options=DataConfig(cache=str(cache)),
    )
    assert not [found for found in tmp_path.rglob("*.csv")] and not Path("/tmp/evil.csv").exists()


def test_zip_with_a_link(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as made:
        link = zipfile.ZipInfo("link.csv")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(link, "/etc/passwd")
    fails(tmp_path / "data.zip", "'link.csv' is a link")


def test_zip_bomb(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as made:
        with made.open("zeros.csv", "w") as member:
            for _ in range(300):
                member.write(bytes(1 << 20))
    fails(
        tmp_path / "bomb.zip",
        "bomb.zip",
        "zeros.csv",
        "bomb",
        options=DataConfig(cache=str(tmp_path / "cache")),
    )
    assert not (tmp_path / "cache").exists()


def test_zip_that_lies_about_its_size(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("x.csv", "a,b\n" + "1,2\n" * 10_000)
    data = (tmp_path / "x.zip").read_bytes()
    size = len("a,b\n" + "1,2\n" * 10_000).to_bytes(4, "little")
    assert data.count(size) == 2
    (tmp_path / "x.zip").write_bytes(data.replace(size, (100).to_bytes(4, "little")))
    fails(tmp_path / "x.zip", "x.zip", "x.csv", "damaged")


def test_archive_inside_archive_stays_closed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr("x.csv", "a,b\n1,2\n3,4\n")
        made.writestr("inner.zip", b"PK\x05\x06" + bytes(18))
    assert len(Table.read(tmp_path / "x.zip")) == 2


@pytest.mark.parametrize("keep", [10, 0.5, 0.9])
def test_truncated_zip(keep: float, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr("x.csv", "a,b\n" + "1,2\n" * 100)
    data = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(data[: int(keep if keep >= 1 else len(data) * keep)])
    fails(tmp_path / "x.zip", "x.zip", "not a complete zip file")


def test_table_in_an_archive_may_not_point_outside(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Pillow.new("L", (4, 4)).save(secret)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr("x.csv", f"photo,n\n{secret},1\n{secret},2\n")
    table = Table.read(tmp_path / "x.zip")
    assert table.values("photo").tolist() == [str(secret)] * 2  # text, never a file
    assert archive.MOST_BYTES > 0
