"""A class for every pixel: which pixels of a grey picture belong to a scratch."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import shinso

SIDE = 32


def scratches(rows: int) -> dict[str, list[Any]]:
    """Made-up pictures of a rough surface with a bright line, and the line as a mask (0 and 255)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    table: dict[str, list[Any]] = {"photo": [], "scratch": []}
    for _ in range(rows):
        angle, place = rng.uniform(0, np.pi), rng.uniform(10, 22, 2)
        distance = np.cos(angle) * (y - place[0]) + np.sin(angle) * (x - place[1])
        line = np.abs(distance) < 1.5
        picture = rng.integers(20, 120, (SIDE, SIDE)) + 80 * line
        table["photo"].append(picture.astype(np.uint8))
        table["scratch"].append(np.where(line, 255, 0).astype(np.uint8))
    return table


def main(*, tiny: bool = False) -> np.ndarray[Any, Any]:
    """Train, and draw one predicted mask."""
    table = scratches(40 if tiny else 400)
    settings = {"train.epochs": 1, "model.width": 16} if tiny else None
    types = {"photo": "image", "scratch": "mask"}
    run = shinso.train(table, predict="scratch", types=types, effort="quick", settings=settings)
    print(run.evaluation["outputs"]["scratch"]["metrics"]["mean_iou"])
    mask = np.asarray(run.predict({"photo": table["photo"][:1]})["scratch"][0])
    print("\n".join("".join("#" if pixel else "." for pixel in row[::2]) for row in mask[::2]))
    return mask


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="40 pictures, one pass over them")
    main(tiny=parser.parse_args().tiny)
