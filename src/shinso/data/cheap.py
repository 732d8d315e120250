"""Features that cost next to nothing, from any columns: for baselines and for the audit of the data.

n = rows, F = features. Nothing here knows torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..columns.base import Column, Values, missing_mask
from ..later import Later
from ..ngrams import Bag, Sparse

sparse = Later("scipy.sparse")
exceptions = Later("sklearn.exceptions")
linear_model = Later("sklearn.linear_model")

Array = NDArray[Any]
Inputs = Mapping[str, tuple[Column, Values]]  # raw values by column name
Block = Callable[[Values], Any]  # raw values to (n, F), dense or sparse

SIDE = 16  # images are brought down to this many pixels a side
LEAST_OF_LEVEL = 10  # training rows
SCALARS = ("number", "category", "datetime")  # kinds that boosting reads
MOST_LEVELS = 254  # categories that boosting can tell apart
TEXT_SCALE = (
    3.0  # TF-IDF rows have length 1, small beside standardised numbers: this weakens their penalty 9 times
)


class Unsuitable(ValueError):
    """These features or this baseline do not apply to these columns; the text says why."""


def linear_features(train: Inputs) -> Callable[[Inputs], Sparse]:
    """Learn (n, F) features for a linear model: numbers, one-hot categories, TF-IDF, small images."""
    blocks: dict[str, Block] = {}
    for name, (column, values) in train.items():
        make = BLOCKS.get(column.kind)
        if make is not None:
            blocks[name] = make(column, values)
    if not blocks:
        raise Unsuitable("None of the given columns is a number, category, date, text or image.")
    return lambda part: sparse.csr_matrix(
        sparse.hstack([sparse.csr_matrix(block(part[name][1])) for name, block in blocks.items()])
    )


def boosting_features(train: Inputs) -> tuple[Callable[[Inputs], Array], Array]:
    """(n, F) features for boosting with NaN where missing, and (F,) which of them are categories.

    A category's level that few training rows have counts as missing: trees would learn it by heart.
    """
    names = [name for name, (column, _) in train.items() if column.kind in SCALARS]
    if not names:
        raise Unsuitable("None of the given columns is a number, category or date.")
    levels = {name: _levels(values) for name, (c, values) in _encoded(train, names) if c.kind == "category"}

    def features(part: Inputs) -> Array:
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


def _encoded(part: Inputs, names: Sequence[str]) -> Iterator[tuple[str, tuple[Column, Array]]]:
    for name in names:
        column, values = part[name]
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

    def block(values: Values) -> Sparse:
        codes = np.asarray(column.encode_many(values))
        rows = np.flatnonzero((codes >= 0) & (codes < size))
        return sparse.csr_matrix((np.ones(len(rows)), (rows, codes[rows])), shape=(len(codes), size))

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


def straight(features_nF: Any, labels_n: Array, steps: int = 30) -> Any:
    """Logistic regression after a few steps: good enough to look at data with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        return linear_model.LogisticRegression(max_iter=steps).fit(features_nF, labels_n)
