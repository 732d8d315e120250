"""Proof that an export answers as its run does: on rows of the run, on odd rows, alone and in batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..answers import calibrated, decoded, labels_of
from ..columns import Column
from ..data.loader import Loader
from ..data.split import Split
from ..data.store import Store
from ..data.tabular import Rows, Tabular
from ..errors import RunError
from ..evaluation import truth_of
from ..exported import encoded, rows_apart
from ..metrics import MAIN, score
from ..schema import Schema
from .odd import ROUNDS, odd_rows

BOUNDS = {  # by precision: an output may differ by absolute + relative * its size
    "fp32": {"absolute": 1e-4, "relative": 1e-4},
    "bf16": {"absolute": 0.05, "relative": 0.02},
}
# Most that the main metric may move, of its size where that is above 1; or one row's worth.
MOVE = {"fp32": 1e-3, "bf16": 5e-3}
BATCH, ODD_BATCH, LONG_BATCH = 32, 8, 129  # rows; real, odd, and once so many of the shorter real ones
SECONDS = 60.0  # that real rows are compared for; at least LEAST of them
LEAST = 32
ALONE = 8  # real rows that the export computes alone too, beside the same rows in a batch

# Of embeddings, in deviations: those of bf16 are compared with each other only, so that they may be rough.
NEAR = BOUNDS | {"bf16": {"absolute": 0.25, "relative": 0.05}}
VECTORS = "\0vectors"  # the embeddings, among arrays by column; no column is called so
Arrays = Mapping[str, NDArray[Any]]
Answer = Callable[[Arrays], dict[str, NDArray[Any]]]


@dataclass(frozen=True)
class Rehearsal:
    """Rows on which an export has to prove itself."""

    table: Tabular
    store: Store
    rows: Rows
    targets: bool  # whether the predicted columns are in the store
    split: Split | None = None  # where the rows are of the data that the run was trained on


@dataclass
class Proof:
    """What was compared, and how far it was apart; by predicted column."""

    schema: Schema
    precision: str = "fp32"
    worst: dict[str, float] = field(default_factory=dict)
    alone: dict[str, float] = field(default_factory=dict)  # from the same rows in a batch
    rows: dict[str, int] = field(default_factory=dict)
    embedding: float | None = None  # its largest difference

    def compare(self, kind: str, labels: Sequence[str], torch: Arrays, export: Arrays) -> None:
        """Raise `RunError` that names row, column, output and both values where two batches differ."""
        for column in self.schema.predict:
            wanted, found = torch[column.name], export[column.name]
            if wanted.shape != found.shape:
                raise RunError(
                    f"The export gives {column.name!r} in the shape {found.shape}, the run {wanted.shape} "
                    f"({labels[0]} and what is with it). Nothing was written. {REMEDY[self.precision]}"
                )
            apart = difference(wanted, found, BOUNDS[self.precision])
            if (apart > 1).any():
                raise RunError(self._said(column, labels, wanted, found, apart))
            usual = np.abs(wanted.astype(np.float64) - found)
            self.worst[column.name] = max(self.worst.get(column.name, 0.0), _largest(usual))
        if VECTORS in torch:
            self._compare_vectors(labels, torch[VECTORS], export[VECTORS])
        self.rows[kind] = self.rows.get(kind, 0) + len(labels)

    def beside(self, labels: Sequence[str], alone: Arrays, batch: Arrays) -> None:
        """Raise `RunError` where the export answers rows alone otherwise than the same rows in a batch."""
        for column in self.schema.predict:
            one, other = alone[column.name], batch[column.name]
            apart = difference(one, other, BOUNDS[self.precision])
            if (apart > 1).any():
                row = labels[int(apart.reshape(len(labels), -1).max(1).argmax())]
                raise RunError(
                    f"The export answers {row} alone otherwise than in a batch of {BATCH} (output "
                    f"{column.name!r}), so nothing was written. {REMEDY[self.precision]}"
                )
            self.alone[column.name] = _largest(np.abs(one.astype(np.float64) - other))

    def _compare_vectors(self, labels: Sequence[str], wanted_BE: Any, found_BE: Any) -> None:
        apart_B = rows_apart(wanted_BE, found_BE, NEAR[self.precision])
        if (apart_B > 1).any():
            row = int(apart_B.argmax())
            far = _largest(np.abs(wanted_BE[row] - found_BE[row]))
            raise RunError(
                f"The export does not give the embedding that the run gives, so nothing was written. "
                f"{labels[row]}: they are apart by {far:.3g}. {REMEDY[self.precision]}"
            )
        self.embedding = max(self.embedding or 0.0, _largest(np.abs(wanted_BE - found_BE)))

    def _said(
        self, column: Column, labels: Sequence[str], wanted: Any, found: Any, apart: NDArray[np.float64]
    ) -> str:
        place = tuple(int(i) for i in np.unravel_index(int(apart.argmax()), apart.shape))
        classes, bound = labels_of(column), BOUNDS[self.precision]
        where = "" if len(place) == 1 else f", place {place[1:]}"
        if len(place) > 1 and len(classes) == wanted.shape[1]:
            where = f": {classes[place[1]]}" + ("" if len(place) == 2 else f", place {place[2:]}")
        return (
            f"The export does not answer as the run does, so nothing was written. {labels[place[0]]}, output "
            f"{column.name!r}{where}: the run gives {wanted[place]:.9g}, the export {found[place]:.9g}; they "
            f"may differ by {bound['absolute']:g} + {bound['relative']:g} of the value. "
            f"{REMEDY[self.precision]}"
        )


REMEDY = {
    "fp32": "Try another target (--to onnx, torch or openvino), and tell the makers of shinso which run it "
    "was.",
    "bf16": "Export it in fp32: leave --precision bf16 out.",
}


def difference(
    wanted: NDArray[Any], found: NDArray[Any], bound: Mapping[str, float] = BOUNDS["fp32"]
) -> NDArray[np.float64]:
    """How far two arrays are apart, in units of the bound; infinity where only one is not a number.

    >>> difference(np.array([1.0, np.nan]), np.array([1.0004, np.nan])).round(6).tolist()
    [2.0, 0.0]
    """
    wide, other = wanted.astype(np.float64), found.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(wide - other) / (bound["absolute"] + bound["relative"] * np.abs(wide))
    apart = np.where(wide == other, 0.0, apart)
    apart = np.where(np.isnan(wide) & np.isnan(other), 0.0, apart)
    return np.where(np.isnan(apart), np.inf, apart)


def prove(
    schema: Schema,
    rehearsal: Rehearsal,
    run: Answer,
    export: Answer,
    encode: Callable[[Any], Arrays],
    precision: str = "fp32",
) -> dict[str, Any]:
    """Figures of the comparison, as `export.json` keeps them. `encode` is that of the export.

    Raises `RunError` where they are apart.
    """
    proof = Proof(schema, precision)
    odd = odd_rows(schema)
    labels = [f"Made-up row {i + 1} ({_shown(odd, i)})" for i in range(len(next(iter(odd.values()))))]
    for taken in _batches(len(labels)):
        part = {name: [values[i] for i in taken] for name, values in odd.items()}
        own = {c.name: encoded(c, part[c.name]) for c in schema.given}
        proof.compare("odd", [labels[i] for i in taken], run(own), export(encode(part)))
    metrics = _real(schema, rehearsal, run, export, proof)
    return {
        "rows": proof.rows, "largest_difference": proof.worst, "alone_and_in_a_batch": proof.alone,
        "bounds": BOUNDS[precision], "metrics": metrics, "batches": [1, ODD_BATCH, BATCH, LONG_BATCH],
        "embedding": proof.embedding,
    }  # fmt: skip


def _batches(count: int) -> Iterator[list[int]]:
    """Every row of the first round alone, then all in small batches of unequal rows."""
    yield from ([i] for i in range(count // ROUNDS))
    for start in range(0, count, ODD_BATCH):
        yield list(range(start, min(count, start + ODD_BATCH)))


def _shown(odd: Mapping[str, list[Any]], row: int) -> str:
    cells = []
    for name, values in list(odd.items())[:4]:
        value = values[row]
        text = f"array of {value.shape}" if isinstance(value, np.ndarray) else repr(value)
        cells.append(f"{name}={text if len(text) <= 40 else text[:37] + '...'}")
    return ", ".join(cells)


def _real(schema: Schema, rehearsal: Rehearsal, run: Answer, export: Answer, proof: Proof) -> dict[str, Any]:
    """Real rows in batches; gives the main metric of both by predicted column."""
    started = time.perf_counter()
    done: list[Rows] = []
    sides: tuple[list[Arrays], list[Arrays]] = ([], [])
    loader = Loader(rehearsal.store, schema.given, rehearsal.rows, BATCH)
    for rows, arrays in loader.in_order():
        if not done:  # of the shorter rows, for one of long texts would fill the memory
            long = loader.take(np.resize(rows, LONG_BATCH))
            proof.compare(
                "long", [_named(rehearsal.table, int(rows[0]))] * LONG_BATCH, run(long), export(long)
            )
        outputs = run(arrays), export(arrays)
        named = [_named(rehearsal.table, int(row)) for row in rows]
        proof.compare("real", named, *outputs)
        if not done:
            _alone(loader, rows[:ALONE], named, outputs[1], export, proof)
        done.append(rows)
        for side, output in zip(sides, outputs, strict=True):
            side.append(output)
        if time.perf_counter() - started > SECONDS and sum(map(len, done)) >= LEAST:
            break
    if not rehearsal.targets or not done:
        return {}
    places = np.concatenate(done)
    return {c.name: _moved(c, rehearsal, places, sides, proof.precision) for c in schema.predict}


def _alone(
    loader: Loader, rows: Rows, labels: Sequence[str], batch: Arrays, export: Answer, proof: Proof
) -> None:
    """The first rows of a batch once more, one by one."""
    single = [export(loader.take(rows[i : i + 1])) for i in range(len(rows))]
    alone = {name: np.concatenate([one[name] for one in single]) for name in batch}
    together = {name: values[: len(rows)] for name, values in batch.items()}
    proof.beside(labels[: len(rows)], alone, together)


def _named(table: Tabular, row: int) -> str:
    return f"The row {table.where(row)}"


def _moved(
    column: Column,
    rehearsal: Rehearsal,
    places: Rows,
    sides: tuple[list[Arrays], list[Arrays]],
    precision: str,
) -> dict[str, Any]:
    """The main metric of both sides; `RunError` where it moved."""
    taken = rehearsal.store[column.name].take(places)
    truth = truth_of(column, rehearsal.table.values(column.name, places), taken)
    name, found = MAIN[column.kind], []
    whole = [np.concatenate([one[column.name] for one in side]) for side in sides]
    for outputs in whole:
        raw = decoded(column, outputs)
        found.append(score(column.kind, truth, calibrated(column, raw, {}), labels_of(column))[name])
    run, export = found
    if run is not None and export is not None:
        one = 1 / len(places) if column.kind == "category" else 0.0
        allowed = max(MOVE[precision] * max(1.0, abs(run)), one)
        if abs(run - export) > allowed * (1 + 1e-9):
            raise RunError(
                f"The export does not answer as the run does, so nothing was written: {name} of "
                f"{column.name!r} over {len(places)} rows is {run:.6g} with the run, {export:.6g} with the "
                f"export. {REMEDY[precision]}"
            )
    facts = {"metric": name, "run": run, "export": export, "rows": len(places)}
    if column.kind == "category":
        facts["other_labels"] = int((whole[0].argmax(1) != whole[1].argmax(1)).sum())
    return facts


def _largest(apart: NDArray[np.float64]) -> float:
    known = apart[np.isfinite(apart)]
    return float(known.max()) if known.size else 0.0
