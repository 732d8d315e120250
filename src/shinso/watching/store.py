"""Where requests are kept: a SQLite file in WAL mode, or PostgreSQL by its URL, behind the same SQL.

What `add` has returned from is on the disk: a transaction with an fsync, so that neither kill -9 nor a power
cut takes it back. Everything that is stored goes in as a parameter; nothing that a client sent becomes SQL.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, RunError
from .sampling import MOST, Vector

FORMAT = 1  # raised when a release writes logs that older ones cannot read
DAY = 86_400.0
PATIENCE = 10.0  # seconds to wait for another process that writes
URLS = ("postgresql://", "postgres://")
COLUMNS = ("id", "time", "model", "version", "route", "routed", "status", "seconds", "inputs", "answers")
TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS requests (
  number {serial}, id TEXT NOT NULL, time {real} NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL,
  route TEXT NOT NULL, routed TEXT, status INTEGER NOT NULL, seconds {real} NOT NULL,
  inputs TEXT NOT NULL, answers TEXT NOT NULL, UNIQUE (id, model, version, route));
CREATE INDEX IF NOT EXISTS requests_by_time ON requests (time);
CREATE TABLE IF NOT EXISTS labels (
  number {serial}, id TEXT NOT NULL, time {real} NOT NULL, field TEXT NOT NULL, value TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS labels_by_id ON labels (id);
CREATE TABLE IF NOT EXISTS vectors (
  day INTEGER NOT NULL, space TEXT NOT NULL, id TEXT NOT NULL, request TEXT NOT NULL, time {real} NOT NULL,
  rank {real} NOT NULL, data {bytes} NOT NULL, PRIMARY KEY (day, space, id));
CREATE INDEX IF NOT EXISTS vectors_by_rank ON vectors (day, space, rank);
"""


@dataclass(frozen=True)
class Entry:
    """One row that was answered, as it is kept: condensed, and without what is private."""

    id: str
    time: float  # seconds since 1970
    model: str
    version: str
    route: str  # "answer", or "shadow" for an answer that no client got
    status: int
    seconds: float
    inputs: Mapping[str, Any]
    answers: Mapping[str, Any]
    routed: str | None = None  # a digest of what the request was routed by
    vector: Vector | None = None  # what the network made of it, where the row is in the sample of its day


@dataclass(frozen=True)
class Label:
    """What was true of a row, known later."""

    id: str
    time: float
    values: Mapping[str, Any]  # by predicted column


@dataclass(frozen=True)
class Limits:
    """How large a log may grow; the oldest rows are deleted first, with their labels."""

    rows: int = 1_000_000
    size: int = 1 << 30  # bytes of the file; SQLite only
    days: float = 90.0


@dataclass(frozen=True)
class Dialect:
    """What differs between the two databases."""

    connect: Callable[[], Any]
    errors: tuple[type[BaseException], ...]
    mark: str  # where a parameter stands
    types: Mapping[str, str] = field(default_factory=dict)


class Store:
    """One request log. For one thread; open another one in another thread."""

    def __init__(self, place: str | Path, *, create: bool = False) -> None:
        self.place = str(place)
        self.local = not self.place.startswith(URLS)
        if self.local and not create and not Path(self.place).is_file():
            raise RunError(f"There is no request log {self.place}. `shinso serve` keeps one with --log.")
        self.dialect = _sqlite(Path(self.place)) if self.local else _postgresql(self.place)
        with self._guard():
            self.connection = self.dialect.connect()
        try:
            with self._guard():
                self._prepare()
        except RunError:
            self.connection.close()
            raise

    def add(self, entries: Sequence[Entry], labels: Sequence[Label] = ()) -> None:
        """Store all of it or nothing, on the disk when this returns; a row that is there already stays."""
        marks = ", ".join([self.dialect.mark] * len(COLUMNS))
        insert = f"INSERT INTO requests ({', '.join(COLUMNS)}) VALUES ({marks}) ON CONFLICT DO NOTHING"
        put = f"INSERT INTO labels (id, time, field, value) VALUES ({', '.join([self.dialect.mark] * 4)})"
        told = [(x.id, x.time, name, _json(value)) for x in labels for name, value in x.values.items()]
        with self._guard(), self._transaction() as cursor:
            if entries:
                cursor.executemany(insert, [_values(entry) for entry in entries])
            if told:
                cursor.executemany(put, told)
            self._add_vectors(cursor, [entry.vector for entry in entries if entry.vector is not None])

    def _add_vectors(self, cursor: Any, vectors: Sequence[Vector]) -> None:
        """Store vectors; of a day and a graph those of the lowest ranks stay, whoever wrote them."""
        if not vectors:
            return
        mark = self.dialect.mark
        rows = [(int(v.time // DAY), v.space, v.id, v.request, v.time, v.rank, v.data) for v in vectors]
        put = f"INSERT INTO vectors VALUES ({', '.join([mark] * 7)}) ON CONFLICT DO NOTHING"
        cursor.executemany(put, rows)
        own = f"FROM vectors WHERE day = {mark} AND space = {mark}"
        drop = f"DELETE {own} AND rank >= (SELECT rank {own} ORDER BY rank LIMIT 1 OFFSET {MOST})"
        cursor.executemany(drop, [pair * 2 for pair in sorted({row[:2] for row in rows})])

    def days(self, since: float = 0.0, until: float = 1e15) -> dict[int, int]:
        """Rows of each day in UTC, counted from 1970, in order of time."""
        query = "SELECT CAST(FLOOR(time / 86400.0) AS INTEGER) AS day, COUNT(*) FROM requests"
        found = self._rows(f"{query} WHERE time >= ? AND time < ? GROUP BY day ORDER BY day", since, until)
        return {int(day): int(rows) for day, rows in found}

    def entries(self, since: float, until: float, *, every: int = 1) -> Iterator[Entry]:
        """The rows of a time, the first first; one in `every` where there are very many."""
        query = f"SELECT {', '.join(COLUMNS)} FROM requests WHERE time >= ? AND time < ? AND number % ? = 0"
        for row in self._rows(f"{query} ORDER BY number", since, until, every):
            named = dict(zip(COLUMNS, row, strict=True))
            named["inputs"], named["answers"] = json.loads(named["inputs"]), json.loads(named["answers"])
            yield Entry(**named)

    def vectors(self, since: float, until: float) -> list[Vector]:
        """The vectors that were kept of rows of a time, by graph, the lowest ranks first."""
        query = "SELECT space, request, id, time, rank, data FROM vectors WHERE time >= ? AND time < ?"
        found = self._rows(f"{query} ORDER BY space, rank, id", since, until)
        return [
            Vector(space, request, id, time, rank, bytes(data))
            for space, request, id, time, rank, data in found
        ]

    def labels(self, since: float = 0.0) -> dict[str, dict[str, Any]]:
        """By id: what was true, of rows served since then; of two labels of a row the later one counts."""
        query = (
            "SELECT labels.id, field, value FROM labels WHERE id IN (SELECT id FROM requests WHERE time >= ?)"
        )
        found: dict[str, dict[str, Any]] = {}
        for id, name, value in self._rows(f"{query} ORDER BY number", since):
            found.setdefault(id, {})[name] = json.loads(value)
        return found

    def labelled(self, since: float) -> Iterator[tuple[Entry, dict[str, Any]]]:
        """Rows with what was true of them, in the order in which that became known."""
        names = ", ".join(f"requests.{name}" for name in COLUMNS)
        query = (
            f"SELECT {names}, labels.field, labels.value FROM labels JOIN requests ON requests.id = labels.id"
        )
        for row in self._rows(f"{query} WHERE requests.time >= ? ORDER BY labels.number", since):
            named = dict(zip(COLUMNS, row, strict=False))
            named["inputs"], named["answers"] = json.loads(named["inputs"]), json.loads(named["answers"])
            yield Entry(**named), {row[-2]: json.loads(row[-1])}

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Store what the log is about, as its last writer says."""
        mark = self.dialect.mark
        put = (
            f"INSERT INTO meta VALUES ({mark}, {mark}) "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        )
        with self._guard(), self._transaction() as cursor:
            cursor.executemany(put, [(f"fact {name}", _json(value)) for name, value in facts.items()])

    def facts(self) -> dict[str, Any]:
        """What `describe` stored."""
        rows = self._rows("SELECT name, value FROM meta")
        return {name[5:]: json.loads(value) for name, value in rows if name.startswith("fact ")}

    def arms(self, since: float, until: float) -> list[tuple[str, str, str]]:
        """The models, versions and routes that answered."""
        query = "SELECT DISTINCT model, version, route FROM requests WHERE time >= ? AND time < ?"
        return sorted((str(a), str(b), str(c)) for a, b, c in self._rows(query, since, until))

    def known(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that rows have."""
        found: set[str] = set()
        for start in range(0, len(ids), 500):
            part = ids[start : start + 500]
            marks = ", ".join(["?"] * len(part))
            found |= {id for (id,) in self._rows(f"SELECT id FROM requests WHERE id IN ({marks})", *part)}
        return found

    def count(self) -> int:
        """Rows in the log."""
        ((rows,),) = self._rows("SELECT COUNT(*) FROM requests")
        return int(rows)

    def prune(self, limits: Limits, now: float) -> int:
        """Delete the oldest rows beyond the limits, with their labels and vectors; gives how many."""
        ((last,),) = self._rows("SELECT COALESCE(MAX(number), 0) FROM requests")
        ((old,),) = self._rows(
            "SELECT COALESCE(MAX(number), 0) FROM requests WHERE time < ?", now - DAY * limits.days
        )
        bound = max(int(old), int(last) - limits.rows)
        size = self.size() if self.local else 0
        if size > limits.size:  # down to nine tenths, so that this is not done for each row
            rows = self.count()
            keep = int(rows * 0.9 * limits.size / size)
            ((at,),) = self._rows(
                "SELECT COALESCE(MIN(number), 0) FROM "
                "(SELECT number FROM requests ORDER BY number DESC LIMIT ?) x",
                max(1, keep),
            )
            bound = max(bound, int(at) - 1)
        return self._delete_up_to(bound) if bound > 0 else 0

    def size(self) -> int:
        """Bytes of the file that hold something."""
        pages, free, page = (
            self._rows(f"PRAGMA {what}")[0][0] for what in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * page)

    def check(self) -> str:
        """What the database says of its own state; 'ok' where nothing is wrong (SQLite only)."""
        return str(self._rows("PRAGMA integrity_check")[0][0])

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _delete_up_to(self, number: int) -> int:
        mark = self.dialect.mark
        with self._guard():
            with self._transaction() as cursor:
                cursor.execute(f"DELETE FROM requests WHERE number <= {mark}", (number,))
                gone = cursor.rowcount
                if gone:
                    cursor.execute("DELETE FROM labels WHERE id NOT IN (SELECT id FROM requests)")
                    cursor.execute("DELETE FROM vectors WHERE id NOT IN (SELECT id FROM requests)")
            if gone and self.local:
                self.connection.execute("PRAGMA incremental_vacuum").fetchall()
        return int(gone)

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._guard():
            cursor = self.connection.cursor()
            cursor.execute(query.replace("%", "%%").replace("?", "%s") if not self.local else query, values)
            return list(cursor.fetchall())

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        cursor = self.connection.cursor()
        cursor.execute("BEGIN IMMEDIATE" if self.local else "BEGIN")
        try:
            yield cursor
            cursor.execute("COMMIT")
        except BaseException:
            if not self.local or self.connection.in_transaction:
                cursor.execute("ROLLBACK")
            raise

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except self.dialect.errors as error:
            raise RunError(
                f"The request log {_shown(self.place)} cannot be used: {str(error).strip()}. "
                f"Free some space or choose another file; what stands in it is unchanged."
            ) from error

    def _prepare(self) -> None:
        cursor = self.connection.cursor()
        for statement in TABLES.format_map(dict(self.dialect.types)).split(";"):
            if statement.strip():
                cursor.execute(statement)
        cursor.execute(f"INSERT INTO meta VALUES ('format', '{FORMAT}') ON CONFLICT DO NOTHING")
        cursor.execute("SELECT value FROM meta WHERE name = 'format'")
        (stored,) = cursor.fetchone()
        if stored != str(FORMAT):
            raise RunError(
                f"The request log {_shown(self.place)} was written in format {stored}; this release reads "
                f"{FORMAT}. Use the release of shinso that wrote it, or a newer one."
            )


def _values(entry: Entry) -> tuple[Any, ...]:
    return (
        entry.id, entry.time, entry.model, entry.version, entry.route, entry.routed, entry.status,
        entry.seconds, _json(entry.inputs), _json(entry.answers),
    )  # fmt: skip


def _json(value: Any) -> str:
    # PostgreSQL holds no NUL in a text; JSON writes it as an escape, so both databases take every string.
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _shown(place: str) -> str:
    """The place of a log without a password."""
    start, at, end = place.rpartition("@")
    return f"{start.split('//')[0]}//...@{end}" if at and place.startswith(URLS) else place


def _sqlite(path: Path) -> Dialect:
    def connect() -> sqlite3.Connection:
        fresh = not path.exists()
        if fresh:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)  # what people sent is not for everybody
        found = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        for pragma in ("auto_vacuum = INCREMENTAL", "journal_mode = WAL", "synchronous = FULL",
                       "journal_size_limit = 67108864"):  # fmt: skip
            found.execute(f"PRAGMA {pragma}").fetchall()
        return found

    types = {"serial": "INTEGER PRIMARY KEY AUTOINCREMENT", "real": "REAL", "bytes": "BLOB"}
    return Dialect(connect, (sqlite3.Error, OSError), "?", types)


def _postgresql(url: str) -> Dialect:
    try:
        import psycopg
    except ImportError:
        raise MissingExtraError(
            "A log in PostgreSQL needs psycopg, which is not installed: pip install 'shinso[postgresql]'"
        ) from None
    types = {
        "serial": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "real": "DOUBLE PRECISION",
        "bytes": "BYTEA",
    }  # fmt: skip
    return Dialect(lambda: psycopg.connect(url, autocommit=True), (psycopg.Error,), "%s", types)
