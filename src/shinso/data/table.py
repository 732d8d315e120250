"""Rows from anything, as typed columns."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..columns.base import Values
from ..config import DataConfig
from ..errors import DataError, did_you_mean
from .loaded import Loaded, Span, find_span
from .notes import Bad, Note
from .sources import Source, load
from .spool import forget
from .store import READ_AROUND
from .values import Rows, take_rows, to_values

MAPPED = 128 << 20  # bytes of rows on disk that are read before their memory is given back
CELL = 16  # bytes of a value, roughly
MOST_PATHS = 500_000  # files whose paths stay in memory


class Table:
    """Rows from a file, a folder, an archive, a database or a frame.

    >>> table = Table.read({"area": [50, 70], "city": ["Kyoto", None]})
    >>> len(table), table.names
    (2, ('area', 'city'))
    >>> table.values("city", slice(0, 1))
    array(['Kyoto'], dtype=object)
    """

    def __init__(
        self, loaded: Loaded, rows: Rows | None = None, paths: dict[str, Values] | None = None
    ) -> None:
        self._loaded = loaded
        self._rows = rows  # of the loaded data, where this table is a part of it
        self._starts = np.cumsum([0, *(span.count for span in loaded.spans)])
        self._touched = 0  # bytes of rows on disk
        self._paths: dict[str, Values] = {} if paths is None else paths  # of whole columns of files
        self.names: tuple[str, ...] = loaded.order or (*loaded.data.column_names, *loaded.objects)
        self.notes: tuple[Note, ...] = loaded.notes
        self.quarantine: tuple[Bad, ...] = loaded.quarantine
        self.key_name = "row" if loaded.key is None else "file"

    @classmethod
    def read(cls, source: Source, options: DataConfig | None = None) -> Self:
        """Read rows from a path, a glob pattern, a folder, a zip, a database, a frame, or Python lists.

        A table stays what it is. Raises `DataError` naming the file, row, column and remedy.
        """
        if isinstance(source, cls):
            return source
        return cls(load(source, options or DataConfig()))

    def __len__(self) -> int:
        if self._rows is not None:
            return len(self._rows)
        return len(self._loaded)

    @property
    def fingerprint(self) -> str:
        """What the rows came from, as a hash of its content; a part of a table has one of its own."""
        if self._rows is None:
            return self._loaded.fingerprint
        return _digest(self._loaded.fingerprint.encode(), self._rows.tobytes())

    @property
    def parts(self) -> NDArray[np.int8] | None:
        """(n,) 0 train, 1 validation, 2 test, where the source says so."""
        parts = self._loaded.parts
        return parts if parts is None or self._rows is None else parts[self._rows]

    def values(self, name: str, rows: Rows | slice | None = None) -> Values:
        """The values of one column, all or some rows, as float64, int64, bool, datetime64[us] or object."""
        self.check(name)
        selected = self._select(rows)
        if name in self._loaded.objects:
            return self._loaded.objects[name][selected]
        folder = self._loaded.folders.get(name)
        if folder is not None and len(self._loaded) <= MOST_PATHS:
            return self._files(name, folder)[selected]
        column = self._loaded.data[name]
        whole = column.null_count == 0
        part = column[selected] if isinstance(selected, slice) else take_rows(column, selected)
        values = to_values(part, whole=whole, name=name)
        if self._loaded.mapping is not None:
            scattered = not isinstance(selected, slice)
            self._count_mapped(min(column.nbytes, len(values) * (READ_AROUND if scattered else CELL)))
        if folder is None:
            return values
        return paths_below(folder, values)

    def _files(self, name: str, folder: Path) -> Values:
        """All paths of a column of files, made once: that takes a third of decoding small images."""
        if name not in self._paths:
            names = to_values(self._loaded.data[name], whole=False, name=name)
            self._paths[name] = paths_below(folder, names)
            self._paths[name].flags.writeable = False
        return self._paths[name]

    def _count_mapped(self, size: int) -> None:
        """Rows on disk are read through memory, which must not grow with them."""
        self._touched += size
        if self._loaded.mapping is not None and self._touched > MAPPED:
            forget(self._loaded.mapping)
            self._touched = 0

    def check(self, name: str) -> None:
        """Raise `DataError` when there is no column `name`."""
        if name not in self.names:
            raise DataError(
                f"There is no column {name!r} in {self.describe()}. {did_you_mean(name, self.names)}"
            )

    def parted(self, parts: NDArray[np.int8]) -> Table:
        """The same rows with the parts (n,) that they belong to: 0 train, 1 validation, 2 test."""
        return Table(replace(self._loaded, parts=parts), self._rows)

    def describe(self) -> str:
        """The files of the table, for messages."""
        files = [span.file for span in self._loaded.spans]
        return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more files"

    def take(self, rows: Rows | slice) -> Table:
        """A table of some of the rows, in the order asked; keys and places stay those of the source."""
        selected = self._select(rows)
        if isinstance(selected, slice):
            selected = np.arange(len(self))[selected]
        return Table(self._loaded, selected, self._paths)

    def rows(self, indices: Sequence[int] | Rows) -> list[dict[str, Any]]:
        """Some rows as dicts, for showing."""
        wanted = np.asarray(indices, np.int64)
        columns = {name: self.values(name, wanted) for name in self.names}
        return [{name: values[i] for name, values in columns.items()} for i in range(len(wanted))]

    def keys(self, rows: Rows | slice | None = None) -> list[int | str]:
        """What a user calls each row: its number counted from 1 in the file, or its file name."""
        if self._loaded.key is not None:
            selected = self._select(rows)
            column = self._loaded.data[self._loaded.key]
            part = column[selected] if isinstance(selected, slice) else take_rows(column, selected)
            return list(part.to_pylist())
        indices = np.arange(len(self)) if rows is None else np.arange(len(self))[rows]
        if self._rows is not None:
            indices = self._rows[indices]
        return [int(number) for number in self._numbers(indices)]

    def where(self, row: int) -> str:
        """The place of a row for messages: `houses.csv, line 17` or `photos/cat/x.jpg`."""
        if self._loaded.key is not None:
            return str(self.keys(np.asarray([row]))[0])
        span, index = self._span(row)
        number = span.number(index)
        line = span.line(number) if span.line else None
        return f"{span.file}, row {number}" if line is None else f"{span.file}, line {line}"

    def file(self, row: int) -> str:
        """The name of the file that a row came from."""
        return self._span(row)[0].file

    def _span(self, row: int) -> tuple[Span, int]:
        return find_span(self._loaded.spans, row if self._rows is None else int(self._rows[row]))

    def _numbers(self, indices: Rows) -> Rows:
        """Row numbers that run on over several files, counting the rows that were skipped."""
        which = np.searchsorted(self._starts, indices, side="right") - 1
        skipped = np.cumsum([0, *(len(span.skipped) for span in self._loaded.spans)])
        numbers = np.empty(len(indices), np.int64)
        for i in np.unique(which):
            mine = which == i
            inside = self._loaded.spans[i].numbers(indices[mine] - self._starts[i])
            numbers[mine] = inside + self._starts[i] + skipped[i]
        return numbers

    def _select(self, rows: Rows | slice | None) -> Rows | slice:
        chosen = slice(None) if rows is None else rows
        if self._rows is not None:
            return self._rows[chosen]
        if isinstance(chosen, slice):
            return chosen
        rows = np.asarray(chosen, np.int64)
        if len(rows) > 1 and rows[0] >= 0 and (rows[1:] - rows[:-1] == 1).all():
            return slice(int(rows[0]), int(rows[-1]) + 1)  # a slice copies nothing
        return rows


def paths_below(folder: Path, names: Values) -> Values:
    """Paths of files below a folder; None where there is no name.

    >>> paths_below(Path("photos"), np.array(["cat/1.png", None], object)).tolist()
    [PosixPath('photos/cat/1.png'), None]
    """
    found = np.empty(len(names), object)
    inner, above = "", folder
    for i, name in enumerate(names):
        if name is None:
            continue
        start, _, last = name.rpartition("/")
        if start != inner:
            inner, above = start, folder / start
        found[i] = above / last  # half the time of a path from its parts
    return found


def _digest(*pieces: bytes) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
