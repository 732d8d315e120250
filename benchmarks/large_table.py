"""A table larger than memory should be: reading, splitting, encoding and random batches inside 2 GiB.

    python benchmarks/large_table.py FOLDER [--rows 20000000] [--format csv|parquet] [--batches 2000]

Makes the table once in FOLDER (about 1.6 GB as CSV), then measures a process that reads and encodes it, and
another that finds everything in the cache. Memory is VmHWM, the largest resident size that the process ever
had, without torch, which the data layer never imports.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from shinso.columns.category import Category
from shinso.columns.datetime import Datetime
from shinso.columns.number import Number
from shinso.config import DataConfig
from shinso.data.cache import encode_table
from shinso.data.clean import examine
from shinso.data.split import split
from shinso.data.table import Table

CHUNK = 500_000
BATCH = 1024
FITTED = 1_000_000


def make(path: Path, rows: int) -> None:
    """Write the table in chunks: four reals, two whole numbers, a category, a time, and the class."""
    rng = np.random.default_rng(0)
    cities = np.array([f"city {i}" for i in range(50)])
    writer: pyarrow.csv.CSVWriter | pyarrow.parquet.ParquetWriter | None = None
    for start in range(0, rows, CHUNK):
        n = min(CHUNK, rows - start)
        table = pa.table(
            {
                **{f"x{i}": rng.normal(size=n).round(5) for i in range(3)},
                "gap": pa.array(rng.normal(size=n).round(5), mask=rng.random(n) < 0.1),
                "count": rng.integers(0, 1000, n),
                "code": rng.integers(0, 2**40, n),
                "city": cities[rng.integers(0, 50, n)],
                "when": np.datetime64("2020-01-01", "s") + rng.integers(0, 10**8, n),
                "bought": np.where(rng.random(n) < 0.3, "yes", "no"),
            }
        )
        if writer is None:
            kind = pyarrow.csv.CSVWriter if path.suffix == ".csv" else pyarrow.parquet.ParquetWriter
            writer = kind(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def memory() -> dict[str, int]:
    """Resident MiB now and at most, of them in mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) >> 10 for line in lines if line.endswith("kB")}
    return {"now": found["VmRSS"], "most": found["VmHWM"], "files": found["RssFile"]}


def measure(path: Path, cache: Path, batches: int) -> None:
    """Read, look at, split, fit, encode, and take random batches; prints a line of JSON for each stage."""
    started = (time.perf_counter(), time.process_time())

    def stage(name: str) -> None:
        nonlocal started
        now = (time.perf_counter(), time.process_time())
        wall, cpu = (round(b - a, 1) for a, b in zip(started, now, strict=True))
        print(json.dumps({"stage": name, "seconds": wall, "cpu": cpu, "mib": memory()}), flush=True)
        started = now

    stage("start")
    options = DataConfig(cache=str(cache))
    table = Table.read(path, options)
    stage("read")
    looked = examine(table, ["bought"], [name for name in table.names if name != "bought"])
    stage("examine")
    parts = split(table, options, table.values("bought", looked.rows), 0, looked.rows)
    stage("split")
    rows = parts.train[np.linspace(0, len(parts.train) - 1, FITTED).astype(np.int64)]
    kinds = {"city": Category, "bought": Category, "when": Datetime}
    columns = [kinds.get(name, Number)(name=name).fit(table.values(name, rows)) for name in table.names]
    stage("fit")
    store = encode_table(table, columns, folder=cache)
    stage("encode")
    rows = np.random.default_rng(0).permutation(parts.train)
    order = np.array_split(rows, len(rows) // BATCH)[:batches]
    for batch in store.batches(order, [column.name for column in columns]):
        assert len(batch) == len(columns)
    stage(f"{batches} random batches of {BATCH}")


def main() -> None:
    """Make the table where it is not there, and measure in processes of their own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--format", choices=["csv", "parquet"], default="csv")
    parser.add_argument("--batches", type=int, default=2000)
    parser.add_argument(
        "--measure", action="store_true", help="measure this process (used by the script itself)"
    )
    asked = parser.parse_args()
    path: Path = asked.folder / f"large_{asked.rows}.{asked.format}"
    cache: Path = asked.folder / "cache"
    if asked.measure:
        measure(path, cache, asked.batches)
        return
    asked.folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        make(path, asked.rows)
    print(f"{path}: {asked.rows:,} rows, {path.stat().st_size >> 20:,} MiB")
    shutil.rmtree(cache, ignore_errors=True)
    for name in ("first time", "from the cache"):
        print(name, flush=True)
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--measure"], check=True)


if __name__ == "__main__":
    main()
