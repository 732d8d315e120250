"""Columns of a table that name files: images and sounds beside the table."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..config import DataConfig
from ..errors import DataError
from .arrow import from_numpy, from_texts, to_numpy
from .folder import SUFFIXES
from .loaded import Loaded, find_span
from .notes import MOST_LISTED, Bad, Note, plural

SAMPLE = 200
MOST_FOLDERS = 100  # just below the table's own that are tried
ENDINGS = tuple(itertools.chain.from_iterable(SUFFIXES.values()))


def resolve_files(loaded: Loaded, folder: Path, options: DataConfig, *, inside: bool) -> Loaded:
    """Turn text columns that name existing files into columns of files, without rows whose file is missing.

    `inside`: files must lie in `folder` (a table that came in an archive may not point anywhere else).
    """
    for name, column in zip(loaded.data.column_names, loaded.data.columns, strict=True):
        if not _looks_like_files(column):
            continue
        column = loaded.data[name]  # rows may have gone with an earlier column
        names = [text for text in column.to_pylist() if text is not None]
        root = _find_root(folder, names[:20], inside=inside)
        if root is None:
            message = (
                f"{name!r} looks like file names, but {names[0]!r} is not in {folder}; it is read as text"
            )
            loaded = loaded.adding([Note("warning", message, name)])
            continue
        loaded = _without_missing(
            replace(loaded, folders={**loaded.folders, name: root}), name, options, inside=inside
        )
    return loaded


def _looks_like_files(column: pa.ChunkedArray) -> bool:
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)) or not len(column):
        return False
    rows = np.unique(np.linspace(0, len(column) - 1, SAMPLE).astype(np.int64))
    cells = [cell for cell in column.take(from_numpy(rows)).to_pylist() if cell is not None]
    return bool(cells) and sum(cell.lower().endswith(ENDINGS) for cell in cells) >= 0.95 * len(cells)


def _find_root(folder: Path, names: list[str], *, inside: bool) -> Path | None:
    """The folder that the names start from: the table's own, or one just below it."""
    below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    counts = {
        root: sum(_exists(root, name, inside=inside) for name in names)
        for root in (folder, *below[:MOST_FOLDERS])
    }
    best = max(counts, key=lambda root: counts[root])
    return best if counts[best] else None


def _exists(root: Path, name: str, *, inside: bool) -> bool:
    path = root / name
    if inside and not path.resolve().is_relative_to(root.resolve()):
        return False
    return path.is_file()


def _without_missing(loaded: Loaded, name: str, options: DataConfig, *, inside: bool) -> Loaded:
    root = loaded.folders[name]
    column = loaded.data[name]
    distinct = [text for text in pc.unique(column).to_pylist() if text is not None]
    gone = [text for text in distinct if not _exists(root, text, inside=inside)]
    if not gone:
        return loaded
    rows = np.flatnonzero(to_numpy(pc.is_in(column, from_texts(gone, column.type))))
    bad = []
    for row in rows[:MOST_LISTED].tolist():
        span, index = find_span(loaded.spans, row)
        bad.append(Bad(span.file, span.number(index), name, "the file does not exist", column[row].as_py()))
    if len(rows) > options.bad_rows * len(loaded):
        raise DataError(
            f"{len(rows):,} of {len(loaded):,} rows of {loaded.spans[0].file} name files that do not "
            f"exist in {root}; "
            f"the first is row {bad[0].row}, column {name!r}: {bad[0].value!r}. Add the files, correct "
            "the names, or "
            "let the rows be left out with --set data.bad_rows=1."
        )
    first = f"the first: {bad[0].value}"
    message = f"{plural(len(rows), 'row')} left out: the file in {name!r} does not exist ({first})"
    return loaded.without(rows).adding([Note("warning", message, name, len(rows))], bad)
