"""A few rows of some data, split and typed as all of them would be: what a pre-flight walks with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .columns.base import missing_mask
from .config import RunConfig
from .data.loader import Rows
from .data.split import Split
from .data.table import Table
from .data.values import codes_of
from .data.windows import window_parts
from .forecasting import Window
from .preparing import Question, default_target, looked_at, parted, spread
from .schema import SAMPLE, choose_columns, infer_schema

LOOKED, LOOKED_FILES = 2_048, 384  # training rows that are read; fewer where a row is a file
HELD = 128  # rows of validation, and of test
OF_A_CLASS, CLASSES = 2, 500  # rows that each of so many classes has at least
BLOCK = 2_000  # rows of a series that are read at least


@dataclass(frozen=True)
class Drawn:
    """Rows with their parts and types, and what is known of all the others."""

    table: Table
    question: Question  # with the columns and types that all rows speak for
    parts: Split | None  # of the drawn rows; None where windows bring theirs
    counts: tuple[int, int, int]  # training, validation and test rows, of all
    unseen: tuple[str, ...] = ()  # labels of held-out rows that no training row has
    unseen_rows: int = 0


def draw(table: Table, question: Question, config: RunConfig) -> Drawn:
    """Some rows of a table, evenly spread over each part; of a series a stretch."""
    window = Window.of(question.past, question.ahead, question.predict, question.given, config.data.time)
    return draw_rows(table, question, config) if window is None else stretch(table, question, window, config)


def draw_rows(table: Table, question: Question, config: RunConfig) -> Drawn:
    """The same choice of columns, rows, types and parts that training makes, then some rows of each part."""
    predict = question.predict or default_target(table)
    given, predict = choose_columns(table.names, predict, question.given)
    looked = looked_at(table, predict, given)
    if question.given is None:
        given = looked.given
    names = (*given, *predict)
    samples = {name: table.values(name, spread(looked.rows, SAMPLE)) for name in names}
    kinds = infer_schema(samples, given, predict, question.types)
    classes = kinds[predict[0]] == "category"
    stratify = table.values(predict[0], looked.rows) if classes else None
    parts = parted(table, config, stratify, looked.rows)
    files = any(isinstance(value, Path) for name in given for value in samples[name][:10])
    train = spread(parts.train, LOOKED_FILES if files else LOOKED)
    unseen, rows = unseen_labels(table, predict[0], parts) if classes else ((), 0)
    if classes:
        train = np.union1d(train, some_of_each(table, predict[0], parts.train))
    drawn = (train, spread(parts.validation, HELD), spread(parts.test, HELD))
    chosen = np.sort(np.concatenate(drawn))
    train, validation, test = (np.searchsorted(chosen, part).astype(np.int64) for part in drawn)
    return Drawn(
        table.take(chosen),
        replace(question, predict=predict, given=given or ("nothing",), types=kinds),
        Split(train, validation, test),
        (len(parts.train), len(parts.validation), len(parts.test)),
        unseen,
        rows,
    )


def unseen_labels(table: Table, target: str, parts: Split) -> tuple[tuple[str, ...], int]:
    """Labels of validation and test rows that no training row has, and how many rows have one."""
    known = set(table.values(target, parts.train).tolist())
    held = table.values(target, np.concatenate([parts.validation, parts.test]))
    new = [value for value in held[~missing_mask(held)].tolist() if value not in known]
    return tuple(dict.fromkeys(map(str, new))), len(new)


def some_of_each(table: Table, target: str, rows: Rows) -> Rows:
    """Rows with which every class can be learned."""
    codes = codes_of(table.values(target, rows))
    if codes is None or codes.max(initial=-1) >= CLASSES:
        return rows[:0]
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(int(codes.max(initial=-1)) + 1))
    wanted = np.unique((starts[:, None] + np.arange(OF_A_CLASS)).clip(max=len(rows) - 1))
    return np.sort(rows[order[wanted]])


def stretch(table: Table, question: Question, window: Window, config: RunConfig) -> Drawn:
    """The last rows of a series, enough for windows of every part."""
    cut = window.past + window.ahead
    _, part_n = window_parts(len(table), window.past, window.ahead, config.data.split)
    counts = np.bincount(part_n, minlength=3).tolist()
    rows = min(len(table), max(BLOCK, 2 * cut + 25 * window.ahead))
    last = table.take(np.arange(len(table) - rows, len(table)))
    return Drawn(last, question, None, (counts[0], counts[1], counts[2]))


def cut_down(parts: Split, batches: int, batch_size: int, whole: int, held: int = HELD) -> Split:
    """A split with training rows for so many batches (rows come again where too few were read)."""
    wanted = max(1, min(batches * batch_size, whole))
    train = parts.train[:: max(1, len(parts.train) // wanted)][:wanted]
    return Split(np.resize(train, wanted), spread(parts.validation, held), spread(parts.test, held))


def listed(labels: Sequence[str], most: int = 5) -> str:
    """Some labels for a sentence."""
    shown = ", ".join(repr(label[:40]) for label in labels[:most])
    return f"{shown} and {len(labels) - most} more" if len(labels) > most else shown
