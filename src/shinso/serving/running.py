"""A run directory as the server takes models: with torch, for those who have not exported it."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..answers import answers, covering, decoded
from ..calibration import Calibration
from ..columns.base import Value
from ..errors import RunError, SettingError
from ..explaining.game import Game
from ..explaining.methods import METHODS
from ..explaining.scoring import scorer_of
from ..explaining.seats import described
from ..exported import encoded, latest
from ..loop import to_tensors
from ..network import Network
from ..plan import Plan, applied, autocast
from ..randomness import private_randomness
from ..run import RunDirectory
from ..schema import Schema
from .explaining import How
from .refusals import Refusal
from .servable import Arrays, Columns


class RunModel:
    """A complete run, computed with torch in fp32, so that an answer does not depend on its batch.

    (Batches of other sizes still add in another order: answers agree to about 1e-6.) A forecast is asked with
    the past: a list of readings, or of rows of readings where there are several variables.
    """

    def __init__(self, path: Path, allow: tuple[str, ...] = ()) -> None:
        self.run = RunDirectory(path, allow=allow)
        self.run.require_complete()
        self.network = self.run.network
        self.network.to(self.plan.device)
        self._alone = threading.Lock()  # one at a time looks into the copy

    @cached_property
    def version(self) -> str:
        """The first digits of the digest of the weights."""
        weights = self.manifest["files"]["weights.safetensors"]["blake2b"]
        return str(weights)[:8]

    @property
    def schema(self) -> Schema:
        """The typed columns."""
        return self.run.schema

    @property
    def calibration(self) -> Mapping[str, Calibration]:
        """That of the run, with the temperature of its categories."""
        return self.run.calibration

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
        window = self.run.data["window"]
        if window is not None:
            (column,) = self.schema.given
            return {column.name: latest(column, rows[column.name], int(window["past"]))}
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

    def explain(self, row: Mapping[str, Value], how: How, seed: int) -> dict[str, Any]:
        """One row by a method that looks into the network; on a copy, so that answers go on meanwhile."""
        try:
            with self._alone:
                scorer = scorer_of(self.run, how.column)
                game = Game(self._apart, self.schema, scorer, row, device=self.plan.device)
                return described(game, METHODS[how.method].run(game, np.random.default_rng(seed)))
        except SettingError as error:  # the message names methods that suit
            raise Refusal("not_explained", str(error), "Choose another method.", field="explain") from None

    @cached_property
    def _apart(self) -> Network:
        """A network whose hooks and gradients are in nobody's way."""
        return copy.deepcopy(self.network)
