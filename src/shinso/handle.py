"""A run in a user's hands: a path, and the verbs that take it. Without torch."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from .errors import MissingExtraError

Data = Any  # a path, glob pattern, folder, zip, database, data frame, Arrow stream, or Python lists
LEFT_OUT = frozenset({"torch", "pyarrow", "duckdb", "sklearn", "scipy"})  # of the distribution shinso-serve


class Run:
    """A run directory: everything after `train` starts here.

    >>> Run("runs/houses").path
    PosixPath('runs/houses')
    """

    def __init__(self, path: str | Path, *, allow: Sequence[str] = ()) -> None:
        self.path, self.allow = Path(path), tuple(allow)

    def __repr__(self) -> str:
        return f"shinso.Run({str(self.path)!r})"

    def predict(self, data: Data) -> dict[str, list[Any]]:
        """Predict for every row of `data`; see `shinso.predict`."""
        return work("api").predict(self, data)

    def evaluate(
        self, data: Data = None, *, by: str | Sequence[str] = (), protect: str | None = None
    ) -> dict[str, Any]:
        """Metrics with intervals on `data`, or those of the run's own test rows; see `shinso.evaluate`."""
        return work("api").evaluate(self, data, by=by, protect=protect)

    def explain(self, data: Data, *, method: str | None = None, rows: int = 8) -> dict[str, Any]:
        """Why rows of `data` are answered as they are; see `shinso.explain`."""
        return work("api").explain(self, data, method=method, rows=rows)

    def doctor(self, data: Data = None) -> dict[str, Any]:
        """Why the run is not better, and what to do next; see `shinso.doctor`."""
        return work("api").doctor(self, data)

    def robustness(self, data: Data, *, against: str | Sequence[str] | None = None) -> dict[str, Any]:
        """The main metric by strength of attacks and corruptions; see `shinso.robustness`."""
        return work("api").robustness(self, data, against=against)

    def monitor(self, *, log: str | Path | None = None, since: str | None = None) -> dict[str, Any]:
        """What was served beside what was trained on; see `shinso.monitor`."""
        return work("shipping").monitor(self, log=log, since=since)

    def serve(self, *, port: int = 8000, grpc_port: int | None = None) -> None:
        """Answer over HTTP (and gRPC) until it is stopped; see `shinso.serve`."""
        work("shipping").serve(self, port=port, grpc_port=grpc_port)

    def export(
        self, to: str = "onnx", *, precision: str = "fp32", data: Data = None, out: str | Path | None = None
    ) -> Path:
        """Write the run for programs without torch; see `shinso.export`."""
        return work("shipping").export(self, to=to, precision=precision, data=data, out=out)

    def report(self) -> Path:
        """Write `report.html` again and give its path; see `shinso.report`."""
        return work("api").report(self)

    @property
    def evaluation(self) -> dict[str, Any]:
        """What `evaluation.json` holds: metrics with intervals on the run's own test rows."""
        found: dict[str, Any] = work("run").RunDirectory(self.path, allow=self.allow).evaluation
        return found

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One entry an epoch: losses, validation metrics, learning rate, seconds."""
        found: list[dict[str, Any]] = work("run").RunDirectory(self.path, allow=self.allow).metrics
        return found

    @property
    def schema(self) -> Any:
        """The typed columns (`shinso.Schema`) with what they learned from training rows."""
        return work("run").RunDirectory(self.path, allow=self.allow).schema

    @property
    def network(self) -> Any:
        """The trained network (`torch.nn.Module`), in evaluation mode."""
        return work("run").RunDirectory(self.path, allow=self.allow).network


def work(module: str) -> Any:
    """A module of shinso, imported on first use."""
    try:
        return import_module(f"shinso.{module}")
    except ModuleNotFoundError as error:
        if error.name not in LEFT_OUT:
            raise
        raise MissingExtraError(
            f"This needs {error.name}, which is not installed (shinso-serve leaves it out): "
            f"pip install shinso"
        ) from None


def path_of(run: Run | str | Path) -> Path:
    """Where a run is that may be given as a path."""
    return run.path if isinstance(run, Run) else Path(run)


def allowed_by(run: Run | str | Path) -> tuple[str, ...]:
    """The modules of the user's own that a run was opened with."""
    return run.allow if isinstance(run, Run) else ()


def many(values: str | Sequence[str]) -> tuple[str, ...]:
    """One or several, as a tuple."""
    return (values,) if isinstance(values, str) else tuple(values)


def names_in(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names with commas between them, or a sequence of them.

    >>> names_in("height, width")
    ('height', 'width')
    """
    if names is None:
        return ()
    return tuple(n.strip() for n in names.split(",")) if isinstance(names, str) else tuple(names)
