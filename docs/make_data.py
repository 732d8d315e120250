"""Writes the small made-up data that the guides use into the current folder: `python docs/make_data.py`.

Everything is drawn from one seed, so that each reader sees the same rows.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Rng = np.random.Generator
SHAPES = ("circle", "cross", "square")
SIDE = 16
CITIES = {"Kyoto": 12.0, "Osaka": 9.0, "Nara": 4.0}
GOOD = ("wonderful", "moving", "funny", "clever")
BAD = ("dull", "boring", "clumsy", "empty")
THINGS = ("film", "story", "cast", "music", "ending")
FIELDS = {
    "スポーツ": ("試合", "選手", "監督", "優勝", "得点"),
    "料理": ("野菜", "味", "店", "鍋", "焼き魚"),
    "科学": ("実験", "宇宙", "細胞", "研究", "観測"),
}
SUBJECTS = {"I": "私は", "you": "あなたは", "we": "私たちは", "they": "彼らは"}
OBJECTS = {"a cat": "猫を", "a dog": "犬を", "the sea": "海を", "a red bird": "赤い鳥を", "a map": "地図を"}
VERBS = {"see": "見ます", "like": "好みます", "draw": "描きます", "remember": "覚えています"}


def main(folder: Path) -> None:
    """Write all of it."""
    rng = np.random.default_rng(0)
    houses(folder, rng)
    photos(folder, rng)
    texts(folder, rng)
    load(folder, rng)
    pairs(folder)
    adverts(folder, rng)
    defects(folder, rng)
    broken(folder)
    loans(folder, np.random.default_rng(1))


def houses(folder: Path, rng: Rng) -> None:
    """A table: numbers, a category, dates and gaps."""
    rows = [house(rng) for _ in range(300)]
    write(folder / "houses.csv", rows[:240])
    write(folder / "test_houses.csv", rows[240:])
    unpriced = [{name: row[name] for name in row if name != "price"} for row in rows[240:250]]
    write(folder / "new_houses.csv", unpriced)


def loans(folder: Path, rng: Rng) -> None:
    """A table with groups: who paid a loan back."""
    rows = []
    for _ in range(600):
        age, income = int(rng.integers(18, 80)), int(rng.normal(400, 120))
        region, sex = str(rng.choice(["north", "east", "south", "west"])), str(rng.choice(["f", "m"]))
        score = (income - 350) / 100 + (region == "north") + 0.5 * (sex == "m") + rng.normal(0, 0.8)
        repaid = "yes" if score > 0 else "no"
        rows.append({"age": age, "sex": sex, "region": region, "income": income, "repaid": repaid})
    write(folder / "loans.csv", rows)


def house(rng: Rng) -> dict[str, Any]:
    """One house, its price in millions of yen."""
    area, city = int(rng.integers(30, 150)), str(rng.choice(list(CITIES)))
    built = datetime(1965, 1, 1) + timedelta(days=int(rng.integers(0, 20_000)))
    price = 0.3 * area + CITIES[city] + 0.2 * (built.year - 1965) + rng.normal(0, 1.5)
    rooms: Any = "" if rng.random() < 0.1 else max(1, area // 25)
    day = built.date().isoformat()
    return {"area": area, "rooms": rooms, "city": city, "built": day, "price": round(price, 1)}


def photos(folder: Path, rng: Rng) -> None:
    """A folder of images a class, and one without classes."""
    for i in range(90):
        shape = SHAPES[i % 3]
        save(folder / "photos" / shape / f"{i:03}.png", draw(shape, rng))
        if i >= 84:
            save(folder / "new_photos" / f"{i:03}.png", draw(shape, rng))


def draw(shape: str, rng: Rng) -> np.ndarray[Any, Any]:
    """(SIDE, SIDE) uint8: a bright shape somewhere on noise."""
    y, x = np.mgrid[:SIDE, :SIDE] - rng.integers(5, 11, 2)[:, None, None]
    inside = {
        "circle": y**2 + x**2 < 16,
        "square": np.maximum(abs(y), abs(x)) < 4,
        "cross": (np.minimum(abs(y), abs(x)) < 1) & (np.maximum(abs(y), abs(x)) < 5),
    }[shape]
    return np.where(inside, 200, rng.integers(0, 60, (SIDE, SIDE))).astype(np.uint8)


def texts(folder: Path, rng: Rng) -> None:
    """English reviews with a sentiment, Japanese sentences with a field, notes with tags."""
    lines = [review(rng) for _ in range(200)]
    (folder / "reviews.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    rows = []
    for i in range(150):
        field = list(FIELDS)[i % 3]
        one, two = rng.choice(FIELDS[field], 2, replace=False)
        rows.append({"本文": f"{rng.integers(1, 30)}日の{one}と{two}について書きます。", "分野": field})
    write(folder / "news.csv", rows)
    notes = []
    for i in range(120):
        tags = [tag for tag, on in (("price", i % 2), ("speed", i % 3 == 0), ("colour", i % 5 == 0)) if on]
        notes.append({"note": f"Note {i}: it is about {' and '.join(tags) or 'nothing'}.", "tags": tags})
    (folder / "notes.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes), "utf-8")


def review(rng: Rng) -> dict[str, str]:
    """One review."""
    good = bool(rng.random() < 0.5)
    words = rng.choice(GOOD if good else BAD, 2, replace=False)
    things = rng.choice(THINGS, 2, replace=False)
    text = f"A {words[0]} {things[0]} with {words[1]} {things[1]}, {rng.integers(60, 180)} minutes long."
    return {"text": text, "sentiment": "good" if good else "bad"}


def load(folder: Path, rng: Rng) -> None:
    """Hourly readings of three weeks."""
    rows, start = [], datetime(2024, 1, 1)
    for hour in range(24 * 21):
        warm = 8 + 5 * np.sin(2 * np.pi * (hour - 9) / 24) + rng.normal(0, 0.5)
        used = 60 + 25 * np.sin(2 * np.pi * (hour - 8) / 24) - 1.5 * warm + rng.normal(0, 2)
        time = (start + timedelta(hours=hour)).isoformat(" ")
        rows.append({"time": time, "load": round(used, 2), "temperature": round(warm, 2)})
    write(folder / "load.csv", rows)


def pairs(folder: Path) -> None:
    """English sentences and their translations."""
    rows = [
        {"en": f"{subject} {verb} {thing}", "ja": f"{SUBJECTS[subject]}{OBJECTS[thing]}{VERBS[verb]}"}
        for subject in SUBJECTS
        for thing in OBJECTS
        for verb in VERBS
    ]
    write(folder / "pairs.csv", rows)


def adverts(folder: Path, rng: Rng) -> None:
    """A table with a column of image files, one of text and one of numbers."""
    rows = []
    for i in range(120):
        shape, words = SHAPES[i % 3], rng.choice(GOOD + BAD, 1)[0]
        name = f"pictures/{i:03}.png"
        save(folder / "adverts" / name, draw(shape, rng))
        weight = round(float(rng.uniform(1, 9)), 1)
        price = 5 * SHAPES.index(shape) + weight + (4 if words in GOOD else 0) + rng.normal(0, 0.3)
        title = f"A {words} {shape}, number {i}"
        rows.append({"photo": name, "title": title, "weight": weight, "price": round(price, 1)})
    write(folder / "adverts" / "adverts.csv", rows)


def defects(folder: Path, rng: Rng) -> None:
    """Images of 32 x 32 with a mask of their bright part beside each."""
    rows = []
    for i in range(60):
        picture = rng.integers(0, 90, (32, 32)).astype(np.uint8)
        top, left = rng.integers(2, 18, 2)
        area = np.zeros((32, 32), np.uint8)
        area[top : top + 10, left : left + 12] = 255
        picture[area > 0] += 120
        save(folder / "defects" / f"images/{i:03}.png", picture)
        save(folder / "defects" / f"masks/{i:03}.png", area)
        rows.append({"image": f"images/{i:03}.png", "defect": f"masks/{i:03}.png"})
    write(folder / "defects" / "defects.csv", rows)


def broken(folder: Path) -> None:
    """A table with what real tables have: a gap in the target, a word among numbers, a row cut short."""
    lines = ["age,city,bought"]
    lines += [f"{20 + i % 50},{('Kyoto', 'Osaka')[i % 2]},{('yes', 'no')[i % 3 == 0]}" for i in range(100)]
    lines[20] = "44,Kyoto,"
    lines[41] = "unknown,Osaka,yes"
    lines[60] = "33,Kyoto"
    (folder / "customers.csv").write_text("\n".join(lines) + "\n", "utf-8")


def save(path: Path, picture: np.ndarray[Any, Any]) -> None:
    """A grey PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """A CSV with a header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
