"""What a measurement is made on: real data sets as a user would have them, or rows made up here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import figures
import numpy as np
from PIL import Image

CLASSES, IMAGES, SIDE, ROWS = 10, 1500, 28, 6000
SENTENCES = 600
UNPACK = Path(__file__).parents[2] / "shared" / "data" / "unpack.py"
NAMES = ("fashion_mnist", "sst2", "adult", "california_housing")


def unpacked(folder: Path) -> Path | None:
    """The real data sets, unpacked once; None where they are not to be had."""
    if not UNPACK.is_file():
        return None
    if not all((folder / name).exists() for name in NAMES):
        print("unpacking the data sets", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, str(UNPACK), str(folder)], check=True, stdout=subprocess.DEVNULL)
    return folder


def fashion_mnist(data: Path, folder: Path) -> Path:
    return data / "fashion_mnist"


def sst2(data: Path, folder: Path) -> Path:
    return data / "sst2"


def adult(data: Path, folder: Path) -> Path:
    figures.adult(data, folder, 0)
    return folder


def california(data: Path, folder: Path) -> Path:
    figures.FIGURES["california_housing"].prepare(data, folder, 0)
    return folder


def nothing(data: Path, folder: Path) -> Path:
    return folder


def images(data: Path, folder: Path, count: int = IMAGES) -> Path:
    """Small grey PNG files: blocks whose place tells the class, under noise."""
    random = np.random.default_rng(0)
    for part, number in (("train", count), ("test", count // 5)):
        for i in range(number):
            label = i % CLASSES
            pixels = random.integers(0, 160, (SIDE, SIDE))
            row, column = divmod(label, 5)
            pixels[4 + 12 * row : 12 + 12 * row, 1 + 5 * column : 6 + 5 * column] += 80
            path = folder / part / f"class{label}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder


def table(data: Path, folder: Path) -> Path:
    """Numbers and a category; the label is a noisy, bent function of them."""
    random = np.random.default_rng(0)
    for part, rows in (("train", ROWS), ("test", ROWS // 3)):
        x = random.normal(size=(rows, 5))
        town = random.integers(0, 4, rows)
        score = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + (town == 2) - 0.5
        chosen = random.random(rows) < 1 / (1 + np.exp(-2 * score))
        lines = ["a,b,c,d,e,town,label"]
        for numbers, place, yes in zip(x.tolist(), town.tolist(), chosen.tolist(), strict=True):
            values = ",".join(f"{number:.5f}" for number in numbers)
            lines.append(f"{values},{'north east south west'.split()[place]},{'yes' if yes else 'no'}")
        (folder / f"{part}.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def both(data: Path, folder: Path) -> Path:
    """`digits/`: a folder of small images; `sentences/`: a small table of texts."""
    images(data, folder / "digits", 500)
    (folder / "sentences").mkdir(parents=True)
    random = np.random.default_rng(0)
    words = {"positive": "fine warm bright lovely".split(), "negative": "dull cold weak tired".split()}
    plain = "the a film story of and in with its scene actor plot".split()
    for part in ("train", "dev", "test"):
        lines = ["sentence,sentiment"]
        for i in range(SENTENCES):
            label = ("positive", "negative")[i % 2]
            chosen = [*random.choice(plain, 9), *random.choice(words[label], 2)]
            lines.append(f"{' '.join(random.permutation(chosen))},{label}")
        (folder / "sentences" / f"{part}.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return folder
