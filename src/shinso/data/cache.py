"""Encoded columns, decoded once: in memory when small, else in files keyed by content.

One entry a column: `data.npy`, for ragged columns `starts.npy` and `counts.npy`, `failed.npy` with the rows
that could not be encoded, and `meta.json`. The key holds what the rows are and what the column has learned,
so that another split, another target or a second run finds the images decoded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..columns.base import Column, Values
from ..errors import DataError
from .encoding import Failures, Sink, encode_chunk, make_sink, open_encoded
from .entries import Entries, make_key
from .notes import MOST_LISTED, Bad, shorten
from .pool import Done, Workers
from .store import Encoded, Resident, Rows, Store
from .tabular import Tabular

FORMAT = 1
CHUNK = 65_536  # rows that are encoded at a time
FILES_TO_KEEP = 2_000  # columns of files are kept on disk from this many rows on,
ROWS_TO_KEEP = 500_000  # other columns from this many
FILES_FOR_WORKERS = 1_000  # below this a second process is slower to start than to do without
Progress = Callable[[int, int], None]

__all__ = ["Store", "encode_table"]


def no_progress(done: int, total: int) -> None:
    """Show nothing."""


def encode_table(
    table: Tabular, columns: Sequence[Column], rows: Rows | None = None, *, folder: Path | None = None,
    fingerprint: str | None = None, workers: int = 1, progress: Progress = no_progress,
) -> Store:  # fmt: skip
    """Encode `columns` for `rows` (all when None): row i of the store is row `rows[i]` of the table.

    `folder` is where large columns are kept between runs (None: everything stays in memory), `workers` how
    many processes decode files. Rows whose value cannot be encoded are not `usable`, and listed as bad.
    Raises `DataError` when no value of a column can be encoded, or the disk is full.
    """
    count = len(table) if rows is None else len(rows)
    if not count:
        raise DataError(f"{table.describe()} has no rows. Expected at least one.")
    steps = _Steps(progress, count * len(columns))
    job = _Job(table, rows, folder, fingerprint or table.fingerprint, workers, steps)
    usable = np.ones(count, np.bool_)
    encoded: dict[str, Encoded] = {}
    bad: list[Bad] = []
    for column in columns:
        encoded[column.name], failures = job.encode(column)
        usable[failures.rows] = False
        bad += job.describe(column.name, failures)
    return Store(encoded, usable, tuple(bad), job.resident.crowded)


@dataclass
class _Steps:
    """How far the encoding is."""

    progress: Progress
    total: int
    done: int = 0

    def advance(self, rows: int) -> None:
        """Some rows of a column are done."""
        self.done += rows
        self.progress(self.done, self.total)


class _Job:
    """The encoding of one table."""

    def __init__(
        self, table: Tabular, rows: Rows | None, folder: Path | None, fingerprint: str, workers: int,
        steps: _Steps,
    ) -> None:  # fmt: skip
        self.table, self.rows = table, rows
        self.count = len(table) if rows is None else len(rows)
        self.entries = None if folder is None else Entries(folder)
        self.fingerprint, self.workers, self.steps = fingerprint, workers, steps
        self.resident = Resident()

    def encode(self, column: Column) -> tuple[Encoded, Failures]:
        """One column, from the cache or anew."""
        files = self._holds_files(column.name)
        if self.entries is None or self.count < (FILES_TO_KEEP if files else ROWS_TO_KEEP):
            sink = make_sink(column, self.count, None)
            failures = self._fill(column, sink, files=files)
            encoded = sink.finish()
            assert encoded is not None
            return encoded, failures
        key = self._key(column)
        found = self._find(column, key)
        if found is not None:
            self.steps.advance(self.count)
            return found
        self._write(column, key, files=files)
        found = self._find(column, key)
        if found is None:
            raise DataError(
                f"The cache entry of column {column.name!r} vanished as it was written: another process "
                f"removes entries of {self.entries.folder}. Name another folder with --set data.cache=DIR."
            )
        return found

    def describe(self, name: str, failures: Failures) -> list[Bad]:
        """What could not be encoded, as rows of the user's data."""
        places = failures.rows[:MOST_LISTED]
        rows = [place if self.rows is None else int(self.rows[place]) for place in places]
        keys = self.table.keys(np.asarray(rows, np.int64)) if rows else []
        return [
            Bad(self.table.file(row), key, name, reason, shorten(value))
            for row, key, reason, value in zip(rows, keys, failures.reasons, failures.values, strict=False)
        ]

    def _chunks(self, name: str) -> Iterator[tuple[int, Values]]:
        for start in range(0, self.count, CHUNK):
            rows = slice(start, min(self.count, start + CHUNK))
            yield start, self.table.values(name, rows if self.rows is None else self.rows[rows])

    def _holds_files(self, name: str) -> bool:
        few = slice(0, 100) if self.rows is None else self.rows[:100]
        return any(isinstance(value, Path) for value in self.table.values(name, few))

    def _key(self, column: Column) -> str:
        rows: str | None = None
        if self.rows is not None:
            rows = make_key(self.rows.tolist())
        return make_key("encoded", FORMAT, self.fingerprint, rows, self.count, column.to_dict())

    def _find(self, column: Column, key: str) -> tuple[Encoded, Failures] | None:
        assert self.entries is not None
        found = self.entries.find(key)
        if found is None:
            return None
        place, meta = found
        encoded = open_encoded(place, self.resident, ragged=column.ragged)
        rows = np.load(place / "failed.npy", allow_pickle=False).tolist()
        return encoded, Failures(rows, meta["reasons"], meta["values"])

    def _write(self, column: Column, key: str, *, files: bool) -> None:
        assert self.entries is not None
        meta: dict[str, list[str]] = {}
        with self.entries.writing(key, meta) as place:
            with contextlib.closing(make_sink(column, self.count, place)) as sink:
                failures = self._fill(column, sink, files=files)
                sink.finish()
            np.save(place / "failed.npy", np.asarray(failures.rows, np.int64), allow_pickle=False)
            listed = asdict(failures)
            meta["reasons"], meta["values"] = listed["reasons"][:MOST_LISTED], listed["values"][:MOST_LISTED]

    def _fill(self, column: Column, sink: Sink, *, files: bool) -> Failures:
        """Encode all rows into a sink."""
        failures = Failures()
        for done in self._encoded(column, files=files):
            for piece in done.pieces:
                sink.put(piece)
            failures.rows += done.failures.rows
            failures.reasons += done.failures.reasons
            failures.values += done.failures.values
            self.steps.advance(done.count)
        if len(failures.rows) == self.count:
            first = self.describe(column.name, failures)[0]
            raise DataError(
                f"No value of column {column.name!r} can be used. The first is {first.file}, row "
                f"{first.row}: "
                f"{first.reason}"
            )
        return failures

    def _encoded(self, column: Column, *, files: bool) -> Iterator[Done]:
        workers = self._start_workers(column) if files else None
        if workers is not None:
            try:
                yield from workers.encode(self._chunks(column.name))
            finally:
                workers.close()
            return
        for start, values in self._chunks(column.name):
            step = 256 if files else len(values)  # so that decoding shows its progress
            for i in range(0, len(values), step):
                failures = Failures()
                part = values[i : i + step]
                pieces = list(encode_chunk(column, part, start + i, failures))
                yield Done(len(part), pieces, failures)

    def _start_workers(self, column: Column) -> Workers | None:
        importable = type(column).__module__ != "__main__" and "<locals>" not in type(column).__qualname__
        if self.workers < 2 or self.count < FILES_FOR_WORKERS or not importable:
            return None
        try:
            return Workers(column, self.workers)
        except OSError:
            return None
