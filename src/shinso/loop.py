"""The training loop, to be read: any module, any batches, any loss; resumes to the same bits.

Every draw is a function of (seed, step) and the order of rows one of (seed, epoch), so that the state of
training is the weights, the optimizer's tensors, the averages and `Progress`, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from .checkpoints import Progress
from .config import TrainConfig
from .errors import ShinsoError
from .heads import Loss
from .operations import Work
from .optim import Average, Optimizer, learning_rate, momentum
from .plan import Plan, autocast
from .randomness import private_randomness

Batch = dict[str, Tensor]
Objective = Callable[[Batch, int], Mapping[str, Loss]]
Score = Callable[[], tuple[float, dict[str, Any]]]

MOST_SKIPPED = 20  # steps in a row without a finite loss before training gives up


class Batches(Protocol):
    """What the loop needs of a loader."""

    def __len__(self) -> int: ...
    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Any, dict[str, Any]]]: ...


class Keeper(Protocol):
    """What the loop tells the outside, and what it is told: where to go on, when to stop, what to write."""

    def restore(self) -> tuple[Progress, dict[str, dict[str, Tensor]]] | None: ...
    def save(
        self, progress: Progress, groups: Callable[[], dict[str, dict[str, Tensor]]], *, now: bool
    ) -> None: ...
    def planned_steps(self, progress: Progress, most: int) -> int: ...
    def must_stop(self) -> str: ...
    def report(self, progress: Progress, entry: dict[str, Any]) -> None: ...


@dataclass
class Unkept:
    """A keeper that keeps nothing but the log: for modules trained by hand, without a run directory."""

    entries: list[dict[str, Any]] = field(default_factory=list)

    def restore(self) -> None:
        """There is nothing to go on from."""

    def save(
        self, progress: Progress, groups: Callable[[], dict[str, dict[str, Tensor]]], *, now: bool
    ) -> None:
        """Nothing is written."""

    def planned_steps(self, progress: Progress, most: int) -> int:
        """All of them."""
        return progress.total_steps

    def must_stop(self) -> str:
        """Never."""
        return ""

    def report(self, progress: Progress, entry: dict[str, Any]) -> None:
        """Remember what would be logged."""
        self.entries.append(entry)


@dataclass(frozen=True)
class Fitted:
    """What the loop leaves: the best weights (already in the module) and how it went."""

    progress: Progress
    work: Work  # seconds by phase and operations of this process
    checkpoints: int = 0  # that were written


def fit(
    module: nn.Module, batches: Batches, objective: Objective, config: TrainConfig, plan: Plan, *,
    keeper: Keeper | None = None, score: Score | None = None, seed: int = 0,
    rates: dict[str, float] | None = None, checks: int = 10, stage: Callable[[float], None] | None = None,
) -> Fitted:  # fmt: skip
    """Train `module` so that `objective(batch, rows)` falls; keep the weights of the best validation score.

    `config` must be resolved. A training of fewer than 10 epochs is validated `checks` times. `score` gives
    (smaller is better, metrics to log) for the module's weights; without it the last weights are kept.
    `stage` is told before every step what share of training is done: it may let parameters rest or learn.
    Raises `ShinsoError` when the loss never becomes finite.
    """
    assert config.epochs is not None
    keeper, work = keeper or Unkept(), Work()
    optimizer = Optimizer(module, config, rates or {})
    average = Average(module, config.ema) if config.ema else None
    progress, best = _restored(keeper, module, optimizer, average)
    progress.total_steps = progress.total_steps or config.epochs * len(batches)
    interval, most, failed = _interval(config.epochs, len(batches), checks), progress.total_steps, 0

    def groups() -> dict[str, dict[str, Tensor]]:
        averages = {"average": average.values} if average else {}
        return {"module": module.state_dict(), "optimizer": optimizer.tensors(), "best": best, **averages}

    module.train()
    while progress.step < progress.total_steps and not progress.stopped:
        for rows, batch in _timed(batches.epoch(progress.epoch, progress.batch), plan, work):
            if stage:
                stage(progress.step / progress.total_steps)
            with private_randomness(seed, "step", progress.step), work.phase("compute"), work.counting(batch):
                losses = backward(module, objective, batch, len(rows), config.accumulate, plan)
            with work.phase("update"):
                finite = math.isfinite(sum(losses.values())) and _clip(module, config.clip)
                if finite:
                    share = progress.step / progress.total_steps
                    optimizer.step(learning_rate(share, config), momentum(share, config))
                else:
                    optimizer.zero_grad()
                if average:
                    average.update(module, progress.step + 1)
            failed = 0 if finite else failed + 1
            progress.skipped += not finite
            progress.step, progress.batch = progress.step + 1, progress.batch + 1
            _add(progress.sums, losses if finite else {})
            if failed >= MOST_SKIPPED:
                progress.stopped = "the loss is not finite"
            progress.stopped = progress.stopped or keeper.must_stop()
            progress.total_steps = keeper.planned_steps(progress, most)
            last = progress.step >= progress.total_steps or bool(progress.stopped)
            if last or progress.step % interval == 0:
                with work.phase("validate"):
                    best = _validate(module, average, score, progress, best, keeper, config)
            if progress.batch == len(batches):
                progress.epoch, progress.batch = progress.epoch + 1, 0
            with work.phase("checkpoint"):
                keeper.save(progress, groups, now=last)
            if last or progress.stopped:
                break
    if not best:
        raise ShinsoError(
            "Training did not succeed: the loss was never finite. Lower the learning rate "
            "(--set train.learning_rate=1e-4), or train in full precision (--set train.precision=fp32)."
        )
    module.load_state_dict(best)
    return Fitted(progress, work)


def backward(
    module: nn.Module, objective: Objective, batch: Batch, rows: int, parts: int, plan: Plan
) -> dict[str, float]:
    """Gradients of the mean loss over one batch, worked through in parts; the mean of each output.

    The sums of the parts are divided by what was counted in the whole batch, so that parts of unequal
    numbers of tokens or targets weigh what they should.
    """
    if parts == 1:
        with autocast(plan):
            losses = objective(batch, rows)
        means = {name: loss.total / loss.count.clamp(min=1) for name, loss in losses.items()}
        torch.stack(list(means.values())).sum().backward()
        return {name: float(mean.detach()) for name, mean in means.items()}
    pieces = [piece for piece in np.array_split(np.arange(rows), parts) if len(piece)]
    views = [({name: t[int(p[0]) : int(p[-1]) + 1] for name, t in batch.items()}, len(p)) for p in pieces]
    state = torch.get_rng_state()
    with torch.no_grad(), autocast(plan), _frozen_statistics(module):
        counted = [objective(view, n) for view, n in views]
    counts = {name: sum(float(c[name].count) for c in counted) or 1.0 for name in counted[0]}
    torch.set_rng_state(state)
    sums = dict.fromkeys(counts, 0.0)
    for view, n in views:
        with autocast(plan):
            losses = objective(view, n)
        torch.stack([loss.total / counts[name] for name, loss in losses.items()]).sum().backward()
        _add(sums, {name: float(loss.total.detach()) / counts[name] for name, loss in losses.items()})
    return sums


def to_tensors(arrays: Mapping[str, Any], device: str) -> Batch:
    """NumPy batches to tensors on the device."""
    return {name: torch.from_numpy(np.ascontiguousarray(a)).to(device) for name, a in arrays.items()}


def _timed(
    epoch: Iterator[tuple[Any, dict[str, Any]]], plan: Plan, work: Work
) -> Iterator[tuple[Any, Batch]]:
    """The batches of an epoch as tensors on the device; what making them takes is the phase "input"."""
    while True:
        with work.phase("input"):
            found = next(epoch, None)
            made = None if found is None else (found[0], to_tensors(found[1], plan.device))
        if made is None:
            return
        yield made


@contextmanager
def weights_of(module: nn.Module, state: Mapping[str, Tensor] | None) -> Iterator[None]:
    """Inside the block `module` holds `state`, in evaluation mode; afterwards its own weights, training."""
    own = {name: value.clone() for name, value in module.state_dict().items()} if state is not None else None
    if state is not None:
        module.load_state_dict(state)
    module.eval()
    try:
        yield
    finally:
        if own is not None:
            module.load_state_dict(own)
        module.train()


def _validate(
    module: nn.Module, average: Average | None, score: Score | None, progress: Progress,
    best: dict[str, Tensor], keeper: Keeper, config: TrainConfig,
) -> dict[str, Tensor]:  # fmt: skip
    """Score the weights that would be kept, log one line, and return the best weights so far."""
    steps = progress.sums.pop("steps", 0.0) or 1.0
    entry: dict[str, Any] = {
        "step": progress.step,
        "epoch": progress.epoch,
        "loss": {name: value / steps for name, value in progress.sums.items()},
        "learning_rate": (config.learning_rate or 0)
        * learning_rate(progress.step / progress.total_steps, config),
    }
    progress.sums = {}
    with weights_of(module, average.values if average else None):
        value, found = score() if score else (-float(progress.step), {})
        current = {name: v.clone() for name, v in module.state_dict().items()}
    better = math.isfinite(value) and (
        progress.best is None or value < progress.best or config.keep == "last"
    )
    if better:
        progress.best, progress.best_epoch, progress.waiting = value, progress.epoch, 0
    else:
        progress.waiting += 1
    if config.patience and progress.waiting >= config.patience and not progress.stopped:
        progress.stopped = f"no better validation score in {config.patience} epochs"
    keeper.report(progress, {**entry, "validation": found, "best": better})
    return current if better else best


def _restored(
    keeper: Keeper, module: nn.Module, optimizer: Optimizer, average: Average | None
) -> tuple[Progress, dict[str, Tensor]]:
    """Where to go on: the newest checkpoint's state put in place, or the beginning."""
    found = keeper.restore()
    if found is None:
        return Progress(), {}
    progress, groups = found
    module.load_state_dict(groups["module"])
    optimizer.restore(groups.get("optimizer", {}))
    if average:
        average.values = groups["average"]
    return progress, groups.get("best", {})


def _interval(epochs: int, steps: int, checks: int) -> int:
    """Steps between two validations: an epoch, more where it is tiny, a share of the run where few."""
    return max(10, steps) if epochs >= 10 else max(10, -(-steps * epochs // max(1, checks)))


def _clip(module: nn.Module, most: float | None) -> bool:
    """Bring the norm of the gradient to at most `most`; False where it is not finite."""
    norm = torch.nn.utils.clip_grad_norm_(module.parameters(), most or math.inf)
    return bool(torch.isfinite(norm))


def _add(sums: dict[str, float], values: Mapping[str, float]) -> None:
    for name, value in values.items():
        sums[name] = sums.get(name, 0.0) + value
    if values:
        sums["steps"] = sums.get("steps", 0.0) + 1.0


@contextmanager
def _frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Running statistics of normalisation layers stay as they are inside the block."""
    kept = {name: value.clone() for name, value in module.named_buffers()}
    try:
        yield
    finally:
        for name, value in module.named_buffers():
            value.copy_(kept[name])
