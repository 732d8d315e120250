"""The work behind the verbs of `api.py` that train: apart, so that training imports no explainers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import training
from .config import RunConfig
from .console import Console
from .data.sources import Source
from .errors import SettingError
from .preparing import Question
from .rates import LEAST_STEPS


def train(
    data: Source, *, predict: tuple[str, ...], given: tuple[str, ...] | None, types: Mapping[str, str],
    settings: Mapping[str, Any], window: tuple[int | None, int | None], out: str | Path | None,
    resume: str | Path | None, allow: tuple[str, ...], quiet: bool,
) -> Path:  # fmt: skip
    """See `api.train`; gives the path of the run."""
    console = Console(quiet=quiet)
    if resume is not None:
        named = {
            "predict": predict, "given": given, "types": types, "past": window[0], "ahead": window[1],
            "out": out,
        }  # fmt: skip
        refuse_changes([f"--{name}" for name, value in named.items() if value], settings)
        return training.resume(Path(resume), data, console, allow).path
    if data is None:
        raise SettingError("Say what to train on: shinso train DATA --predict COLUMN.")
    config = RunConfig().override(dict(settings))
    question = Question(predict, given, types, *window)
    return training.train(data, question, config, None if out is None else Path(out), console).path


def refuse_changes(named: Sequence[str], settings: Mapping[str, Any]) -> None:
    """A run goes on as it was begun: what was set besides would be heeded by nothing."""
    begun = {"effort": "balanced", "minutes": None, "seed": 0}
    changed = [*named, *(name for name, value in settings.items() if value != begun.get(name))]
    if changed:
        raise SettingError(
            f"--resume goes on with the settings that the run was begun with; received {', '.join(changed)} "
            f"too. Leave that out, or train a new run."
        )


def find_rate(
    data: Source, *, predict: tuple[str, ...], given: tuple[str, ...] | None, types: Mapping[str, str],
    settings: Mapping[str, Any], steps: int, quiet: bool,
) -> dict[str, Any]:  # fmt: skip
    """See `api.find_rate`."""
    if steps < LEAST_STEPS:
        raise SettingError(f"A range test takes at least {LEAST_STEPS} steps; received {steps}.")
    console = Console(quiet=quiet)
    config = RunConfig().override(dict(settings))
    question = Question(predict, given, types, None, None)
    return training.find_rate(data, question, config, steps, console).to_dict()
