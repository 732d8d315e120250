"""Sources that have columns already: Parquet, data frames, Arrow tables, lists."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet

from ..columns.base import Values, is_missing, object_array
from ..errors import DataError
from ..files import file_digest
from .arrow import from_numpy, to_numpy
from .dialect import check_names, same_names
from .entries import Entries, make_key
from .infer import EXPECTED, SHARE
from .loaded import Loaded, Span
from .notes import MOST_LISTED, Bad, Note, plural, shorten
from .spool import FORMAT, LARGE, Facts, gather, restore, spool
from .values import whole_text

BATCH = 262_144
INDEX = "__index_level_"  # pandas' names for its row labels


def read_parquet(paths: Sequence[Path], names: Sequence[str], entries: Entries) -> Loaded:
    """Read Parquet files of one schema as one table."""
    files = [_open(path, name) for path, name in zip(paths, names, strict=True)]
    schema = _one_schema(files, names)
    hashes = [file_digest(path) for path in paths]
    fingerprint = hashes[0] if len(hashes) == 1 else make_key(hashes)
    size = sum(
        file.metadata.row_group(i).total_byte_size for file in files for i in range(file.num_row_groups)
    )
    found = Remarks()
    spans = tuple(Span(name, file.metadata.num_rows) for file, name in zip(files, names, strict=True))
    if not sum(span.count for span in spans):
        raise DataError(f"{names[0]} has columns but no rows. Expected at least one.")

    def pieces() -> Iterator[pa.Table]:
        start = 0
        for file, name in zip(files, names, strict=True):
            for batch in _batches(file, schema, name):
                found.look(batch, spans, start)
                start += len(batch)
                yield batch

    def facts() -> Facts:
        return spans, found.notes(), tuple(found.bad)

    if size < LARGE:
        return gather(pieces(), facts, fingerprint)
    key = make_key("parquet", FORMAT, hashes, list(names))
    stored = restore(fingerprint, entries, key, [None for _ in spans])
    return stored if stored is not None else spool(pieces(), facts, fingerprint, entries, key)


def _open(path: Path, name: str) -> pyarrow.parquet.ParquetFile:
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"{name} is not a complete Parquet file: {_first_line(error)}. Write or copy it again."
        ) from None
    check_names(file.schema_arrow.names, name)
    return file


def _one_schema(files: Sequence[pyarrow.parquet.ParquetFile], names: Sequence[str]) -> pa.Schema:
    """The schema of all files: the same columns, types widened where they differ."""
    schemas = [_plain(file.schema_arrow) for file in files]
    for schema, name in zip(schemas, names, strict=True):
        same_names(schemas[0].names, names[0], schema.names, name)
    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(
            f"The files {', '.join(names[:3])} do not fit together: {_first_line(error)}."
        ) from None


def _plain(schema: pa.Schema) -> pa.Schema:
    """Without dictionaries, which differ from batch to batch, and without pandas' row labels."""
    fields = [
        pa.field(field.name, field.type.value_type if pa.types.is_dictionary(field.type) else field.type)
        for field in schema
        if not field.name.startswith(INDEX)
    ]
    return pa.schema(fields)


def _batches(file: pyarrow.parquet.ParquetFile, schema: pa.Schema, name: str) -> Iterator[pa.Table]:
    try:
        for batch in file.iter_batches(BATCH, columns=schema.names):
            table = pa.table(batch).select(schema.names)
            yield table.cast(schema)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{name} is damaged: {_first_line(error)}. Write or copy it again.") from None


def from_arrow(table: pa.Table, name: str) -> Loaded:
    """Rows of an Arrow table, or of a frame that became one."""
    check_names(table.column_names, name)
    table = table.select([n for n in table.column_names if not n.startswith(INDEX)])
    if not table.num_columns:
        raise DataError(f"{name} has no columns.")
    table = table.cast(_plain(table.schema))
    spans = (Span(name, len(table)),)
    found = Remarks()
    found.look(table, spans, 0)
    return Loaded(table, spans, _content(table), found.notes(), tuple(found.bad))


def from_lists(columns: Mapping[str, Sequence[Any]], name: str) -> Loaded:
    """Rows of a dict of lists or arrays; what Arrow cannot hold stays as Python objects."""
    lengths = Counter(len(values) for values in columns.values())
    if len(lengths) > 1:
        usual = lengths.most_common(1)[0][0]
        odd = {key: len(values) for key, values in columns.items() if len(values) != usual}
        raise DataError(f"The columns of {name} differ in length: most have {usual} rows, but {odd}.")
    if not columns:
        raise DataError(f"{name} has no columns. Expected at least one, as in {{'price': [1, 2]}}.")
    arrays: dict[str, pa.Array] = {}
    objects: dict[str, Values] = {}
    notes: list[Note] = []
    bad: list[Bad] = []
    for key, values in columns.items():
        array, lost = to_arrow(values)
        if array is None:
            objects[key] = object_array(list(values))
            continue
        arrays[key] = array
        if lost:
            message = f"{plural(len(lost), 'cell')} of {key!r} not readable as numbers: missing"
            notes.append(Note("warning", f"{message} (as {shorten(values[lost[0]])!r})", key, len(lost)))
            reason = f"missing: the column holds {EXPECTED['float']}"
            bad += [Bad(name, row + 1, key, reason, shorten(values[row])) for row in lost[:MOST_LISTED]]
    table = pa.table(arrays) if arrays else pa.table({})
    spans = (Span(name, next(iter(lengths))),)
    found = Remarks()
    found.look(table, spans, 0)
    fingerprint = make_key(_content(table), {key: _digest(values) for key, values in objects.items()})
    return Loaded(
        table, spans, fingerprint, (*notes, *found.notes()), (*bad, *found.bad), objects=objects,
        order=tuple(columns),
    )  # fmt: skip


def to_arrow(values: Sequence[Any]) -> tuple[pa.Array | None, list[int]]:
    """Python values as an Arrow array, and the places of cells that became missing; None for other objects.

    >>> to_arrow([1, 2.5, None])[0].type, to_arrow(["a", 1])[0].to_pylist(), to_arrow([1, {}])[0]
    (DataType(double), ['a', '1'], None)
    """
    if isinstance(values, np.ndarray) and values.ndim > 1:
        return None, []
    try:
        return pa.array(values, from_pandas=True), []
    except UnicodeEncodeError:
        return to_arrow([whole_text(value) for value in values])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError, OverflowError):
        return _mixed(list(values))


def _mixed(values: list[Any]) -> tuple[pa.Array | None, list[int]]:
    """Numbers and texts in one column: numbers if nearly all are, else text."""
    there = [value for value in values if not is_missing(value)]
    if there and all(isinstance(value, np.datetime64) for value in there):
        return pa.array(np.array([None if is_missing(v) else v for v in values], "datetime64[us]")), []
    if not all(isinstance(value, str | bool | int | float | np.number) for value in there):
        return None, []
    numbers = sum(not isinstance(value, str) for value in there)
    if numbers >= SHARE * len(there):
        lost = [i for i, value in enumerate(values) if isinstance(value, str)]
        return pa.array(
            [None if isinstance(v, str) or is_missing(v) else float(v) for v in values], pa.float64()
        ), lost
    return pa.array([None if is_missing(value) else whole_text(str(value)) for value in values]), []


class Remarks:
    """What is odd about typed columns: infinities."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.bad: list[Bad] = []

    def look(self, table: pa.Table, spans: Sequence[Span], start: int) -> None:
        """Count and list the infinite numbers of a piece that begins with row `start` of all."""
        starts = np.cumsum([0, *(span.count for span in spans)])
        for name, column in zip(table.column_names, table.columns, strict=True):
            if not pa.types.is_floating(column.type):
                continue
            infinite = pc.is_inf(column)
            count = pc.sum(infinite).as_py() or 0
            if not count:
                continue
            self.counts[name] += count
            rows = np.flatnonzero(to_numpy(infinite.fill_null(from_numpy(np.array([False]))[0]))) + start
            for row in rows[: MOST_LISTED - len(self.bad)].tolist():
                i = int(np.searchsorted(starts, row, side="right")) - 1
                value = str(column[row - start].as_py())
                number = spans[i].number(row - int(starts[i]))
                self.bad.append(Bad(spans[i].file, number, name, "missing: the number is infinite", value))

    def notes(self) -> tuple[Note, ...]:
        """One warning a column."""
        return tuple(
            Note("warning", f"{plural(count, 'cell')} of {name!r} infinite: missing", name, count)
            for name, count in self.counts.items()
        )


class _Hash:
    """A file that keeps a hash of what is written to it."""

    closed = False

    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=16)

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...


def _content(table: pa.Table) -> str:
    """A hash of a table in memory."""
    sink = _Hash()
    with pa.ipc.new_stream(pa.PythonFile(sink, "w"), table.schema) as writer:
        writer.write_table(table)
    return sink.digest.hexdigest()


def _digest(values: Iterable[Any]) -> str:
    """A hash of Python objects: of their pixels where they are pictures, of their text otherwise."""
    digest = hashlib.blake2b(digest_size=16)
    for value in values:
        pixels = value is not None and not isinstance(value, str | Path | dict | set)
        array = np.asarray(value) if pixels else None
        if array is None or array.dtype.kind == "O":
            digest.update(repr(value).encode("utf-8", "surrogateescape"))
        else:
            digest.update(
                repr((array.shape, array.dtype.str)).encode() + np.ascontiguousarray(array).tobytes()
            )
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(". ")
