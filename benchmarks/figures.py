"""The figures of the spine: accuracy and total time of each data set, as a user would train it.

    python benchmarks/figures.py --data DIR [NAME ...] [--repeat N]

DIR is where the data sets lie, unpacked (fashion_mnist/, adult/, california_housing/, titanic/, sst2/,
livedoor_news.csv). Every training is a process of its own, `shinso train` with default effort; the time is
process start to its end, import, reading, decoding (without a cache), training, baselines, evaluation and
report included. Test rows are never seen in training: they are kept in a file of their own and measured once,
by `shinso evaluate`. One line a measurement is added to benchmarks/results.jsonl.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results.jsonl"


@dataclass(frozen=True)
class Case:
    """One data set: what to train on, what to test on, which columns, and what must be reached."""

    train: Path
    test: Path
    flags: tuple[str, ...]
    target: str


@dataclass(frozen=True)
class Figure:
    """What the issue asks for: metric, bound, seconds."""

    prepare: Callable[[Path, Path, int], Case]
    goals: dict[str, float]  # metric -> least value (of errors: most)
    seconds: float
    seeds: int = 1


def read(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    return rows[0], rows[1:]


def write(path: Path, names: list[str], rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    return path


def fifth(source: Path, folder: Path, seed: int, target: str, *flags: str) -> Case:
    """A random fifth of the rows is the test file."""
    names, rows = read(source)
    random.Random(seed).shuffle(rows)
    cut = round(len(rows) / 5)
    train, test = (
        write(folder / "train.csv", names, rows[cut:]),
        write(folder / "test.csv", names, rows[:cut]),
    )
    return Case(train, test, ("--predict", target, "--set", "data.split=9:1:0", *flags), target)


def digits(data: Path, folder: Path, seed: int) -> Case:
    subprocess.run(
        [sys.executable, "-m", "shinso", "samples", "digits", "--out", str(folder / "digits")], check=True
    )
    return Case(folder / "digits", Path(), ("--predict", "label", "--seed", str(seed)), "label")


def fashion(data: Path, folder: Path, seed: int) -> Case:
    root = data / "fashion_mnist"
    flags = ("--predict", "label", "--set", "data.split=9:1:0", "--seed", str(seed))
    return Case(root / "train", root / "test", flags, "label")


ADULT = [
    "age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation",
    "relationship",
    "race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income",
]  # fmt: skip


def adult(data: Path, folder: Path, seed: int) -> Case:
    """The files have no header, and the labels of the test file end in a full stop."""
    for part in ("train", "test"):
        lines = (data / "adult" / f"adult-{part}.csv").read_text("utf-8").splitlines()
        rows = [
            [cell.strip().rstrip(".") for cell in line.split(",")] for line in lines if line.count(",") == 14
        ]
        write(folder / f"{part}.csv", ADULT, [row for row in rows if row[0].isdigit()])
    flags = ("--predict", "income", "--set", "data.split=9:1:0", "--seed", str(seed))
    return Case(folder / "train.csv", folder / "test.csv", flags, "income")


def sst2(data: Path, folder: Path, seed: int) -> Case:
    flags = ("--predict", "sentiment", "--set", "data.split=9:1:0", "--seed", str(seed))
    return Case(data / "sst2" / "train.csv", data / "sst2" / "test.csv", flags, "sentiment")


def livedoor(data: Path, folder: Path, seed: int) -> Case:
    names, rows = read(data / "livedoor_news.csv")
    train = write(folder / "train.csv", names, rows[:1500])
    test = write(folder / "test.csv", names, rows[1500:])
    flags = ("--predict", "category", "--given", "body", "--set", "data.split=9:1:0", "--seed", str(seed))
    return Case(train, test, flags, "category")


FIGURES: dict[str, Figure] = {
    "digits": Figure(digits, {"accuracy": 0.98}, 60),
    "fashion_mnist": Figure(fashion, {"accuracy": 0.930}, 300),
    "adult": Figure(adult, {"accuracy": 0.870, "roc_auc": 0.925}, 60),
    "california_housing": Figure(
        lambda data, folder, seed: fifth(
            data / "california_housing" / "housing.csv",
            folder,
            seed,
            "median_house_value",
            "--seed",
            str(seed),
        ),
        {"rmse": 46_500},
        90,
    ),
    "titanic": Figure(
        lambda data, folder, seed: fifth(
            data / "titanic" / "train.csv", folder, seed, "Survived", "--seed", str(seed)
        ),
        {"roc_auc": 0.85},
        90,
        seeds=5,
    ),
    "sst2": Figure(sst2, {"accuracy": 0.81}, 60),
    "livedoor_news": Figure(livedoor, {"accuracy": 0.91}, 90),
}


def measure(name: str, data: Path, seed: int, extra: tuple[str, ...]) -> dict[str, Any]:
    """Train once in a process of its own, then measure on the test file."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        case = FIGURES[name].prepare(data, folder, seed)
        environment = {**os.environ, "SHINSO_CACHE": str(folder / "cache")}
        shutil.rmtree(folder / "cache", ignore_errors=True)
        run = folder / "run"
        command = [
            sys.executable,
            "-m",
            "shinso",
            "train",
            str(case.train),
            *case.flags,
            "--out",
            str(run),
            *extra,
        ]
        started = time.perf_counter()
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        own = json.loads((run / "evaluation.json").read_text("utf-8"))
        found = own
        if case.test != Path():
            evaluate = [sys.executable, "-m", "shinso", "evaluate", str(run), str(case.test), "--json"]
            done = subprocess.run(evaluate, check=True, env=environment, stdout=subprocess.PIPE)
            found = json.loads(done.stdout)
        metrics = found["outputs"][case.target]["metrics"]
        return {
            "seconds": round(seconds, 2),
            "training_seconds": own["training"]["seconds"]["train"],
            "peak_memory_bytes": own["training"]["peak_memory_bytes"],
            **{goal: metrics[goal] for goal in FIGURES[name].goals},
        }


def commit() -> str:
    """The commit, and whether anything but the results differs from it."""
    ask = {"capture_output": True, "text": True, "check": False, "cwd": RESULTS.parent.parent}
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], **ask).stdout.strip()
    others = [
        "git",
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ".",
        f":!{RESULTS.parent.name}/{RESULTS.name}",
    ]
    return head + ("-dirty" if subprocess.run(others, **ask).stdout.strip() else "")


def report(name: str, results: list[dict[str, Any]]) -> str:
    """One line: what was asked, what was measured, its spread."""
    figure = FIGURES[name]
    parts = []
    for goal, bound in figure.goals.items():
        values = [r[goal]["value"] for r in results]
        mean = sum(values) / len(values)
        met = mean <= bound if goal == "rmse" else mean >= bound
        spread = (
            f" ({min(values):.4g} to {max(values):.4g})"
            if len(values) > 1
            else (f" [{results[0][goal]['low']:.4g}, {results[0][goal]['high']:.4g}]")
        )
        parts.append(f"{goal} {mean:.5g}{spread}, asked {bound:g}: {'met' if met else 'MISSED'}")
    slowest = max(r["seconds"] for r in results)
    parts.append(
        f"{slowest:.1f} s, asked {figure.seconds:g}: {'met' if slowest <= figure.seconds else 'MISSED'}"
    )
    return f"{name}: " + "; ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*FIGURES, []], help="which data sets; all when left out")
    parser.add_argument("--data", type=Path, required=True, help="folder of the unpacked data sets")
    parser.add_argument("--repeat", type=int, default=1, help="seeds of each data set")
    parser.add_argument("--set", action="append", default=[], help="settings, as for shinso train")
    parser.add_argument("--dry", action="store_true", help="do not add to results.jsonl")
    arguments = parser.parse_args()
    extra = tuple(part for setting in arguments.set for part in ("--set", setting))
    for name in arguments.names or FIGURES:
        seeds = max(arguments.repeat, FIGURES[name].seeds)
        results = [measure(name, arguments.data, seed, extra) for seed in range(seeds)]
        print(report(name, results), flush=True)
        if not arguments.dry:
            machine = {"system": platform.platform(), "cores": os.cpu_count()}
            entry = {
                "figure": name,
                "commit": commit(),
                "date": time.strftime("%Y-%m-%d"),
                "machine": machine,
            }
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**entry, "settings": arguments.set, "results": results}) + "\n")


if __name__ == "__main__":
    main()
