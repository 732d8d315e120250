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
class Mistake:
    """One row that the network got wrong, the surest first; of outputs that are written or drawn, any row."""

    truth: str
    predicted: str
    probability: float | None = None  # what the network gave its wrong answer
    error: float | None = None  # of a number: predicted minus true
    low: float | None = None  # ends of the interval around a predicted number
    high: float | None = None
    row: str = ""  # the row's number or file
    cells: Mapping[str, str] = field(
        default_factory=dict
    )  # given column -> what `Column.show` made: safe HTML
    drawn: bool = False  # truth and prediction are safe HTML too (images, series, masks)


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything that `build_report` shows. What is left empty is left out of the page."""

    name: str  # of the run
    columns: Sequence[ColumnFacts]
    evaluation: Json  # evaluation.json: {"part", "rows", "outputs": {column: {..., "baselines": [...]}}}
    source: str = ""  # the data, as a person would name it
    created: str = ""  # date and time
    version: str = ""  # of shinso
    parent: str = ""  # the run that this one was made from
    stopped: str = ""  # why training ended early
    notes: Sequence[Json] = ()  # {"level", "message", "column", "count"}: what was cleaned, what was noticed
    quarantine: Sequence[Json] = ()  # {"file", "row", "column", "reason", "value"}: what was left out
    history: Sequence[Json] = ()  # the lines of metrics.jsonl
    calibration: Mapping[str, Json] = field(default_factory=dict)  # column -> Calibration.to_dict()
    mistakes: Mapping[str, Sequence[Mistake]] = field(default_factory=dict)  # column -> the worst
    seconds: Mapping[str, float] = field(default_factory=dict)  # phase -> seconds
    parameters: int = 0
    peak_memory: int = 0  # bytes
    flops_per_second: float = 0.0  # achieved while training
    roof: float = 0.0  # FLOP/s of the measured roof of this machine
    settings: Json = field(default_factory=dict)  # nested, resolved
    chosen: Sequence[str] = ()  # dotted names of the settings that the user set
    explanation: Json = field(default_factory=dict)  # explanations/explanation.json
    environment: Json = field(default_factory=dict)
    parts: Json = field(default_factory=dict)  # worst slices, and what `evaluate` added
    audit: Json | None = None  # audit.json: what the audit before training found

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
