"""What `shinso serve` adds to the server: the request log, and the router of a split or a deployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ..console import Console
from ..errors import SettingError
from ..serving.observers import Labeller, Observer, Router
from ..serving.opening import named_path
from .deployment import NAME, inside, read_deployment
from .log import LogOptions, RequestLog
from .routing import DeploymentRouter, split_router
from .store import URLS
from .watched import LOG, Watched

ON = "on"  # as the place of a log: in the first model


@dataclass(frozen=True)
class Wanted:
    """The flags of `serve` that are about watching and rolling out."""

    log: str | None = None
    sample: float = 1.0
    private: str = ""
    split: str | None = None
    shadow: bool = False


@dataclass(frozen=True)
class Watching:
    """The models to load, and what is plugged into the server."""

    models: tuple[str, ...]
    observers: tuple[Observer, ...]
    router: Router | None
    labeller: Labeller | None = None


@dataclass(frozen=True)
class Labels:
    """What comes to `POST /labels`, through the code of the verb `label`."""

    log: RequestLog

    def label(self, told: Mapping[str, Sequence[Any]]) -> dict[str, int]:
        """Store labels; rows that were answered just now are written first, so that their ids are known."""
        self.log.flush()
        labelling = import_module(".labelling", __package__)  # slow to import
        found = labelling.label(self.log.place, dict(told), id="id", console=Console(quiet=True))
        return {"labels": found["labels"], "unknown": found["unknown"]}


def watching(models: Sequence[str], wanted: Wanted) -> Watching:
    """What the flags stand for. A folder with a `deployment.json` stands for the versions that it names."""
    router: Router | None = None
    folder = Path(models[0]) if len(models) == 1 else None
    if folder is not None and (folder / NAME).is_file():
        if wanted.split is not None or wanted.shadow:
            raise SettingError(f"{folder} is deployed as promoted. Change it with `shinso promote --share`.")
        state = read_deployment(folder)
        assert state is not None
        names = [state.live, *([state.candidate.version] if state.candidate else [])]
        models = [str(inside(folder, name)) for name in names]
        router = DeploymentRouter(folder, named_path(models[0])[0])
    elif wanted.split is not None or wanted.shadow:
        router = split_router(_names(models), wanted.split, shadow=wanted.shadow)
    log = _log(models, wanted)
    if log is None:
        return Watching(tuple(models), (), router)
    return Watching(tuple(models), (log,), router, Labels(log))


def _names(models: Sequence[str]) -> list[str]:
    names = [named_path(one)[0] for one in models]
    if len(names) < 2 or len(set(names)) < len(names):
        raise SettingError(
            f"A split needs two models or more with names of their own, as in a={'runs/one'} b={'runs/two'}; "
            f"received {', '.join(names)}."
        )
    return names


def _log(models: Sequence[str], wanted: Wanted) -> RequestLog | None:
    if wanted.log is None:
        return None
    path = named_path(models[0])[1]
    watched = Watched(path)
    place = str(path / LOG) if wanted.log == ON else wanted.log
    private = ",".join(filter(None, (*(f"{name}=drop" for name in watched.private), wanted.private)))
    if not place.startswith(URLS):
        Path(place).parent.mkdir(parents=True, exist_ok=True)
    return RequestLog(place, watched.schema, LogOptions(wanted.sample, private))
