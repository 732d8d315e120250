"""Do explanations mark what counts? python benchmarks/explanations.py --data DIR [--log FILE] [NAME ...]

DIR holds fashion_mnist, sst2 and adult. Trains a small model on each, hides parts in the order of each
method that suits it and in random orders, and tests over rows whether the answer goes sooner (signed ranks).
Attention is asked of a network with attention. Each method is asked again of a network with random weights,
of which it must say something else (rank correlation below .5). Then pictures with an object planted in one
half: the share of Grad-CAM that lies there. Prints a table; exit status 1 where p is .01 or more, where
random weights give much the same, or less than .75 of the mass is on the object. With --log what stands
in the file is not measured again; with --minutes nothing is begun after that time (exit status 3).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import shinso
from shinso.data.table import Table
from shinso.explaining.checks import ALIKE, beats_chance, curves, randomised
from shinso.explaining.game import games_of
from shinso.explaining.methods import METHODS
from shinso.explaining.scoring import scorer_of
from shinso.network import Network
from shinso.randomness import private_randomness
from shinso.run import RunDirectory

ROWS, CHECKED, LEVEL, MASS = 40, 8, 0.01, 0.75
SUITED: dict[str, tuple[str, ...]] = {
    "adult": ("shap", "occlusion", "lime", "integrated_gradients", "gradient_shap"),
    "sst2": ("shap", "occlusion", "lime", "integrated_gradients", "gradient_shap"),
    "sst2, bert": ("attention",),
    "fashion_mnist": ("shap", "occlusion", "lime", "integrated_gradients", "gradient_shap", "gradcam"),
}  # fmt: skip
SETTINGS = {"train.threads": 1, "data.audit": False}
ATTENDING = {"train.epochs": 3}


def drawn(data: Path, name: str, rows: int) -> dict[str, list[Any]]:
    table = Table.read(data / name)
    chosen = np.sort(np.random.default_rng(3).permutation(len(table))[:rows])
    return {column: list(table.values(column, chosen)) for column in table.names}


def trained(data: Path, name: str, folder: Path) -> tuple[RunDirectory, Table, str]:
    """A small model, and rows that it has not seen."""
    bare, _, model = name.partition(", ")
    first, second, rows = {
        "fashion_mnist": ("fashion_mnist/train", "fashion_mnist/test", 6_000),
        "sst2": ("sst2/train.csv", "sst2/dev.csv", 6_920),
        "adult": ("adult/adult-train.csv", "adult/adult-test.csv", 6_000),
    }[bare]
    found = drawn(data, first, rows)
    held = dict(zip(found, drawn(data, second, 500).values(), strict=True))
    target = {"adult": list(found)[-1], "sst2": "sentiment", "fashion_mnist": "label"}[bare]
    run = shinso.train(
        found, predict=target, effort="quick", out=folder / bare, quiet=True, model=model or None,
        settings={**SETTINGS, **(ATTENDING if model else {})},
    )  # fmt: skip
    return RunDirectory(run.path), Table.read(held), target


def measured(run: RunDirectory, table: Table, target: str, method: str) -> dict[str, float | None]:
    """Mean gain of deletion and of both curves over random orders, p of no gain, and random weights."""
    rows = np.linspace(0, len(table) - 1, ROWS).astype(np.int64)
    games = games_of(run.network, run.schema, scorer_of(run, target), table, rows, "cpu")
    found, alike = [], []
    with private_randomness(run.config.seed, "sanity"):
        fresh = Network(run.schema, run.config.model, run.head_options()).eval()
    for i, game in enumerate(games):
        values = METHODS[method].run(game, np.random.default_rng([5, i]))
        found.append(curves(game, values, np.random.default_rng([6, i])))
        if i < CHECKED:
            alike.append(randomised(method, game, values, fresh, i))
    deletion, known = [curve.deletion_gain for curve in found], [a for a in alike if a is not None]
    return {
        "deletion": float(np.mean(deletion)), "both": float(np.mean([c.gain for c in found])),
        "p": beats_chance(deletion), "random weights": float(np.mean(known)) if known else None,
    }  # fmt: skip


def planted(folder: Path) -> float:
    """Share of Grad-CAM on the half with the object, over pictures with a disc or a square there."""
    rng = np.random.default_rng(8)
    images, shapes, left = [], rng.choice(["disc", "square"], 900), rng.random(900) < 0.5
    y, x = np.mgrid[:24, :24]
    for shape, side in zip(shapes, left, strict=True):
        image = rng.normal(110, 14, (24, 24))
        cy, cx = rng.integers(5, 19), rng.integers(4, 8) + (0 if side else 12)
        inside = (
            (y - cy) ** 2 + (x - cx) ** 2 <= 14
            if shape == "disc"
            else (abs(y - cy) <= 3) & (abs(x - cx) <= 3)
        )
        image[inside] += 90 if shape == "disc" else -90
        images.append(image.clip(0, 255).astype(np.uint8)[..., None])
    settings = {**SETTINGS, "train.augment": "none", "train.epochs": 8}
    data = {"image": images, "shape": shapes.tolist()}
    run = RunDirectory(
        shinso.train(data, predict="shape", out=folder / "p", quiet=True, settings=settings).path
    )
    games = games_of(run.network, run.schema, scorer_of(run, "shape"), Table.read(data), np.arange(60), "cpu")
    shares = []
    for game, side in zip(games, left, strict=False):
        value_P = METHODS["gradcam"].run(game, rng)
        column_P = np.array([player.parts[0][1] for player in game.players])  # type: ignore[index]
        mine = (column_P < column_P.max() / 2) == side
        if value_P.sum() > 0:
            shares.append(float(value_P[mine].sum() / value_P.sum()))
    return float(np.mean(shares))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("names", nargs="*", default=[*SUITED, "planted"])
    options, started = parser.parse_args(), time.perf_counter()
    lines = options.log.read_text("utf-8").splitlines() if options.log and options.log.exists() else []
    known = {(one["data"], one["method"]): one for one in map(json.loads, lines)}
    late = False
    for name in options.names:
        methods = [m for m in SUITED.get(name, ("gradcam",)) if (name, m) not in known]
        late = late or (options.minutes is not None and time.perf_counter() - started > 60 * options.minutes)
        if methods and not late:
            with tempfile.TemporaryDirectory() as folder:
                for one in looked_at(options.data, name, methods, Path(folder)):
                    known[name, one["method"]] = one
                    print(line(one), flush=True)
                    if options.log:
                        with options.log.open("a", encoding="utf-8") as file:
                            file.write(json.dumps(one) + "\n")
    bad = [f"{one['method']} on {one['data']}" for one in known.values() if not good(one)]
    print(f"not as asked: {', '.join(bad) or 'none'}")
    return 3 if late else int(bool(bad))


def looked_at(data: Path, name: str, methods: list[str], folder: Path) -> Iterator[dict[str, Any]]:
    """What is measured of each method on one kind of data."""
    if name == "planted":
        yield {"data": name, "method": "gradcam", "mass": planted(folder)}
        return
    run, held, target = trained(data, name, folder)
    for method in methods:
        yield {"data": name, "method": method, **measured(run, held, target, method)}


def line(one: dict[str, Any]) -> str:
    """One row of the table."""
    figures = ("deletion", "both", "p", "random weights", "mass")
    shown = [f"{name} {one[name]:.3g}" for name in figures if one.get(name) is not None]
    return f"{one['data']:18} {one['method']:22} {'  '.join(shown)}"


def good(one: dict[str, Any]) -> bool:
    """Whether it is as the issue asks."""
    if "mass" in one:
        return bool(one["mass"] >= MASS)
    alike = one["random weights"]
    return one["p"] is not None and one["p"] < LEVEL and (alike is None or alike < ALIKE)


if __name__ == "__main__":
    sys.exit(main())
