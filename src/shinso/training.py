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

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from .attacks import attackable, attacked
from .augment import augment
from .config import RunConfig
from .console import Console, clock
from .data.loader import Rows
from .data.sources import Source
from .data.table import Table
from .errors import RunError, SettingError
from .evaluation import validation_score
from .fairness import groups_in
from .files import sync_folder, write_atomic
from .finishing import finish, truths_of
from .forecasting import Window
from .frozen import precomputed
from .heads import HeadOptions, Loss
from .keeper import RunKeeper
from .loop import Batch, Fitted, Objective, fit, to_tensors
from .machine import versions
from .mitigation import reweighed
from .models.hub import configuration
from .network import Network
from .plan import PROBED, Plan, applied, make_plan, verified
from .preparing import Prepared, Question, class_weights, prepare
from .pretrained import begin, check, same_file, suited
from .randomness import private_randomness
from .rates import RangeTest, range_test
from .recipes import VERSION, Facts, resolve
from .reopening import reopened
from .reports import now
from .run import RunDirectory, free_name, must_be_new
from .schema import Schema
from .transfer import Tuning, check_tuning, tune
from .weights import Pretrained, open_weights

LEAST_RESERVE = 1.5  # seconds kept for writing the run when there is a time limit
EVALUATION_BATCH = 4  # times the training batch
LEAST_CHECKS, MOST_CHECKS = 3, 10  # validations of a short training


@dataclass(frozen=True)
class Job:
    """Everything that training one run needs."""

    run: RunDirectory
    prepared: Prepared
    plan: Plan
    console: Console
    deadline: float | None
    seconds: dict[str, float]
    weights: Pretrained | None = None  # published ones, read already


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
        config = with_hub(config)
        weights = open_weights(config.model)
        prepared = windowed_and_prepared(table, question, config, console, weights)
        config = resolve(config, prepared.schema, facts(prepared))
        trained_rows(prepared, config)
        check_network(prepared.schema, config, weights)
        run = start(path, prepared, config, source, weights)
        with locked(run):
            deadline = None if config.minutes is None else started + 60 * config.minutes
            return complete(
                Job(run, prepared, plan, console, deadline, {"read": reading, **prepared.seconds}, weights)
            )


def find_rate(
    source: Source, question: Question, config: RunConfig, steps: int, console: Console
) -> RangeTest:
    """A learning-rate range test of the network that `train` would train, on its training rows."""
    plan = make_plan(config.train)
    with applied(plan):
        weights = open_weights(config.model)
        prepared = windowed_and_prepared(Table.read(source, config.data), question, config, console, weights)
        config = resolve(config, prepared.schema, facts(prepared))
        assert config.train.batch_size is not None
        smoothing = config.train.label_smoothing or 0.0
        options = HeadOptions(label_smoothing=smoothing, loss=config.train.loss or "")
        with private_randomness(config.seed, "weights"):
            network = Network(
                prepared.schema, config.model, {c.name: options for c in prepared.schema.predict}
            ).to(plan.device)
        check_tuning(config.train, config.model.weights)
        if weights is not None:
            begin(network, config, weights, console)
        loader = prepared.loader(prepared.split.train, config.train.batch_size, config.seed)
        return range_test(
            network, loader, objective(network, prepared, config), config.train, plan,
            steps=steps, seed=config.seed, rates=tune(network, config.train, config.seed).rates,
        )  # fmt: skip


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
    network = begun(job).to(job.plan.device)
    tuning = tune(network, config.train, config.seed)
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
            fitted = fit_network(job, network, keeper, tuning)
    tuning.finish()
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


def begun(job: Job) -> Network:
    """The network before its first step, with published weights where they were given.

    It is kept beside the checkpoints, which need not hold what rests.
    """
    network, kept = job.run.build_network(), job.run.path / "checkpoints" / "initial.safetensors"
    if job.run.config.model.weights is None:
        return network
    if kept.is_file():
        network.load_state_dict(load_file(kept))
        return network
    weights = job.weights or open_weights(job.run.config.model)
    assert weights is not None
    same_file(job.run.data["weights"], weights)
    begin(network, job.run.config, weights, job.console)
    kept.parent.mkdir(exist_ok=True)
    write_atomic(kept, save({name: value.contiguous() for name, value in network.state_dict().items()}))
    return network


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


def fit_network(job: Job, network: Network, keeper: RunKeeper, tuning: Tuning) -> Fitted:
    """Run the loop on the network of a run; features that never change are computed first."""
    with precomputed(network, job.prepared, job.run.config, job.plan, job.console) as prepared:
        return _fit(replace(job, prepared=prepared), network, keeper, tuning)


def _fit(job: Job, network: Network, keeper: RunKeeper, tuning: Tuning) -> Fitted:
    config, prepared = job.run.config, job.prepared
    assert config.train.batch_size is not None
    loader = prepared.loader(trained_rows(prepared, config), config.train.batch_size, config.seed)
    checking = prepared.loader(prepared.split.validation, EVALUATION_BATCH * config.train.batch_size)
    truths = truths_of(prepared, prepared.split.validation)
    # To validate a row costs a third of training on it; all validations may cost a tenth of the training.
    trained = 3 * len(prepared.split.train) * (config.train.epochs or 1)
    checks = round(0.1 * trained / max(1, len(prepared.split.validation)))

    def score() -> tuple[float, dict[str, Any]]:
        return validation_score(network, prepared.schema, checking, job.plan, config.seed, truths)

    return fit(
        network, loader, objective(network, prepared, config, compiled=job.plan.compiled), config.train,
        job.plan, keeper=keeper,
        score=score if len(prepared.split.validation) else None, seed=config.seed, rates=tuning.rates,
        checks=max(LEAST_CHECKS, min(MOST_CHECKS, checks)), stage=tuning.stage,
    )  # fmt: skip


def trained_rows(prepared: Prepared, config: RunConfig) -> Rows:
    """The training rows; drawn so that a protected column says nothing of the label, where one is named."""
    train, name = prepared.split.train, config.data.protect
    if name is None:
        return train
    target = prepared.schema.predict[0]
    if target.kind != "category":
        raise SettingError(
            f"Rows can be drawn anew for a predicted category; {target.name!r} is a {target.kind}. "
            f"Leave --protect out, and look at the gaps with `shinso evaluate RUN --protect {name}`."
        )
    groups = groups_in(name, prepared.table.values(name, train))
    labels = np.asarray(prepared.store[target.name].take(train))
    return np.asarray(train[reweighed(groups.codes_n, labels, np.random.default_rng(config.seed))])


def objective(
    network: Network, prepared: Prepared, config: RunConfig, *, compiled: bool = False
) -> Objective:
    """The losses of the network, on batches whose images are augmented where they are not predicted."""
    predicts_pixels = any(c.kind in ("image", "mask", "boxes") for c in prepared.schema.predict)
    names = [c.name for c in prepared.schema.given if c.kind == "image"]
    change = augment(config.train.augment or "none")
    measured = torch.compile(network.losses) if compiled else network.losses

    ranges, size = attackable(prepared.schema.given), config.train.adversarial

    def losses(batch: Batch, rows: int) -> Any:
        if network.training and names and not predicts_pixels:
            batch = {**batch, **{name: _augmented(change, batch[name]) for name in names}}
        if network.training and size and ranges:
            batch = _half_attacked(network, batch, rows, ranges, size)
        return measured(batch, rows)

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


def with_hub(config: RunConfig) -> RunConfig:
    """The settings with the configuration, and the weights beside it, of the hub model that they name."""
    found = configuration(config.model)
    return config.override({f"model.{name}": value for name, value in found.items()})


def windowed_and_prepared(
    table: Table, question: Question, config: RunConfig, console: Console, weights: Pretrained | None = None
) -> Prepared:
    """Prepare the rows of a table, or its windows where a forecast was asked for."""
    window = Window.of(question.past, question.ahead, question.predict, question.given, config.data.time)
    if window is None:
        return prepare(table, question, config, console, suit=lambda schema: suited(schema, config, weights))
    cut = window.cut(table, config.data)
    given, future = cut.columns()
    asked = Question((future.name,), (given.name,))
    window = replace(window, given=cut.variables)
    return prepare(cut, asked, config, console, Schema((given,), (future,)), window)


def check_network(schema: Schema, config: RunConfig, weights: Pretrained | None = None) -> None:
    """Find mistakes in the settings of the model, its weights and the augmentation before anything is
    written."""
    augment(config.train.augment or "none")
    check_tuning(config.train, config.model.weights)
    if config.train.adversarial and not attackable(schema.given):
        raise SettingError(
            "train.adversarial needs a given column that enters as numbers (image, number, series, sound); "
            "these columns have none. Leave it out."
        )
    with torch.device("meta"):
        network = Network(
            schema, config.model, {c.name: HeadOptions(loss=config.train.loss or "") for c in schema.predict}
        )
    check(network, config, weights)


def start(
    path: Path, prepared: Prepared, config: RunConfig, source: Source, weights: Pretrained | None = None
) -> RunDirectory:
    """A run directory with all that it holds before its first step; it appears whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        run = RunDirectory.create(draft, config)
        run.write_json("schema.json", prepared.schema.to_dict())
        run.write_json("data.json", described(prepared, config, source, weights))
        run.write_lines("quarantine.jsonl", [bad.to_dict() for bad in prepared.quarantine])
        if prepared.audit is not None:
            run.write_json("audit.json", prepared.audit)
        run.write_json("environment.json", {"created": now(), **versions()})
        must_be_new(path)
        draft.replace(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    sync_folder(path.parent)
    return RunDirectory(path, allow=(config.model.name or "",))


def described(
    prepared: Prepared, config: RunConfig, source: Source, pretrained: Pretrained | None = None
) -> dict[str, Any]:
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
        "weights": None if pretrained is None else pretrained.to_dict(),
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
