"""From a path to a model that can be served: an export without torch, or a run with it."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

from ..errors import MissingExtraError, RunError, SettingError
from ..exported import is_export, open_export
from .servable import Servable


def open_model(path: Path, *, allow: tuple[str, ...] = (), threads: int | None = None) -> Servable:
    """The model at `path`. torch is imported only where a run is served and not an export of it."""
    if not path.is_dir():
        raise RunError(
            f"There is no run or export {path}. `shinso train` makes runs, `shinso export` exports."
        )
    if is_export(path):
        return open_export(path, threads=threads or cores())
    if (path / "config.toml").exists():
        try:
            running = import_module(".running", __package__)
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"{path} is a run, which needs {error.name}. Serve an export of it "
                f"(`shinso export {path}`), or pip install shinso"
            ) from None
        found: Servable = running.RunModel(path, allow)
        return found
    raise RunError(f"{path} is neither a run directory nor an export. `shinso export RUN` makes exports.")


def cores() -> int:
    """How many cores this process may use: more threads than these would wait for each other."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def named_path(given: str) -> tuple[str, Path]:
    """The name and the path of `NAME=PATH`, or of a path alone: its last part, the run's for an export in it.

    >>> named_path("clothes=runs/fashion"), named_path("runs/fashion/exports/onnx")
    (('clothes', PosixPath('runs/fashion')), ('fashion', PosixPath('runs/fashion/exports/onnx')))
    """
    name, equals, path = given.partition("=")
    if not equals or "/" in name:
        place, path = Path(given).absolute(), given
        name = place.parent.parent.name if place.parent.name == "exports" else place.name
    return checked_name(name), Path(path)


def checked_name(name: str) -> str:
    """A name that can stand in an address."""
    clean = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name).strip(".-_")
    if not clean:
        raise SettingError(f"{name!r} cannot name a model. Use letters and digits: NAME=PATH.")
    return clean[:64]
