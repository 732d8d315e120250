"""A run directory before its first step: what was asked, on which data, what was found in it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from .config import RunConfig
from .data.sources import Source
from .files import sync_folder
from .machine import versions
from .preparing import Prepared, class_weights
from .reports import now
from .run import RunDirectory, must_be_new
from .weights import Pretrained


def start(
    path: Path, prepared: Prepared, config: RunConfig, source: Source, weights: Pretrained | None = None
) -> RunDirectory:
    """A run directory with all that it holds before its first step; it appears whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        run = RunDirectory.create(draft, config)
        run.write_json("schema.json", prepared.schema.to_dict())
        run.write_json("data.json", described(prepared, config, source, weights))
        run.write_lines("quarantine.jsonl", [bad.to_dict() for bad in prepared.quarantine])
        if prepared.audit is not None:
            run.write_json("audit.json", prepared.audit)
        run.write_json("environment.json", {"created": now(), **versions()})
        must_be_new(path)
        draft.replace(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    sync_folder(path.parent)
    run = RunDirectory(path, allow=(config.model.name or "",))
    run.schema = prepared.schema  # equal to the one that was written, and known already
    return run


def described(
    prepared: Prepared, config: RunConfig, source: Source, pretrained: Pretrained | None = None
) -> dict[str, Any]:
    """Where the data of a run came from and what was found in it: `data.json`."""
    weights = {}
    if config.train.class_weights == "balanced":
        weights = {
            c.name: class_weights(c, prepared.store, prepared.split.train)
            for c in prepared.schema.predict
            if c.kind in ("category", "labels")
        }
    return {
        "source": origin(source),
        "name": prepared.table.describe(),
        "fingerprint": prepared.table.fingerprint,
        "rows": {name: len(rows) for name, rows in prepared.parts.items()},
        "notes": [vars(note) for note in prepared.notes],
        "class_weights": weights,
        "window": None if prepared.window is None else prepared.window.to_dict(),
        "chosen": list(prepared.chosen),
        "weights": None if pretrained is None else pretrained.to_dict(),
    }


def origin(source: Source) -> Any:
    """What to read again on resuming: paths made absolute; None for data in memory."""
    if isinstance(source, list | tuple) and source and all(isinstance(s, str | Path) for s in source):
        return [origin(s) for s in source]
    if not isinstance(source, str | Path):
        return None
    return str(source) if "://" in str(source) else str(Path(source).absolute())


def name_of(source: Source) -> str:
    """A name for the run from the data's name."""
    if isinstance(source, str | Path):
        stem = Path(source).name.split(".")[0]
        return stem if stem and "*" not in stem and "://" not in str(source) else "run"
    return "run"
