"""Rows of a database: DuckDB and SQLite files, and PostgreSQL. Nothing is ever written."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from ..config import DataConfig
from ..errors import DataError, MissingExtraError, did_you_mean
from ..files import file_digest
from ..later import Later
from .columnar import Remarks, from_arrow, from_lists
from .dialect import check_names
from .entries import Entries, make_key
from .loaded import Loaded, Span
from .spool import Facts, spool

duckdb = Later("duckdb")

SUFFIXES = (".duckdb", ".ddb", ".db", ".sqlite", ".sqlite3", ".db3")
SERVERS = ("postgres://", "postgresql://")
SQLITE, DUCKDB = b"SQLite format 3\x00", b"DUCK"
BATCH = 65_536
MANY = 2_000_000  # rows of a DuckDB query from which on they are kept on disk
PLAIN_NAME = re.compile(r"[^\s;()'\"]+")
LOCKED: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,  # nothing is fetched from the network
    "autoload_known_extensions": False,
    "enable_external_access": False,  # a query reads the database, no other file
}


def is_database(path: Path) -> bool:
    """Whether a file is a DuckDB or SQLite database, by its first bytes."""
    with path.open("rb") as file:
        first = file.read(16)
    return first == SQLITE or first[8:12] == DUCKDB


def read_database(path: Path, options: DataConfig, entries: Entries) -> Loaded:
    """The rows of a table or a query (`data.table`) of a database file."""
    with path.open("rb") as file:
        sqlite = file.read(16) == SQLITE
    try:
        return _read_sqlite(path, options) if sqlite else _read_duckdb(path, options, entries)
    except (duckdb.Error, sqlite3.Error) as error:
        asked = f" The query was: {options.table}." if options.table else ""
        raise DataError(
            f"{path.name}: {_first_line(error)}.{asked} Correct the query, or restore the file from a copy."
        ) from None


def choose_query(asked: str | None, tables: list[str], name: str) -> str:
    """SQL for what the user asked for: a query, a table, or the only table there is."""
    if asked is None and len(tables) == 1:
        asked = tables[0]
    if asked is None:
        raise DataError(
            f"{name} holds {len(tables)} tables. {did_you_mean('', tables)} Choose one, as in --set "
            "data.table="
            f"{tables[0] if tables else 'NAME'}, or give a query."
        )
    if asked in tables:
        quoted = asked.replace('"', '""')
        return f'SELECT * FROM "{quoted}"'
    if PLAIN_NAME.fullmatch(asked):
        raise DataError(f"{name} has no table {asked!r}. {did_you_mean(asked, tables)}")
    return asked.rstrip("; \n")


def _read_duckdb(path: Path, options: DataConfig, entries: Entries) -> Loaded:
    with duckdb.connect(str(path), read_only=True, config=LOCKED) as connection:
        tables = [
            row[0] for row in connection.sql("SELECT table_name FROM information_schema.tables").fetchall()
        ]
        query = choose_query(options.table, tables, path.name)
        fingerprint = make_key(file_digest(path), query)
        return _fetch(connection, query, path.name, fingerprint, entries)


def _fetch(connection: Any, query: str, name: str, fingerprint: str, entries: Entries) -> Loaded:
    """The rows of a query, on disk where they are many."""
    found = connection.sql(query)
    if found is None:
        raise DataError(f"{name}: the query gives no rows. Expected a SELECT; received: {query}.")
    check_names(found.columns, name)
    [(count,)] = connection.sql(f"SELECT count(*) FROM ({query})").fetchall()
    if not count:
        raise DataError(f"{name}: the query gives no rows. The query was: {query}.")
    if count < MANY:
        return from_arrow(found.to_arrow_table(), name).named(fingerprint)
    spans = (Span(name, count),)
    remarks = Remarks()

    def pieces() -> Iterator[pa.Table]:
        at = 0
        for batch in found.to_arrow_reader(BATCH):
            piece = pa.table(batch)
            remarks.look(piece, spans, at)
            at += len(piece)
            yield piece

    def facts() -> Facts:
        return spans, remarks.notes(), tuple(remarks.bad)

    return spool(pieces(), facts, fingerprint, entries, make_key("duckdb", fingerprint))


def _read_sqlite(path: Path, options: DataConfig) -> Loaded:
    """Through Python's own reader: DuckDB's needs an extension that is fetched from the network."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        connection.set_authorizer(_only_read)
        listed = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
        tables = [row[0] for row in connection.execute(listed)]
        query = choose_query(options.table, tables, path.name)
        cursor = connection.execute(query)
        if cursor.description is None:
            raise DataError(f"{path.name}: the query gives no rows. Expected a SELECT; received: {query}.")
        names = [column[0] for column in cursor.description]
        check_names(names, path.name)
        columns: dict[str, list[Any]] = {name: [] for name in names}
        while rows := cursor.fetchmany(BATCH):
            for name, values in zip(names, zip(*rows, strict=True), strict=True):
                columns[name] += values
    finally:
        connection.close()
    if not columns[names[0]]:
        raise DataError(f"{path.name}: the query gives no rows. The query was: {query}.")
    return from_lists(columns, path.name).named(make_key(file_digest(path), query))


def _only_read(action: int, *details: Any) -> int:
    allowed = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY


def read_server(url: str, options: DataConfig, entries: Entries) -> Loaded:
    """The rows of a table or a query of a PostgreSQL server, through DuckDB's extension."""
    parts = urlsplit(url)
    name = f"{parts.hostname}{parts.path}"  # without the password
    if options.table is None:
        raise DataError(
            f"Say what to read from {name}: --set data.table='SELECT ...' or the name of a table."
        )
    with duckdb.connect(":memory:", config={**LOCKED, "enable_external_access": True}) as connection:
        try:
            connection.load_extension("postgres")
        except duckdb.Error:
            raise MissingExtraError(
                "Reading from PostgreSQL needs DuckDB's extension, which is not installed. Install it "
                "once with: "
                "python -c \"import duckdb; duckdb.sql('INSTALL postgres')\""
            ) from None
        try:
            connection.execute(f"ATTACH {_quoted(url)} AS server (TYPE postgres, READ_ONLY)")
            if PLAIN_NAME.fullmatch(options.table):
                query = f"SELECT * FROM server.{options.table}"
            else:
                query = f"SELECT * FROM postgres_query('server', {_quoted(options.table)})"
            return _fetch(connection, query, name, make_key(name, query, "server"), entries)
        except duckdb.Error as error:
            message = _first_line(error).replace(url, name).replace(parts.password or url, "***")
            raise DataError(f"{name}: {message}. The query was: {options.table}.") from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(". ")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
