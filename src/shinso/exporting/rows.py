"""`shinso predict` on an export: the same table as on its run, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..answers import covering, require_columns
from ..config import DataConfig
from ..console import Console
from ..data.given import encode_given, read_aloud, refuse_bad
from ..data.loader import Loader
from ..data.sources import Source
from ..data.tabular import Tabular
from ..errors import SettingError
from ..exported import Export, open_export
from ..forecasting import Window
from ..writing import check_suffix, write_table

BATCH = 64  # rows: more are not faster on a CPU, and take more memory


def predict(
    path: Path, data: Source, *, coverage: float | None, abstain: bool, fair: bool, out: str | Path | None,
    quiet: bool,
) -> dict[str, list[Any]]:  # fmt: skip
    """See `api.predict`."""
    if out is not None:
        check_suffix(Path(out))
    if fair:
        raise SettingError(f"{path} is an export; thresholds by group (--fair) are kept by the run itself.")
    export, console = open_export(path), Console(quiet=quiet)
    covering(export.schema, export.calibration, coverage, abstain=abstain, of=str(path))  # before any work
    if export.notice:
        console.say(export.notice)
    table = read_aloud(data, DataConfig(**export.manifest["data"]), console)
    stored = export.manifest.get("window")
    if stored is not None:
        window = Window.restore(stored)
        (name,) = (c.name for c in export.schema.predict)
        outputs = outputs_of(export, window.last(table, export.schema), console)
        found = window.steps(export.decode(outputs)[name][0])
    else:
        require_columns(export.schema, table.names, targets=False)
        outputs = outputs_of(export, table, console)
        found = {table.key_name: list(table.keys())}
        found |= export.decode(outputs, coverage=coverage, abstain=abstain)
    if out is not None:
        write_table(Path(out), found)
    return found


def outputs_of(export: Export, table: Tabular, console: Console) -> dict[str, Any]:
    """What the graph gives of all rows, in the order of the table."""
    store = encode_given(table, export.schema.given, console)
    refuse_bad(store.bad)
    found: dict[str, Any] = {}
    with console.progress("predicting") as advance:
        done = 0
        for rows, arrays in Loader(store, export.schema.given, np.arange(len(table)), BATCH).in_order():
            for name, values in export.forward(arrays).items():
                whole = found.setdefault(name, np.empty((len(table), *values.shape[1:]), values.dtype))
                whole[rows] = values
            done += len(rows)
            advance(done, len(table))
    return found
