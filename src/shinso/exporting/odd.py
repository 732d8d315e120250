"""Made-up rows that graphs trip over: nothing, extremes, what training never saw, odd sizes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import soundfile

from ..columns import Column
from ..columns.audio import Audio
from ..columns.base import object_array
from ..columns.category import Category
from ..columns.datetime import Datetime
from ..columns.image import Image
from ..columns.labels import Labels
from ..columns.number import Number
from ..columns.series import Series
from ..columns.text import Text
from ..errors import DataError
from ..schema import Schema

ROUNDS = 3  # times that every odd value of the richest column stands in a row
TYPICAL = 0.5  # share of the cells in the last rounds that are usual ones
LONG = 4000  # characters of a long text


def odd_rows(schema: Schema, seed: int = 0) -> dict[str, list[Any]]:
    """Rows by given column. In the first round all cells are odd, later about half of them."""
    rng = np.random.default_rng(seed)
    odd = {c.name: odd_values(c, rng) for c in schema.given}
    usual = {c.name: readable(c, list(c.examples(rng, 8))) or odd[c.name] for c in schema.given}
    rows = max(map(len, odd.values()))
    found: dict[str, list[Any]] = {c.name: [] for c in schema.given}
    for turn in range(ROUNDS):
        for row in range(rows):
            for place, name in enumerate(found):
                plain = turn and rng.random() < TYPICAL
                choice = usual[name] if plain else odd[name]
                found[name].append(choice[(row + turn * (place + 1)) % len(choice)])
    return found


def odd_values(column: Column, rng: np.random.Generator) -> list[Any]:
    """What a value of a column may be at its worst; only what the column itself can read."""
    made: list[Any] = [None]
    if isinstance(column, Number):
        made += [column.low, column.high, 0.0, 1e30, -1e30, 1e-30, column.mean + 7 * column.std, "3.5"]
        made += [float("nan"), -0.0, 5e-324, -1e15]
    elif isinstance(column, Category):
        made += [*column.labels[:1], *column.labels[-1:], "\u672a\u77e5 never seen", "", 1e9]
    elif isinstance(column, Labels):
        made += [[], list(column.labels), list(column.labels[:1]), ["never seen"]]
    elif isinstance(column, Datetime):
        made += ["1900-01-01", "2099-12-31 23:59:59", "2024-02-29"]
    elif isinstance(column, Text):
        made += ["", " ", "a", "\U0001f600\U0001f1ef\U0001f1f5", "\u65e5\u672c\u8a9e\u306e\u6587", "\x00\t\n"]
        made += ["word " * (LONG // 5), "a" * LONG, " ".join(map(str, rng.integers(0, 10**9, 200).tolist()))]
    elif isinstance(column, Image):
        sizes = ((1, 1), (93, 7), (7, 93), (column.height, column.width), (2 * column.height, column.width))
        made += [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
        made += [np.full((9, 9, 3), value, np.uint8) for value in (0, 255)]
        made += [
            rng.integers(0, 256, size, np.uint8)
            for size in ((31, 17), (31, 17, 1), (31, 17, 4), (1031, 777, 3))
        ]
    elif isinstance(column, Series):
        made += _series(column, rng)
    elif isinstance(column, Audio):
        made += [_silence(column, samples) for samples in (1, 100, 2 * column.length + 1)]
    return readable(column, [*made, *column.examples(rng, 4)])


def _silence(column: Audio, samples: int) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.zeros(samples, np.float32), column.rate, format="WAV", subtype="FLOAT")
    return out.getvalue()


def _series(column: Series, rng: np.random.Generator) -> list[Any]:
    usual = max(column.length, 2)
    mean, std = np.asarray(column.mean), np.asarray(column.std)
    made: list[Any] = [
        rng.normal(size=(n, column.variables)) * std + mean for n in (1, 2, usual // 2 + 1, usual, 2 * usual)
    ]
    made += [np.tile(mean, (usual, 1)), np.tile(mean + 1e4 * std, (usual, 1))]
    made.append(np.full((usual, column.variables), np.nan))
    holes = made[3].copy()
    holes[::2] = np.nan
    return [*made, holes]


def readable(column: Column, values: list[Any]) -> list[Any]:
    """Those that the column can encode: the others are refused before there is a network."""
    kept = []
    for value in values:
        try:
            column.encode_many(object_array([value]))
        except DataError:
            continue
        kept.append(value)
    return kept
