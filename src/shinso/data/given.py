"""New data for a run or an export: read aloud, and encoded by the code that training used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..columns import Column
from ..config import DataConfig
from ..console import Console
from ..errors import DataError
from .cache import Store, encode_table
from .notes import Bad
from .sources import Source
from .table import Table
from .tabular import Tabular

MOST_SAID = 5  # bad rows and cells that are said one by one


def read_aloud(data: Source, options: DataConfig, console: Console) -> Table:
    """Read a table, saying on stderr which rows and cells could not be used."""
    table = Table.read(data, options)
    for note in table.notes:
        console.say(f"{'! ' if note.level == 'warning' else '· '}{note.message}")
    for bad in table.quarantine[:MOST_SAID]:
        console.say(f"! {bad.file}, row {bad.row}: {bad.reason}")
    if len(table.quarantine) > MOST_SAID:
        console.say(f"! ... and {len(table.quarantine) - MOST_SAID:,} more rows or cells")
    return table


def encode_given(
    table: Tabular, columns: Sequence[Column], console: Console, cache: Path | None = None
) -> Store:
    """Columns of new data, through the code that training used."""
    with console.progress("reading") as advance:
        return encode_table(
            table, columns, folder=cache, workers=2, progress=lambda done, total: advance(done, total)
        )


def refuse_bad(bad: Sequence[Bad]) -> None:
    """Raise `DataError` where rows could not be read: none is left out of the answers quietly."""
    if bad:
        lines = "\n".join(f"  {one.file}, row {one.row}: {one.reason}" for one in bad[:MOST_SAID])
        raise DataError(
            f"{len(bad)} row{'s' if len(bad) > 1 else ''} cannot be read, so nothing was predicted:\n"
            f"{lines}\nMend or remove them, then try again."
        )
