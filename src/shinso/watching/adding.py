"""Give a run of an older release the reference that newer runs keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..console import Console
from ..data.table import Table
from ..evaluation import require_columns
from ..forecasting import Window
from ..run import RunDirectory
from .keeping import keep_reference


def add_reference(path: Path, data: Any, allow: tuple[str, ...], console: Console) -> None:
    """Make the reference of a run from the data that it was trained on, and seal it again."""
    run = RunDirectory(path, allow=allow)
    run.require_complete()
    table: Any = Table.read(data, run.config.data)
    if run.data.get("window") is not None:
        table = Window.restore(run.data["window"]).everything(table, run.config.data)
    require_columns(run.schema, table.names, targets=False)
    keep_reference(run.path, table, np.arange(len(table)), run.schema, run.config)
    run.seal()
    console.say(f"{run.path} now keeps a reference from {table.describe()}")
