"""Peer: spaCy's text classifier on SST-2 sentences, its default configuration and early stopping."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import side
import spacy
from spacy.cli.init_config import init_config
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config, registry

TARGET = 0.80
LABELS = ("negative", "positive")
RACE = side.Race(TARGET)
TEST: list[tuple[str, str]] = []


def read(path: Path) -> list[tuple[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [(row["sentence"], row["sentiment"]) for row in csv.DictReader(file)]


def convert(rows: list[tuple[str, str]], path: Path) -> None:
    """Sentences to spaCy's training format, as its guide does it."""
    nlp, stored = spacy.blank("en"), DocBin()
    for doc, label in nlp.pipe(rows, as_tuples=True):
        doc.cats = {name: float(name == label) for name in LABELS}
        stored.add(doc)
    stored.to_disk(path)


def accuracy(nlp: Any) -> float:
    """Accuracy over the test rows."""
    docs = nlp.pipe([text for text, _ in TEST])
    found = [max(doc.cats, key=doc.cats.get) for doc in docs]
    return sum(guess == label for guess, (_, label) in zip(found, TEST, strict=True)) / len(TEST)


@registry.loggers("race.v1")
def race_logger() -> Callable[..., Any]:
    """spaCy's way to look on: called after every step, with scores where it evaluated."""

    def setup(nlp: Any, stdout: Any, stderr: Any) -> tuple[Any, Any]:
        def log(info: dict[str, Any] | None) -> None:
            if info is not None:
                RACE.lap(lambda: accuracy(nlp))

        return log, lambda: None

    return setup


def main() -> None:
    asked = side.arguments()
    rows = read(asked.data / "train.csv")
    rows = rows[:300] if asked.short else rows
    convert(rows, asked.work / "train.spacy")
    convert(read(asked.data / "dev.csv"), asked.work / "dev.spacy")
    with RACE.clock.stopped():
        TEST.extend(read(asked.data / "test.csv"))
    init_config(lang="en", pipeline=["textcat"], optimize="efficiency").to_disk(asked.work / "config.cfg")
    config = load_config(
        asked.work / "config.cfg",
        {
            "paths.train": str(asked.work / "train.spacy"), "paths.dev": str(asked.work / "dev.spacy"),
            "training.logger": {"@loggers": "race.v1"},
            **({"training.max_steps": 50, "training.eval_frequency": 20} if asked.short else {}),
        },
    )  # fmt: skip
    (asked.work / "model").mkdir()
    train(init_nlp(config), asked.work / "model", stdout=sys.stderr)
    RACE.answer()


if __name__ == "__main__":
    main()
