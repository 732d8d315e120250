"""Our side: how long training stands still for a checkpoint; whether a killed run resumes bit by bit."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import side

SHINSO = [sys.executable, "-m", "shinso"]
SETTINGS = {
    "train.epochs": 3, "model.width": 1024, "model.depth": 3, "train.optimizer": "adamw",
    "train.learning_rate": 1e-3, "train.batch_size": 256,
}  # fmt: skip
OFTEN = 0.2  # seconds between checkpoints: often enough to be killed between two


def command(data: Path, run: Path, every: float) -> list[str]:
    settings = {**SETTINGS, "train.checkpoint_seconds": every}
    flags = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    return [*SHINSO, "train", str(data / "train.csv"), "--predict", "label", "--out", str(run), *flags]


def killed(data: Path, run: Path) -> bool:
    """Start a training and kill it (SIGKILL) after its second checkpoint; True where it was under way."""
    process = subprocess.Popen(
        command(data, run, OFTEN), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None:
        if len(list(run.glob("checkpoints/*.checkpoint"))) >= 2:
            time.sleep(0.3)  # into the steps that no checkpoint holds
            process.send_signal(signal.SIGKILL)
            process.wait()
            return not (run / "evaluation.json").exists()
        time.sleep(0.01)
    return False


def main() -> None:
    asked = side.arguments()
    straight, broken = asked.work / "straight", asked.work / "broken"
    subprocess.run(command(asked.data, straight, OFTEN), check=True, stdout=subprocess.DEVNULL)
    under_way = killed(asked.data, broken)
    size = max((path.stat().st_size for path in broken.glob("checkpoints/*.checkpoint")), default=0)
    start = time.perf_counter()
    subprocess.run([*SHINSO, "train", "--resume", str(broken)], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    same = (straight / "weights.safetensors").read_bytes() == (broken / "weights.safetensors").read_bytes()
    training = json.loads((straight / "evaluation.json").read_text("utf-8"))["training"]
    stall = 1e3 * training["seconds"]["checkpoints"] / training["checkpoints"]
    side.answer(
        bitwise=float(same), was_killed=under_way, resume_seconds=seconds, stall_ms=stall,
        checkpoint_bytes=size, stall_ms_per_100_mb=stall * 1e8 / max(1, size),
    )  # fmt: skip


if __name__ == "__main__":
    main()
