"""The verb `train`: data and settings in, a complete run directory out."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .attacks import attackable
from .augment import augment
from .config import RunConfig
from .console import Console, clock
from .data.sources import Source
from .data.table import Table
from .errors import RunError, SettingError
from .evaluation import validation_score
from .finishing import finish, truths_of
from .forecasting import Window
from .frozen import precomputed
from .heads import HeadOptions
from .keeper import RunKeeper
from .layers.outline import Outline
from .loop import Fitted, fit, to_tensors
from .models import must_obey
from .models.hub import configuration
from .network import Network
from .objectives import objective, trained_rows
from .plan import PROBED, Plan, applied, make_plan, verified
from .preparing import Prepared, Question, prepare
from .pretrained import begin, begun, check, suited
from .randomness import private_randomness
from .rates import RangeTest, range_test
from .recipes import VERSION, Facts, resolve
from .reopening import reopened
from .run import RunDirectory, free_name, must_be_new
from .schema import Schema
from .starting import name_of, start
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
        config = with_hub(config)
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
    job, network, fitted = learned(job)
    finish(
        job.run, job.prepared, network.eval(), job.plan, fitted, job.console,
        seconds=job.seconds, deadline=job.deadline,
    )  # fmt: skip
    return job.run


def learned(job: Job) -> tuple[Job, Network, Fitted]:
    """Train from the beginning, or from the newest checkpoint: the job as it was settled, and the network."""
    config = job.run.config
    network = begun(job.run, job.weights, job.console).to(job.plan.device)
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
        with keeper.at_work():
            fitted = fit_network(job, network, keeper, tuning)
    tuning.finish()
    job.seconds["train"] = keeper.seconds()
    job.seconds["checkpoints"] = keeper.saving
    fitted = replace(fitted, checkpoints=keeper.saves)
    progress = fitted.progress
    job.console.say(
        f"Trained {progress.step:,} steps in {clock(job.seconds['train'])}"
        + (f"; stopped early: {progress.stopped}." if progress.stopped else ".")
    )
    return job, network, fitted


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
    with Outline():
        network = Network(
            schema, config.model, {c.name: HeadOptions(loss=config.train.loss or "") for c in schema.predict}
        )
    must_obey(schema.given, config.model)
    check(network, config, weights)


def reserve(job: Job, keeper: RunKeeper) -> float:
    """Seconds that the end of a run with a time limit will need."""
    limit = 60 * (job.run.config.minutes or 0)
    return max(LEAST_RESERVE, 0.15 * limit if limit < 120 else 18.0)


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
