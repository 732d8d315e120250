"""`shinso train --check`: a whole life in seconds, on two batches and in a folder that goes away again.

Reads, trains, is killed, goes on, evaluates, explains and predicts as a training of hours would, and says
which of these will not work. Nothing is written where the run would stand.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from .config import RunConfig
from .console import Console, clock
from .data.notes import plural
from .data.sources import Source
from .data.table import Table
from .drawing import Drawn, cut_down, draw, listed
from .errors import DataError, RunError, SettingError, ShinsoError
from .explaining.explain import Asked, explain
from .explaining.scoring import EXPLAINED
from .finishing import finish
from .interrupted import killed
from .loop import Fitted
from .network import Network
from .plan import Plan, applied, make_plan
from .preparing import Prepared, Question, prepare
from .pretrained import suited
from .recipes import resolve
from .run import RunDirectory, free_name, must_be_new
from .starting import name_of, start
from .training import Job, check_network, facts, learned, windowed_and_prepared, with_hub
from .verbs import judged
from .verbs import predict as predicted
from .weights import Pretrained, open_weights

BATCHES = 2
EXPLAINED_ROWS = 2
CHECKPOINTS = 3  # that lie beside each other for a moment
UNSEEN = 0.01  # share of held-out rows with a label that no training row has, from which it is a failure
LONG = 1.0  # seconds of two steps below which nothing is said of how long training takes
# What code of others may raise; it is told with the stage where it happened.
TROUBLE = (
    ShinsoError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
    AssertionError, ImportError, OSError, MemoryError,
)  # fmt: skip
Verdict = Literal["works", "warning", "fails", "not reached", "does not apply"]
SIGNS = {"works": "✓", "warning": "!", "fails": "✗", "not reached": "·", "does not apply": "·"}


@dataclass(frozen=True)
class Stage:
    """One stage of a life, and whether it works."""

    stage: str
    verdict: Verdict
    said: str
    seconds: float


class Unfit(Exception):
    """This run has no use for a stage; the text says why."""


class Warned(Exception):
    """A stage works, but not as it should; the text says why."""


@dataclass
class Walk:
    """What the stages hand on to each other."""

    source: Source
    question: Question
    config: RunConfig  # as it was asked for, then resolved
    out: Path
    folder: Path  # that goes away again
    plan: Plan
    drawn: Drawn = field(init=False)
    prepared: Prepared = field(init=False)
    weights: Pretrained | None = field(default=None, init=False)
    run: RunDirectory = field(init=False)
    job: Job = field(init=False)
    network: Network = field(init=False)
    fitted: Fitted = field(init=False)
    quiet: Console = field(default_factory=lambda: Console(quiet=True), init=False)


def preflight_of(
    source: Source, *, predict: tuple[str, ...], given: tuple[str, ...] | None, types: Mapping[str, str],
    settings: Mapping[str, Any], window: tuple[int | None, int | None], out: str | Path | None, quiet: bool,
) -> dict[str, Any]:  # fmt: skip
    """See `api.check`."""
    if source is None:
        raise SettingError("Say what to train on: shinso train DATA --predict COLUMN --check.")
    path = free_name(name_of(source)) if out is None else Path(out)
    question = Question(predict, given, types, *window)
    return preflight(source, question, settings, path, Console(quiet=quiet))


def preflight(
    source: Source, question: Question, settings: Mapping[str, Any], path: Path, console: Console
) -> dict[str, Any]:
    """Walk all stages; those that need one that fails are not reached. `passed`: none failed."""
    started, found = time.perf_counter(), dict[str, Stage]()
    config = RunConfig().override(dict(settings))
    plan = make_plan(config.train)
    with tempfile.TemporaryDirectory(prefix="shinso-check-") as folder:
        walk = Walk(source, question, config, path, Path(folder), plan)
        with applied(plan), console.progress("checking") as advance:
            for i, (name, (work, needs)) in enumerate(STAGES.items()):
                advance(i, len(STAGES), name)
                lost = next((n for n in needs if found[n].verdict in ("fails", "not reached")), None)
                found[name] = (
                    Stage(name, "not reached", f"It needs {lost!r}", 0.0) if lost else tried(name, work, walk)
                )
    return {
        "out": str(path),
        "passed": not any(stage.verdict == "fails" for stage in found.values()),
        "stages": [asdict(stage) for stage in found.values()],
        "seconds": round(time.perf_counter() - started, 3),
    }


def tried(name: str, work: Callable[[Walk], str], walk: Walk) -> Stage:
    """One stage, and what came of it."""
    started = time.perf_counter()
    verdict: Verdict = "works"
    try:
        said = work(walk)
    except Unfit as reason:
        verdict, said = "does not apply", str(reason)
    except Warned as reason:
        verdict, said = "warning", str(reason)
    except ShinsoError as error:
        verdict, said = "fails", str(error)
    except TROUBLE as error:
        verdict, said = "fails", f"{type(error).__name__}: {error}"
    return Stage(name, verdict, said, round(time.perf_counter() - started, 3))


def place(walk: Walk) -> str:
    """Whether a run can be written where it shall stand."""
    must_be_new(walk.out)
    above = above_of(walk.out)
    if not above.is_dir():
        raise RunError(f"{walk.out} cannot be made: {above} is no folder. Choose another name with --out.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise RunError(f"{walk.out} cannot be made: nothing can be written to {above}. Choose another --out.")
    return f"{walk.out} can be made"


def above_of(path: Path) -> Path:
    """What exists of the way to a path."""
    way = path.absolute().parent
    return next(folder for folder in (way, *way.parents) if folder.exists())


def rows(walk: Walk) -> str:
    """Whether the data can be read, split and encoded; a few thousand rows speak for all."""
    config = with_hub(walk.config)
    table, walk.weights = Table.read(walk.source, config.data), open_weights(config.model)
    walk.drawn = draw(table, walk.question, config)
    sampled = config.override(
        {"data.cache": str(walk.folder / "cache"), "data.audit": False, "data.group": None, "minutes": None}
    )
    if walk.drawn.parts is None:
        prepared = windowed_and_prepared(walk.drawn.table, walk.question, sampled, walk.quiet, walk.weights)
    else:
        prepared = prepare(
            walk.drawn.table, walk.drawn.question, sampled, walk.quiet, parts=walk.drawn.parts,
            suit=lambda schema: suited(schema, sampled, walk.weights),
        )  # fmt: skip
    known = replace(facts(prepared), rows=walk.drawn.counts[0], validation=walk.drawn.counts[1])
    walk.config, walk.prepared = resolve(sampled, prepared.schema, known), prepared
    said = f"{plural(len(table), 'row')}; {len(walk.drawn.table):,} of them were read"
    bad = [*table.quarantine, *(b for b in prepared.quarantine if b not in table.quarantine)]
    if bad:
        raise Warned(
            f"{said}; {plural(len(bad), 'place')} in those cannot be used, first {bad[0].file}, "
            f"row {bad[0].row}: {bad[0].reason}"
        )
    return said


def labels(walk: Walk) -> str:
    """Whether every label that is tested stands in training too."""
    drawn, held = walk.drawn, sum(walk.drawn.counts[1:])
    if not drawn.unseen:
        return "Every label that is tested is trained on"
    said = (
        f"{plural(drawn.unseen_rows, 'held-out row')} of {held:,} have a label that no training row has: "
        f"{listed(drawn.unseen)}. They can only be wrong: spell labels alike in all parts, or add rows"
    )
    if drawn.unseen_rows >= UNSEEN * held:
        raise DataError(said)
    raise Warned(said)


def building(walk: Walk) -> str:
    """Whether the network can be built for these columns, and settings suit it."""
    check_network(walk.prepared.schema, walk.config, walk.weights)
    name = walk.config.model.name or "the recipe's network"
    return f"{name} for {plural(len(walk.prepared.schema.given), 'given column')}"


def training(walk: Walk) -> str:
    """Two steps with random weights, checkpoints included, and how long all steps would take."""
    full = walk.config
    assert full.train.batch_size is not None and full.train.epochs is not None
    batch, whole = full.train.batch_size, walk.drawn.counts[0]
    walk.prepared = replace(walk.prepared, split=cut_down(walk.prepared.split, BATCHES, batch, whole))
    short = {
        "train.epochs": 1 if len(walk.prepared.split.train) > batch else BATCHES,
        "train.checkpoint_seconds": 0.0, "train.patience": 0, "train.keep": "last",
    }  # fmt: skip
    config = full.override(short)
    walk.run = start(walk.folder / "run", walk.prepared, config, walk.source, walk.weights)
    shutil.copytree(walk.run.path, walk.folder / "killed")
    seconds = dict(walk.prepared.seconds)
    job = Job(walk.run, walk.prepared, walk.plan, walk.quiet, None, seconds, walk.weights)
    walk.job, walk.network, walk.fitted = learned(job)
    progress = walk.fitted.progress
    if progress.skipped:
        raise SettingError(
            f"The loss or its gradient is not finite in {progress.skipped} of {progress.step} steps. Look at "
            f"the model and the inputs; else lower the learning rate or set train.precision=fp32."
        )
    spent = sum(walk.fitted.work.seconds.get(name, 0.0) for name in ("input", "compute", "update"))
    steps = -(-whole // batch) * full.train.epochs
    count = sum(p.numel() for p in walk.network.parameters())
    return (
        f"{progress.step} steps of {batch:,} rows, {count:,} parameters; at this pace the {steps:,} steps of "
        f"all rows take about {clock(spent / max(1, progress.step) * steps)}"
    )


def resuming(walk: Walk) -> str:
    """Whether a training that was killed goes on to the same bits, and its checkpoints have room."""
    shutil.copy(walk.run.path / "environment.json", walk.folder / "killed")
    run = RunDirectory(walk.folder / "killed", allow=walk.run.allow)
    killed(walk.prepared, run, walk.folder / "rows")
    kept = sorted((run.path / "checkpoints").glob("*.checkpoint"))
    size = max((path.stat().st_size for path in kept), default=0)
    _, network, _ = learned(replace(walk.job, run=run, seconds={}))
    other = different(walk.network.state_dict(), network.state_dict())
    if other:
        raise RunError(
            f"After a kill training goes on to other weights ({plural(len(other), 'tensor')}, first "
            f"{other[0]!r}): something draws at random or keeps a state that is no buffer of the model."
        )
    room = shutil.disk_usage(above_of(walk.out)).free
    if room < CHECKPOINTS * size:
        raise RunError(
            f"{above_of(walk.out)} has {room / 2**20:,.0f} MiB left, and checkpoints need "
            f"{CHECKPOINTS * size / 2**20:,.0f}. Free some space or choose another --out."
        )
    return f"Killed after a step, it went on to the same bits; a checkpoint has {size / 2**20:,.1f} MiB"


def different(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that are not equal to the bit."""
    return [
        name for name in a if name not in b or not torch.equal(a[name].nan_to_num(), b[name].nan_to_num())
    ]


def evaluation(walk: Walk) -> str:
    """Whether the run is evaluated, set beside baselines, reported and sealed, and measured on rows again."""
    finish(
        walk.run, walk.prepared, walk.network.eval(), walk.job.plan, walk.fitted, walk.quiet,
        seconds=walk.job.seconds, deadline=None,
    )  # fmt: skip
    walk.run = RunDirectory(walk.run.path, allow=walk.run.allow)
    found, _ = judged(walk.run, some_rows(walk), walk.quiet)
    names = [f"{output['main']} of {name}" for name, output in found["outputs"].items()]
    return f"{', '.join(names)} and the report can be made"


def some_rows(walk: Walk) -> Table:
    """Raw rows for the verbs after training: held-out ones where there are some."""
    if walk.drawn.parts is None:
        return walk.drawn.table
    split = walk.prepared.split
    held = split.test if len(split.test) else split.validation
    return walk.drawn.table.take(held if len(held) else split.train[:8])


def explanation(walk: Walk) -> str:
    """Whether its answers can be explained."""
    schema = walk.prepared.schema
    if not schema.given:
        raise Unfit("It predicts from nothing, so there is nothing to explain by")
    if schema.predict[0].kind not in EXPLAINED:
        raise Unfit(f"Explanations are for {', '.join(EXPLAINED)}, not for {schema.predict[0].kind}")
    table = some_rows(walk)
    asked = Asked(rows=EXPLAINED_ROWS, out=walk.folder / "explanations")
    few = table if walk.drawn.parts is None else table.take(slice(0, EXPLAINED_ROWS))
    found = explain(walk.run, few, asked, walk.quiet)
    return f"By {found['method']}, {plural(len(found['rows']), 'row')}"


def prediction(walk: Walk) -> str:
    """Whether the written run predicts."""
    found = predicted(
        walk.run.path, some_rows(walk), coverage=None, abstain=False, fair=False, out=None,
        allow=walk.run.allow, quiet=True,
    )  # fmt: skip
    return f"{plural(len(next(iter(found.values()))), 'row')} from the run as it is written"


STAGES: dict[str, tuple[Callable[[Walk], str], tuple[str, ...]]] = {
    "place": (place, ()),
    "data": (rows, ()),
    "labels": (labels, ("data",)),
    "network": (building, ("data",)),
    "training": (training, ("network",)),
    "kill and resume": (resuming, ("training",)),
    "evaluation": (evaluation, ("training",)),
    "explanation": (explanation, ("evaluation",)),
    "prediction": (prediction, ("evaluation",)),
}


def lines(found: Mapping[str, Any]) -> list[str]:
    """For a terminal."""
    said = [f"{SIGNS[s['verdict']]} {s['stage']}: {s['said'].rstrip('.')}." for s in found["stages"]]
    end = "It will work" if found["passed"] else "It will not work as it is"
    return [*said, f"{end} (checked in {clock(found['seconds'])}; {found['out']} was not written)."]
