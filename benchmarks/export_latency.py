"""How long an export takes for one row and for a batch, beside torch eager of the same run.

    python benchmarks/export_latency.py RUN... [--repeats 60]

Both get the same encoded rows and take turns, so that a busy machine slows both; the figure is the median
of the ratios of neighbours (torch / export), with the quartiles. Exports are those in
RUN/exports. Writes one line of JSON a measurement.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shinso.exported import open_export
from shinso.exporting.graph import Deployed
from shinso.run import RunDirectory

BATCHES = (1, 32)
WARM = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--repeats", type=int, default=60)
    asked = parser.parse_args()
    for path in asked.runs:
        run = RunDirectory(path)
        own = Deployed(run.network.float().eval(), run.schema, run.calibration).eval()
        for folder in sorted(p for p in (path / "exports").iterdir() if p.name in ("onnx", "openvino")):
            for threads in (1, 2):
                for rows in BATCHES:
                    print(json.dumps(measured(own, folder, threads, rows, asked.repeats)), flush=True)


def measured(own: Deployed, folder: Path, threads: int, rows: int, repeats: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    export = open_export(folder, threads=threads)
    inputs = batch(export, rows)
    sides: tuple[Callable[[Any], Any], ...] = (own.on, export.forward)
    for side in sides:
        for _ in range(WARM):
            side(inputs)
    seconds = np.array([[timed(side, inputs) for side in sides] for _ in range(repeats)])
    low, ratio, high = np.quantile(seconds[:, 0] / seconds[:, 1], (0.25, 0.5, 0.75))
    eager, exported = np.median(seconds, 0) * 1e3
    return {
        "run": folder.parents[1].name, "target": folder.name, "threads": threads, "rows": rows,
        "torch_ms": round(float(eager), 3), "export_ms": round(float(exported), 3),
        "faster": round(float(ratio), 2), "quartiles": [round(float(low), 2), round(float(high), 2)],
    }  # fmt: skip


def batch(export: Any, rows: int) -> dict[str, Any]:
    """Rows of ordinary values, the same ones each time."""
    rng = np.random.default_rng(0)
    made = {c.name: usual(c, rng, rows) for c in export.schema.given}
    return dict(export.encode(made))


def usual(column: Any, rng: np.random.Generator, rows: int) -> list[Any]:
    if column.kind == "category":
        return [column.labels[i % len(column.labels)] for i in range(rows)]
    if column.kind == "number":
        return (rng.normal(size=rows) * column.std + column.mean).tolist()
    if column.kind == "image":
        return [rng.integers(0, 256, (column.height, column.width), np.uint8) for _ in range(rows)]
    return list(column.examples(rng, rows))


def timed(side: Callable[[Any], Any], inputs: dict[str, Any]) -> float:
    started = time.perf_counter()
    side(inputs)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
