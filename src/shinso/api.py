"""What a user calls to make and to judge models, from Python and from the command line, without torch.

Each verb hands over to the module that does the work, which is imported on first use, so that `import shinso`
and `shinso --help` stay instant. The command line is made from these signatures (`cli.py`). The verbs that
bring a model to its users stand in `shipping.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .handle import Data, Run, allowed_by, many, names_in, path_of, work


def train(
    data: Data = None,
    *,
    predict: str | Sequence[str] | None = None,
    given: str | Sequence[str] | None = None,
    types: Mapping[str, str] | None = None,
    model: str | None = None,
    weights: str | Path | None = None,
    effort: str = "balanced",
    minutes: float | None = None,
    seed: int = 0,
    tune: str | None = None,
    settings: Mapping[str, Any] | None = None,
    past: int | None = None,
    ahead: int | None = None,
    protect: str | None = None,
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
        model: Network to train, as in resnet18 (`shinso models` lists them), or my_module:MyNet.
        weights: File of published weights to begin with (.safetensors, .bin, .pth).
        effort: quick, balanced or best: how much time may be spent for accuracy.
        minutes: Hard limit of the whole run; a complete, evaluated run is left in time.
        seed: Seeds the split, the weights and the order; same seed, same machine, same bits.
        tune: How published weights are tuned: head, gradual, all or lora.
        settings: Any declared setting, as in train.learning_rate=3e-3 (`shinso settings` lists them).
        past: For forecasting: readings that a forecast looks back on.
        ahead: For forecasting: readings to predict.
        protect: Column whose groups shall be treated alike: rows are drawn so that it tells no label.
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
        work("verbs").train(
            data, predict=names_in(predict), given=None if given is None else names_in(given),
            types=dict(types or {}),
            settings=_settings(effort, minutes, seed, protect, _model(model, weights, tune, settings)),
            window=(past, ahead),
            out=out, resume=resume, allow=tuple(allow), quiet=quiet,
        ),
        allow=allow,
    )  # fmt: skip


def check(
    data: Data, *, predict: str | Sequence[str] | None = None, given: str | Sequence[str] | None = None,
    types: Mapping[str, str] | None = None, model: str | None = None, weights: str | Path | None = None,
    effort: str = "balanced", minutes: float | None = None, seed: int = 0, tune: str | None = None,
    settings: Mapping[str, Any] | None = None, past: int | None = None, ahead: int | None = None,
    protect: str | None = None, out: str | Path | None = None, quiet: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Walk through a training and all that follows it in seconds, and say what will not work.

    Two batches in a temporary folder: read, train, be killed and go on, evaluate, explain, predict. Nothing
    is written at `out`. Takes what `train` takes; on the command line it is `shinso train --check`.

    Returns:
        `passed`, and for each of the `stages` a verdict and the reason.

    Example:
        >>> shinso.check("houses.csv", predict="price")["passed"]  # doctest: +SKIP
        True
    """
    found: dict[str, Any] = work("preflight").preflight_of(
        data, predict=names_in(predict), given=None if given is None else names_in(given),
        types=dict(types or {}),
        settings=_settings(effort, minutes, seed, protect, _model(model, weights, tune, settings)),
        window=(past, ahead), out=out, quiet=quiet,
    )  # fmt: skip
    return found


def predict(
    run: Run | str | Path, data: Data, *, coverage: float | None = None, abstain: bool = False,
    fair: bool = False, out: str | Path | None = None, allow: Sequence[str] = (), quiet: bool = False,
) -> dict[str, list[Any]]:  # fmt: skip
    """Predict for every row of data: key, predicted column, probabilities or interval beside it.

    Args:
        run: Run directory, or an export of one, which needs no torch.
        data: Rows with the columns that the run was given in training.
        coverage: How often an interval, or a set of labels, shall hold the truth, as in 0.95.
        abstain: Leave the answer empty unless exactly one label is possible at this coverage.
        fair: Answer by the thresholds of each group, which `mitigate` stored in the run.
        out: File to write the answers to (.csv, .parquet, .jsonl).
        allow: Model of your own to import, as in my_module:MyEncoder, when the run names it.
        quiet: Say nothing on stderr.

    Returns:
        Columns as lists: the key (row number or file), the prediction, and how sure it is.
    """
    if (path_of(run) / "export.json").is_file():
        given: dict[str, list[Any]] = work("exporting.rows").predict(
            path_of(run), data, coverage=coverage, abstain=abstain, fair=fair, out=out, quiet=quiet
        )
        return given
    found: dict[str, list[Any]] = work("verbs").predict(
        path_of(run), data, coverage=coverage, abstain=abstain, fair=fair, out=out,
        allow=(*allowed_by(run), *allow), quiet=quiet,
    )  # fmt: skip
    return found


def evaluate(
    run: Run | str | Path, data: Data = None, *, by: str | Sequence[str] = (), protect: str | None = None,
    positive: str | None = None, require: str | Sequence[str] = (), fair: bool = False,
    folds: int | None = None, curve: bool = False, out: str | Path | None = None, allow: Sequence[str] = (),
    quiet: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Measure a run on new data (or show its own test result): every metric with a 95% interval.

    Args:
        run: Run directory.
        data: Rows with the given and the predicted columns; the run's own test rows when left out.
        by: Column or condition whose slices are measured too, as in region or "age>60".
        protect: Column whose groups are compared: who is chosen, found, and wrongly accused how often.
        positive: Label that groups are compared on; the second of two, all in turn of several.
        require: What has to hold, as in "equal_opportunity<0.05"; exit status 1 where it does not.
        fair: Answer by the thresholds of each group, which `mitigate` stored in the run.
        folds: Train again so many times on other parts of the run's data, and measure each on the rest.
        curve: Train again on ever more of the run's rows: would more data help?
        out: JSON file to write the result to.
        allow: Model of your own to import, as in my_module:MyEncoder, when the run names it.
        quiet: Say nothing on stderr.
    """
    measuring = work("measuring")
    wanted = measuring.Wanted(
        by=many(by), protect=protect, positive=positive, require=many(require), fair=fair, folds=folds,
        curve=curve,
    )  # fmt: skip
    found: dict[str, Any] = measuring.evaluate(
        path_of(run), data, wanted, out=out, allow=(*allowed_by(run), *allow), quiet=quiet
    )
    return found


def mitigate(
    run: Run | str | Path, *, protect: str | None = None, goal: str = "equal_opportunity",
    allow: Sequence[str] = (), quiet: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Choose a threshold for each group on the validation rows, and store them in the run.

    Args:
        run: Run directory that predicts a category of two classes.
        protect: Column with the groups.
        goal: What shall be alike: demographic_parity, equal_opportunity or equalised_odds.
        allow: Model of your own to import, as in my_module:MyEncoder, when the run names it.
        quiet: Say nothing on stderr.
    """
    found: dict[str, Any] = work("measuring").mitigate(
        path_of(run), protect, goal, allow=(*allowed_by(run), *allow), quiet=quiet
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
    found: dict[str, Any] = work("verbs").explain(
        path_of(run), data, method=method, rows=rows, column=column, out=out,
        allow=(*allowed_by(run), *allow), quiet=quiet,
    )  # fmt: skip
    return found


def doctor(
    source: Run | Data, data: Data = None, *, predict: str | Sequence[str] | None = None,
    given: str | Sequence[str] | None = None, settings: Mapping[str, Any] | None = None,
    column: str | None = None, report: str | Path | None = None, allow: Sequence[str] = (),
    quiet: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Say why a run, or data, does not train well: checks with a number each, and what to do next.

    Args:
        source: Run directory, or data to train on.
        data: Of a run that was trained on data in memory, the same data again.
        predict: Of data: column to predict.
        given: Of data: columns to predict from; all others by default.
        settings: Of data: any declared setting, as in train.learning_rate=3e-3.
        column: Predicted column whose answers are looked at, where several are predicted; the first one.
        report: HTML file to write the findings to.
        allow: Model of your own to import, as in my_module:MyEncoder, when the run names it.
        quiet: Say nothing on stderr.
    """
    found: dict[str, Any] = work("verbs").doctor(
        source.path if isinstance(source, Run) else source, names_in(predict),
        None if given is None else names_in(given), dict(settings or {}), data,
        (*allowed_by(source), *allow) if isinstance(source, Run) else tuple(allow),
        column=column, report=report, quiet=quiet,
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
    found: dict[str, Any] = work("verbs").robustness(
        path_of(run),
        data,
        against=names_in(against),
        rows=rows,
        out=out,
        allow=(*allowed_by(run), *allow),
        quiet=quiet,
    )
    return found


def report(run: Run | str | Path, *, out: str | Path | None = None) -> Path:
    """Write the report of a run, one self-contained HTML file, and give its path.

    Args:
        run: Run directory.
        out: File to write; report.html in the run by default.
    """
    return Path(work("verbs").report(path_of(run), out=out))


def compare(a: Run | str | Path, b: Run | str | Path, *, tried: int | None = None) -> dict[str, Any]:
    """Compare two runs: metrics side by side, the difference with its interval, settings that differ.

    Args:
        a: Run directory.
        b: Run directory.
        tried: Runs that were tried in all; those on the same data beside b are counted when left out.
    """
    found: dict[str, Any] = work("comparison").compare(path_of(a), path_of(b), tried)
    return found


def audit(
    data: Data, *, predict: str | Sequence[str] | None = None, given: str | Sequence[str] | None = None,
    test: Data = None, types: Mapping[str, str] | None = None, settings: Mapping[str, Any] | None = None,
    only: str | Sequence[str] | None = None, fix: str | Path | None = None, report: str | Path | None = None,
    out: str | Path | None = None, quiet: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Look for what would make a model's figures untrue: copies, leaks, shifts, wrong labels, and more.

    Args:
        data: Table, folder of images, zip, database, or (in Python) a frame or dict of lists.
        predict: Column that is to be predicted. A folder of images predicts its labels.
        given: Columns to predict from; all others by default.
        test: File with the test rows, where they are not in data.
        types: Types of columns where the inferred one is wrong, as in caption=text.
        settings: Any declared setting, as in data.group=patient.
        only: Checks to run, with commas; all by default.
        fix: File or folder for a cleaned copy; a log of what was left out is written beside it.
        report: HTML file to write the findings to.
        out: JSON file to write the findings to.
        quiet: Say nothing on stderr.
    """
    found: dict[str, Any] = work("auditing").audit_data(
        data, predict=names_in(predict), given=None if given is None else names_in(given), test=test,
        types=dict(types or {}), settings=dict(settings or {}), only=names_in(only), fix=fix, report=report,
        out=out, quiet=quiet,
    )  # fmt: skip
    return found


def samples(name: str, *, out: str | Path | None = None) -> Path:
    """Write a small data set to try things on: digits, iris, wine, breast_cancer or diabetes.

    Args:
        name: Which one.
        out: Folder to write; the name itself by default.
    """
    return Path(work("data.samples").samples(name, Path(out or name)))


def models() -> dict[str, dict[str, Any]]:
    """List the networks that --model takes: year, parameters, what they read, weights that fit."""
    found: dict[str, dict[str, Any]] = work("catalogue").models()
    return found


def settings() -> dict[str, dict[str, Any]]:
    """List every setting: default, bounds, help."""
    declared = work("config").settings()
    return {
        name: {"default": field.default, "help": field.description, "type": str(field.annotation)}
        for name, field in declared.items()
    }


def machine(*, threads: int | None = None) -> dict[str, Any]:
    """Show what this machine can do, as measured, and the plan that a training here begins with.

    Args:
        threads: Threads to measure with; all cores that the process may use by default.
    """
    found: dict[str, Any] = work("verbs").machine(threads)
    return found


def find_rate(
    data: Data,
    *,
    predict: str | Sequence[str] | None = None,
    given: str | Sequence[str] | None = None,
    types: Mapping[str, str] | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    steps: int = 100,
    quiet: bool = False,
) -> dict[str, Any]:
    """Find a learning rate: raise it step by step from far too small, and see where the loss falls fastest.

    Args:
        data: Table, folder of images, zip, database, or (in Python) a frame or dict of lists.
        predict: Column to predict; several with commas. A folder of images predicts its labels.
        given: Columns to predict from; all others by default.
        types: Types of columns where the inferred one is wrong, as in caption=text.
        seed: Seeds the split, the weights and the order.
        settings: Any declared setting, as in train.optimizer=sgd (`shinso settings` lists them).
        steps: Steps of the test, at most; it ends early where the loss explodes.
        quiet: Say nothing on stderr.

    Returns:
        The rates and smoothed losses, the rate to set, and the one where the loss was least.
    """
    found: dict[str, Any] = work("verbs").find_rate(
        data, predict=names_in(predict), given=None if given is None else names_in(given),
        types=dict(types or {}), settings=_settings("balanced", None, seed, None, settings), steps=steps,
        quiet=quiet,
    )  # fmt: skip
    return found


def _model(
    model: str | None, weights: str | Path | None, tune: str | None, settings: Mapping[str, Any] | None
) -> dict[str, Any]:
    named = {
        "model.name": model, "model.weights": None if weights is None else str(weights), "train.tune": tune,
    }  # fmt: skip
    return {name: value for name, value in named.items() if value is not None} | dict(settings or {})


def _settings(
    effort: str, minutes: float | None, seed: int, protect: str | None, settings: Mapping[str, Any] | None
) -> dict[str, Any]:
    asked = {} if protect is None else {"data.protect": protect}
    return {"effort": effort, "minutes": minutes, "seed": seed, **asked, **(settings or {})}
