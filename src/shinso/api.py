"""What a user calls, from Python and from the command line: signatures and help, without torch.

Each verb hands over to the module that does the work, which is imported on first use, so that `import shinso`
and `shinso --help` stay instant. The command line is made from these signatures (`cli.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

Data = Any  # a path, glob pattern, folder, zip, database, data frame, Arrow stream, or Python lists


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
        return predict(self, data)

    def evaluate(self, data: Data = None) -> dict[str, Any]:
        """Metrics with intervals on `data`, or those of the run's own test rows; see `shinso.evaluate`."""
        return evaluate(self, data)

    def explain(self, data: Data, *, method: str | None = None, rows: int = 8) -> dict[str, Any]:
        """Why rows of `data` are answered as they are; see `shinso.explain`."""
        return explain(self, data, method=method, rows=rows)

    def doctor(self, data: Data = None) -> dict[str, Any]:
        """Why the run is not better, and what to do next; see `shinso.doctor`."""
        return doctor(self, data)

    def robustness(self, data: Data, *, against: str | Sequence[str] | None = None) -> dict[str, Any]:
        """The main metric by strength of attacks and corruptions; see `shinso.robustness`."""
        return robustness(self, data, against=against)

    def report(self) -> Path:
        """Write `report.html` again and give its path; see `shinso.report`."""
        return report(self)

    @property
    def evaluation(self) -> dict[str, Any]:
        """What `evaluation.json` holds: metrics with intervals on the run's own test rows."""
        found: dict[str, Any] = _work("run").RunDirectory(self.path, allow=self.allow).evaluation
        return found

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One entry an epoch: losses, validation metrics, learning rate, seconds."""
        found: list[dict[str, Any]] = _work("run").RunDirectory(self.path, allow=self.allow).metrics
        return found

    @property
    def schema(self) -> Any:
        """The typed columns (`shinso.Schema`) with what they learned from training rows."""
        return _work("run").RunDirectory(self.path, allow=self.allow).schema

    @property
    def network(self) -> Any:
        """The trained network (`torch.nn.Module`), in evaluation mode."""
        return _work("run").RunDirectory(self.path, allow=self.allow).network


def train(
    data: Data = None,
    *,
    predict: str | Sequence[str] | None = None,
    given: str | Sequence[str] | None = None,
    types: Mapping[str, str] | None = None,
    effort: str = "balanced",
    minutes: float | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    past: int | None = None,
    ahead: int | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    allow: Sequence[str] = (),
    quiet: bool = False,
) -> Run:
    """Train a model and write a complete run directory: weights, metrics with intervals, report.

    Args:
        data: Table, folder of images, zip, database, or (in Python) a frame or dict of lists.
        predict: Column to predict; several with commas. A folder of images predicts its labels.
        given: Columns to predict from; all others by default; "nothing" to generate.
        types: Types of columns where the inferred one is wrong, as in caption=text.
        effort: quick, balanced or best: how much time may be spent for accuracy.
        minutes: Hard limit of the whole run; a complete, evaluated run is left in time.
        seed: Seeds the split, the weights and the order; same seed, same machine, same bits.
        settings: Any declared setting, as in train.learning_rate=3e-3 (`shinso settings` lists them).
        past: For forecasting: readings that a forecast looks back on.
        ahead: For forecasting: readings to predict.
        out: Run directory to write; runs/NAME by default. It must not exist.
        resume: Interrupted run directory to go on with, to the same bits.
        allow: Model of your own to import, as in my_module:MyEncoder, when a run directory names it.
        quiet: Say nothing on stderr.

    Raises:
        DataError, SettingError, RunError: What is wrong, and what to do.

    Example:
        >>> run = shinso.train("houses.csv", predict="price", minutes=5)  # doctest: +SKIP
    """
    return Run(
        _work("verbs").train(
            data, predict=_names(predict), given=None if given is None else _names(given),
            types=dict(types or {}),
            settings=_settings(effort, minutes, seed, settings), window=(past, ahead),
            out=out, resume=resume, allow=tuple(allow), quiet=quiet,
        ),
        allow=allow,
    )  # fmt: skip


def predict(
    run: Run | str | Path, data: Data, *, out: str | Path | None = None, allow: Sequence[str] = (),
    quiet: bool = False,
) -> dict[str, list[Any]]:  # fmt: skip
    """Predict for every row of data: key, predicted column, probabilities or interval beside it.

    Args:
        run: Run directory.
        data: Rows with the columns that the run was given in training.
        out: File to write the answers to (.csv, .parquet, .jsonl).
        allow: Model of your own to import, as in my_module:MyEncoder, when the run names it.
        quiet: Say nothing on stderr.

    Returns:
        Columns as lists: the key (row number or file), the prediction, and how sure it is.
    """
    found: dict[str, list[Any]] = _work("verbs").predict(
        _path(run), data, out=out, allow=(*_allow(run), *allow), quiet=quiet
    )
    return found


def evaluate(
    run: Run | str | Path, data: Data = None, *, out: str | Path | None = None, allow: Sequence[str] = (),
    quiet: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Measure a run on new data (or show its own test result): every metric with a 95% interval.

    Args:
        run: Run directory.
        data: Rows with the given and the predicted columns; the run's own test rows when left out.
        out: JSON file to write the result to.
        allow: Model of your own to import, as in my_module:MyEncoder, when the run names it.
        quiet: Say nothing on stderr.
    """
    found: dict[str, Any] = _work("verbs").evaluate(
        _path(run), data, out=out, allow=(*_allow(run), *allow), quiet=quiet
    )
    return found


def explain(
    run: Run | str | Path, data: Data, *, method: str | None = None, rows: int = 8,
    column: str | None = None, out: str | Path | None = None, allow: Sequence[str] = (), quiet: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Say why rows are answered as they are: pictures, how far to trust them, and the view over all rows.

    Args:
        run: Run directory.
        data: Rows with the columns that the run was given; with the predicted one, columns are ranked too.
        method: shap (default), occlusion, lime, integrated_gradients, gradcam, ... (a wrong name lists all).
        rows: How many rows to explain, evenly spread over the data.
        column: Predicted column to explain, where the run predicts several.
        out: Folder for pictures, explanation.json and page.html; explanations/ in the run by default.
        allow: Model of your own to import, as in my_module:MyEncoder, when the run names it.
        quiet: Say nothing on stderr.
    """
    found: dict[str, Any] = _work("verbs").explain(
        _path(run), data, method=method, rows=rows, column=column, out=out, allow=(*_allow(run), *allow),
        quiet=quiet,
    )  # fmt: skip
    return found


def doctor(
    source: Run | Data, data: Data = None, *, predict: str | Sequence[str] | None = None,
    given: str | Sequence[str] | None = None, settings: Mapping[str, Any] | None = None,
    allow: Sequence[str] = (), quiet: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Say why a run, or data, does not train well: checks with a number each, and what to do next.

    Args:
        source: Run directory, or data to train on.
        data: Of a run that was trained on data in memory, the same data again.
        predict: Of data: column to predict.
        given: Of data: columns to predict from; all others by default.
        settings: Of data: any declared setting, as in train.learning_rate=3e-3.
        allow: Model of your own to import, as in my_module:MyEncoder, when the run names it.
        quiet: Say nothing on stderr.
    """
    found: dict[str, Any] = _work("verbs").doctor(
        source.path if isinstance(source, Run) else source, _names(predict),
        None if given is None else _names(given), dict(settings or {}), data,
        (*_allow(source), *allow) if isinstance(source, Run) else tuple(allow), quiet=quiet,
    )  # fmt: skip
    return found


def robustness(
    run: Run | str | Path, data: Data, *, against: str | Sequence[str] | None = None, rows: int = 500,
    out: str | Path | None = None, allow: Sequence[str] = (), quiet: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Measure how answers hold under attacks, corruptions, typos and missing values, by strength.

    Args:
        run: Run directory.
        data: Rows with the given and the predicted columns.
        against: What to measure, with commas (fgsm, pgd, noise, typos, ...); all that applies by default.
        rows: How many rows to measure on, evenly spread over the data.
        out: Folder for robustness.json and page.html; robustness/ in the run by default.
        allow: Model of your own to import, as in my_module:MyEncoder, when the run names it.
        quiet: Say nothing on stderr.
    """
    found: dict[str, Any] = _work("verbs").robustness(
        _path(run),
        data,
        against=_names(against),
        rows=rows,
        out=out,
        allow=(*_allow(run), *allow),
        quiet=quiet,
    )
    return found


def report(run: Run | str | Path, *, out: str | Path | None = None) -> Path:
    """Write the report of a run, one self-contained HTML file, and give its path.

    Args:
        run: Run directory.
        out: File to write; report.html in the run by default.
    """
    return Path(_work("verbs").report(_path(run), out=out))


def compare(a: Run | str | Path, b: Run | str | Path) -> dict[str, Any]:
    """Compare two runs: metrics side by side, the difference with its interval, settings that differ.

    Args:
        a: Run directory.
        b: Run directory.
    """
    found: dict[str, Any] = _work("comparison").compare(_path(a), _path(b))
    return found


def samples(name: str, *, out: str | Path | None = None) -> Path:
    """Write a small data set to try things on: digits, iris, wine, breast_cancer or diabetes.

    Args:
        name: Which one.
        out: Folder to write; the name itself by default.
    """
    return Path(_work("data.samples").samples(name, Path(out or name)))


def settings() -> dict[str, dict[str, Any]]:
    """List every setting: default, bounds, help."""
    declared = _work("config").settings()
    return {
        name: {"default": field.default, "help": field.description, "type": str(field.annotation)}
        for name, field in declared.items()
    }


def _work(module: str) -> Any:
    return import_module(f"shinso.{module}")


def _path(run: Run | str | Path) -> Path:
    return run.path if isinstance(run, Run) else Path(run)


def _allow(run: Run | str | Path) -> tuple[str, ...]:
    return run.allow if isinstance(run, Run) else ()


def _names(names: str | Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return ()
    return tuple(n.strip() for n in names.split(",")) if isinstance(names, str) else tuple(names)


def _settings(
    effort: str, minutes: float | None, seed: int, settings: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {"effort": effort, "minutes": minutes, "seed": seed, **(settings or {})}
