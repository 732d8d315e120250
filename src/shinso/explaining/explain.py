"""The verb `explain`: rows with pictures and checks, and what the network looks at over all rows."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..console import Console
from ..data.loader import Loader
from ..data.sources import Source
from ..data.table import Table
from ..data.tabular import Tabular
from ..errors import DataError, SettingError
from ..evaluation import require_columns
from ..files import write_atomic, write_json
from ..forecasting import Window
from ..network import Network
from ..plan import Plan
from ..preparing import encode_given, spread
from ..randomness import derive, private_randomness
from ..reopening import reopened
from ..reporting.plain import explanation_page
from ..run import RunDirectory
from ..schema import Schema
from . import checks
from .game import Game, games_of
from .methods import METHODS, OTHERS, choose
from .nearest import nearest
from .overall import MOST_SHOWN, overall, permutation
from .pictures import draw
from .scoring import Floats, Scorer, scorer_of
from .seats import described

ROWS = 8  # that are explained where the user asks for no number
MOST_ROWS = 200  # that the view over all rows looks at
CHECKED = 8  # rows that are explained again to see whether the explanations hold
FOLDER = "explanations"  # in the run directory


@dataclass(frozen=True)
class Asked:
    """What the user wants explained."""

    method: str | None = None
    rows: int = ROWS
    column: str | None = None  # of several predicted ones
    out: Path | None = None


@dataclass
class Work:
    """Everything that the steps of one explanation share."""

    run: RunDirectory
    network: Network
    table: Tabular
    scorer: Scorer
    method: str
    plan: Plan
    console: Console

    @property
    def schema(self) -> Schema:
        """The columns of the run."""
        return self.run.schema

    def generator(self, *purpose: int | str) -> np.random.Generator:
        """Private randomness for one purpose."""
        return np.random.default_rng(derive(self.run.config.seed, "explain", *purpose))


def explain(run: RunDirectory, source: Source, asked: Asked, console: Console) -> dict[str, Any]:
    """Explain rows of `source`; writes pictures, `explanation.json` and a page, and gives the JSON data.

    Raises `SettingError` where the method does not suit the network (naming those that do) and `DataError`
    where the data lacks a column.
    """
    started = time.perf_counter()
    work = prepared_work(run, source, asked, console)
    folder = asked.out or run.path / FOLDER
    if folder.exists() and not folder.is_dir():
        raise SettingError(f"{folder} is a file. Name a folder with --out.")
    rows = spread(np.arange(len(work.table)), asked.rows)
    found: dict[str, Any] = {
        "run": run.path.name, "data": work.table.describe(), "method": work.method,
        "column": work.scorer.column.name, "kind": work.scorer.column.kind,
        "unit": work.scorer.unit, "said": work.scorer.said,
    }  # fmt: skip
    files: dict[str, bytes] = {}
    if work.method in METHODS:
        found |= explained_rows(work, rows, files)
    if work.method == "nearest":
        found["nearest"] = neighbours(work, rows)
    found["overall"] = over_all(work) if work.method in METHODS else []
    found["permutation"], found["permutation_note"] = shuffled(work)
    found["seconds"] = round(time.perf_counter() - started, 3)
    write(folder, found, files)
    return {**found, "page": str(folder / "page.html")}


def prepared_work(run: RunDirectory, source: Source, asked: Asked, console: Console) -> Work:
    """Read the data and choose method and output, before anything is computed."""
    if asked.rows < 1:
        raise SettingError(f"--rows must be 1 or more; received {asked.rows}.")
    method, scorer = choose(asked.method, run.schema), scorer_of(run, asked.column)
    table: Tabular = Table.read(source, run.config.data)
    if run.data["window"] is not None:
        assert isinstance(table, Table)
        table = Window.restore(run.data["window"]).everything(table, run.config.data)
    require_columns(run.schema, table.names, targets=False)
    if not len(table):
        raise DataError(f"{table.describe()} has no rows to explain.")
    if not run.schema.given:
        raise SettingError(
            f"{run.path} predicts from nothing, so there is nothing to explain its answers by."
        )
    plan = run.plan
    return Work(run, run.network.to(plan.device), table, scorer, method, plan, console)


def explained_rows(work: Work, rows: NDArray[np.int64], files: dict[str, bytes]) -> dict[str, Any]:
    """Explanations of some rows with their pictures, and how far they can be trusted."""
    games = games_of(work.network, work.schema, work.scorer, work.table, rows, work.plan.device)
    method, listed, values, curved = METHODS[work.method], [], [], []
    keys = work.table.keys(rows)
    with work.console.progress("explaining") as advance:
        for i, game in enumerate(games):
            with private_randomness(work.run.config.seed, "explain", i):
                value_P = method.run(game, work.generator("method", i))
            curve = checks.curves(game, value_P, work.generator("order", i))
            values.append(value_P)
            curved.append(curve)
            listed.append({"key": keys[i], **described(game, value_P), "curves": curve.to_dict()})
            for n, drawing in enumerate(draw(game, value_P)):
                name = f"row-{i + 1}{f'-{n + 1}' if n else ''}.{drawing.suffix}"
                files[name] = drawing.content
                listed[-1].setdefault("pictures", []).append(
                    {
                        "file": name,
                        "column": drawing.column,
                        "source": inline(drawing.content, drawing.suffix),
                    }
                )
            advance(i + 1, len(games))
    trust = trust_of(work, games, values, curved)
    return {
        "about": method.words,
        "rows": listed,
        "trust": trust,
        "evaluations": sum(g.evaluations for g in games),
    }


def trust_of(
    work: Work, games: Sequence[Game], values: Sequence[Floats], curved: Sequence[checks.Curves]
) -> dict[str, Any]:
    """Faithfulness over all explained rows; sanity and stability over the first of them."""
    method, few = METHODS[work.method], list(zip(games, values, strict=True))[:CHECKED]
    fresh, seed = untrained(work), work.run.config.seed
    gains = [c.gain for c in curved]
    moved = [
        abs(float(np.diff(g.natural(np.concatenate([g.all, g.none])))[0])) / g.scorer.spread for g in games
    ]
    trust: dict[str, Any] = {
        "faithfulness": checks.estimate(list(gains)),
        "deletion": checks.estimate([c.deletion_gain for c in curved]),
        "p": curved[0].p if len(curved) == 1 else checks.beats_chance(gains),
        "p_deletion": checks.beats_chance([c.deletion_gain for c in curved]) if len(curved) > 1 else None,
        "randomised": checks.estimate([checks.randomised(work.method, g, v, fresh, seed) for g, v in few]),
        "stability": checks.estimate(
            [checks.stability(work.method, g, v, work.generator("nudge", i)) for i, (g, v) in enumerate(few)]
        ),
        "leftover": leftover(few) if method.adds_up else None,
        "moved": float(np.mean(moved)),
    }  # fmt: skip
    against = checks.verdict(trust)
    return {**trust, "trusted": not against, "against": against}


def leftover(few: Sequence[tuple[Game, Floats]]) -> float:
    """Share of the answers that the parts do not add up to."""
    gaps, sizes = [], []
    for game, values_P in few:
        total = float(game(game.all)[0] - game(game.none)[0])
        gaps.append(abs(float(values_P.sum()) - total))
        sizes.append(max(abs(total), float(np.abs(values_P).sum())))
    return sum(gaps) / max(sum(sizes), 1e-9)


def untrained(work: Work) -> Network:
    """A network of the same shape with random weights of its own."""
    with private_randomness(work.run.config.seed, "sanity"):
        fresh = Network(work.schema, work.run.config.model, work.run.head_options())
    return fresh.to(work.plan.device).eval()


def over_all(work: Work) -> list[dict[str, Any]]:
    """What the network looks at over all rows of the data, or 200 of them evenly spread."""
    rows = spread(np.arange(len(work.table)), MOST_ROWS)
    found = overall(games_of(work.network, work.schema, work.scorer, work.table, rows, work.plan.device))
    return found[: max(MOST_SHOWN, 64 if any(c.kind == "image" for c in work.schema.given) else 0)]


def shuffled(work: Work) -> tuple[list[dict[str, Any]], str]:
    """Permutation importance of the columns, where the data holds the truth; else why not."""
    name = work.scorer.column.name
    if work.run.data["window"] is not None or name not in work.table.names:
        why = f"The data has no column {name!r}, so what shuffling a column costs cannot be measured."
        if work.method == "permutation":
            raise DataError(f"Permutation importance needs the true {name!r} of every row. {why}")
        return [], why
    store = encode_given(work.table, (*work.schema.given, work.scorer.column), work.console)
    return permutation(work.run, name, store, work.table.values(name), work.plan), ""


def neighbours(work: Work, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    """For each row the training rows that the network takes for most like it."""
    prepared = reopened(work.run, None, Console(quiet=True))
    store = encode_given(work.table, work.schema.given, work.console)
    asked = Loader(store, work.schema.given, rows, 512)
    found = nearest(work.network, prepared, asked, work.plan, work.scorer.column.name)
    games = games_of(work.network, work.schema, work.scorer, work.table, rows, work.plan.device)
    return [
        {
            "key": key, "answer": game.scorer.label(game.target), "value": float(game.natural(game.all)[0]),
            "cells": {c.name: c.show(game.row[c.name]) for c in work.schema.given}, "neighbours": near,
        }
        for key, game, near in zip(work.table.keys(rows), games, found, strict=True)
    ]  # fmt: skip


def inline(content: bytes, suffix: str) -> str:
    """A picture as the page holds it: a data URL, in which nothing can run."""
    kind = {"svg": "svg+xml", "png": "png"}[suffix]
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def write(folder: Path, found: dict[str, Any], files: dict[str, bytes]) -> None:
    """The pictures, the JSON and the page; older pictures of the same folder go."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("row-*.png"), *folder.glob("row-*.svg")):
        old.unlink()
    for name, content in files.items():
        write_atomic(folder / name, content)
    write_json(folder / "explanation.json", found)
    write_atomic(folder / "page.html", explanation_page(found))


__all__ = ["OTHERS", "Asked", "explain"]
