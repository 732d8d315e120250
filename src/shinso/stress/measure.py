"""The verb `robustness`: the main metric against the strength of attacks and corruptions, with intervals.

A verb of its own and not a flag of `evaluate`: its result is a family of curves with costs of their own, not
another number of the same kind, and `evaluate` keeps one meaning.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..attacks import attackable, attacked
from ..columns import Column
from ..columns.base import missing_mask, object_array
from ..console import Console
from ..data.loader import Loader
from ..data.sources import Source
from ..data.store import Dense, Ragged, Store
from ..data.table import Table
from ..errors import DataError, SettingError, did_you_mean
from ..evaluation import calibrated, labels_of, predict_rows, require_columns, truth_of
from ..files import write_atomic, write_json
from ..heads import Loss
from ..loop import Batch, to_tensors
from ..metrics import MAIN, evaluate_predictions, lower_is_better
from ..plan import Plan
from ..preparing import encode_given, spread
from ..randomness import derive, generator
from ..reporting.plain import robustness_page
from ..run import RunDirectory
from .worse import CORRUPTIONS

ATTACKS = {"fgsm": 1, "pgd": 10}  # steps
SIZES = (0.0, 2 / 255, 4 / 255, 8 / 255, 16 / 255, 32 / 255)  # of attacks, as shares
STRENGTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # of corruptions
ROWS, BATCH = 500, 128
MEASURED = ("category", "labels", "number")  # kinds of output
FOLDER = "robustness"


class Bench:
    """Rows with their truth, measured again and again under changed inputs."""

    def __init__(self, run: RunDirectory, table: Table, rows: NDArray[np.int64], plan: Plan) -> None:
        self.run, self.plan, self.network = run, plan, run.network.to(plan.device)
        self.column: Column = run.schema.predict[0]
        self.given = {c.name: table.values(c.name, rows) for c in run.schema.given}
        part = table.take(rows)
        self.store = encode_given(part, tuple(run.schema), Console(quiet=True))
        encoded = self.store[self.column.name].take(slice(None))
        self.truth = truth_of(self.column, part.values(self.column.name), encoded)
        self.rows = np.flatnonzero(self.store.usable)

    def measured(self, store: Store) -> dict[str, Any]:
        """The main metric of the first predicted column with its interval."""
        loader = Loader(store, self.run.schema.given, self.rows, BATCH)
        return self.judged(predict_rows(self.network, self.run.schema, loader, self.plan)[self.column.name])

    def judged(self, prediction: Any) -> dict[str, Any]:
        """Predictions of the rows against the truth."""
        prediction = calibrated(self.column, prediction, self.run.calibration)
        truth = np.asarray(self.truth)[self.rows]
        found = evaluate_predictions(self.column.kind, truth, prediction, labels_of(self.column))
        metric: dict[str, Any] = found["metrics"][MAIN[self.column.kind]]
        return {key: metric[key] for key in ("value", "low", "high")}

    def corrupted(self, name: str, strength: float) -> dict[str, Any]:
        """The metric when every column that can be is made worse."""
        columns = dict(self.store.columns)
        for column in self.run.schema.given:
            change = CORRUPTIONS.get(column.kind, {}).get(name)
            if change is None:
                continue
            rng = np.random.default_rng(derive(self.run.config.seed, name, column.name))
            raw = self.given[column.name]
            gone = missing_mask(raw)
            values = [v if g else change(column, v, strength, rng) for v, g in zip(raw, gone, strict=True)]
            arrays = column.encode_many(object_array(values))
            columns[column.name] = kept(arrays)
        return self.measured(Store(columns, self.store.usable))

    def losses(self, batch: Batch) -> Mapping[str, Loss]:
        """What an attack raises."""
        return self.network.losses(batch, len(next(iter(batch.values()))))

    def attacked(self, steps: int, size: float) -> dict[str, Any]:
        """The metric when numbers are changed by at most `size` against the network."""
        schema, found = self.run.schema, []
        ranges, draw = attackable(schema.given), generator(self.run.config.seed, "attack", steps)
        for start in range(0, len(self.rows), BATCH):
            rows = self.rows[start : start + BATCH]
            batch = to_tensors(Loader(self.store, tuple(schema), rows, BATCH).take(rows), self.plan.device)
            if size:
                start_at = draw if steps > 1 else None
                batch = attacked(self.losses, batch, ranges, size, steps=steps, generator=start_at)
            with torch.inference_mode():
                found.append(self.network.predict(batch, len(rows))[self.column.name].float().cpu().numpy())
        stacked = np.concatenate(found)
        if self.column.kind == "number":
            stacked = np.array([self.column.decode(value) for value in stacked])
        return self.judged(stacked)


def kept(arrays: Any) -> Dense | Ragged:
    """Encoded values as a column of a store."""
    if isinstance(arrays, np.ndarray):
        return Dense(arrays)
    counts = np.array([len(a) for a in arrays], np.int64)
    return Ragged(np.concatenate(arrays), np.cumsum(counts) - counts, counts)


def robustness(
    run: RunDirectory, source: Source, against: Sequence[str], most: int, out: Path | None, console: Console
) -> dict[str, Any]:
    """Measure a run under everything that applies to its columns, or what is named in `against`."""
    started = time.perf_counter()
    bench = prepared_bench(run, source, most)
    wanted = chosen(run.schema.given, against)
    curves = []
    with console.progress("making it harder") as advance:
        for i, name in enumerate(wanted):
            advance(i, len(wanted), name)
            curves.append({"against": name, "points": list(points(bench, name))})
    found: dict[str, Any] = {
        "run": run.path.name, "column": bench.column.name, "metric": MAIN[bench.column.kind],
        "rows": len(bench.rows), "curves": curves, "words": words(curves, MAIN[bench.column.kind]),
        "seconds": round(time.perf_counter() - started, 3),
    }  # fmt: skip
    folder = out or run.path / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "robustness.json", found)
    write_atomic(folder / "page.html", robustness_page(found))
    return {**found, "page": str(folder / "page.html")}


def prepared_bench(run: RunDirectory, source: Source, most: int) -> Bench:
    """The rows to measure on, with everything that can be wrong said before anything is computed."""
    column = run.schema.predict[0]
    if run.data["window"] is not None or column.kind not in MEASURED:
        raise SettingError(
            f"Robustness is measured for outputs of type {', '.join(MEASURED)}; {column.name!r} is "
            f"{'a forecast' if run.data['window'] is not None else f'of type {column.kind}'}."
        )
    table = Table.read(source, run.config.data)
    require_columns(run.schema, table.names, targets=True)
    if not len(table):
        raise DataError(f"{table.describe()} has no rows to measure on.")
    return Bench(run, table, spread(np.arange(len(table)), most), run.plan)


def chosen(given: Sequence[Column], against: Sequence[str]) -> list[str]:
    """What applies to the columns: attacks where numbers enter, corruptions by kind."""
    known = list(ATTACKS) if attackable(given) else []
    known += list(dict.fromkeys(name for c in given for name in CORRUPTIONS.get(c.kind, {})))
    for name in against:
        if name not in known:
            every = {*ATTACKS, *(n for named in CORRUPTIONS.values() for n in named)}
            why = "does not apply to what this run reads" if name in every else "is not known"
            raise SettingError(
                f"{name!r} {why}. {did_you_mean(name, known)} These apply: {', '.join(known)}."
            )
    return list(against) or known


def points(bench: Bench, name: str) -> Iterator[dict[str, Any]]:
    """The curve of one attack or corruption."""
    for strength in SIZES if name in ATTACKS else STRENGTHS:
        measured = (
            bench.attacked(ATTACKS[name], strength) if name in ATTACKS else bench.corrupted(name, strength)
        )
        yield {"strength": round(strength, 6), **measured}


def words(curves: Sequence[Mapping[str, Any]], metric: str) -> list[str]:
    """What a person should take away: where the interval at the end leaves that of the beginning behind."""
    said, sign = [], -1 if lower_is_better(metric) else 1
    for curve in curves:
        clean, *rest = curve["points"]
        if clean["low"] is None:
            continue
        least = clean["low"] if sign > 0 else clean["high"]
        end = "high" if sign > 0 else "low"
        broken = [p for p in rest if p[end] is not None and sign * p[end] < sign * least]
        if broken:
            value, strength = broken[0]["value"], broken[0]["strength"]
            said.append(
                f"{curve['against']}: {metric} {clean['value']:.3f} becomes {value:.3f} from strength "
                f"{strength:.2g} on."
            )
        else:
            said.append(f"{curve['against']}: no real difference up to strength {rest[-1]['strength']:.2g}.")
    return said


def lines(found: Mapping[str, Any]) -> list[str]:
    """For a terminal."""
    head = f"{found['column']}: {found['metric']} on {found['rows']:,} rows, by strength"
    return [head, *(f"  {said}" for said in found["words"]), f"curves and page: {found['page']}"]
