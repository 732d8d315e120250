"""A run or an export as the monitor sees it: its columns, and what training rows looked like. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..files import file_digest, read_json
from ..schema import Schema
from .reference import NAME, read_reference

MANIFESTS = ("manifest.json", "export.json")  # of a run, of an export
LOG = Path("requests") / "requests.db"  # where a run's log stands unless it is named


@dataclass(frozen=True)
class Watched:
    """What is watched."""

    path: Path

    def __post_init__(self) -> None:
        if not (self.path / "schema.json").is_file():
            raise RunError(
                f"{self.path} is no run directory: it has no schema.json. `shinso train` makes one."
            )

    @cached_property
    def schema(self) -> Schema:
        """The typed columns."""
        try:
            return Schema.restore(read_json(_unaltered(self.path, "schema.json")))
        except RunError:
            raise
        except ValueError as error:
            raise RunError(f"{self.path / 'schema.json'} is not a valid schema: {error}") from None

    @cached_property
    def reference(self) -> dict[str, Any]:
        """See `reference.read_reference`."""
        if (self.path / NAME).is_file():
            _unaltered(self.path, NAME)
        return read_reference(self.path)

    @property
    def private(self) -> tuple[str, ...]:
        """Columns of which nothing is kept, as the run was told (`data.private`)."""
        if not (self.path / NAME).is_file():
            return ()
        return tuple(str(name) for name in self.reference.get("private", ()))

    def log(self, given: str | Path | None) -> str:
        """The log to read: as named, else that in the run."""
        return str(self.path / LOG if given is None else given)


def _unaltered(folder: Path, name: str) -> Path:
    """The path of one part, compared with the manifest where there is one."""
    path = folder / name
    manifest = next((folder / one for one in MANIFESTS if (folder / one).is_file()), None)
    listed = read_json(manifest).get("files", {}).get(name) if manifest is not None else None
    if isinstance(listed, dict) and file_digest(path) != listed.get("blake2b"):
        raise RunError(f"{path} was truncated or altered. Restore it from a copy, or train again.")
    return path
