"""A picture, a text and a number together predict a price; without the picture it is predicted less well."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import shinso

COLOURS = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (50, 70, 210)}
WORDS = {"new": 8.0, "used": 3.0, "old": 0.0}


def adverts(rows: int) -> dict[str, list[Any]]:
    """Made-up adverts: the colour is seen in the picture only, the age is said in the title only."""
    rng = np.random.default_rng(0)
    table: dict[str, list[Any]] = {"photo": [], "title": [], "weight": [], "price": []}
    for i in range(rows):
        colour, word, weight = rng.choice(list(COLOURS)), rng.choice(list(WORDS)), float(rng.uniform(1, 9))
        picture = rng.integers(0, 60, (16, 16, 3)) + np.array(COLOURS[colour]) * (rng.random() * 0.3 + 0.6)
        price = weight + WORDS[word] + 6.0 * list(COLOURS).index(colour) + rng.normal(0, 0.3)
        table["photo"].append(picture.clip(0, 255).astype(np.uint8))
        table["title"].append(f"A {word} box, number {i}, weighs little")
        table["weight"].append(round(weight, 2))
        table["price"].append(round(float(price), 2))
    return table


def main(*, tiny: bool = False) -> dict[str, float]:
    """Train with and without the picture."""
    table = adverts(80 if tiny else 800)
    settings = {"train.epochs": 1, "model.width": 16, "model.members": 2} if tiny else {"train.epochs": 15}
    errors = {}
    for given, types in (("photo,title,weight", {"photo": "image"}), ("title,weight", {})):
        run = shinso.train(table, predict="price", given=given, types=types, settings=settings)
        errors[given] = run.evaluation["outputs"]["price"]["metrics"]["rmse"]["value"]
    for given, error in errors.items():
        print(f"given {given}: RMSE {error:.2f}")
    return errors


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="80 adverts, one pass over them")
    main(tiny=parser.parse_args().tiny)
