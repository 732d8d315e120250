"""What every side of a measurement shares: its clock, its arguments, its answer. Standard library only.

A side is a process of its own. The runner puts the moment before it was started in BENCH_STARTED, so that the
interpreter's start and every import count. What is measured on test rows is measured with the clock stopped.
The answer is one line of JSON on stdout, the last.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Clock:
    """Seconds since the process was started, without the pauses."""

    def __init__(self) -> None:
        self.started = float(os.environ.get("BENCH_STARTED", time.time()))
        self.left_out = 0.0

    def seconds(self) -> float:
        return time.time() - self.started - self.left_out

    @contextmanager
    def stopped(self) -> Iterator[None]:
        start = time.time()
        yield
        self.left_out += time.time() - start


class Race:
    """When a measure of quality on the test rows first reached its target; looked at after each epoch."""

    def __init__(self, target: float) -> None:
        self.clock, self.target = Clock(), target
        self.reached: float | None = None
        self.last = 0.0
        self.laps: list[tuple[float, float]] = []

    def lap(self, measure: Callable[[], float]) -> bool:
        """Measure, with the clock stopped; True where the target is reached."""
        now = self.clock.seconds()
        with self.clock.stopped():
            self.last = measure()
        self.laps.append((round(now, 2), round(self.last, 4)))
        print(f"{now:.1f} s: {self.last:.4f}", file=sys.stderr, flush=True)
        if self.reached is None and self.last >= self.target:
            self.reached = now
        return self.reached is not None

    def answer(self) -> None:
        """`seconds` to the target (None where it was not reached), and to the end."""
        answer(seconds=self.reached, total_seconds=self.clock.seconds(), accuracy=self.last, laps=self.laps)


def arguments(*choices: str) -> argparse.Namespace:
    """`--data DIR --work DIR`, whether a peer is to use our precision, one word where there is a choice."""
    parser = argparse.ArgumentParser()
    if choices:
        parser.add_argument("which", choices=choices)
    parser.add_argument("--data", type=Path, default=Path(), help="what the measurement's preparation made")
    parser.add_argument("--work", type=Path, default=Path(), help="an empty folder to write to")
    parser.add_argument("--knob", action="store_true", help="with our precision: bf16, channels_last")
    parser.add_argument("--short", action="store_true", help="as few steps as give a figure")
    parser.add_argument("--phase", default="", help="for sides that start themselves again")
    return parser.parse_args()


def answer(**values: Any) -> None:
    """Print the answer, with the most memory that this process or one it waited for has held."""
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    scale = 1 if sys.platform == "darwin" else 1024
    print(json.dumps({**values, "peak_bytes": peak * scale}), flush=True)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def spans(times: list[float], first: int) -> float:
    """Seconds of one step: the median of those between `times`, after the first few."""
    steps = sorted(b - a for a, b in zip(times[first:], times[first + 1 :], strict=False))
    return steps[len(steps) // 2]
