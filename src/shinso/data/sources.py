"""From what a user names to rows: a path, a pattern, a folder, an archive, a database, a frame, lists."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.interchange
from numpy.typing import NDArray

from ..config import DataConfig
from ..errors import DataError, did_you_mean
from .archive import unpack
from .columnar import from_arrow, from_lists, read_parquet
from .database import SERVERS, is_database, read_database, read_server
from .database import SUFFIXES as DATABASES
from .delimited import read_delimited
from .dialect import check_names
from .entries import Entries
from .filecolumns import resolve_files
from .folder import PARTS, Found, from_files, kind_of, list_files, load_folder
from .jsonlines import flatten, read_json
from .loaded import Loaded
from .textfile import scan

TABLES = (".csv", ".tsv", ".parquet", ".pq", ".jsonl", ".ndjson", ".csv.gz", ".tsv.gz", ".jsonl.gz")
Source = Any  # str, Path, a list of them, frame, Arrow stream, dict of lists, list of dicts


@runtime_checkable
class ArrowStream(Protocol):
    """A frame that speaks the Arrow C data interface."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


@runtime_checkable
class Frame(Protocol):
    """A frame of the older exchange protocol."""

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> object: ...  # noqa: FBT001, FBT002


@runtime_checkable
class Columns(Protocol):
    """A frame whose columns can at least be listed."""

    columns: Any

    def __getitem__(self, name: Any) -> Any: ...


def load(source: Source, options: DataConfig) -> Loaded:
    """Read rows from any source that `Table.read` takes."""
    try:
        return _load(source, options)
    except OSError as error:
        raise DataError(f"{error.filename or source} cannot be read: {error.strerror or error}.") from None


def _load(source: Source, options: DataConfig) -> Loaded:
    if isinstance(source, str) and source.startswith(SERVERS):
        return read_server(source, options, Entries.of(options))
    if isinstance(source, str | os.PathLike):
        return load_path(Path(source).expanduser(), options)
    if (
        isinstance(source, list | tuple)
        and source
        and all(isinstance(one, str | os.PathLike) for one in source)
    ):
        return load_files([Path(one).expanduser() for one in source], options)
    if isinstance(source, list | tuple) and all(isinstance(row, Mapping) for row in source):
        rows = [flatten({str(name): value for name, value in row.items()}) for row in source]
        names = list(dict.fromkeys(name for row in rows for name in row))
        return from_lists({name: [row.get(name) for row in rows] for name in names}, "the data")
    if isinstance(source, Mapping):
        return from_lists({str(name): _sequence(name, values) for name, values in source.items()}, "the data")
    return load_frame(source)


def _sequence(name: object, values: Any) -> Sequence[Any]:
    if isinstance(values, str | bytes) or not isinstance(
        values, list | tuple | np.ndarray | pa.Array | pa.ChunkedArray
    ):
        raise DataError(
            f"Column {name!r} is {type(values).__name__}. Expected a list or array with a value a row."
        )
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return list(values.to_pylist())
    return cast("Sequence[Any]", values)  # an array is one for all that is asked of it here


def load_frame(source: Source) -> Loaded:
    """Rows of a data frame: pandas, polars, Arrow, DuckDB, and what else speaks one of their protocols."""
    name = f"the {type(source).__module__.partition('.')[0]} {type(source).__name__}"
    if isinstance(source, pa.Table | pa.RecordBatch):
        return from_arrow(pa.table(source), name)
    if isinstance(source, Columns):
        check_names([str(column) for column in source.columns], name)
    try:
        if isinstance(source, ArrowStream):
            return from_arrow(pa.table(source), name)
        if isinstance(source, Frame):
            return from_arrow(pyarrow.interchange.from_dataframe(source), name)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        pass  # a column of mixed or foreign objects: read below, column by column
    if isinstance(source, Columns):
        return from_lists({str(column): list(source[column]) for column in source.columns}, name)
    raise DataError(
        f"Rows cannot be read from {name}. Expected a path, a data frame, a dict of lists or a list of dicts."
    )


def load_path(path: Path, options: DataConfig) -> Loaded:
    """Read a file, a folder, an archive, or the files that a pattern matches."""
    if path.is_dir():
        return load_tree(path, path.name or str(path), options, inside=False)
    if path.is_file():
        return load_files([path], options)
    if glob.has_magic(str(path)):
        names = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  (an absolute pattern too)
        found = [Path(name) for name in names if Path(name).is_file()]
        if not found:
            what = f"only folders, such as {names[0]!r}" if names else "nothing"
            raise DataError(f"No file matches {str(path)!r}: {what}. Expected a pattern such as data/*.csv.")
        return load_files(found, options)
    raise _no_such_file(path)


def _no_such_file(path: Path) -> DataError:
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        path, parent = parent, parent.parent
    near = (
        [other.name for other in parent.iterdir() if not other.name.startswith(".")]
        if parent.is_dir()
        else []
    )
    hint = did_you_mean(path.name, near, 5) if near else f"The folder {str(parent)!r} is empty."
    return DataError(f"There is no file or folder {str(path)!r}. {hint}")


def load_files(paths: Sequence[Path], options: DataConfig) -> Loaded:
    """Read files of one kind as one table."""
    for path in paths:
        if not path.exists():
            raise _no_such_file(path)
    if len(paths) == 1 and paths[0].is_dir():
        return load_path(paths[0], options)
    if len(paths) == 1 and paths[0].suffix.lower() == ".zip":
        folder, fingerprint = unpack(paths[0], Entries.of(options))
        return load_tree(_wrapped(folder), paths[0].name, options, inside=True).named(fingerprint)
    kinds = {kind_of(path.name) for path in paths}
    kind = next(iter(kinds))
    if len(kinds) == 1 and kind is not None:
        return _load_media(paths, kind)
    return load_tables(paths, [path.name for path in paths], options, paths[0].parent, inside=False)


def _wrapped(folder: Path) -> Path:
    """The folder in an archive that holds everything, where there is one: photos.zip with photos/ in it."""
    while True:
        there = [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]
        if (
            len(there) != 1
            or not there[0].is_dir()
            or not any(p.is_dir() or _is_table(p) for p in there[0].iterdir())
        ):
            return folder
        folder = there[0]


def _load_media(paths: Sequence[Path], kind: str) -> Loaded:
    """Images or sounds that were listed one by one: their folders are their labels if they differ."""
    absolute = [path.absolute() for path in paths]
    parents = {path.parent for path in absolute}
    root = Path(os.path.commonpath([str(parent) for parent in parents]))
    if len(parents) > 1 and root in parents:
        root = root.parent
    found = []
    for path in absolute:
        stat = path.stat()
        found.append(Found(path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns))
    return replace(from_files(root, found, kind, paths[0].name if len(paths) == 1 else root.name), parts=None)


def load_tree(folder: Path, name: str, options: DataConfig, *, inside: bool) -> Loaded:
    """Read a folder: of labelled images or sounds, of a table and its files, or of tables."""
    files = list_files(folder)
    media = [found.name for found in files if kind_of(found.name)]
    tables = [found.name for found in files if _is_table(Path(found.name))]
    if media and not tables:
        tables = [found.name for found in files if "/" not in found.name and found.name.endswith(".txt")]
        tables = [] if any(table.lower().startswith(("readme", "license")) for table in tables) else tables
    labels = {found.rpartition("/")[0] for found in media}
    if not tables or (media and (len(labels) > 1 or len(tables) > 1)):
        return load_folder(folder, files, name)
    return load_tables([folder / table for table in tables], tables, options, folder, inside=inside)


def _is_table(path: Path) -> bool:
    return path.name.lower().endswith(TABLES)


def load_tables(
    paths: Sequence[Path], names: Sequence[str], options: DataConfig, folder: Path, *, inside: bool
) -> Loaded:
    """Read table files of one format as one table. Files named train, validation and test are the parts."""
    reader = _reader(paths, names)
    loaded = reader(paths, names, options)
    loaded = replace(loaded, parts=_parts(names, [span.count for span in loaded.spans]))
    return resolve_files(loaded, paths[0].parent if len(paths) == 1 else folder, options, inside=inside)


def _parts(names: Sequence[str], counts: Sequence[int]) -> NDArray[np.int8] | None:
    stems = [Path(name).name.lower().partition(".")[0] for name in names]
    if len(names) < 2 or not set(stems) <= set(PARTS):
        return None
    return np.repeat(np.array([PARTS[stem] for stem in stems], np.int8), counts)


Reader = Callable[[Sequence[Path], Sequence[str], DataConfig], Loaded]


def _reader(paths: Sequence[Path], names: Sequence[str]) -> Reader:
    formats = {_format(path) for path in paths}
    if len(formats) > 1:
        raise DataError(
            f"{', '.join(names[:4])} are of different formats ({', '.join(sorted(formats))}). Files that "
            "are read "
            "together need one format; give them one by one."
        )
    return READERS[formats.pop()]


def _format(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".parquet", ".pq")):
        return "Parquet"
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return "JSON"
    if path.stat().st_size and (name.endswith(DATABASES) or is_database(path)):
        return "database"
    return "CSV"


def _read_csv(paths: Sequence[Path], names: Sequence[str], options: DataConfig) -> Loaded:
    files = [scan(path, name, options.encoding) for path, name in zip(paths, names, strict=True)]
    return read_delimited(files, options, Entries.of(options))


def _read_parquet(paths: Sequence[Path], names: Sequence[str], options: DataConfig) -> Loaded:
    return read_parquet(paths, names, Entries.of(options))


def _read_json(paths: Sequence[Path], names: Sequence[str], options: DataConfig) -> Loaded:
    files = [scan(path, name, options.encoding) for path, name in zip(paths, names, strict=True)]
    return read_json(files, options, Entries.of(options))


def _read_database(paths: Sequence[Path], names: Sequence[str], options: DataConfig) -> Loaded:
    if len(paths) > 1:
        raise DataError(f"{names[0]} and {names[1]} are databases. Give one at a time.")
    return read_database(paths[0], options, Entries.of(options))


READERS: dict[str, Reader] = {
    "CSV": _read_csv,
    "Parquet": _read_parquet,
    "JSON": _read_json,
    "database": _read_database,
}
