"""A schema types every column and says which are given and which are predicted."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .columns import COLUMNS, Column, column_type, restore_column
from .columns.base import Values, missing_mask
from .columns.published import dictionary_of, find_tokenizer, read_tokenizer
from .config import DataConfig
from .errors import DataError, SettingError, did_you_mean

NOTHING = "nothing"  # the word for "no given columns", as in `--given nothing`
SAMPLE = 5_000  # values looked at to infer a type
MOST_CLASSES = 50  # whole numbers with at most so many distinct values are classes when they are predicted


@dataclass(frozen=True)
class Schema:
    """Typed columns: `given` when serving, `predict` in return. Equal by value, plain JSON on disk."""

    given: tuple[Column, ...]
    predict: tuple[Column, ...]

    def __iter__(self) -> Iterator[Column]:
        return iter(self.given + self.predict)

    def __getitem__(self, name: str) -> Column:
        for column in self:
            if column.name == name:
                return column
        raise DataError(
            f"There is no column {name!r} in this schema. {did_you_mean(name, [c.name for c in self])}"
        )

    def lines(self) -> list[str]:
        """The schema for a person, a line a column."""
        sides = [("given", c) for c in self.given] + [("predict", c) for c in self.predict]
        width = max((display_width(c.name) for _, c in sides), default=0)
        rows = [f"  {side:8}{pad(c.name, width)}  {c.kind}" for side, c in sides]
        return rows if self.given else [f"  {'given':8}{NOTHING}", *rows]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {"given": [c.to_dict() for c in self.given], "predict": [c.to_dict() for c in self.predict]}

    @classmethod
    def restore(cls, data: Mapping[str, Any]) -> Schema:
        """The inverse of `to_dict`; anything else is a `DataError`."""
        if not isinstance(data, Mapping) or set(data) != {"given", "predict"}:
            raise DataError("A schema holds exactly the two lists 'given' and 'predict'.")
        sides = {side: tuple(restore_column(c) for c in data[side]) for side in ("given", "predict")}
        return cls(**sides)


def choose_columns(
    names: Sequence[str], predict: Sequence[str], given: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the given and of the predicted columns; by default all others are given.

    >>> choose_columns(["a", "b", "y"], ["y"], None)
    (('a', 'b'), ('y',))
    >>> choose_columns(["image"], ["image"], ["nothing"])
    ((), ('image',))
    """
    for name in predict:
        _must_exist(name, names, "predict")
    if given is not None and list(given) == [NOTHING] and NOTHING not in names:
        given = []
    for name in given or ():
        _must_exist(name, names, "give")
        if name in predict:
            raise DataError(
                f"Column {name!r} is to be predicted, so it cannot be given too. Leave it out of --given."
            )
    if given is None:
        given = [name for name in names if name not in predict]
        if not given:
            raise DataError(
                f"There is no column left to predict {', '.join(predict)} from: the data has only "
                f"{', '.join(names)}. Add columns, or say --given {NOTHING} to generate from nothing."
            )
    return tuple(dict.fromkeys(given)), tuple(dict.fromkeys(predict))


def infer_kind(name: str, values: Values, *, target: bool) -> str:
    """The type of a column, from a sample of its values."""
    if missing_mask(values).all():
        raise DataError(
            f"Column {name!r} has no values, so its type cannot be told. Leave it out, or fill it."
        )
    scores = {column.kind: column.matches(values) for column in COLUMNS}
    best = max(scores, key=lambda kind: scores[kind])
    if scores[best] <= 0:
        raise DataError(
            f"The type of column {name!r} cannot be told from its values, such as {values[0]!r}. "
            f"Name it with --types {name}=TYPE; types: {', '.join(sorted(scores))}."
        )
    return "category" if target and best == "number" and _is_classes(values) else best


def infer_schema(
    samples: Mapping[str, Values], given: Sequence[str], predict: Sequence[str], types: Mapping[str, str]
) -> dict[str, str]:
    """The kind of every column: as the user says, else by its values."""
    for name, kind in types.items():
        if name not in samples:
            raise SettingError(
                f"--types names a column {name!r} that is not used. {did_you_mean(name, samples)}"
            )
        column_type(kind)
    return {
        name: types.get(name) or infer_kind(name, samples[name], target=name in predict)
        for name in (*given, *predict)
    }


def fit_column(name: str, kind: str, values: Values, options: DataConfig) -> Column:
    """One column with what it learned from training values and with what the user set about it."""
    column = column_type(kind)(name=name)
    presets: dict[str, Any] = {}
    if kind in ("image", "mask") and options.image_size:
        presets = {"height": options.image_size, "width": options.image_size}
    elif kind == "text":
        presets = {"max_length": options.max_length, "vocabulary_size": options.vocabulary}
        if options.tokenizer:
            presets |= tokenizer_at(options.tokenizer)
    elif kind == "series":
        presets = {"max_length": options.max_length}
    elif kind == "audio":
        presets = {"max_seconds": options.max_seconds}
    chosen = {key: value for key, value in presets.items() if value is not None}
    return (type(column)(name=name, **chosen) if chosen else column).fit(values)


def tokenizer_at(place: str) -> dict[str, str]:
    """What a text column needs of the tokenizer in a file, in a folder or beside a file of weights.

    None there is a `SettingError`.
    """
    found = find_tokenizer(Path(place))
    if found is None:
        raise SettingError(
            f"There is no tokenizer.json and no vocab.txt at {place}. Texts must be cut as the published "
            f"weights know them: put the one that belongs to the weights beside them, or name it with "
            f"--set data.tokenizer=FILE."
        )
    return {"tokenizer": read_tokenizer(found), "dictionary": dictionary_of(found)}


def _is_classes(values: Values) -> bool:
    present = values[~missing_mask(values)]
    try:
        numbers = present.astype(float)
    except (TypeError, ValueError):
        return False
    if not np.all(numbers == np.round(numbers)):
        return False
    distinct = len(np.unique(numbers))
    return distinct <= 2 or (distinct <= MOST_CLASSES and distinct * 20 <= len(numbers))


def _must_exist(name: str, names: Sequence[str], verb: str) -> None:
    if name not in names:
        raise DataError(f"There is no column {name!r} to {verb}. {did_you_mean(name, names)}")


def display_width(text: str) -> int:
    """Columns that `text` takes on a terminal, where Japanese characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def pad(text: str, width: int) -> str:
    """`text` filled with spaces to a width on the terminal."""
    return text + " " * (width - display_width(text))
