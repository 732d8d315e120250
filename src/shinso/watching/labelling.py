"""The verb `label`: what was true of rows that were served, told later, by the id that the answer carried."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import DataConfig
from ..console import Console
from ..data.table import Table
from ..errors import DataError
from ..schema import Schema
from .condensing import Privacy, privacy
from .log import key_beside, labels_of
from .store import URLS, Label, Store
from .watched import LOG

AT_ONCE = 5_000
SHOWN = 3


def label(log: str | Path, data: Any, *, id: str, console: Console) -> dict[str, Any]:
    """See `shipping.label`."""
    place = place_of(log)
    store = Store(place)
    try:
        schema, private = described(store)
        table = Table.read(data, DataConfig())
        labels, unknown = _labels(table, schema, private, id, store)
        for start in range(0, len(labels), AT_ONCE):
            store.add((), labels[start : start + AT_ONCE])
    finally:
        store.close()
    for one in unknown[:SHOWN]:
        console.say(f"! no row was served with the id {one!r}")
    if len(unknown) > SHOWN:
        console.say(f"! ... and {len(unknown) - SHOWN:,} more ids")
    return {"log": place if "://" not in place else place.rpartition("@")[2], "labels": len(labels),
            "unknown": len(unknown)}  # fmt: skip


def place_of(log: str | Path) -> str:
    """A log as named; that of a run where a run directory is named."""
    text = str(log)
    return str(Path(text) / LOG) if not text.startswith(URLS) and Path(text).is_dir() else text


def described(store: Store) -> tuple[Schema, Privacy]:
    """The columns that a log holds, and which of them are private, as its last writer said."""
    facts = store.facts()
    schema = Schema.restore(facts["schema"])
    private = facts.get("private", "")
    return schema, privacy(
        private, [c.name for c in schema], key_beside(store.place)
    ) if private else Privacy()


def _labels(
    table: Table, schema: Schema, private: Privacy, id: str, store: Store
) -> tuple[list[Label], list[str]]:
    names = [c.name for c in schema.predict if c.name in table.names]
    if id not in table.names or not names:
        predicted = ", ".join(repr(c.name) for c in schema.predict)
        raise DataError(
            f"Labels need a column {id!r} with the ids of the answers, and {predicted} with what was true; "
            f"{table.describe()} has {', '.join(map(repr, table.names))}. Name the first with --id."
        )
    ids = [str(value) for value in table.values(id)]
    known, now = store.known(ids), time.time()
    columns = {name: table.values(name) for name in names}
    found = [
        Label(row, now, labels_of(schema.predict, _row(columns, i), private))
        for i, row in enumerate(ids)
        if row in known
    ]
    return found, [row for row in ids if row not in known]


def _row(columns: Mapping[str, Any], at: int) -> dict[str, Any]:
    return {name: values[at] for name, values in columns.items()}


def lines(result: Mapping[str, Any]) -> list[str]:
    """For a terminal."""
    beside = f"; {result['unknown']:,} ids that no row has" if result["unknown"] else ""
    return [f"{result['labels']:,} labels stored in {result['log']}{beside}"]
