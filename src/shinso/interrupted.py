"""A training that is killed in a process of its own, to see that it can be gone on with.

`python -m shinso.interrupted FOLDER RUN [MODEL]` trains on encoded rows that `hand_over` laid down in FOLDER,
says `kept` after its first checkpoint, and waits to be killed. Nothing is pickled.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from .checkpoints import Progress
from .console import Console
from .data.encoding import open_encoded
from .data.split import Split
from .data.store import Encoded, Resident, Store
from .data.table import Table
from .errors import RunError
from .frozen import precomputed
from .keeper import RunKeeper
from .loop import fit
from .objectives import objective
from .plan import applied
from .preparing import Prepared
from .pretrained import begun
from .run import RunDirectory
from .transfer import tune

PACKAGE = Path(__file__).parents[1]
MOST_SECONDS = 180.0  # that the process may take to its first checkpoint


def killed(prepared: Prepared, run: RunDirectory, folder: Path) -> None:
    """Train `run` in another process to its first checkpoint, and end that with SIGKILL."""
    hand_over(prepared, folder)
    paths = os.pathsep.join(dict.fromkeys([str(PACKAGE), *(path or str(Path.cwd()) for path in sys.path)]))
    command = [sys.executable, "-W", "ignore", "-m", "shinso.interrupted", str(folder), str(run.path)]
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            [*command, *filter(None, run.allow)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=errors, env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
        limit = threading.Timer(MOST_SECONDS, process.kill)
        limit.start()
        try:
            assert process.stdout is not None and process.stdin is not None
            line = process.stdout.readline()
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
        finally:
            limit.cancel()
    if line != b"kept\n":
        said = (folder / "stderr").read_text("utf-8", "replace").strip().splitlines()
        raise RunError(
            "A process of its own could not train to its first checkpoint: "
            + (said[-1] if said else f"it said nothing in {MOST_SECONDS:.0f} seconds")
        )


def hand_over(prepared: Prepared, folder: Path) -> None:
    """Lay down encoded rows and which of them are of which part."""
    everything = slice(None)
    for i, column in enumerate(prepared.schema):
        place = folder / str(i)
        place.mkdir(parents=True)
        taken = prepared.store[column.name].take(everything)
        if column.ragged:
            counts = prepared.store[column.name].lengths(everything)
            np.save(place / "counts.npy", counts, allow_pickle=False)
            np.save(place / "starts.npy", np.cumsum(counts) - counts, allow_pickle=False)
            taken = np.concatenate(list(taken))
        np.save(place / "data.npy", np.ascontiguousarray(taken), allow_pickle=False)
    for name, rows in {"usable": prepared.store.usable, **prepared.parts}.items():
        np.save(folder / f"{name}.npy", rows, allow_pickle=False)


def handed_over(run: RunDirectory, folder: Path) -> Prepared:
    """The rows that `hand_over` laid down; raw values are not among them."""
    resident = Resident()
    columns: dict[str, Encoded] = {
        c.name: open_encoded(folder / str(i), resident, ragged=c.ragged) for i, c in enumerate(run.schema)
    }
    usable, *parts = (
        np.load(folder / f"{name}.npy", allow_pickle=False)
        for name in ("usable", "train", "validation", "test")
    )
    table = Table.read({"row": list(range(len(usable)))})
    return Prepared(table, run.schema, Split(*parts), Store(columns, usable), (), (), {})


class Waiting(RunKeeper):
    """Says that it kept a checkpoint, and waits for what comes."""

    def save(self, progress: Progress, groups: Any, *, now: bool) -> None:
        """Write it at once."""
        super().save(progress, groups, now=True)
        print("kept", flush=True)
        sys.stdin.read()


def work(folder: Path, path: Path, allow: tuple[str, ...]) -> None:
    """Train to the first checkpoint."""
    run, console = RunDirectory(path, allow=allow), Console(quiet=True)
    config, rows = run.config, handed_over(run, folder)
    assert config.train.batch_size is not None
    with applied(run.plan), console.progress("training") as advance:
        network = begun(run, None, console).to(run.plan.device)
        tuning = tune(network, config.train, config.seed)
        with precomputed(network, rows, config, run.plan, console) as prepared:
            loader = prepared.loader(prepared.split.train, config.train.batch_size, config.seed)
            losses = objective(network, prepared, config, compiled=run.plan.compiled)
            fit(
                network, loader, losses, config.train, run.plan, keeper=Waiting(run, console, advance),
                seed=config.seed, rates=tuning.rates, stage=tuning.stage,
            )  # fmt: skip


if __name__ == "__main__":
    work(Path(sys.argv[1]), Path(sys.argv[2]), tuple(sys.argv[3:]))
