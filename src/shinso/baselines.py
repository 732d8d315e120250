"""What simple models reach on the same rows, so that the user sees what the network bought.

n = rows, C = classes, F = features. Nothing here knows torch. A baseline never fails a run: one that does not
apply or breaks is a row that says why. To add one, write its learner and add a line to `LEARNERS`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge

from .columns.base import Column, Values, missing_mask
from .metrics import evaluate_predictions, gain
from .ngrams import Bag

Array = NDArray[Any]
MOST_ROWS = 20_000  # training rows that a baseline sees at most; its name says so
FIRST_ROWS = 1_000  # fitted first, to foresee the time of more
GROWTH = 4

SIDE = 16  # images are brought down to this many pixels a side
LEAST_OF_LEVEL = 10  # training rows
SCALARS = ("number", "category", "datetime")  # kinds that boosting reads
MOST_LEVELS = 254  # categories that boosting can tell apart
TEXT_SCALE = (
    3.0  # TF-IDF rows have length 1, small beside standardised numbers: this weakens their penalty 9 times
)


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


class Unsuitable(ValueError):
    """This baseline does not apply to these columns; the text says why."""


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
        larger = min(size * GROWTH, len(train.target))
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
    features = linear_features(train)
    model = LogisticRegression(max_iter=100, random_state=seed).fit(features(train), train.target)
    return lambda part: _columns(model.predict_proba(features(part)), model.classes_, classes)


def ridge(train: Part, classes: int, seed: int) -> Fitted:
    """Linear regression with the usual penalty."""
    features = linear_features(train)
    model = Ridge(random_state=seed).fit(features(train), train.target)
    return lambda part: np.asarray(model.predict(features(part)))


def label_shares(train: Part, classes: int, seed: int) -> Fitted:
    """Always the share of each label among the training rows."""
    share = train.target.mean(0)
    return lambda part: np.tile(share, (len(part.target), 1))


def logistic_labels(train: Part, classes: int, seed: int) -> Fitted:
    """One logistic regression a label; a label that is always or never there gets its share."""
    features = linear_features(train)
    given, wanted = features(train), train.target > 0.5
    share = wanted.mean(0)
    models = {
        label: LogisticRegression(max_iter=100, random_state=seed).fit(given, wanted[:, label])
        for label in np.flatnonzero((share > 0) & (share < 1))
    }

    def predict(part: Part) -> Array:
        probabilities = np.tile(share, (len(part.target), 1))
        rows = features(part)
        for label, model in models.items():
            probabilities[:, label] = model.predict_proba(rows)[:, 1]
        return probabilities

    return predict


def boosted_classes(train: Part, classes: int, seed: int) -> Fitted:
    """Gradient boosting over the numbers, categories and dates."""
    _several(train)
    features, categorical = boosting_features(train)
    model = HistGradientBoostingClassifier(
        categorical_features=categorical, random_state=seed, early_stopping=False
    )
    model.fit(features(train), train.target)
    return lambda part: _columns(model.predict_proba(features(part)), model.classes_, classes)


def boosted_number(train: Part, classes: int, seed: int) -> Fitted:
    """Gradient boosting over the numbers, categories and dates."""
    features, categorical = boosting_features(train)
    model = HistGradientBoostingRegressor(
        categorical_features=categorical, random_state=seed, early_stopping=False
    )
    model.fit(features(train), train.target)
    return lambda part: np.asarray(model.predict(features(part)))


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


# ---------------------------------------------------------------- features

Block = Callable[[Values], Any]  # raw values to (n, F), dense or sparse


def linear_features(train: Part) -> Callable[[Part], sp.csr_matrix]:
    """Learn (n, F) features for a linear model: numbers, one-hot categories, TF-IDF, small images."""
    blocks: dict[str, Block] = {}
    for name, (column, values) in train.inputs.items():
        make = BLOCKS.get(column.kind)
        if make is not None:
            blocks[name] = make(column, values)
    if not blocks:
        raise Unsuitable("None of the given columns is a number, category, date, text or image.")
    return lambda part: sp.csr_matrix(
        sp.hstack([sp.csr_matrix(block(part.inputs[name][1])) for name, block in blocks.items()])
    )


def boosting_features(train: Part) -> tuple[Callable[[Part], Array], Array]:
    """(n, F) features for boosting with NaN where missing, and (F,) which of them are categories.

    A category's level that few training rows have counts as missing: trees would learn it by heart.
    """
    names = [name for name, (column, _) in train.inputs.items() if column.kind in SCALARS]
    if not names:
        raise Unsuitable("None of the given columns is a number, category or date.")
    levels = {name: _levels(values) for name, (c, values) in _encoded(train, names) if c.kind == "category"}

    def features(part: Part) -> Array:
        found = []
        for name, (_, encoded) in _encoded(part, names):
            if name in levels:
                place = np.searchsorted(levels[name], encoded).clip(max=max(0, len(levels[name]) - 1))
                known = np.isin(encoded, levels[name])
                encoded = np.where(known, place, np.nan)
            found.append(encoded)
        return np.concatenate(found, axis=1)

    categorical = [[name in levels] * encoded.shape[1] for name, (_, encoded) in _encoded(train, names)]
    return features, np.concatenate(categorical)


def _encoded(part: Part, names: Sequence[str]) -> Iterator[tuple[str, tuple[Column, Array]]]:
    for name in names:
        column, values = part.inputs[name]
        encoded = np.asarray(column.encode_many(values), np.float64).reshape(len(values), -1)
        yield name, (column, encoded)


def _levels(codes: Array) -> Array:
    """The levels that enough rows have, at most as many as boosting can tell apart, ascending."""
    found, counts = np.unique(codes[codes >= 0], return_counts=True)
    most = np.argsort(-counts, kind="stable")[:MOST_LEVELS]
    return np.sort(found[most][counts[most] >= LEAST_OF_LEVEL])


def _number_block(column: Column, values: Values) -> Block:
    """Standardised numbers, the mean where missing, and a flag for it where any was missing."""
    flagged = bool(missing_mask(values).any())

    def block(values: Values) -> Array:
        encoded = np.asarray(column.encode_many(values), np.float64).reshape(len(values), -1)
        missing = np.isnan(encoded)
        filled = np.clip(np.where(missing, 0.0, encoded), -10, 10)
        return np.concatenate([filled, missing.any(1, keepdims=True)], axis=1) if flagged else filled

    return block


def _category_block(column: Column, values: Values) -> Block:
    """One-hot codes; missing and unseen values have none."""
    size = int(np.asarray(column.encode_many(values)).max(initial=0)) + 1

    def block(values: Values) -> sp.csr_matrix:
        codes = np.asarray(column.encode_many(values))
        rows = np.flatnonzero((codes >= 0) & (codes < size))
        return sp.csr_matrix((np.ones(len(rows)), (rows, codes[rows])), shape=(len(codes), size))

    return block


def _text_block(column: Column, values: Values) -> Block:
    """TF-IDF of words and pairs of words; of runs of 1 to 3 letters where spaces are rare."""
    bag = Bag.fit(_texts(values))
    return lambda values: bag.transform(_texts(values)) * TEXT_SCALE


def _texts(values: Values) -> list[str]:
    return ["" if value is None else str(value) for value in values]


def _image_block(column: Column, values: Values) -> Block:
    """The pixels of the image, brought down to a small size."""
    return lambda values: np.stack([small_pixels(column.encode(value)) for value in values])


def small_pixels(image_HWC: Array) -> Array:
    """An image's pixels from -1 to 1, averaged down to at most 16 x 16, as one row.

    >>> small_pixels(np.full((32, 32, 3), 255, np.uint8)).shape
    (768,)
    """
    pixels = image_HWC.astype(np.float32) / 127.5 - 1
    for axis in (0, 1):
        size = pixels.shape[axis]
        if size > SIDE:
            starts = np.arange(SIDE) * size // SIDE
            widths = np.diff(np.append(starts, size)).astype(np.float32)
            shape = [-1 if i == axis else 1 for i in range(3)]
            pixels = np.add.reduceat(pixels, starts, axis=axis) / widths.reshape(shape)
    return pixels.reshape(-1)


BLOCKS: dict[str, Callable[[Column, Values], Block]] = {
    "number": _number_block, "datetime": _number_block, "category": _category_block, "text": _text_block,
    "image": _image_block,
}  # fmt: skip
