"""The verb `train`: data and settings in, a complete run directory out."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .attacks import attackable, attacked
from .augment import augment
from .config import RunConfig
from .console import Console, clock
from .data.sources import Source
from .data.table import Table
from .errors import RunError, SettingError
from .evaluation import validation_score
from .files import sync_folder
from .finishing import finish, truths_of
from .forecasting import Window
from .heads import HeadOptions, Loss
from .keeper import RunKeeper
from .loop import Batch, Fitted, Objective, fit, to_tensors
from .machine import versions
from .network import Network
from .plan import PROBED, Plan, applied, make_plan, verified
from .preparing import Prepared, Question, class_weights, prepare
from .randomness import private_randomness
from .recipes import VERSION, Facts, resolve
from .reopening import reopened
from .reports import now
from .run import RunDirectory, free_name, must_be_new
from .schema import Schema

LEAST_RESERVE = 1.5  # seconds kept for writing the run when there is a time limit
EVALUATION_BATCH = 4  # times the training batch


@dataclass(frozen=True)
class Job:
    """Everything that training one run needs."""

    run: RunDirectory
    prepared: Prepared
    plan: Plan
    console: Console
    deadline: float | None
    seconds: dict[str, float]


def train(
    source: Source, question: Question, config: RunConfig, out: Path | None, console: Console
) -> RunDirectory:
    """Train on the rows of `source`; gives the run, complete and evaluated.

    Raises `DataError`, `SettingError` or `RunError` before anything is written where the input is at fault.
    """
    started = time.monotonic()
    path = out or free_name(name_of(source))
    must_be_new(path)
    plan = make_plan(config.train)
    with applied(plan):
        reading = time.perf_counter()
        table = Table.read(source, config.data)
        reading = time.perf_counter() - reading
        prepared = windowed_and_prepared(table, question, config, console)
        config = resolve(config, prepared.schema, facts(prepared))
        check_network(prepared.schema, config)
        run = start(path, prepared, config, source)
        with locked(run):
            deadline = None if config.minutes is None else started + 60 * config.minutes
            return complete(
                Job(run, prepared, plan, console, deadline, {"read": reading, **prepared.seconds})
            )


def resume(path: Path, source: Source | None, console: Console, allow: tuple[str, ...] = ()) -> RunDirectory:
    """Go on with an interrupted run, to the same bits as if it had never stopped."""
    run = RunDirectory(path, allow=allow)
    if run.complete:
        console.say(f"{path} is complete already.")
        return run
    started = time.monotonic()
    plan = run.plan
    with locked(run), applied(plan):
        prepared = reopened(run, source, console)
        minutes = run.config.minutes
        deadline = None if minutes is None else started + 60 * minutes
        return complete(Job(run, prepared, plan, console, deadline, dict(prepared.seconds)))


def complete(job: Job) -> RunDirectory:
    """Train, evaluate and write everything; an interrupt ends training early and leaves a complete run."""
    config = job.run.config
    network = job.run.build_network().to(job.plan.device)
    job = replace(job, plan=settled(job, network))
    parameters = sum(p.numel() for p in network.parameters())
    job.console.say(
        f"{parameters:,} parameters, {job.plan.precision} on {job.plan.device}, {job.plan.threads} threads, "
        f"{config.effort}@{VERSION}: {config.train.epochs} epochs of {config.train.batch_size} rows a step"
    )
    with job.console.progress("training") as advance:
        keeper = RunKeeper(
            job.run, job.console, advance, deadline=job.deadline, reserve=lambda: reserve(job, keeper)
        )
        with keeper.catching_signals():
            fitted = fit_network(job, network, keeper)
    job.seconds["train"] = keeper.seconds()
    job.seconds["checkpoints"] = keeper.saving
    progress = fitted.progress
    job.console.say(
        f"Trained {progress.step:,} steps in {clock(job.seconds['train'])}"
        + (f"; stopped early: {progress.stopped}." if progress.stopped else ".")
    )
    finish(
        job.run, job.prepared, network.eval(), job.plan, fitted, job.console,
        seconds=job.seconds, deadline=job.deadline,
    )  # fmt: skip
    return job.run


def settled(job: Job, network: Network) -> Plan:
    """The plan of the run: the one that it began with, or now proven on its first rows and written down."""
    environment = job.run.environment
    if "plan" in environment:
        return job.plan
    config = job.run.config
    loader = job.prepared.loader(job.prepared.split.train[:PROBED], PROBED, config.seed)
    rows, arrays = next(loader.epoch(0))
    batch, losses = to_tensors(arrays, job.plan.device), objective(network, job.prepared, config)

    def probe() -> Any:
        with private_randomness(config.seed, "probe"):
            return losses(batch, len(rows))

    plan = verified(job.plan, network.train(), probe)
    if plan is not job.plan:
        job.console.say(f"! {plan.reasons[0]}; training in {plan.precision}.")
    job.run.write_json("environment.json", {**environment, "plan": plan.to_dict()})
    return plan


def fit_network(job: Job, network: Network, keeper: RunKeeper) -> Fitted:
    """Run the loop on the network of a run."""
    config, prepared = job.run.config, job.prepared
    assert config.train.batch_size is not None
    loader = prepared.loader(prepared.split.train, config.train.batch_size, config.seed)
    checking = prepared.loader(prepared.split.validation, EVALUATION_BATCH * config.train.batch_size)
    truths = truths_of(prepared, prepared.split.validation)

    def score() -> tuple[float, dict[str, Any]]:
        return validation_score(network, prepared.schema, checking, job.plan, config.seed, truths)

    return fit(
        network, loader, objective(network, prepared, config), config.train, job.plan, keeper=keeper,
        score=score if len(prepared.split.validation) else None, seed=config.seed, rates=network.rates(),
    )  # fmt: skip


def objective(network: Network, prepared: Prepared, config: RunConfig) -> Objective:
    """The losses of the network, on batches whose images are augmented where they are not predicted."""
    predicts_pixels = any(c.kind in ("image", "mask", "boxes") for c in prepared.schema.predict)
    names = [c.name for c in prepared.schema.given if c.kind == "image"]
    change = augment(config.train.augment or "none")

    ranges, size = attackable(prepared.schema.given), config.train.adversarial

    def losses(batch: Batch, rows: int) -> Any:
        if network.training and names and not predicts_pixels:
            batch = {**batch, **{name: _augmented(change, batch[name]) for name in names}}
        if network.training and size and ranges:
            batch = _half_attacked(network, batch, rows, ranges, size)
        return network.losses(batch, rows)

    return losses


def _half_attacked(
    network: Network, batch: Batch, rows: int, ranges: Mapping[str, float], size: float
) -> Batch:
    """The first half of a batch (whose order is random) attacked by one step from a random start."""

    def losses(changed: Batch) -> Mapping[str, Loss]:
        return network.losses(changed, rows)

    moved = attacked(losses, batch, ranges, size, generator=torch.default_generator)  # seeded by the loop
    half = (rows + 1) // 2
    mixed = {
        name: torch.cat([moved[name][:half], batch[name][half:].to(moved[name].dtype)]) for name in ranges
    }
    return {**batch, **mixed}


def _augmented(change: Any, images: Tensor) -> Tensor:
    changed: Tensor = change(images, torch.default_generator)  # seeded for this step by the loop
    return changed


def facts(prepared: Prepared) -> Facts:
    """What recipes look at."""
    train = prepared.split.train
    images = [c.to_dict() for c in prepared.schema if c.kind in ("image", "mask")]
    ragged = [c.name for c in prepared.schema.given if c.ragged]
    length = float(sum(prepared.store[name].lengths(train).mean() for name in ragged)) if ragged else 0.0
    side = max((max(c["height"], c["width"]) for c in images), default=0)
    return Facts(
        len(train),
        side,
        length,
        any(c.kind == "number" for c in prepared.schema.predict),
        len(prepared.split.validation),
    )


def windowed_and_prepared(table: Table, question: Question, config: RunConfig, console: Console) -> Prepared:
    """Prepare the rows of a table, or its windows where a forecast was asked for."""
    window = Window.of(question.past, question.ahead, question.predict, question.given, config.data.time)
    if window is None:
        return prepare(table, question, config, console)
    cut = window.cut(table, config.data)
    given, future = cut.columns()
    asked = Question((future.name,), (given.name,))
    window = replace(window, given=cut.variables)
    return prepare(cut, asked, config, console, Schema((given,), (future,)), window)


def check_network(schema: Schema, config: RunConfig) -> None:
    """Find mistakes in the settings of the model and the augmentation before anything is written."""
    augment(config.train.augment or "none")
    if config.train.adversarial and not attackable(schema.given):
        raise SettingError(
            "train.adversarial needs a given column that enters as numbers (image, number, series, sound); "
            "these columns have none. Leave it out."
        )
    with torch.device("meta"):
        Network(
            schema, config.model, {c.name: HeadOptions(loss=config.train.loss or "") for c in schema.predict}
        )


def start(path: Path, prepared: Prepared, config: RunConfig, source: Source) -> RunDirectory:
    """A run directory with all that it holds before its first step; it appears whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        run = RunDirectory.create(draft, config)
        run.write_json("schema.json", prepared.schema.to_dict())
        run.write_json("data.json", described(prepared, config, source))
        run.write_lines("quarantine.jsonl", [bad.to_dict() for bad in prepared.quarantine])
        run.write_json("environment.json", {"created": now(), **versions()})
        must_be_new(path)
        draft.replace(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    sync_folder(path.parent)
    return RunDirectory(path, allow=(config.model.name or "",))


def described(prepared: Prepared, config: RunConfig, source: Source) -> dict[str, Any]:
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
    }


def origin(source: Source) -> Any:
    """What to read again on resuming: paths made absolute; None for data in memory."""
    if isinstance(source, list | tuple) and source and all(isinstance(s, str | Path) for s in source):
        return [origin(s) for s in source]
    if not isinstance(source, str | Path):
        return None
    return str(source) if "://" in str(source) else str(Path(source).absolute())


def reserve(job: Job, keeper: RunKeeper) -> float:
    """Seconds that the end of a run with a time limit will need."""
    limit = 60 * (job.run.config.minutes or 0)
    return max(LEAST_RESERVE, 0.15 * limit if limit < 120 else 18.0)


def name_of(source: Source) -> str:
    """A name for the run from the data's name."""
    if isinstance(source, str | Path):
        stem = Path(source).name.split(".")[0]
        return stem if stem and "*" not in stem and "://" not in str(source) else "run"
    return "run"


@contextmanager
def locked(run: RunDirectory) -> Iterator[None]:
    """Keep other processes out of a run directory that is being trained."""
    with (run.path / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{run.path} is being trained by another process. Wait for it, or choose --out."
            ) from None
        yield
    (run.path / ".lock").unlink(missing_ok=True)
