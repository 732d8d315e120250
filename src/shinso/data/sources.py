"""From what a user names to rows: files, patterns, folders, frames, lists."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet

from ..columns.base import Values, object_array
from ..config import DataConfig
from ..errors import DataError, did_you_mean
from .delimited import read_delimited
from .dialect import check_names
from .entries import Entries
from .loaded import Loaded, Span
from .textfile import scan
from .values import to_arrow

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
PARTS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 2, "testing": 2}


def load(source: Any, options: DataConfig) -> Loaded:
    """Read rows from any source that `Table.read` takes."""
    if isinstance(source, str | Path):
        return load_path(Path(source), options)
    if isinstance(source, pa.Table):
        return from_arrow(source, "the table")
    if isinstance(source, Mapping):
        return from_lists({str(k): list(v) for k, v in source.items()})
    if isinstance(source, list) and source and all(isinstance(row, Mapping) for row in source):
        names = list(dict.fromkeys(str(k) for row in source for k in row))
        return from_lists({name: [row.get(name) for row in source] for name in names})
    return from_arrow(pa.table(source), "the frame")


def load_path(path: Path, options: DataConfig) -> Loaded:
    """Read a file or a folder."""
    if not path.exists():
        near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"There is no file {str(path)!r}. {did_you_mean(path.name, near) if near else ''}".rstrip())
    if path.is_dir():
        return load_images(path)
    data = path.read_bytes()
    fingerprint = hashlib.blake2b(data, digest_size=16).hexdigest()
    if path.suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
        check_names(table.column_names, path.name)
        return Loaded(table, (Span(path.name, len(table)),), fingerprint)
    if path.suffix in (".jsonl", ".ndjson"):
        table = pyarrow.json.read_json(path)
        return Loaded(table, (Span(path.name, len(table), line=lambda n: n),), fingerprint)
    return read_delimited([scan(path, path.name, options.encoding)], options, Entries.of(options))


def from_arrow(table: pa.Table, name: str) -> Loaded:
    """Rows of an Arrow table."""
    check_names(table.column_names, name)
    return Loaded(table, (Span(name, len(table)),), "memory")


def from_lists(columns: dict[str, list[Any]]) -> Loaded:
    """Rows of a dict of lists; what Arrow cannot hold stays as Python objects."""
    arrays: dict[str, pa.Array] = {}
    objects: dict[str, Values] = {}
    for name, values in columns.items():
        array = to_arrow(values)
        if array is None:
            objects[name] = object_array(values)
        else:
            arrays[name] = array
    count = len(next(iter(columns.values()))) if columns else 0
    return Loaded(pa.table(arrays), (Span("the data", count),), "memory", objects=objects)


def load_images(folder: Path) -> Loaded:
    """A folder of `label/x.jpg`, below `train/ val/ test/` or not."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGES and p.is_file())
    if not files:
        raise DataError(f"There are no images below {folder}. Expected {folder.name}/LABEL/image.png.")
    names = [p.relative_to(folder).as_posix() for p in files]
    pieces = [name.split("/") for name in names]
    given = all(piece[0].lower() in PARTS and len(piece) > 2 for piece in pieces)
    labels = [piece[-2] if len(piece) > 1 else None for piece in pieces]
    digest = hashlib.blake2b(digest_size=16)
    for name, p in zip(names, files, strict=True):
        stat = p.stat()
        digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    parts = np.array([PARTS[piece[0].lower()] for piece in pieces], np.int8) if given else None
    return Loaded(
        pa.table({"image": names, "label": pa.array(labels, pa.string())}), (Span(folder.name, len(names)),),
        digest.hexdigest(), parts=parts, key="image", folders={"image": folder.absolute()},
    )  # fmt: skip
