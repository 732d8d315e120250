"""Run by tests/test_docs.py in a copy of the program that was changed as CONTRIBUTING says."""

from __future__ import annotations

import ast
import csv
import doctest
import importlib
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import torch
from PIL import Image as Pillow

import shinso
from shinso import cli, recipes
from shinso.columns import COLUMNS, restore_column
from shinso.columns.base import Column, Values
from shinso.columns.image import Image
from shinso.config import ModelConfig, settings
from shinso.features import Features
from shinso.heads import HEADS, HeadOptions
from shinso.models import MODELS

ADDED = ("columns.duration", "heads.median", "models.mixer", "durations", "middle", "data.feather", "looking")
WIDTH, ROWS, MEMBERS = 12, 5, 3


def main() -> None:
    """Everything."""
    os.environ["SHINSO_CACHE"] = str(Path("cache").absolute())
    names = {kind.kind: kind for kind in COLUMNS}
    check_column(names["duration"])
    check_head("duration", names["duration"])
    check_model("mixer")
    assert "train.label_noise" in settings()
    for module in ADDED:
        failed, _ = doctest.testmod(importlib.import_module(f"shinso.{module}"))
        assert failed == 0, module
        check_style(Path("src/shinso", *module.split(".")).with_suffix(".py"))
    check_use()
    print("All recipes work.")


def check_column(kind: type[Column]) -> None:
    """The contract of a column type."""
    rng = np.random.default_rng(0)
    values = kind.examples(rng, 60)
    assert kind.matches(values) == max(other.matches(values) for other in COLUMNS)
    column = kind(name="x").fit(values)
    assert restore_column(json.loads(json.dumps(column.to_dict()))) == column
    many, one = column.encode_many(values), [column.encode(value) for value in values]
    np.testing.assert_array_equal(np.asarray(many), np.stack(one))
    assert column.collate(one).dtype == one[0].dtype
    assert np.isnan(column.encode(None))
    json.dumps(column.summary(values), allow_nan=False)
    json.dumps(column.json_schema(), allow_nan=False)
    assert "<script" not in column.show("<script>")
    for part in column.parts(values[0]):
        column.encode(column.hide(values[0], part))
    try:
        column.encode("<no such value>")
    except shinso.DataError as error:
        assert "'x'" in str(error)
    else:
        raise AssertionError("an unreadable value is a DataError")


def check_head(kind: str, column_type: type[Column]) -> None:
    """The contract of a head that pools."""
    values: Values = column_type.examples(np.random.default_rng(1), ROWS)
    values[0] = None
    column = column_type(name="y").fit(values)
    target = torch.from_numpy(np.asarray(column.encode_many(values)))
    for members in (0, MEMBERS):
        head = HEADS[kind](column, WIDTH, members, HeadOptions())
        features = Features.of(torch.randn(ROWS, members or 4, WIDTH), members=bool(members))
        loss = head.loss(features, target)
        known = float((~target.isnan()).sum())
        assert float(loss.count) == known and loss.total.dtype == torch.float32
        loss.total.backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in head.parameters())
        with torch.no_grad():
            predicted = head.eval().predict(features)
        assert len(predicted) == ROWS
        column.decode(predicted[0].numpy())
    with torch.device("meta"):
        HEADS[kind](column, WIDTH, 0, HeadOptions())


def check_model(name: str) -> None:
    """The contract of an encoder of images, at several sizes."""
    kind, encoder_type = MODELS[name]
    assert kind == "image"
    for height, width in ((8, 8), (28, 28), (30, 41)):
        pictures = np.random.default_rng(2).integers(0, 256, (3, height, width, 3), np.uint8)
        column = Image(name="x", height=height, width=width, channels=3, mean=(0.5,) * 3, std=(0.3,) * 3)
        options = ModelConfig(width=WIDTH, depth=2, dropout=0.0)
        encoder = encoder_type(column, options).eval()
        features = encoder(torch.from_numpy(pictures))
        assert features.tokens.shape[0] == 3 and features.tokens.shape[2] == encoder.width
        alone = encoder(torch.from_numpy(pictures[:1]))
        torch.testing.assert_close(alone.tokens[0], features.tokens[0], atol=1e-4, rtol=1e-3)
        assert all(grid.ndim == 4 for grid in features.maps)
        features.tokens.sum().backward()
        with torch.device("meta"):
            encoder_type(column, options)
    encoder_type(column, ModelConfig())


def check_style(path: Path) -> None:
    """A module docstring, types on every function, lines to 110."""
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), path
    assert max(map(len, text.splitlines())) <= 110, path
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            arguments = [a for a in node.args.args if a.arg not in ("self", "cls")]
            assert node.returns is not None and all(a.annotation for a in arguments), f"{path}: {node.name}"


def check_use() -> None:
    """Train with what was added, through the command line."""
    rng = random.Random(0)
    with Path("trips.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["km", "pause", "took"])
        for _ in range(150):
            km, pause = rng.uniform(1, 60), rng.randint(0, 20)
            minutes = round(2 * km) + pause
            took = f"{minutes // 60}:{minutes % 60:02d}:00" if minutes % 2 else f"{minutes} min"
            writer.writerow([round(km, 1), f"{pause} min", took])
    tiny = ["--set", "model.width=16", "--set", "train.threads=1", "--set", "train.epochs=2", "--quiet"]
    run(["look", "trips.csv"])
    run(
        ["train", "trips.csv", "--predict", "took", "--set", "train.label_noise=0.1", *tiny, "--out", "trips"]
    )
    found: dict[str, Any] = shinso.Run("trips").evaluation["outputs"]["took"]
    assert found["kind"] == "duration" and set(found["metrics"]) == {"mae", "within_a_tenth"}
    assert found["metrics"]["mae"]["low"] is not None
    run(["predict", "trips", "trips.csv"])
    assert [type(c).__name__ for c in shinso.Run("trips").schema.given] == ["Number", "Duration"]
    assert recipes.BY_OUTPUT["duration"](recipes.Facts(100))["train.batch_size"] == 128
    pyarrow.feather.write_feather(
        pa.table({"x": list(range(60)), "y": [float(i) for i in range(60)]}), "t.arrow"
    )
    run(["train", "t.arrow", "--predict", "y", "--given", "x", *tiny, "--out", "arrow"])
    names = [row["name"] for row in shinso.Run("arrow").evaluation["outputs"]["y"]["baselines"]]
    assert "median" in names
    for i in range(24):
        place = Path("pictures") / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(np.full((12, 12), 10 * i, np.uint8)).save(place / f"{i}.png")
    run(["train", "pictures", "--set", "model.name=mixer", *tiny, "--out", "mixed"])
    assert type(next(iter(shinso.Run("mixed").network.encoders.values()))).__name__ == "Mixer"


def run(arguments: list[str]) -> None:
    """One command, which must succeed."""
    assert cli.main(arguments) == 0, arguments


if __name__ == "__main__":
    main()
