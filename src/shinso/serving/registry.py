"""The models that are served: several at once, several versions of each, exchanged without a dropped request.

A version is used only once it has answered its golden rows. A request keeps the version that it was given to
until it is answered, so exchanging the live version is one assignment, and so is going back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..calibration import COVERAGE
from ..columns import Column
from ..errors import SettingError, ShinsoError, did_you_mean
from .batching import Batcher
from .natural import Form
from .pools import giving_way
from .refusals import Fence, Refusal, sentences
from .servable import Servable

Open = Callable[[Path], Servable]
KEPT = 3  # versions of a model that stay in memory
WARM = (1, 2, 8)  # batch sizes that are computed before a version is used


@dataclass(eq=False)
class Served:
    """One version of one model."""

    name: str
    model: Servable
    batcher: Batcher
    path: Path
    keys: tuple[str, ...] = ()  # of the table that it answers with
    covers: bool = False  # whether it can promise a coverage
    loaded: float = field(default_factory=time.time)
    form: Form = field(init=False)

    def __post_init__(self) -> None:
        self.form = Form(self.model.schema)

    @property
    def version(self) -> str:
        """Of the model."""
        return self.model.version

    @property
    def space(self) -> str:
        """The graph that its vectors belong to; '' where none are made."""
        return self.batcher.embedding.space if self.batcher.embedding is not None else ""


@dataclass(eq=False)
class Versions:
    """All versions of one model. `live` answers; `before` were live before, the last one last."""

    live: str
    all: dict[str, Served]
    before: list[str] = field(default_factory=list)


class Registry:
    """Models by name."""

    def __init__(
        self, open_model: Open, pool: ThreadPoolExecutor, *, most: int, queue: int, watched: bool = False
    ) -> None:
        self.open, self.pool, self.most, self.queue = open_model, pool, most, queue
        self.watched = watched  # whether anybody looks at what networks make of rows
        self.models: dict[str, Versions] = {}
        self.expected: tuple[tuple[str, Path], ...] = ()  # what has to be there before the server is ready
        self.loaded = False
        self._loading = asyncio.Lock()
        self._slow = giving_way("heavy")  # for rows with large files

    @property
    def ready(self) -> bool:
        """Whether everything that the server was started with can answer."""
        return self.loaded and bool(self.models)

    def get(self, name: str, version: str | None = None) -> Served:
        """The version that answers; raises `Refusal` where there is none."""
        versions = self.models.get(name)
        if versions is None:
            if name in dict(self.expected) and not self.loaded:
                raise Refusal("not_ready", f"{name} is being loaded.", "Try again shortly.", retry_after=1)
            raise Refusal("unknown_model", f"There is no model {name!r}.", did_you_mean(name, self.models))
        found = versions.all.get(version or versions.live)
        if found is None:
            raise Refusal(
                "unknown_version", f"{name} has no version {version!r}.",
                f"Leave the version out, or use one of: {', '.join(versions.all)}.",
            )  # fmt: skip
        return found

    def everything(self) -> list[Served]:
        """Every version of every model."""
        return [served for versions in self.models.values() for served in versions.all.values()]

    async def load_expected(self) -> None:
        """Everything that the server was started with; of several versions of one name the first is live."""
        for name, path in self.expected:
            await self.load(path, name, live=name not in self.models)
        self.loaded = True

    async def load(self, path: Path, name: str, *, live: bool = True) -> Served:
        """Open, warm up and check a version; then it may answer. What fails is never given a request."""
        async with self._loading:
            loop = asyncio.get_running_loop()
            with Fence() as fence:
                model, keys, covers = await loop.run_in_executor(None, self._prepared, path)
            if isinstance(fence.error, ShinsoError):
                raise Refusal("model_refused", *sentences(str(fence.error))) from fence.error
            if fence.error is not None:
                raise Refusal(
                    "model_refused", f"{path} cannot answer made-up rows: {fence.error}.", "Make it again."
                ) from fence.error
            served = Served(
                name,
                model,
                Batcher(
                    model, self.pool, most=self.most, queue=self.queue, slow=self._slow, watched=self.watched
                ),
                path,
                keys,
                covers,
            )
            self._add(served, live=live)
            return served

    def _prepared(self, path: Path) -> tuple[Servable, tuple[str, ...], bool]:
        model = self.open(path)
        if not model.schema.given:
            raise SettingError(f"{path} predicts from nothing, so there is nothing to ask it. Serve another.")
        keys = warm_up(model, self.most)
        model.check()
        return model, keys, can_cover(model)

    def _add(self, served: Served, *, live: bool) -> None:
        versions = self.models.get(served.name)
        if versions is None:
            self.models[served.name] = Versions(served.version, {served.version: served})
            return
        if served.version not in versions.all:
            versions.all[served.version] = served
        if live:
            self.make_live(served.name, served.version)
        spare = [v for v in versions.all if v != versions.live and v not in versions.before[-1:]]
        for version in spare[: max(0, len(versions.all) - KEPT)]:
            del versions.all[version]
            versions.before = [v for v in versions.before if v != version]

    def make_live(self, name: str, version: str) -> Served:
        """Let a version that is loaded answer from now on."""
        served = self.get(name, version)
        versions = self.models[name]
        if versions.live != served.version:
            versions.before.append(versions.live)
            versions.live = served.version
        return served

    def roll_back(self, name: str) -> Served:
        """Let the version answer that was live before."""
        self.get(name)
        versions = self.models[name]
        while versions.before:
            version = versions.before.pop()
            if version in versions.all and version != versions.live:
                versions.live = version
                return versions.all[version]
        raise Refusal("conflict", f"{name} has no version to go back to.", "Load one first.")

    def unload(self, name: str, version: str) -> None:
        """Forget a version that is not live; requests that it has are still answered."""
        served = self.get(name, version)
        versions = self.models[name]
        if versions.live == served.version:
            raise Refusal("conflict", f"{version} of {name} is live.", "Make another version live first.")
        del versions.all[served.version]
        versions.before = [v for v in versions.before if v != served.version]


def warm_up(model: Servable, most: int) -> tuple[str, ...]:
    """Batches of made-up rows, so that no client waits for what is done once; the columns of its answers."""
    table: dict[str, list[Any]] = {}
    for size in (*(s for s in WARM if s <= most), most):
        table = model.decode(model.forward(model.encode(made_up(model, size))))
    return tuple(table)


def made_up(model: Servable, rows: int) -> dict[str, list[Any]]:
    """Rows that the columns' own example generators make."""
    rng = np.random.default_rng(0)
    return {c.name: examples_of(c, rng, rows) for c in model.schema.given}


def examples_of(column: Column, rng: np.random.Generator, rows: int) -> list[Any]:
    """Made-up values of one column; readings of as many variables, and of the usual length."""
    if column.kind != "series":
        return list(column.examples(rng, rows))
    facts = column.to_dict()
    shape = (rows, max(1, int(facts["length"])), int(facts["variables"]))
    return list(rng.normal(facts["mean"], facts["std"], shape))


def can_cover(model: Servable) -> bool:
    """Whether a model can say what else a row may be."""
    outputs = model.forward(model.encode(made_up(model, 1)))
    try:
        model.decode(outputs, coverage=COVERAGE)
    except ShinsoError:
        return False
    return True
