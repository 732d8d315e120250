"""The rows that a run was trained on, read and split again exactly as they were then."""

from __future__ import annotations

from .console import Console
from .data.sources import Source
from .data.table import Table
from .data.tabular import Tabular
from .errors import DataError, RunError
from .forecasting import Window
from .preparing import Prepared, Question, prepare
from .run import RunDirectory


def reopened(run: RunDirectory, source: Source | None, console: Console) -> Prepared:
    """The prepared rows of a run; `source` where they were in memory. Other content is a `RunError`."""
    stored = run.data
    if source is None and stored["source"] is None:
        raise RunError(f"{run.path} was trained on data in memory. Give the same data again.")
    table: Tabular = Table.read(stored["source"] if source is None else source, run.config.data)
    window = None if stored["window"] is None else Window.restore(stored["window"])
    if window is not None:
        assert isinstance(table, Table)
        table = window.cut(table, run.config.data)
    if table.fingerprint != stored["fingerprint"]:
        if window is None:
            _check_columns(table, run)
        raise RunError(
            f"{table.describe()} is not what {run.path} was started on: its content has changed. "
            f"Put the old data back, or train a new run."
        )
    schema = run.schema
    asked = Question(
        tuple(c.name for c in schema.predict), tuple(c.name for c in schema.given) or ("nothing",)
    )
    return prepare(table, asked, run.config, console, schema, window)


def _check_columns(table: Tabular, run: RunDirectory) -> None:
    """Say which column is missing where that is what has changed."""
    gone = [column.name for column in run.schema if column.name not in table.names]
    if gone:
        raise DataError(
            f"{table.describe()} has no column '{gone[0]}', which {run.path} was trained on. "
            f"It has: {', '.join(map(repr, table.names))}. Put the old data back, or train a new run."
        )
