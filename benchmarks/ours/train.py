"""Our side: `shinso train` as a user calls it, then, not timed, `shinso evaluate` on the test rows."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import side

SHINSO = [sys.executable, "-m", "shinso"]


@dataclass(frozen=True)
class Task:
    """What is predicted, and how it is measured."""

    target: str
    metrics: tuple[str, ...]
    flags: tuple[str, ...] = ()
    goal: float | None = None  # least accuracy on the test rows
    suffix: str = ".csv"


TASKS: dict[str, Task] = {
    "fashion_mnist": Task("label", ("accuracy",), ("--effort", "quick"), 0.92, suffix=""),
    "sst2": Task("sentiment", ("accuracy",), ("--effort", "quick"), 0.80),
    "adult": Task("income", ("log_loss", "accuracy")),
    "california": Task("median_house_value", ("rmse",)),
    "made_up": Task("label", ("log_loss", "accuracy"), ("--effort", "quick")),
}
SHORT = ("--set", "train.epochs=1")


def main() -> None:
    asked = side.arguments(*TASKS)
    task, run = TASKS[asked.which], asked.work / "run"
    train, test = (asked.data / f"{part}{task.suffix}" for part in ("train", "test"))
    command = [*SHINSO, "train", str(train), "--predict", task.target, "--out", str(run)]
    command += ["--set", "data.split=9:1:0", *task.flags, *(SHORT if asked.short else ())]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    values = evaluated(run, test, task)
    reached = task.goal is None or values["accuracy"] >= task.goal
    side.answer(seconds=seconds if reached else None, total_seconds=seconds, **values, phases=phases(run))


def evaluated(run: Path, test: Path, task: Task) -> dict[str, float]:
    """The metrics on rows that training never saw."""
    command = [*SHINSO, "evaluate", str(run), str(test), "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    metrics = json.loads(done.stdout)["outputs"][task.target]["metrics"]
    return {name: metrics[name]["value"] for name in task.metrics}


def phases(run: Path) -> dict[str, float]:
    """Seconds by phase, as the run recorded them."""
    found = json.loads((run / "evaluation.json").read_text("utf-8"))
    return {name: round(s, 2) for name, s in found["training"]["seconds"].items() if isinstance(s, float)}


if __name__ == "__main__":
    main()
