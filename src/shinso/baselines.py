"""What simple models reach on the same rows, so that the user sees what the network bought.

n = rows, C = classes, F = features. Nothing here knows torch. A baseline never fails a run: one that does not
apply or breaks is a row that says why. To add one, write its learner and add a line to `LEARNERS`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .columns.base import Column, Values
from .data.cheap import Unsuitable, boosting_features, linear_features
from .later import Later
from .logistic import Logistic
from .metrics import evaluate_predictions, gain

ensemble = Later("sklearn.ensemble")
linear_model = Later("sklearn.linear_model")

Array = NDArray[Any]
MOST_ROWS = 20_000  # training rows that a baseline sees at most; its name says so
FIRST_ROWS = 1_000  # fitted first, to foresee the time of more
GROWTH = 4


@dataclass(frozen=True, kw_only=True)
class Part:
    """The rows that a baseline learns from, or is measured on.

    `inputs` holds raw values by column name. `target` is as `metrics.evaluate_predictions` takes the truth: a
    category as (n,) int labels (-1 = no target), a number as (n,) raw values (NaN = no target), labels as
    (n, C) multi-hot (NaN = no target). `sampled_from` is the number of rows that these were drawn from.
    """

    inputs: Mapping[str, tuple[Column, Values]]
    target: Array
    sampled_from: int = 0

    def take(self, rows: Array) -> Part:
        """Only these rows."""
        inputs = {name: (column, values[rows]) for name, (column, values) in self.inputs.items()}
        return Part(inputs=inputs, target=self.target[rows], sampled_from=self.sampled_from)

    def known(self) -> Part:
        """Only the rows that have a target."""
        target = self.target
        known = ~np.isnan(target) if target.dtype.kind == "f" else target >= 0
        return self.take(np.flatnonzero(known.reshape(len(target), -1).any(1)))


Fitted = Callable[[Part], Array]  # a part to its predictions, as `evaluate_predictions` takes them
Learner = Callable[[Part, int, int], Fitted]  # training rows, number of classes, seed


@dataclass(frozen=True)
class Trial:
    """What every baseline is measured against."""

    kind: str
    test: Part
    labels: Sequence[str]
    seed: int
    prediction: Any  # of the network, or None


def baselines(
    kind: str,
    train: Part,
    test: Part,
    labels: Sequence[str] = (),
    *,
    seed: int = 0,
    seconds: float = 10.0,
    prediction: Any = None,
) -> list[dict[str, Any]]:
    """Fit the simple models that suit `kind` on `train` and measure them on `test`, within about `seconds`.

    Gives rows {name, metrics, train_rows, seconds}, or {name, skipped} with the reason; `metrics` as
    `evaluate_predictions` gives them. With the network's `prediction` of the test rows, each row also has
    `gain`: how much better the network's main metric is, on the same rows, with its interval. The first row,
    the constant prediction, is always measured. Every other one is fitted on a small sample first, then on
    ever more rows as long as the next fit can be foreseen to end in time. Kinds without baselines give [].
    """
    learners = LEARNERS.get(kind, {})
    deadline = time.perf_counter() + seconds
    train = train.known() if learners else train
    if not learners or not len(train.target):
        return []
    trial = Trial(kind, test, labels, seed, prediction)
    shuffled = train.take(np.random.default_rng(seed).permutation(len(train.target))[:MOST_ROWS])
    available = max(len(train.target), train.sampled_from)
    found = []
    for i, (name, learner) in enumerate(learners.items()):
        budget = (deadline - time.perf_counter()) / (len(learners) - i)
        if i == 0:
            found.append(_measured(name, learner, train, trial))
        elif budget <= 0:
            found.append({"name": name, "skipped": "There was no time left."})
        else:
            found.append(_grown(name, learner, shuffled, available, trial, budget))
    return found


def _grown(
    name: str, learner: Learner, train: Part, available: int, trial: Trial, budget: float
) -> dict[str, Any]:
    size, start, last = min(FIRST_ROWS, len(train.target)), time.perf_counter(), 0.0
    while True:
        row = _measured(name, learner, train.take(np.arange(size)), trial)
        spent = time.perf_counter() - start
        larger = size * GROWTH if size * GROWTH * 2 < len(train.target) else len(train.target)
        if "skipped" in row or size == larger or spent + (spent - last) * larger / size > budget:
            break
        size, last = larger, spent
    if size < available and "skipped" not in row:
        row["name"] = f"{name} ({size:,} training rows)"
    return row


def _measured(name: str, learner: Learner, train: Part, trial: Trial) -> dict[str, Any]:
    start, test = time.perf_counter(), trial.test
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a baseline that has not converged is measured as it is
            prediction = learner(train, len(trial.labels), trial.seed)(test)
    except (ValueError, MemoryError, np.linalg.LinAlgError) as error:
        return {"name": name, "skipped": str(error).partition("\n")[0]}
    seconds = time.perf_counter() - start
    metrics = evaluate_predictions(trial.kind, test.target, prediction, trial.labels, trial.seed)["metrics"]
    row = {"name": name, "metrics": metrics, "train_rows": len(train.target), "seconds": round(seconds, 3)}
    if trial.prediction is not None:
        row["gain"] = gain(trial.kind, test.target, trial.prediction, prediction, trial.labels, trial.seed)
    return row


# ---------------------------------------------------------------- learners


def shares(train: Part, classes: int, seed: int) -> Fitted:
    """Always the shares of the classes among the training rows, so always the largest class."""
    counts = np.bincount(train.target, minlength=classes)
    return lambda part: np.tile(counts / counts.sum(), (len(part.target), 1))


def mean(train: Part, classes: int, seed: int) -> Fitted:
    """Always the mean of the training rows."""
    middle = float(train.target.mean())
    return lambda part: np.full(len(part.target), middle)


def logistic(train: Part, classes: int, seed: int) -> Fitted:
    """Logistic regression with the usual penalty."""
    _several(train)
    features = linear_features(train.inputs)
    model = Logistic.fit(features(train.inputs), train.target, classes)
    return lambda part: model.probabilities(features(part.inputs))


def ridge(train: Part, classes: int, seed: int) -> Fitted:
    """Linear regression with the usual penalty."""
    features = linear_features(train.inputs)
    model = linear_model.Ridge(random_state=seed).fit(features(train.inputs), train.target)
    return lambda part: np.asarray(model.predict(features(part.inputs)))


def label_shares(train: Part, classes: int, seed: int) -> Fitted:
    """Always the share of each label among the training rows."""
    share = train.target.mean(0)
    return lambda part: np.tile(share, (len(part.target), 1))


def logistic_labels(train: Part, classes: int, seed: int) -> Fitted:
    """One logistic regression a label; a label that is always or never there gets its share."""
    features = linear_features(train.inputs)
    given, wanted = features(train.inputs), train.target > 0.5
    share = wanted.mean(0)
    models = {
        label: Logistic.fit(given, wanted[:, label], 2) for label in np.flatnonzero((share > 0) & (share < 1))
    }

    def predict(part: Part) -> Array:
        probabilities = np.tile(share, (len(part.target), 1))
        rows = features(part.inputs)
        for label, model in models.items():
            probabilities[:, label] = model.probabilities(rows)[:, 1]
        return probabilities

    return predict


def boosted_classes(train: Part, classes: int, seed: int) -> Fitted:
    """Gradient boosting over the numbers, categories and dates."""
    _several(train)
    features, categorical = boosting_features(train.inputs)
    model = ensemble.HistGradientBoostingClassifier(
        categorical_features=categorical, random_state=seed, early_stopping=False
    )
    model.fit(features(train.inputs), train.target)
    return lambda part: _columns(model.predict_proba(features(part.inputs)), model.classes_, classes)


def boosted_number(train: Part, classes: int, seed: int) -> Fitted:
    """Gradient boosting over the numbers, categories and dates."""
    features, categorical = boosting_features(train.inputs)
    model = ensemble.HistGradientBoostingRegressor(
        categorical_features=categorical, random_state=seed, early_stopping=False
    )
    model.fit(features(train.inputs), train.target)
    return lambda part: np.asarray(model.predict(features(part.inputs)))


LEARNERS: dict[str, dict[str, Learner]] = {
    "category": {
        "majority class": shares,
        "logistic regression": logistic,
        "gradient boosting": boosted_classes,
    },
    "number": {"mean": mean, "ridge regression": ridge, "gradient boosting": boosted_number},
    "labels": {"shares of the labels": label_shares, "logistic regression": logistic_labels},
}


def _several(train: Part) -> None:
    if len(np.unique(train.target)) < 2:
        raise Unsuitable("The training rows it could see hold only one class.")


def _columns(probabilities: Array, known: Array, classes: int) -> Array:
    out = np.zeros((len(probabilities), classes))
    out[:, known] = probabilities
    return out
