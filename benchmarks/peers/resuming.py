"""What the peers that resume share: a module, its rows, and the comparison of two trainings.

A training is killed by leaving its process at a given step (`os._exit`: no handler runs, as with kill -9).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import side
import torch
from torch import Tensor, nn

ROWS, INPUTS, WIDTH, BATCH, EPOCHS, RATE = 6400, 32, 1024, 64, 2, 1e-3
EVERY, KILLED = 40, 130  # steps between checkpoints; step at which it is killed
PHASES = ("straight", "killed", "resumed")


class Network(nn.Module):
    """Two million weights, with dropout, so that resuming needs the generator's state."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(INPUTS, WIDTH), nn.ReLU(), nn.Dropout(0.1), nn.Linear(WIDTH, WIDTH), nn.ReLU(),
            nn.Dropout(0.1), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2),
        )  # fmt: skip

    def forward(self, x_BD: Tensor) -> Tensor:
        return self.layers(x_BD)


def rows() -> tuple[Tensor, Tensor]:
    """Noise and labels that depend on it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, INPUTS, generator=generator)
    return x, (x[:, 0] + x[:, 1] * x[:, 2] > 0).long()


def digest(module: nn.Module) -> str:
    """Of all weights, to the bit."""
    found = hashlib.blake2b()
    for _, tensor in sorted(module.state_dict().items()):
        found.update(tensor.detach().contiguous().numpy().tobytes())
    return found.hexdigest()


class Stopwatch:
    """Seconds of each call of a function that saves."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def timed(self, save: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            start = time.perf_counter()
            found = save(*given, **named)
            self.seconds.append(time.perf_counter() - start)
            return found

        return call


def die_at(step: int, phase: str) -> None:
    """Leave the process, as if it had been killed."""
    if phase == "killed" and step >= KILLED:
        os._exit(9)


def compare(script: str, work: Path) -> None:
    """Run the three phases as processes of their own and answer."""
    seconds = {}
    for phase in PHASES:
        start = time.perf_counter()
        command = [sys.executable, script, "--phase", phase, "--work", str(work)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds[phase] = time.perf_counter() - start
        if done.returncode != (9 if phase == "killed" else 0):
            raise SystemExit(f"{phase}: exit status {done.returncode}: {done.stderr[-300:]}")
    straight, resumed = ((work / phase / "digest").read_text() for phase in ("straight", "resumed"))
    stall = float((work / "straight" / "stall").read_text())
    size = int((work / "straight" / "bytes").read_text())
    side.answer(
        bitwise=float(straight == resumed), stall_ms=1e3 * stall, checkpoint_bytes=size,
        stall_ms_per_100_mb=1e3 * stall * 1e8 / size, resume_seconds=seconds["resumed"],
    )  # fmt: skip


def finished(folder: Path, module: nn.Module, watch: Stopwatch, size: int) -> None:
    """What a phase leaves for the comparison."""
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "digest").write_text(digest(module))
    found = sorted(watch.seconds) or [0.0]
    (folder / "stall").write_text(str(found[len(found) // 2]))
    (folder / "bytes").write_text(str(size))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return (
        path.stat().st_size
        if path.is_file()
        else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    )
