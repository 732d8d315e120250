"""The run directory: plain data (TOML, JSON, safetensors), written atomically, verified when it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from .calibration import Calibration
from .config import RunConfig
from .errors import RunError, SettingError
from .files import file_digest, read_json, read_json_lines, sync_folder, write_atomic, write_json
from .heads import HeadOptions
from .layers.outline import Outline, Undrawn
from .machine import this_machine
from .models.hub import from_hub
from .network import Network
from .plan import Plan, make_plan
from .randomness import private_randomness
from .schema import Schema

FORMAT = 1  # raised when a release writes runs that older ones cannot read
MANIFEST = "manifest.json"


class RunDirectory:
    """One run on disk. Opening it reads nothing; each part is verified and read on first use.

    Nothing in a run directory is ever executed: a network class of the user's own (`my_module:MyEncoder`) is
    imported only if `allow` names it.
    """

    def __init__(self, path: Path, *, allow: tuple[str, ...] = ()) -> None:
        self.path, self.allow = path, allow
        if not path.is_dir():
            raise RunError(f"There is no run directory {path}. `shinso train` makes one.")
        if not (path / "config.toml").exists():
            raise RunError(f"{path} is no run directory: it has no config.toml. `shinso train` makes one.")

    @classmethod
    def create(cls, path: Path, config: RunConfig) -> Self:
        """A new, empty run directory; an existing one is never written into."""
        must_be_new(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"The run directory {path} could not be made: {error.strerror}. Choose another --out."
            ) from None
        write_atomic(path / "config.toml", config.to_toml())
        return cls(path)

    @property
    def complete(self) -> bool:
        """True once training ended and everything was written."""
        return (self.path / MANIFEST).exists()

    def require_complete(self) -> None:
        """Raise `RunError` where training has not ended."""
        if not self.complete:
            raise RunError(
                f"The run {self.path} is not complete: its training was interrupted. "
                f"Go on with `shinso train --resume {self.path}`."
            )

    @cached_property
    def config(self) -> RunConfig:
        """The resolved settings."""
        try:
            return RunConfig.from_toml(self.verified("config.toml"))
        except SettingError as error:
            raise RunError(str(error)) from None

    @cached_property
    def schema(self) -> Schema:
        """The typed columns with what they learned."""
        stored = read_json(self.verified("schema.json"))
        try:
            return Schema.restore(stored)
        except ValueError as error:
            raise RunError(f"{self.path / 'schema.json'} is not a valid schema: {error}") from None

    @cached_property
    def calibration(self) -> dict[str, Calibration]:
        """By predicted column: temperature and conformal quantiles fitted on validation rows."""
        stored = read_json(self.verified("calibration.json"))
        try:
            return {name: Calibration.restore(value) for name, value in stored.items()}
        except (TypeError, AttributeError) as error:
            raise RunError(
                f"{self.path / 'calibration.json'} is damaged ({error}). Restore it from a copy."
            ) from None

    @cached_property
    def network(self) -> Network:
        """The trained network. Names and shapes are compared with the file before anything is allocated."""
        path = self.verified("weights.safetensors")
        with Outline():
            expected = self.build_network().state_dict()
        check_shapes(path, {name: list(value.shape) for name, value in expected.items()})
        with Undrawn():
            network = self.build_network()
        network.load_state_dict(load_file(path))
        return network.eval()

    def check_allowed(self) -> None:
        """Raise `RunError` where the run names a network outside of shinso that was not allowed."""
        name = self.config.model.name
        if name and ":" in name and name not in self.allow and not from_hub(name):
            raise RunError(
                f"{self.path} uses the model {name!r}, which is Python code outside shinso. "
                f"If you trust it, allow it by name: --allow {name}."
            )

    def build_network(self) -> Network:
        """The network of this run with fresh weights, a function of its seed."""
        self.check_allowed()
        with private_randomness(self.config.seed, "weights"):
            return Network(self.schema, self.config.model, self.head_options())

    def head_options(self) -> dict[str, HeadOptions]:
        """By predicted column: what the settings and the training rows say about its loss."""
        weights = self.data.get("class_weights", {})
        return {
            c.name: HeadOptions(
                label_smoothing=self.config.train.label_smoothing or 0.0,
                class_weights=tuple(weights.get(c.name, ())),
                loss=self.config.train.loss or "",
            )
            for c in self.schema.predict
        }

    @cached_property
    def data(self) -> dict[str, Any]:
        """Where the data came from, its fingerprint, how it was split, what was noted about it."""
        found = read_json(self.verified("data.json"))
        if not isinstance(found, dict):
            raise RunError(f"{self.path / 'data.json'} is damaged: it holds no object.")
        return found

    @property
    def environment(self) -> dict[str, Any]:
        """What the run was made with: versions, machine, and the plan of how it computes."""
        found = read_json(self.verified("environment.json"))
        if not isinstance(found, dict):
            raise RunError(f"{self.path / 'environment.json'} is damaged: it holds no object.")
        return found

    @cached_property
    def plan(self) -> Plan:
        """How the network of this run computes here: as it was trained, where this machine can."""
        stored = self.environment.get("plan")
        if stored is None:
            return make_plan(self.config.train)
        return Plan.restore(stored, this_machine(self.config.train.threads))

    @property
    def evaluation(self) -> dict[str, Any]:
        """Metrics with intervals on the test rows."""
        self.require_complete()
        return dict(read_json(self.verified("evaluation.json")))

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One entry an epoch."""
        return read_json_lines(self.path / "metrics.jsonl")

    @property
    def quarantine(self) -> list[dict[str, Any]]:
        """The rows and cells that were left out, each with file, row, column and reason."""
        return read_json_lines(self.path / "quarantine.jsonl")

    def log(self, entry: Mapping[str, Any]) -> None:
        """Append one line to `metrics.jsonl`."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, allow_nan=False) + "\n")

    def write_json(self, name: str, value: Any) -> None:
        """Write one JSON file of the run."""
        write_json(self.path / name, value)

    def write_lines(self, name: str, values: list[dict[str, Any]]) -> None:
        """Write one JSON-lines file of the run."""
        write_atomic(self.path / name, "".join(json.dumps(v, ensure_ascii=False) + "\n" for v in values))

    def write_weights(self, state: Mapping[str, Tensor]) -> None:
        """Write the weights that the run stands for."""
        write_atomic(self.path / "weights.safetensors", save({k: v.contiguous() for k, v in state.items()}))

    def seal(self) -> None:
        """Write the manifest: sizes and digests of every part. From now on the run is complete."""
        names = sorted(
            p.name for p in self.path.iterdir() if p.is_file() and p.name[0] != "." and p.name != MANIFEST
        )
        files = {
            name: {"bytes": (self.path / name).stat().st_size, "blake2b": file_digest(self.path / name)}
            for name in names
        }
        write_json(self.path / MANIFEST, {"format": FORMAT, "files": files})
        sync_folder(self.path)

    @cached_property
    def _manifest(self) -> dict[str, Any]:
        found = read_json(self.path / MANIFEST)
        if not isinstance(found, dict) or not isinstance(found.get("files"), dict):
            raise RunError(f"{self.path / MANIFEST} is damaged: it lists no files.")
        if not all(isinstance(v, dict) and {"bytes", "blake2b"} <= v.keys() for v in found["files"].values()):
            raise RunError(f"{self.path / MANIFEST} is damaged: a file has no size and no digest.")
        if found.get("format") != FORMAT:
            raise RunError(
                f"{self.path} was written in format {found.get('format')!r}; this release reads {FORMAT}. "
                f"Use the release of shinso that wrote it, or a newer one."
            )
        return found

    def verified(self, name: str) -> Path:
        """The path of one part, after its size and digest were compared with the manifest."""
        path = self.path / name
        if not path.is_file():
            raise RunError(f"{path} is missing. Restore it from a copy, or train again.")
        if self.complete:
            expected = self._manifest["files"].get(name)
            if expected is None:
                raise RunError(f"{path} is not listed in {MANIFEST}: the run directory was altered.")
            if path.stat().st_size != expected["bytes"] or file_digest(path) != expected["blake2b"]:
                raise RunError(
                    f"{path} was truncated or altered: it is not the file that training wrote. "
                    f"Restore it from a copy, or train again."
                )
        return path


def must_be_new(path: Path) -> None:
    """Raise `RunError` where something stands at `path` already, or where it is the current folder."""
    if path.resolve() == Path.cwd():
        raise RunError(f"{path} is the current folder. Name a new one, as in --out runs/first.")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(
            f"{path} exists already and is not empty. Choose another name with --out, "
            f"or go on with an interrupted run by `shinso train --resume {path}`."
        )


def check_shapes(path: Path, expected: Mapping[str, list[int]]) -> None:
    """Compare names and shapes in a safetensors file with what a network needs, reading only its header."""
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} is no readable safetensors file: {error}. Restore it from a copy.") from None
    wrong = [name for name in sorted(set(found) | set(expected)) if found.get(name) != expected.get(name)]
    if wrong:
        name = wrong[0]
        raise RunError(
            f"{path} does not fit the network of this run: {len(wrong)} tensors differ, first {name!r} "
            f"(expected shape {expected.get(name)}, found {found.get(name)}). Restore the run from a copy."
        )


def free_name(stem: str, folder: Path = Path("runs")) -> Path:
    """The first of runs/stem, runs/stem-2, ... that does not exist."""
    number, path = 1, folder / stem
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}"
    return path
