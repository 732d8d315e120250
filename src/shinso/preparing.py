"""From whatever holds the rows to encoded, split, typed columns: what happens before there is a network."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .columns import Column, Values
from .columns.base import missing_mask
from .columns.category import Category
from .config import DataConfig, RunConfig, changed_settings
from .console import Console
from .data.audit import notes_of, quick_audit
from .data.cache import Store, encode_table
from .data.clean import Examination, examine
from .data.given import encode_given as encode_given
from .data.loader import Loader, Rows
from .data.notes import MOST_LISTED, Bad, Note, plural, shorten
from .data.split import Split, split
from .data.tabular import Tabular
from .data.windows import WindowTable
from .errors import DataError
from .files import cache_folder
from .forecasting import Window
from .schema import SAMPLE, Schema, choose_columns, fit_column, infer_schema

MOST_FITTED = 1_000_000  # training rows that a column learns from
SHOWN_NOTES = 12


@dataclass(frozen=True)
class Question:
    """What the user asks of the data: the columns to predict, those given, and their types where told."""

    predict: tuple[str, ...] = ()
    given: tuple[str, ...] | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    past: int | None = None  # readings that a forecast looks back on
    ahead: int | None = None  # readings that it predicts


@dataclass(frozen=True)
class Prepared:
    """Rows that are ready to train on."""

    table: Tabular
    schema: Schema
    split: Split
    store: Store
    notes: tuple[Note, ...]
    quarantine: tuple[Bad, ...]
    seconds: dict[str, float]
    window: Window | None = None  # of a forecast
    chosen: tuple[str, ...] = ()  # settings that the user set
    audit: dict[str, Any] | None = None  # what the quick audit found

    def loader(self, rows: Rows, batch_size: int, seed: int = 0, *, targets: bool = True) -> Loader:
        """Batches of some of the rows."""
        columns = tuple(self.schema) if targets else self.schema.given
        return Loader(self.store, columns, rows, batch_size, seed)

    @property
    def parts(self) -> dict[str, Rows]:
        """The rows of each part by name."""
        return {"train": self.split.train, "validation": self.split.validation, "test": self.split.test}


def prepare(
    table: Tabular, question: Question, config: RunConfig, console: Console,
    schema: Schema | None = None, window: Window | None = None, parts: Split | None = None,
    *, suit: Callable[[Schema], Schema] | None = None,
) -> Prepared:  # fmt: skip
    """Choose, clean, split, type, fit and encode the columns of a table, saying aloud what was decided.

    `parts` are those of a split that was made elsewhere, as for cross-validation. With `schema` (on resuming,
    in forecasting) nothing is inferred or learned again. `suit` changes what was learned, where published
    weights expect something else.
    """
    started = time.perf_counter()
    predict = question.predict or default_target(table)
    given, predict = choose_columns(table.names, predict, question.given)
    looked = looked_at(table, predict, given)
    if question.given is None:
        given = looked.given
    rows = looked.rows
    samples = {name: table.values(name, spread(rows, SAMPLE)) for name in (*given, *predict)}
    kinds = (
        {c.name: c.kind for c in schema} if schema else infer_schema(samples, given, predict, question.types)
    )
    stratify = table.values(predict[0], rows) if kinds[predict[0]] == "category" else None
    parts = parts or parted(table, config, stratify, rows)
    audited = None
    if schema is None and config.data.audit:
        audited = quick_audit(table, parts, {name: kinds[name] for name in (*given, predict[0])}, config)
    notes = (*table.notes, *looked.notes, *parts.notes, *notes_of(audited))
    if schema is None:
        schema = fit_schema(table, kinds, given, predict, parts.train, reading(config))
        schema = schema if suit is None else suit(schema)
    describe(table, schema, parts, notes, console)
    check_targets(table, schema, parts.train)
    fitted = time.perf_counter()
    with console.progress("reading") as advance:
        store = encode_table(
            table, tuple(schema), folder=cache_folder(config.data.cache), workers=2,
            progress=lambda done, total: advance(done, total),
        )  # fmt: skip
    parts, bad = _without_unusable(table, parts, store, config.data)
    lost_notes, lost = lost_targets(table, schema, store)
    for note in lost_notes:
        console.say(f"  ! {note.message}")
    if bad:
        console.say(
            f"{plural(len(bad), 'row')} could not be read and {'is' if len(bad) == 1 else 'are'} left out:"
        )
        for one in bad[:3]:
            console.say(f"  {one.file}: {one.reason}")
    seconds = {"prepare": fitted - started, "encode": time.perf_counter() - fitted}
    quarantine = (*table.quarantine, *looked.quarantine, *bad, *lost)
    chosen = tuple(changed_settings(config))
    return Prepared(
        table, schema, parts, store, (*notes, *lost_notes), quarantine, seconds, window, chosen, audited
    )


def looked_at(table: Tabular, predict: Sequence[str], given: Sequence[str]) -> Examination:
    """Which rows and columns to use, and what there is to say; all windows of a series are used."""
    if isinstance(table, WindowTable):
        return Examination(np.arange(len(table), dtype=np.int64), tuple(given), (), ())
    return examine(table, predict, given)


def parted(table: Tabular, config: RunConfig, stratify: Values | None, rows: Rows) -> Split:
    """The split of the rows; windows bring theirs with them."""
    if isinstance(table, WindowTable):
        train, validation, test = (np.flatnonzero(table.parts == part) for part in range(3))
        return Split(train, validation, test)
    return split(table, config.data, stratify, config.seed, rows)


def default_target(table: Tabular) -> tuple[str, ...]:
    """The column to predict when the user names none: the label of a folder of files, else an error."""
    if table.key_name == "file" and "label" in table.names:
        return ("label",)
    raise DataError(
        f"Say which column to predict: --predict NAME. "
        f"{table.describe()} has {', '.join(map(repr, table.names))}."
    )


def fit_schema(
    table: Tabular, kinds: Mapping[str, str], given: Sequence[str], predict: Sequence[str],
    train: Rows, options: DataConfig,
) -> Schema:  # fmt: skip
    """Columns that learned from training rows only."""
    rows = spread(train, MOST_FITTED)

    def side(names: Sequence[str], options: DataConfig) -> tuple[Column, ...]:
        return tuple(fit_column(name, kinds[name], table.values(name, rows), options) for name in names)

    learned = options.model_copy(update={"tokenizer": None})  # what is written has tokens of its own
    return Schema(side(given, options), side(predict, learned))


def reading(config: RunConfig) -> DataConfig:
    """How columns are read: texts with the tokenizer of the published weights, where there are any."""
    data, weights = config.data, config.model.weights
    if data.tokenizer or not weights:
        return data
    return data.model_copy(update={"tokenizer": weights})


def spread(rows: Rows, most: int) -> Rows:
    """At most `most` of the rows, evenly spread."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def check_targets(table: Tabular, schema: Schema, train: Rows) -> None:
    """Raise `DataError` where there is nothing to learn: a single class, a constant number."""
    for column in schema.predict:
        if column.kind not in ("category", "number", "datetime"):
            continue
        values = table.values(column.name, train)
        present = values[~missing_mask(values)]
        distinct = {str(v) for v in present[:SAMPLE]}
        if isinstance(column, Category):
            distinct, alone = set(column.labels) or distinct, len(column.labels) < 2
        else:
            alone = len(distinct) == 1 and len(np.unique(present.astype(str))) == 1
        if alone:
            what = "one class" if column.kind == "category" else "one value"
            raise DataError(
                f"Column {column.name!r} has only {what} in the training rows, {next(iter(distinct))!r}, "
                f"so there is nothing to learn. Add rows of another, or predict another column."
            )


def describe(table: Tabular, schema: Schema, parts: Split, notes: Sequence[Note], console: Console) -> None:
    """Print what was decided, before training starts."""
    counts = ", ".join(
        f"{len(rows):,} {name}"
        for name, rows in (("train", parts.train), ("validation", parts.validation), ("test", parts.test))
    )
    console.say(f"{table.describe()}: {plural(len(table), 'row')} ({counts})")
    for line in schema.lines():
        console.say(line)
    for note in notes[:SHOWN_NOTES]:
        console.say(f"  {'! ' if note.level == 'warning' else '· '}{note.message}")
    if len(notes) > SHOWN_NOTES:
        console.say(f"  ... and {len(notes) - SHOWN_NOTES} more, in the report")


def class_weights(column: Column, store: Store, train: Rows) -> list[float]:
    """Weights that make every class count alike: mean 1 over the training rows."""
    targets: NDArray[Any] = np.asarray(store[column.name].take(train))
    if column.kind == "category":
        classes = len(column.to_dict()["labels"])
        counts = np.bincount(targets[(targets >= 0) & (targets < classes)], minlength=classes).astype(float)
        weights = counts.sum() / (len(counts) * np.maximum(counts, 1))
        return [float(w) for w in weights]
    share = np.nanmean(targets, axis=0)
    return [float(w) for w in 0.5 / np.clip(share, 1e-3, 1)]


def _without_unusable(
    table: Tabular, parts: Split, store: Store, options: DataConfig
) -> tuple[Split, tuple[Bad, ...]]:
    """The split without the rows that could not be encoded; too many of them are an error."""
    chosen = np.concatenate([parts.train, parts.validation, parts.test])
    lost = int((~store.usable[chosen]).sum())
    if lost > options.bad_rows * len(chosen):
        first = "\n".join(f"  {one.file}: {one.reason}" for one in store.bad[:5])
        raise DataError(
            f"{plural(lost, 'row')} of {len(chosen):,} in {table.describe()} could not be read, more than "
            f"the {options.bad_rows:.0%} that data.bad_rows allows:\n{first}\n"
            f"Mend or remove them, or allow more with --set data.bad_rows=0.5."
        )
    kept = [rows[store.usable[rows]] for rows in (parts.train, parts.validation, parts.test)]
    if not len(kept[0]):
        raise DataError(f"{table.describe()} has no readable training row.")
    return Split(kept[0], kept[1], kept[2], parts.notes), store.bad


def lost_targets(table: Tabular, schema: Schema, store: Store) -> tuple[list[Note], list[Bad]]:
    """What there is to say of rows whose target is a word that counts as missing, such as NA in a frame."""
    notes: list[Note] = []
    bad: list[Bad] = []
    for column in schema.predict:
        if column.kind not in ("category", "number", "datetime", "labels"):
            continue
        encoded: NDArray[Any] = np.asarray(store[column.name].take(slice(None)), np.float64)
        first = encoded.reshape(len(encoded), -1)[:, :1]
        gone = (first < 0 if column.kind == "category" else np.isnan(first)).any(1)
        rows = np.flatnonzero(gone & store.usable)
        rows = rows[~missing_mask(table.values(column.name, rows))] if len(rows) else rows
        if not len(rows):
            continue
        listed = rows[:MOST_LISTED]
        values = table.values(column.name, listed)
        message = (
            f"{plural(len(rows), 'row')} teach nothing of {column.name!r}: {str(values[0])[:40]!r} counts as "
            f"missing (the first: {table.where(int(rows[0]))})"
        )
        notes.append(Note("warning", message, column.name, len(rows)))
        keys = table.keys(listed)
        bad += [
            Bad(table.file(int(row)), key, column.name, "no target: it counts as missing", shorten(value))
            for row, key, value in zip(listed, keys, values, strict=True)
        ]
    return notes, bad
