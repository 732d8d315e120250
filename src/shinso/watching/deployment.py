"""Who answers: a small file beside the runs, `deployment.json`, which promote writes and servers read.

It is replaced as a whole (written beside, fsync, rename), under a lock, so that a server sees the old state
or the new one, and of two people who promote at once one waits for the other.
"""

from __future__ import annotations

import datetime
import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import RunError, SettingError, did_you_mean
from ..files import read_json, write_json
from ..schema import Schema
from .watched import MANIFESTS

NAME = "deployment.json"
FORMAT = 1
MOST_HISTORY = 1_000
MOST_BACK = 50  # promotions that can be undone


@dataclass(frozen=True)
class Candidate:
    """A version that answers a part of the requests, or answers along without being heard."""

    version: str
    share: float = 0.0  # of the requests that it answers, 0 to 1
    shadow: bool = False


@dataclass(frozen=True)
class Deployment:
    """The state of a folder of runs or exports."""

    live: str  # name of the folder that answers
    generation: int = 1  # goes up with each change
    candidate: Candidate | None = None
    before: tuple[str, ...] = ()  # what was live, the latest last
    history: tuple[Mapping[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {"format": FORMAT, **asdict(self)}


def read_deployment(folder: Path) -> Deployment | None:
    """The state of a folder; None where nothing was promoted yet; a damaged file is a `RunError`."""
    if not (folder / NAME).exists():
        return None
    found = read_json(folder / NAME)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise RunError(f"{folder / NAME} is damaged, or from another release. Restore it, or promote again.")
    try:
        candidate = found["candidate"]
        kept = Candidate(**candidate) if candidate else None
        state = Deployment(
            str(found["live"]), int(found["generation"]), kept, tuple(map(str, found["before"])),
            tuple(found["history"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError):
        raise RunError(f"{folder / NAME} is damaged. Restore it from a copy, or promote again.") from None
    for name in (state.live, *([kept.version] if kept else [])):
        inside(folder, name)
    return state


def promote(
    path: Path, *, share: float | None = None, shadow: bool = False, note: str = "", force: bool = False
) -> dict[str, Any]:  # fmt: skip
    """See `shipping.promote`."""
    path = path.resolve()
    folder, name = path.parent, path.name
    schema = usable(path)
    if share is not None and not 0 < share < 100:
        raise SettingError(
            f"--share is the percentage of requests for the new version, 0 to 100; received {share:g}."
        )
    if share is not None and shadow:
        raise SettingError(
            "Give --share or --shadow: a shadow answers along with all requests and is never heard."
        )
    with _locked(folder):
        state = read_deployment(folder)
        if not force and state is not None:
            _must_fit(folder / state.live, schema, path)
        if share is None and not shadow:
            changed = _live(state, name)
        elif state is None:
            raise RunError(
                f"{folder} has no live version to stand beside. Promote one first, without --share."
            )
        elif state.live == name:
            raise SettingError(f"{name} is live already; it cannot stand beside itself.")
        else:
            changed = replace(state, candidate=Candidate(name, (share or 0.0) / 100, shadow))
        return _write(folder, state, changed, "promote", name, note)


def rollback(folder: Path, *, note: str = "") -> dict[str, Any]:
    """See `shipping.rollback`."""
    if not folder.is_dir():
        raise RunError(f"There is no folder {folder}.")
    with _locked(folder):
        state = read_deployment(folder)
        if state is None:
            raise RunError(f"Nothing was promoted in {folder}, so there is nothing to take back.")
        if state.candidate is not None:
            name = state.candidate.version
            return _write(folder, state, replace(state, candidate=None), "withdraw", name, note)
        if not state.before:
            raise RunError(f"{state.live} was the first version in {folder}; there is none before it.")
        *rest, last = state.before
        usable(folder / last)
        return _write(folder, state, replace(state, live=last, before=tuple(rest)), "rollback", last, note)


def inside(folder: Path, name: str) -> Path:
    """The folder of a version; a name that leads elsewhere is a `RunError`."""
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise RunError(f"{folder / NAME} names {name!r}, which is no folder beside it. Promote again.")
    return folder / name


def usable(path: Path) -> Schema:
    """The schema of a complete run or export."""
    if not path.is_dir():
        near = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
        raise RunError(f"There is no version {path}. {did_you_mean(path.name, near)}")
    sealed = any((path / name).is_file() for name in MANIFESTS)
    if not sealed or not (path / "schema.json").is_file():
        raise RunError(f"{path} is no complete run or export: its manifest or schema.json is missing.")
    try:
        return Schema.restore(read_json(path / "schema.json"))
    except ValueError as error:
        raise RunError(f"{path / 'schema.json'} is not a valid schema: {error}") from None


def _live(state: Deployment | None, name: str) -> Deployment:
    if state is None:
        return Deployment(name, generation=0)
    if state.live == name:
        return replace(state, candidate=None)
    return replace(state, live=name, candidate=None, before=(*state.before, state.live)[-MOST_BACK:])


def _must_fit(live: Path, schema: Schema, path: Path) -> None:
    """Clients go on as before: the new version reads what they send, and answers what they read."""
    if not live.is_dir():
        return
    old = usable(live)
    for side, word in (("given", "reads"), ("predict", "predicts")):
        then, now = ({c.name: c.kind for c in getattr(s, side)} for s in (old, schema))
        changed = sorted(set(then.items()) ^ set(now.items()))
        if changed:
            shown = ", ".join(f"{n!r} ({k})" for n, k in changed[:6])
            raise RunError(
                f"{path.name} {word} other columns than {live.name}, which is live: {shown}. Clients that "
                f"send rows for the one would break. If they are ready for it, add --force."
            )


def _write(
    folder: Path, old: Deployment | None, new: Deployment, verb: str, version: str, note: str
) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    entry = {"generation": new.generation + 1, "at": now, "verb": verb, "version": version, "note": note}
    new = replace(new, generation=new.generation + 1, history=(*new.history, entry)[-MOST_HISTORY:])
    write_json(folder / NAME, new.to_dict())
    return {
        "folder": str(folder), "live": new.live, "before": None if old is None else old.live,
        "candidate": None if new.candidate is None else asdict(new.candidate), "generation": new.generation,
    }  # fmt: skip


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".deployment.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def lines(result: Mapping[str, Any]) -> list[str]:
    """For a terminal."""
    found = [f"{result['live']} is live in {result['folder']}"]
    if result["before"] not in (None, result["live"]):
        found[0] += f", before it {result['before']}"
    candidate = result["candidate"]
    if candidate is not None:
        how = (
            "answers along, unheard"
            if candidate["shadow"]
            else f"answers {candidate['share']:.0%} of the requests"
        )
        found.append(f"{candidate['version']} {how}")
    return found
