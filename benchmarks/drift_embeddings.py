"""The check of the embeddings: false alarms over 20 quiet days, and whether drift is found on its day.

    python benchmarks/drift_embeddings.py --data FOLDER [--repeats 40] [--only images,texts] [--work FOLDER]

A network is trained and exported. A repeat draws the reference and the days anew from rows that it did not
learn from; then a day is changed. All checks of the monitor run, those of the embeddings among them; what the
embeddings say alone is told too. Writes one line of JSON a measurement.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from drift import PRIVATE, Kept, said

import shinso
from shinso.columns import Column
from shinso.columns.base import object_array
from shinso.columns.image import Image
from shinso.exported import Export, open_export
from shinso.schema import Schema
from shinso.stress.worse import typos
from shinso.watching import daily, embeddings
from shinso.watching.condensing import condensed
from shinso.watching.daily import Check, Day
from shinso.watching.drift import holm
from shinso.watching.embeddings import Known
from shinso.watching.monitor import DAYS, LEAST_EFFECT, LEVEL
from shinso.watching.sampling import MOST, Vector, halved
from shinso.watching.store import Entry

REFERENCE, PORTRAITS, BATCH = 1000, 500, 64
SIZES = (50, 200)  # rows a day


@dataclass
class Stream:
    """Rows as the log keeps them: condensed, with the vector of each."""

    kept: Kept
    vectors: Any  # (n, E) float16

    def day(self, rows: Sequence[int], name: str) -> tuple[Kept, list[Vector]]:
        """Some rows as a day, of which the log keeps as many vectors as it does."""
        found = [Vector("s", f"{name}-{i}", f"{name}-{i}", 0.0, 0.0, self.vectors[i].tobytes()) for i in rows]
        return [self.kept[i] for i in rows], found[:MOST]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--only", default="images,texts")
    parser.add_argument("--work", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as own:
        for name in asked.only.split(","):
            for found in MEASURED[name](asked.data, asked.repeats, asked.work or Path(own)):
                print(json.dumps(found), flush=True)


def images(folder: Path, repeats: int, work: Path) -> Iterator[dict[str, Any]]:
    """Fashion-MNIST; then 20% darker, and turned upside down."""
    rng = np.random.default_rng(3)
    parts = {}
    for part, count in (("train", 6000), ("test", 6400)):
        files = sorted((folder / "fashion_mnist" / part).rglob("*.png"))
        parts[part] = [files[i] for i in rng.permutation(len(files))[:count].tolist()]
    column = Image(name="image").fit(object_array(parts["train"][:1000]))
    pixels = {part: [column.encode(path) for path in paths] for part, paths in parts.items()}
    data = {"image": pixels["train"], "label": [path.parent.name for path in parts["train"]]}
    export = exported(work / "images", data, "label", "image")
    test = pixels["test"]
    changed = {
        "20% darker": [(p * 0.8).astype(np.uint8) for p in test[-400:]],
        "upside down": [np.ascontiguousarray(p[::-1]) for p in test[-400:]],
    }
    yield from measured(export, "fashion_mnist", test[:6000], changed, repeats)


def texts(folder: Path, repeats: int, work: Path) -> Iterator[dict[str, Any]]:
    """Film reviews; then Japanese news, e-mail, and reviews with typos."""
    rng = np.random.default_rng(6)
    rows = table(folder / "sst2" / "train.csv")
    rows = [rows[i] for i in rng.permutation(len(rows)).tolist()]
    data = {name: [row[name] for row in rows[:-2400]] for name in ("sentence", "sentiment")}
    export = exported(work / "texts", data, "sentiment", "sentence")
    held = [row["sentence"] for row in rows[-2400:]]
    held += [row["sentence"] for name in ("dev", "test") for row in table(folder / "sst2" / f"{name}.csv")]
    column = export.schema["sentence"]
    changed = {
        "Japanese news": [row["title"] for row in table(folder / "livedoor_news.csv")[:400]],
        "e-mail": [row["body"] for row in table(folder / "aeslc.csv")[:400]],
        "a typo in a tenth of the letters": [typos(column, text, 0.5, rng) for text in held[-400:]],
    }
    yield from measured(export, "sst2", held[:-400], changed, repeats)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def exported(place: Path, data: Mapping[str, Any], predict: str, given: str) -> Export:
    """A quick network of the data, as an export; that of an earlier call where there is one."""
    if not (place / "manifest.json").is_file():
        shinso.train(
            dict(data), predict=predict, given=given, effort="quick", minutes=1.5, out=place, quiet=True,
        )  # fmt: skip
    if not (place / "exports" / "onnx").exists():
        shinso.export(place, data=dict(data), quiet=True)
    return open_export(place / "exports" / "onnx", threads=1)


def stream(export: Export, column: Column, values: Sequence[Any]) -> Stream:
    made = [
        export.embedded(export.encode({column.name: list(values[at : at + BATCH])}))[1]
        for at in range(0, len(values), BATCH)
    ]
    return Stream([{column.name: condensed(column, value)} for value in values], halved(np.concatenate(made)))


def measured(
    export: Export, data: str, own: Sequence[Any], changed: Mapping[str, Sequence[Any]], repeats: int
) -> Iterator[dict[str, Any]]:
    """Repeats of 20 quiet days and of one day of each change."""
    (column,) = export.schema.given
    rng, quiet = np.random.default_rng(0), stream(export, column, own)
    others = {what: stream(export, column, values) for what, values in changed.items()}
    for size in SIZES:
        counts, started = dict[tuple[str, bool], int](), time.perf_counter()
        wanted = min(size, (len(own) - REFERENCE) // DAYS)
        for _ in range(repeats):
            order = rng.permutation(len(own)).tolist()
            known = reference(column, quiet, order)
            days = [quiet.day(order[REFERENCE + d * wanted :][:wanted], str(d)) for d in range(DAYS)]
            alarms = watched(column, known, days)
            for alone in (False, True):
                counts["", alone] = counts.get(("", alone), 0) + any(alarms[alone])
            for what, other in others.items():
                rows = rng.permutation(len(other.kept))[:wanted].tolist()
                alarms = watched(column, known, [other.day(rows, what)])
                for alone in (False, True):
                    counts[what, alone] = counts.get((what, alone), 0) + alarms[alone][0]
        seconds = (time.perf_counter() - started) / repeats
        for (what, alone), count in counts.items():
            said_of = f"{what}, found on the day" if what else "false alarm in 20 quiet days"
            by = "the embeddings alone" if alone else "all checks"
            yield said(
                said_of, data, count, repeats, by=by, rows_a_day=wanted, seconds_a_repeat=round(seconds, 2)
            )


def reference(column: Column, quiet: Stream, order: Sequence[int]) -> tuple[dict[str, Any], Known]:
    values = [quiet.kept[i][column.name] for i in order[:PORTRAITS]]
    portraits = {column.name: {"kind": column.kind, "rows": PORTRAITS, "missing": 0, "values": values}}
    vectors = quiet.vectors[order[:REFERENCE]].astype(np.float32)
    return portraits, Known("s", column.name, "held-back rows", vectors, None)


def watched(
    column: Column, known: tuple[dict[str, Any], Known], days: Sequence[tuple[Kept, list[Vector]]]
) -> dict[bool, list[bool]]:
    """By day whether the monitor raises an alarm: with all checks, and (True) by the embeddings."""
    portraits, embedded = known
    schema, family = Schema((column,), ()), 3 * DAYS
    facts = {"columns": portraits, "answers": {}}
    made: list[Check] = []
    for i, (rows, vectors) in enumerate(days):
        entries = [Entry(str(j), 0.0, "m", "1", "answer", 200, 0.0, row, {}) for j, row in enumerate(rows)]
        day = Day(str(i), len(rows), entries)
        made += daily.checks(day, schema, facts, PRIVATE, LEVEL / family, lambda entry: True)
        one = embeddings.check(str(i), vectors, embedded, LEVEL / family)
        made += [] if one is None else [one]
    fallen = holm([c.found.p for c in made], LEVEL, family)
    alarms = [c for c, f in zip(made, fallen, strict=True) if f and c.found.effect >= LEAST_EFFECT]
    return {
        alone: [any(c.day == str(i) and (not alone or c.kind == embeddings.KIND) for c in alarms)
                for i in range(len(days))]
        for alone in (False, True)
    }  # fmt: skip


MEASURED: dict[str, Callable[[Path, int, Path], Iterator[dict[str, Any]]]] = {
    "images": images,
    "texts": texts,
}

if __name__ == "__main__":
    main()
