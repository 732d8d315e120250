"""What trust costs: python benchmarks/trust_costs.py --data DIR [audit] [evaluate]

audit: seconds of the quick audit before a training, and their share of it, on adult, sst2 and the 60,000
pictures of fashion_mnist (DIR holds them unpacked), each in a process of its own with `--effort quick`, the
shortest training there is. Asked: under 5 s or under 5% of the training.
evaluate: the largest resident memory of evaluating 1,000,000 rows of 13 columns, with a slice and a protected
column, above that of the same process after the network was loaded. Asked: under 1 GiB.
Prints a line each; exit status 1 where one is not as asked.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

import shinso
from shinso import preparing
from shinso.data.table import Table

SECONDS, SHARE, MEMORY = 5.0, 0.05, 2**30
SOURCES = {
    "adult": ("adult/adult-train.csv", None),
    "sst2": ("sst2/train.csv", "sentiment"),
    "fashion_mnist": ("fashion_mnist/train", "label"),
}
ROWS, NUMBERS, LETTERS, PIECE = 1_000_000, 8, 4, 100_000


def audited(source: str, target: str, folder: str) -> dict[str, Any]:
    """Train on `source` and say what of it the audit was."""
    spent: list[float] = []
    quick = preparing.quick_audit

    def timed(*arguments: Any) -> dict[str, Any] | None:
        started = time.perf_counter()
        found = quick(*arguments)
        spent.append(time.perf_counter() - started)
        return found

    preparing.quick_audit = timed  # type: ignore[assignment]
    started = time.perf_counter()
    predict = target or Table.read(source).names[-1]
    run = shinso.train(source, predict=predict, effort="quick", out=Path(folder) / "run", quiet=True)
    whole = time.perf_counter() - started
    audit = json.loads((run.path / "audit.json").read_text("utf-8"))
    return {
        "audit": spent[0], "training": run.evaluation["training"]["seconds"]["train"], "whole": whole,
        "looked_at": audit["looked_at"], "skipped": audit["skipped"], "checks": len(audit["checks"]),
    }  # fmt: skip


def made(path: Path, rows: int, seed: int) -> None:
    """A table whose class depends on two of its columns."""

    rng, writer = np.random.default_rng(seed), None
    letters = np.array(list("abcdefgh"))
    for start in range(0, rows, PIECE):
        n = min(PIECE, rows - start)
        columns: dict[str, Any] = {f"x{i}": rng.normal(size=n) for i in range(NUMBERS)}
        columns |= {f"c{i}": letters[rng.integers(0, 8, n)] for i in range(LETTERS)}
        sure = columns["x0"] + (columns["c0"] > "d")
        columns["y"] = np.where(sure + rng.logistic(0, 0.5, n) > 0.5, "yes", "no")
        table = pa.table(columns)
        writer = writer or parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def resident(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def evaluated(source: str, run_path: str, few: str) -> dict[str, Any]:
    """Load a network, then evaluate many rows with it."""
    run = shinso.Run(run_path)
    run.predict(few)
    loaded, started = resident("VmRSS"), time.perf_counter()
    found = run.evaluate(source, by=["c1"], protect="c2")
    return {
        "rows": found["evaluated"], "loaded": loaded, "most": resident("VmHWM"),
        "seconds": time.perf_counter() - started,
    }  # fmt: skip


def child(*words: str) -> dict[str, Any]:
    """The same script in a process of its own, so that memory and imports are its own."""
    done = subprocess.run(
        [sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True, timeout=1800
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def audits(data: Path) -> bool:
    """Whether every audit is cheap; prints a line each."""
    good = True
    for name, (source, target) in SOURCES.items():
        with tempfile.TemporaryDirectory() as folder:
            one = child("--child", "audited", str(data / source), target or "", folder)
        share = one["audit"] / one["training"]
        good &= one["audit"] < SECONDS or share < SHARE
        print(
            f"{name}: quick audit {one['audit']:.2f} s ({one['checks']} checks, {one['looked_at']:,} rows, "
            f"skipped {one['skipped'] or 'none'}), {share:.1%} of {one['training']:.1f} s of training, "
            f"{one['audit'] / one['whole']:.1%} of {one['whole']:.1f} s in all", flush=True,
        )  # fmt: skip
    return good


def evaluation() -> bool:
    """Whether a large evaluation stays small; prints a line."""
    with tempfile.TemporaryDirectory() as folder:
        large, few = Path(folder) / "large.parquet", Path(folder) / "few.parquet"
        made(large, ROWS, 1)
        made(few, 5_000, 2)
        settings = {"train.epochs": 1}
        shinso.train(few, predict="y", out=Path(folder) / "run", quiet=True, settings=settings)
        one = child("--child", "evaluated", str(large), str(Path(folder) / "run"), str(few))
    above = one["most"] - one["loaded"]
    print(
        f"evaluate {one['rows']:,} rows: {one['most'] / 2**30:.2f} GiB, {above / 2**30:.2f} GiB above "
        f"the {one['loaded'] / 2**30:.2f} GiB of the loaded model, {one['seconds']:.0f} s", flush=True,
    )  # fmt: skip
    return above < MEMORY


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--child", choices=("audited", "evaluated"), help=argparse.SUPPRESS)
    parser.add_argument("parts", nargs="*", default=["audit", "evaluate"])
    options = parser.parse_args()
    if options.child:
        print(json.dumps({"audited": audited, "evaluated": evaluated}[options.child](*options.parts)))
        return 0
    good = True
    if "audit" in options.parts:
        good &= audits(options.data)
    if "evaluate" in options.parts:
        good &= evaluation()
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
