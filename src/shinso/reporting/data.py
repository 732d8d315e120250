"""What a report is made of: plain data, as it stands in the JSON files of a run directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ColumnFacts:
    """One column as the report shows it."""

    name: str
    kind: str
    role: Literal["given", "predict"]
    summary: Json = field(default_factory=dict)  # what `Column.summary` said of the training rows
    example: str = ""  # what `Column.show` made of one value: safe HTML


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything that `build_report` shows. What is left empty is left out of the page.

    `evaluation` is `evaluation.json`: `part`, `rows`, `outputs` (by predicted column, with `baselines`) and
    `training` (steps, stopped, parameters, seconds by phase, peak_memory_bytes, flops_per_second, ...).
    `mistakes` has by predicted column the worst rows: `truth`, `predicted`, `probability`, `key` (row number
    or file), `cells` (given column -> safe HTML), and `html` where truth and prediction are safe HTML too.
    """

    name: str  # of the run
    columns: Sequence[ColumnFacts]
    evaluation: Json
    source: str = ""  # the data, as a person would name it
    created: str = ""  # date and time
    version: str = ""  # of shinso
    parent: str = ""  # the run that this one was made from
    notes: Sequence[Json] = ()  # {"level", "message", "column", "count"}: what was cleaned, what was noticed
    quarantine: Sequence[Json] = ()  # {"file", "row", "column", "reason", "value"}: what was left out
    history: Sequence[Json] = ()  # the lines of metrics.jsonl
    calibration: Mapping[str, Json] = field(default_factory=dict)  # column -> Calibration.to_dict()
    mistakes: Mapping[str, Sequence[Json]] = field(default_factory=dict)
    settings: Json = field(default_factory=dict)  # nested, resolved
    chosen: Sequence[str] = ()  # dotted names of the settings that the user set
    environment: Json = field(default_factory=dict)

    @property
    def given(self) -> list[ColumnFacts]:
        """The columns that the network reads."""
        return [c for c in self.columns if c.role == "given"]

    @property
    def predict(self) -> list[ColumnFacts]:
        """The columns that the network predicts."""
        return [c for c in self.columns if c.role == "predict"]

    @property
    def outputs(self) -> Mapping[str, Json]:
        """What was measured, by predicted column."""
        outputs: Mapping[str, Json] = self.evaluation.get("outputs", {})
        return outputs

    @property
    def training(self) -> Json:
        """What training cost."""
        training: Json = self.evaluation.get("training", {})
        return training
