"""Between the loop and the run directory: checkpoints, time limit, Ctrl-C, progress, the metrics file."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import Tensor

from .checkpoints import Progress, load_checkpoint, save_checkpoint
from .console import Advance, Console, clock
from .files import write_atomic
from .run import RunDirectory

LEAST_MEASURED = 4  # steps that are timed before a time limit changes the plan
SHARE_MEASURED = 0.02  # of the limit, likewise
SOON_REPEATED = 5.0  # seconds of training that need no checkpoint at their end


class RunKeeper:
    """What `loop.fit` is told and tells, for a run directory."""

    def __init__(
        self, run: RunDirectory, console: Console, advance: Advance, *,
        deadline: float | None = None, reserve: Callable[[], float] = lambda: 0.0,
    ) -> None:  # fmt: skip
        self.run, self.console, self.advance = run, console, advance
        self.deadline, self.reserve = deadline, reserve
        self.every = run.config.train.checkpoint_seconds
        self.started = self.saved = time.monotonic()
        self.first_step, self.before, self.lines = 0, 0.0, 0
        self.interrupted = ""
        self.saving, self.saves = 0.0, 0  # seconds that training stood still for checkpoints; how many
        self.writer = ThreadPoolExecutor(1, "checkpoint")
        self.writing: Future[Path] | None = None

    def restore(self) -> tuple[Progress, dict[str, dict[str, Tensor]]] | None:
        """The newest checkpoint; lines of the metrics file that it does not know are removed."""
        found = load_checkpoint(self.run.path / "checkpoints")
        path = self.run.path / "metrics.jsonl"
        self.lines = found[0].lines if found else 0
        if path.exists():
            kept = path.read_text("utf-8").split("\n")[: self.lines]
            write_atomic(path, "".join(f"{line}\n" for line in kept if line))
        if found:
            self.first_step, self.before = found[0].step, found[0].seconds
            self.console.say(f"Going on from step {found[0].step:,} of {found[0].total_steps:,}.")
        self.started = self.saved = time.monotonic()
        return found

    def seconds(self) -> float:
        """Time spent in the loop, over all processes that worked on the run."""
        return self.before + time.monotonic() - self.started

    def planned_steps(self, progress: Progress, most: int) -> int:
        """How many steps fit in the time limit; `most` where there is none or it is far away."""
        self.advance(progress.step, progress.total_steps, self._note(progress))
        if self.deadline is None:
            return progress.total_steps
        now, done = time.monotonic(), progress.step - self.first_step
        left = self.deadline - now - self.reserve()
        measured = done >= LEAST_MEASURED and now - self.started > SHARE_MEASURED * (
            self.deadline - self.started
        )
        if not measured:
            return progress.total_steps
        fits = progress.step + int(max(0.0, left) * done / (now - self.started))
        return max(progress.step, min(most, fits))

    def must_stop(self) -> str:
        """Why training has to end now, or ''."""
        if self.interrupted:
            return self.interrupted
        if self.deadline is not None and time.monotonic() > self.deadline - self.reserve():
            return "the time limit"
        return ""

    def save(
        self, progress: Progress, groups: Callable[[], dict[str, dict[str, Tensor]]], *, now: bool
    ) -> None:
        """Write a checkpoint when one is due: training goes on as soon as the state is copied.

        A disk that is slower than the interval holds training back: no two checkpoints wait to be written.
        The last one is left out where training again, to the same bits, takes no longer than a moment; and
        after an interrupt, so that a run that is left before its end goes on from where it was not stopped.
        """
        if self.interrupted:
            return
        again = progress.stopped or self.deadline is not None or self.seconds() >= SOON_REPEATED
        if not (now and again) and time.monotonic() - self.saved < self.every:
            return
        start = time.monotonic()
        self._written()
        progress.seconds, progress.lines = self.seconds(), self.lines
        state = {name: _copied(group) if name != "best" else group for name, group in groups().items()}
        folder = self.run.path / "checkpoints"
        self.writing = self.writer.submit(save_checkpoint, folder, deepcopy(progress), state)
        if now:
            self._written()
        self.saved = time.monotonic()
        self.saving, self.saves = self.saving + self.saved - start, self.saves + 1

    def _written(self) -> None:
        """Wait for the checkpoint that is being written; raises where that did not succeed."""
        if self.writing is not None:
            self.writing.result()
        self.writing = None

    def report(self, progress: Progress, entry: dict[str, Any]) -> None:
        """One line to the metrics file, and one for a person."""
        entry = {**entry, "seconds": round(self.seconds(), 3)}
        self.run.log(json.loads(json.dumps(entry), parse_constant=lambda _: None))
        self.lines += 1
        losses = "  ".join(f"{value:.4f}" for value in entry["loss"].values())
        self.console.say(
            f"epoch {progress.epoch + 1:3}  step {progress.step:6,}/{progress.total_steps:,}  loss {losses}  "
            f"{_headline(entry['validation'])}  {clock(entry['seconds'])}{'  best' if entry['best'] else ''}"
        )

    def _note(self, progress: Progress) -> str:
        steps = progress.sums.get("steps", 0.0)
        return "" if not steps else "  ".join(
            f"loss {v / steps:.4f}" for name, v in progress.sums.items() if name != "steps"
        )  # fmt: skip

    @contextmanager
    def _catching_signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end training after the current step; a second Ctrl-C ends the program."""

        def stop(number: int, _frame: object) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = "an interrupt" if number == signal.SIGINT else "a request to end"
            self.console.say(
                "Stopping: this step is finished, then the run is evaluated. Ctrl-C again to leave now."
            )

        try:
            old = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: the application owns the signals
            yield
            return
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While training goes on: signals are caught, and no checkpoint is half-written at the end."""
        try:
            with self._catching_signals():
                yield
        finally:
            self.writer.shutdown()


def _copied(group: dict[str, Tensor]) -> dict[str, Tensor]:
    """What training moves in place, as it is now; the best weights are never changed, only replaced."""
    return {name: tensor.detach().clone() for name, tensor in group.items()}


def _headline(validation: dict[str, Any]) -> str:
    shown = []
    for name, metrics in validation.items():
        for metric in ("accuracy", "rmse", "loss", "mae", "f1_micro"):
            if metric in metrics:
                shown.append(f"{name} {metric} {metrics[metric]:.4g}")
                break
    return "  ".join(shown)
