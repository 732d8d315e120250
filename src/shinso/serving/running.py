"""A run directory as the server takes models: with torch, for those who have not exported it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..answers import answers, covering, decoded
from ..errors import RunError, SettingError
from ..exported import encoded
from ..loop import to_tensors
from ..plan import Plan, applied, autocast
from ..randomness import private_randomness
from ..run import RunDirectory
from ..schema import Schema
from .servable import Arrays, Columns


class RunModel:
    """A complete run, computed with torch in fp32, so that an answer does not depend on its batch.

    (Batches of other sizes still add in another order: answers agree to about 1e-6.)
    """

    def __init__(self, path: Path, allow: tuple[str, ...] = ()) -> None:
        self.run = RunDirectory(path, allow=allow)
        self.run.require_complete()
        if self.run.data["window"] is not None:
            raise SettingError(
                f"{path} forecasts a table of readings, which the server does not take row by row yet. "
                f"Use `shinso predict {path} readings.csv`."
            )
        self.network = self.run.network
        self.network.to(self.plan.device)

    @cached_property
    def version(self) -> str:
        """The first digits of the digest of the weights."""
        weights = self.manifest["files"]["weights.safetensors"]["blake2b"]
        return str(weights)[:8]

    @property
    def schema(self) -> Schema:
        """The typed columns."""
        return self.run.schema

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """What the run lists of itself."""
        found = self.run._manifest
        if "weights.safetensors" not in found["files"]:
            raise RunError(f"{self.run.path} has no weights. Train again.")
        return found

    @cached_property
    def plan(self) -> Plan:
        """In fp32, on as many threads as the run."""
        return replace(self.run.plan, precision="fp32", compiled=False)

    def encode(self, rows: Columns) -> Arrays:
        """Raw columns through the code that training used."""
        return {c.name: encoded(c, rows[c.name]) for c in self.schema.given}

    def forward(self, inputs: Arrays) -> Arrays:
        """Probabilities of categories; what the heads give for the rest."""
        count = len(next(iter(inputs.values())))
        seed = self.run.config.seed
        with torch.inference_mode(), private_randomness(seed, "predict"), applied(self.plan):
            with autocast(self.plan):
                found = self.network.predict(to_tensors(inputs, self.plan.device), count)
            return {name: value.float().cpu().numpy() for name, value in found.items()}

    def decode(self, outputs: Arrays, *, coverage: float | None = None) -> dict[str, list[Any]]:
        """The table that `shinso predict` gives."""
        calibration = self.run.calibration
        if coverage is not None:
            calibration = covering(self.schema, calibration, coverage, abstain=False, of=str(self.run.path))
        raw = {c.name: decoded(c, outputs[c.name]) for c in self.schema.predict}
        return answers(self.schema, raw, calibration, sets=coverage is not None)

    def check(self) -> None:
        """Nothing to compare but the files with their digests, which was done when they were opened."""
