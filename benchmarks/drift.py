"""How often the monitor is wrong: false alarms over 20 quiet days, and days until real drift is found.

    python benchmarks/drift.py --data FOLDER [--repeats 200] [--only elec2,bike,images,texts,telco,sequences]

A repeat draws reference and days anew from rows of one time; then a day is changed. Everything is that which
`shinso monitor` runs, but for the database. Writes one line of JSON a measurement.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shinso.columns import Column
from shinso.columns.base import object_array
from shinso.columns.category import Category
from shinso.columns.image import Image
from shinso.columns.number import Number
from shinso.columns.text import Text
from shinso.intervals import proportion
from shinso.schema import Schema
from shinso.watching import daily, sequences
from shinso.watching.condensing import Privacy, condensed
from shinso.watching.daily import Day
from shinso.watching.days import Dated, spread_over_days
from shinso.watching.drift import holm
from shinso.watching.monitor import DAYS, LEAST_EFFECT, LEVEL
from shinso.watching.reference import reference
from shinso.watching.store import Entry

PRIVATE = Privacy()
Kept = list[dict[str, Any]]  # rows as the log keeps them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--only", default="elec2,bike,telco,images,texts,sequences")
    asked = parser.parse_args()
    for name in asked.only.split(","):
        for found in MEASURED[name](asked.data, asked.repeats):
            print(json.dumps(found), flush=True)


def watched(columns: tuple[Column, ...], known: dict[str, Any], days: list[Kept]) -> list[bool]:
    """By day: whether the monitor raises an alarm."""
    schema = Schema(columns, ())
    family = 2 * len(columns) * max(DAYS, len(days))
    made = []
    for i, rows in enumerate(days):
        entries = [Entry(str(j), 0.0, "m", "1", "answer", 200, 0.0, row, {}) for j, row in enumerate(rows)]
        day = Day(str(i), len(rows), entries)
        facts = {"columns": known, "answers": {}}
        made += list(daily.checks(day, schema, facts, PRIVATE, LEVEL / family, lambda entry: True))
    fallen = holm([c.found.p for c in made], LEVEL, family)
    alarms = {c.day for c, f in zip(made, fallen, strict=True) if f and c.found.effect >= LEAST_EFFECT}
    return [str(i) in alarms for i in range(len(days))]


def said(what: str, data: str, wrong: int, n: int, **more: Any) -> dict[str, Any]:
    estimate = proportion(wrong, n)
    return {"what": what, "data": data, "share": wrong / n, "low": estimate.low, "high": estimate.high,
            "repeats": n, **more}  # fmt: skip


def table_of(path: Path, leave_out: tuple[str, ...]) -> tuple[list[str], list[list[str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    kept = [i for i, name in enumerate(names) if name not in leave_out]
    return [names[i] for i in kept], [[row[i] for i in kept] for row in rows]


def fitted(names: list[str], rows: list[list[str]], numbers: set[str]) -> tuple[Column, ...]:
    columns: list[Column] = []
    for i, name in enumerate(names):
        kind = Number if name in numbers else Category
        columns.append(kind(name=name).fit(object_array([row[i] or None for row in rows])))
    return tuple(columns)


def kept_rows(columns: tuple[Column, ...], rows: list[list[str]]) -> Kept:
    return [{c.name: condensed(c, v or None) for c, v in zip(columns, row, strict=True)} for row in rows]


def quiet_table(
    names: list[str], rows: list[list[str]], numbers: set[str], *, size: int, repeats: int, data: str
) -> Iterator[dict[str, Any]]:
    """20 days of held-back rows, drawn anew each time with the training rows."""
    alarms, rng = 0, np.random.default_rng(0)
    train = len(rows) - DAYS * size
    for repeat in range(repeats):
        order = rng.permutation(len(rows)).tolist()
        trained = [rows[i] for i in order[:train]]
        columns = fitted(names, trained, numbers)
        values = {c: object_array([row[i] or None for row in trained]) for i, c in enumerate(columns)}
        known = reference(values, repeat)
        held = kept_rows(columns, [rows[i] for i in order[train:]])
        alarms += any(watched(columns, known, [held[i * size :][:size] for i in range(DAYS)]))
    yield said("false alarm in 20 quiet days", data, alarms, repeats, rows_a_day=size, columns=len(names))


def elec2(folder: Path, repeats: int) -> Iterator[dict[str, Any]]:
    """The market grew on day 363 (2 May 1997): three columns that stood still begin to move."""
    names, rows = table_of(folder / "elec2" / "elec.csv", ("class",))
    before = rows[120 * 48 : 363 * 48]
    yield from quiet_table(names, before, set(names), size=48, repeats=repeats, data="elec2")
    yield from quiet_in_order(names, before, 48, repeats, "elec2")
    trained = rows[120 * 48 : 343 * 48]
    columns = fitted(names, trained, set(names))
    known = dated_reference(columns, trained, [48] * 223)
    for what, chosen in (
        ("the three columns that stood still", columns[3:]),
        ("price and demand", columns[1:3]),
    ):
        alarms = watched(chosen, known, [kept_rows(columns, day_of(rows, d)) for d in range(343, 363)])
        yield {
            "what": "alarms on the 20 days before the change",
            "data": f"elec2, {what}",
            "days": sum(alarms),
        }
        alarms = watched(chosen, known, [kept_rows(columns, day_of(rows, d)) for d in range(363, 383)])
        yield {"what": "days from the change to the alarm", "data": f"elec2, {what}",
               "days": alarms.index(True) + 1 if any(alarms) else None}  # fmt: skip


def dated_reference(columns: tuple[Column, ...], rows: list[list[str]], sizes: list[int]) -> dict[str, Any]:
    """The reference of training rows that stand in order of time, so many a day."""
    values = {c: object_array([row[i] or None for row in rows]) for i, c in enumerate(columns)}
    known = reference(values)
    day_n = np.repeat(np.arange(len(sizes)), sizes)
    for name, facts in spread_over_days(Dated(values, day_n), known, PRIVATE).items():
        known[name]["days"] = facts
    return known


def quiet_in_order(
    names: list[str], rows: list[list[str]], size: int, repeats: int, data: str
) -> Iterator[dict[str, Any]]:
    """20 whole days held back, their rows in order of time; with and without what the others say of days."""
    rng, days = np.random.default_rng(5), [rows[i : i + size] for i in range(0, len(rows) - size + 1, size)]
    wrong, naive, most = 0, 0, min(repeats, 100)
    for _ in range(most):
        held = np.sort(rng.choice(len(days), DAYS, replace=False)).tolist()
        train = [day for i, day in enumerate(days) if i not in held]
        trained = [row for day in train for row in day]
        columns = fitted(names, trained, set(names))
        known = dated_reference(columns, trained, [size] * len(train))
        live = [kept_rows(columns, days[i]) for i in held]
        wrong += any(watched(columns, known, live))
        for facts in known.values():
            facts.pop("days", None)
        naive += any(watched(columns, known, live))
    yield said("false alarm in 20 held-back days in their order", data, wrong, most, rows_a_day=size)
    yield said("the same where rows are taken to be independent", data, naive, most, rows_a_day=size)


def bike(folder: Path, repeats: int) -> Iterator[dict[str, Any]]:
    """Hired bicycles and weather by the hour, over two years; then a day with a column in another unit."""
    path = folder / "bike_sharing" / "Bike Sharing Dataset.csv"
    names, rows = table_of(path, ("", "instant", "dteday", "yr", "season", "mnth"))
    with path.open(newline="", encoding="utf-8") as file:
        dates = [row[2] for row in list(csv.reader(file))[1:]]
    whole = [day for day in dict.fromkeys(dates) if dates.count(day) == 24]
    kept = [row for row, date in zip(rows, dates, strict=True) if date in set(whole)]
    yield from quiet_in_order(names, kept, 24, repeats, "bike_sharing")
    train, last = kept[: -DAYS * 24], kept[-24:]
    columns = fitted(names, train, set(names))
    known = dated_reference(columns, train, [24] * (len(train) // 24))
    for name, factor in (("hum", 0.01), ("cnt", 10.0), ("temp", 41.0), ("windspeed", 67.0)):
        at = names.index(name)
        changed = [[*row[:at], str(float(row[at]) * factor), *row[at + 1 :]] for row in last]
        found = watched(columns, known, [kept_rows(columns, changed)])[0]
        yield {
            "what": "a column in another unit, found on the day",
            "data": f"bike_sharing {name}",
            "found": found,
        }


def day_of(rows: list[list[str]], day: int) -> list[list[str]]:
    return rows[day * 48 : (day + 1) * 48]


def telco(folder: Path, repeats: int) -> Iterator[dict[str, Any]]:
    """Customers: 16 categories, 3 numbers; one label after the other goes missing."""
    path = folder / "telco_churn" / "Telco-Customer-Churn.csv"
    names, rows = table_of(path, ("customerID", "Churn"))
    numbers = {"tenure", "MonthlyCharges", "TotalCharges"}
    yield from quiet_table(names, rows, numbers, size=150, repeats=repeats, data="telco_churn")
    rng, found, tried = np.random.default_rng(2), 0, []
    order = rng.permutation(len(rows)).tolist()
    trained = [rows[i] for i in order[:4000]]
    columns = fitted(names, trained, numbers)
    known = reference({c: object_array([r[i] or None for r in trained]) for i, c in enumerate(columns)})
    held = [rows[i] for i in order[4000:]]
    for at, column in enumerate(columns):
        if not isinstance(column, Category):
            continue
        for label, count in zip(column.labels, column.counts, strict=True):
            if 0.05 <= count / 4000 <= 0.5:
                without = [row for row in held if row[at] != label]
                day = [without[i] for i in rng.choice(len(without), 150, replace=False).tolist()]
                found = watched(columns, known, [kept_rows(columns, day)])[0]
                tried.append((count / 4000, found))
    missed = [round(share, 3) for share, found in tried if not found]
    yield said(
        "a label of 5% to 50% gone, found on the day", "telco_churn", sum(f for _, f in tried), len(tried),
        rows_a_day=150, shares_of_the_missed=missed,
    )  # fmt: skip


def images(folder: Path, repeats: int) -> Iterator[dict[str, Any]]:
    """Fashion-MNIST: quiet days, then a day 20% darker."""
    files = sorted((folder / "fashion_mnist" / "test").rglob("*.png"))
    rng = np.random.default_rng(3)
    chosen = [files[i] for i in rng.permutation(len(files))[:6000].tolist()]
    column = Image(name="image").fit(object_array(chosen[:1000]))
    pixels = [column.encode(path) for path in chosen]
    light = [condensed(column, p) for p in pixels]
    dark = [condensed(column, (p * 0.8).astype(np.uint8)) for p in pixels]
    for size in (50, 200):
        alarms = found = 0
        for _ in range(repeats):
            order = rng.permutation(len(light)).tolist()
            known = {"image": {"kind": "image", "rows": 500, "missing": 0,
                               "values": [light[i] for i in order[:500]]}}  # fmt: skip
            days = [[{"image": light[i]} for i in order[500 + d * size :][:size]] for d in range(DAYS)]
            days.append([{"image": dark[i]} for i in order[500 + DAYS * size :][:size]])
            result = watched((column,), known, days)
            alarms, found = alarms + any(result[:DAYS]), found + result[-1]
        yield said("false alarm in 20 quiet days", "fashion_mnist", alarms, repeats, rows_a_day=size)
        yield said("20% darker, found on the day", "fashion_mnist", found, repeats, rows_a_day=size)


def texts(folder: Path, repeats: int) -> Iterator[dict[str, Any]]:
    """Film reviews: quiet days, then a day of Japanese news, and one of e-mail."""
    streams = [
        ("sst2/train.csv", "sentence"), ("livedoor_news.csv", "title"), ("aeslc.csv", "body"),
    ]  # fmt: skip
    column, kept, rng = Text(name="text"), [], np.random.default_rng(6)
    for place, name in streams:
        with (folder / place).open(newline="", encoding="utf-8") as file:
            found = [row[name] for row in csv.DictReader(file)]
        chosen = [found[i] for i in rng.permutation(len(found))[: 8000 if not kept else 1000].tolist()]
        kept.append([condensed(column, text) for text in chosen])
    own, *others = kept
    for size in (50, 200):
        alarms, told = 0, [0] * len(others)
        for _ in range(repeats):
            order = rng.permutation(len(own)).tolist()
            known = {
                "text": {"kind": "text", "rows": 500, "missing": 0, "values": [own[i] for i in order[:500]]}
            }
            days = [[{"text": own[i]} for i in order[500 + d * size :][:size]] for d in range(DAYS)]
            days += [[{"text": other[i]} for i in rng.permutation(len(other))[:size]] for other in others]
            result = watched((column,), known, days)
            alarms += any(result[:DAYS])
            told = [count + found for count, found in zip(told, result[DAYS:], strict=True)]
        yield said("false alarm in 20 quiet days", "sst2", alarms, repeats, rows_a_day=size)
        for what, count in zip(("Japanese news", "e-mail"), told, strict=True):
            yield said(f"{what} instead, found on the day", "sst2", count, repeats, rows_a_day=size)


def sequences_hold(folder: Path, repeats: int) -> Iterator[dict[str, Any]]:
    """Confidence sequences, looked at after every row."""
    rng = np.random.default_rng(4)
    for mean in (0.5, 0.9, 0.99):
        wrong = 0
        for _ in range(5 * repeats):
            found = sequences.of_mean((rng.random(5000) < mean) * 1.0)
            wrong += bool(((found.low_n > mean) | (found.high_n < mean)).any())
        yield said("interval ever without the truth in 5,000 looks", f"mean {mean}", wrong, 5 * repeats)
    naive = wrong = 0
    for _ in range(5 * repeats):
        a, b = ((rng.random(5000) < 0.9) * 1.0 for _ in range(2))
        t = np.arange(1, 5001)
        halves = [sequences.of_mean(x, LEVEL / 2) for x in (a, b)]
        low, high = halves[1].low_n - halves[0].high_n, halves[1].high_n - halves[0].low_n
        wrong += bool(((low > 0) | (high < 0)).any())
        means = [np.cumsum(x) / t for x in (a, b)]
        error = np.sqrt(sum(m * (1 - m) / t for m in means))
        naive += bool((np.abs(means[1] - means[0]) > 1.96 * error)[100:].any())
    yield said("A/B of equal versions ever told apart in 5,000 looks", "accuracy 0.9", wrong, 5 * repeats)
    yield said("the same with the usual 95% interval", "accuracy 0.9", naive, 5 * repeats)
    for gain in (0.02, 0.05):
        needed = []
        for _ in range(20):
            a, b = (rng.random(40_000) < 0.85) * 1.0, (rng.random(40_000) < 0.85 + gain) * 1.0
            halves = [sequences.of_mean(x, LEVEL / 2) for x in (a, b)]
            decided = np.flatnonzero(halves[1].low_n > halves[0].high_n)
            needed.append(int(decided[0]) + 1 if len(decided) else 40_000)
        data = f"0.85 and {0.85 + gain}"
        yield {"what": "rows of each version until it is told better (median)", "data": data,
               "rows": int(np.median(needed))}  # fmt: skip


MEASURED: dict[str, Callable[[Path, int], Iterator[dict[str, Any]]]] = {
    "elec2": elec2, "bike": bike, "telco": telco, "images": images, "texts": texts,
    "sequences": sequences_hold,
}  # fmt: skip

if __name__ == "__main__":
    main()
