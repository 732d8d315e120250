"""A row as the log keeps it: small, and without what is private."""

from __future__ import annotations

import hashlib
import math
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..columns import Column, Value
from ..columns.base import is_missing
from ..columns.category import label_of
from ..columns.labels import Labels
from ..columns.number import parse_number
from ..errors import DataError, SettingError, did_you_mean
from ..files import sync_folder
from .portraits import digest, portrait_of

UNREADABLE = {"unreadable": True}
LONGEST = 200  # characters of a label
DIGITS = 6  # of the numbers in a portrait
HOW = ("hash", "drop")


@dataclass(frozen=True)
class Privacy:
    """Columns of which only a keyed hash is kept, and columns of which nothing is kept."""

    hashed: frozenset[str] = frozenset()
    dropped: frozenset[str] = frozenset()
    key: bytes = b""

    def hash(self, value: Value) -> str:
        """16 hexadecimal digits that tell equal values; without the key no value can be tried (BLAKE2b)."""
        return hashlib.blake2b(_text(value).encode(), key=self.key[:64], digest_size=8).hexdigest()


def privacy(wanted: str | Sequence[str], names: Sequence[str], key: Path | None = None) -> Privacy:
    """Read `email=drop,name=hash`. A key is made at `key` where there is none and one is needed.

    >>> sorted(privacy("email=drop, note=drop", ["email", "note", "age"]).dropped)
    ['email', 'note']
    """
    pairs = wanted.split(",") if isinstance(wanted, str) else list(wanted)
    by_way: dict[str, set[str]] = {way: set() for way in HOW}
    for pair in filter(None, (p.strip() for p in pairs)):
        name, equals, way = pair.rpartition("=")
        if not equals or way not in HOW:
            raise SettingError(f"A private column is given as name=hash or name=drop; received {pair!r}.")
        if name not in names:
            raise SettingError(f"There is no column {name!r} to keep private. {did_you_mean(name, names)}")
        by_way[way].add(name)
    if by_way["hash"] and key is None:
        raise SettingError(
            "Hashed columns need a place for their key. Name a local log, or drop the columns."
        )
    found = read_key(key) if by_way["hash"] and key is not None else b""
    return Privacy(frozenset(by_way["hash"]), frozenset(by_way["drop"]), found)


def read_key(path: Path) -> bytes:
    """The key at `path`; a fresh one, for its owner alone, where there is none."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        found = bytes.fromhex(path.read_text("ascii").strip())
        if len(found) < 16:
            raise SettingError(f"{path} holds no key. Restore it from a copy, or move it away.") from None
        return found
    found = secrets.token_bytes(32)
    with os.fdopen(handle, "w") as file:
        file.write(found.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
    return found


def condensed_row(columns: Sequence[Column], row: Mapping[str, Value], private: Privacy) -> dict[str, Any]:
    """By column: what is kept of a row. Fields that no column names are left out."""
    return {
        c.name: condensed(c, row[c.name], private)
        for c in columns
        if c.name in row and c.name not in private.dropped
    }


def condensed(column: Column, value: Value, private: Privacy = Privacy()) -> Any:
    """What is kept of one value, as JSON: None where it is missing, `UNREADABLE` where it cannot be read."""
    try:
        if is_missing(value):
            return None
        if column.name in private.hashed:
            return {"hash": private.hash(value)}
        return _kept(column, value)
    except (DataError, ValueError, TypeError, OverflowError):
        return dict(UNREADABLE)


def _kept(column: Column, value: Value) -> Any:
    if column.kind == "number":
        number = parse_number(value)
        if math.isinf(number):
            return dict(UNREADABLE)
        return None if math.isnan(number) else float(f"{number:.12g}")
    if column.kind == "category":
        label = label_of(value)
        return None if label is None else label[:LONGEST]
    if column.kind == "datetime":
        return column.show(value) or None
    if isinstance(column, Labels):
        return [label for label, on in zip(column.labels, column.encode(value), strict=True) if on > 0.5]
    found = portrait_of(column)
    if found is None:
        return dict(UNREADABLE)
    numbers = [float(f"{x:.{DIGITS}g}") if math.isfinite(x) else 0.0 for x in found.measure(column, value)]
    return {"portrait": numbers, "digest": digest(value)}


def condensed_answer(
    columns: Sequence[Column], answers: Mapping[str, Sequence[Any]], at: int, private: Privacy
) -> dict[str, Any]:
    """By predicted column: the answer, and how sure it is (the probability of its label, or the interval)."""
    found: dict[str, Any] = {}
    for c in columns:
        if c.name not in answers or c.name in private.dropped:
            continue
        answer = answers[c.name][at]
        found[c.name] = {"answer": condensed(c, answer, private)}
        sure = answers.get(f"{c.name}: {answer}")
        if sure is not None:
            found[c.name]["sure"] = round(float(sure[at]), 6)
        ends = [answers.get(f"{c.name} {end}") for end in ("low", "high")]
        if ends[0] is not None and ends[1] is not None and c.name not in private.hashed:
            found[c.name]["interval"] = [float(end[at]) for end in ends if end is not None]
    return found


def _text(value: Value) -> str:
    if isinstance(value, np.ndarray | bytes):
        return digest(value)
    label = label_of(value) if isinstance(value, str | int | float | bool | np.generic) else None
    return label if label is not None else str(value)
