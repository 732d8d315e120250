"""Do explanations mark what counts? python benchmarks/explanations.py --data DIR [NAME ...]

DIR holds fashion_mnist, sst2 and adult. Trains a small model on each, hides parts in the order of each method
that suits it and in random orders, and tests over rows whether the answer goes sooner (signed ranks). Then
pictures with an object planted in one half: the share of Grad-CAM that lies there. Prints a table; exit
status 1 where p is .01 or more, or less than .75 of the mass is on the object.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import shinso
from shinso.data.table import Table
from shinso.explaining.checks import beats_chance, curves
from shinso.explaining.game import games_of
from shinso.explaining.methods import METHODS
from shinso.explaining.scoring import scorer_of
from shinso.run import RunDirectory

ROWS, LEVEL, MASS = 40, 0.01, 0.75
UNFIT = {
    "fashion_mnist": {"attention"}, "sst2": {"gradcam", "attention"}, "adult": {"gradcam", "attention"},
}  # fmt: skip
SETTINGS = {"train.threads": 1, "data.audit": False}


def drawn(data: Path, name: str, rows: int) -> dict[str, list[Any]]:
    table = Table.read(data / name)
    chosen = np.sort(np.random.default_rng(3).permutation(len(table))[:rows])
    return {column: list(table.values(column, chosen)) for column in table.names}


def trained(data: Path, name: str, folder: Path) -> tuple[RunDirectory, Table, str]:
    """A small model, and rows that it has not seen."""
    first, second, rows = {
        "fashion_mnist": ("fashion_mnist/train", "fashion_mnist/test", 6_000),
        "sst2": ("sst2/train.csv", "sst2/dev.csv", 6_920),
        "adult": ("adult/adult-train.csv", None, 6_000),
    }[name]
    found = drawn(data, first, rows)
    held = drawn(data, second or first, 2_000)
    target = {"adult": list(found)[-1], "sst2": "sentiment", "fashion_mnist": "label"}[name]
    run = shinso.train(
        found, predict=target, effort="quick", out=folder / name, quiet=True, settings=SETTINGS
    )
    return RunDirectory(run.path), Table.read(held), target


def measured(run: RunDirectory, table: Table, target: str, method: str) -> tuple[float, float, float | None]:
    """Mean gain of deletion and of both curves over random orders, and p of no gain in deletion."""
    rows = np.linspace(0, len(table) - 1, ROWS).astype(np.int64)
    games = games_of(run.network, run.schema, scorer_of(run, target), table, rows, "cpu")
    found = []
    for i, game in enumerate(games):
        values = METHODS[method].run(game, np.random.default_rng([5, i]))
        found.append(curves(game, values, np.random.default_rng([6, i])))
    deletion = [curve.deletion_gain for curve in found]
    return float(np.mean(deletion)), float(np.mean([c.gain for c in found])), beats_chance(deletion)


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
    parser.add_argument("names", nargs="*", default=["adult", "sst2", "fashion_mnist", "planted"])
    options, bad = parser.parse_args(), False
    for name in options.names:
        with tempfile.TemporaryDirectory() as folder:
            if name == "planted":
                mass = planted(Path(folder))
                print(f"Grad-CAM, planted objects: {mass:.3f} of its mass on their half", flush=True)
                bad |= mass < MASS
                continue
            run, held, target = trained(options.data, name, Path(folder))
            for method in METHODS:
                if method in UNFIT[name]:
                    continue
                deletion, both, p = measured(run, held, target, method)
                print(
                    f"{name:14} {method:22} deletion {deletion:+.4f}  both {both:+.4f}  p {p:.1e}", flush=True
                )
                bad |= p is None or p >= LEVEL
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
