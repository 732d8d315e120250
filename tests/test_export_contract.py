"""Every network of the table of models at toy size: as a graph it answers as torch does, or says why not.

Networks that a later entry adds are tested by being there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shinso.columns.category import Category
from shinso.config import ModelConfig
from shinso.errors import RunError, SettingError
from shinso.exported import encoded, rows_apart
from shinso.exporting.embedding import Embedding
from shinso.exporting.graph import (
    Deployed,
    Signature,
    long_enough,
    must_be_exportable,
    settled,
    to_onnx,
    to_torch,
)  # fmt: skip
from shinso.exporting.odd import odd_rows
from shinso.exporting.parity import BOUNDS, VECTORS, difference
from shinso.models import FAMOUS, MODELS, ngrams
from shinso.network import Network
from shinso.runtimes import session
from shinso.schema import Schema
from test_contracts import fitted, scalar_columns

SMALLEST = {"ImageEncoder": ("lenet5", "resnet18", "efficientnet_b0", "vit_ti")}  # one of each make
SIZES: dict[str, dict[str, Any]] = {
    "lenet5": {}, "resnet18": {"width": 8}, "efficientnet_b0": {"width": 16}, "perceptron": {},
    "residual": {"width": 16},
    "vit_ti": {"width": 16, "depth": 1, "heads": 2},
}  # fmt: skip
SMALL = ModelConfig(width=16, depth=1, heads=2, dropout=0.1, members=2, embedding=4)
SAME = (
    "rnn/series",
    "lstm/text",
    "lstm/series",
    "gru/text",
    "peephole/text",
)  # the same code reads the other kind
REFUSED = {"spiking/series": "takes its steps one by one"}

# torch.export binds these to the length, or to a range of lengths, of the rows they are captured with
NOT_TORCH = {
    "audio/audio": "rather short and long clips are read in two ways",
    "bags/text": "sums of n-grams come in pieces",
    "bert/text": "positions past the last are left out",
    "gpt/text": "positions past the last are left out",
    "text/text": "texts of two tokens",
    "rnn/text": "torch.export unrolls the steps",
    "gru/series": "torch.export unrolls the steps",
    "peephole/series": "torch.export unrolls the steps",
}


@pytest.fixture(autouse=True)
def few_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph sums n-grams in two pieces, which takes the exporter two thirds of the time of eight."""
    monkeypatch.setattr(ngrams, "PIECES", 2)


def readers() -> dict[str, str]:
    """By name and kind of column: one preset of every encoder."""
    found = {f"{name}/{kind}": kind for name, (kind, _) in MODELS.items()}
    seen: set[tuple[str, str]] = set()
    for name, known in FAMOUS.items():
        for kind, made in known.encoders.items():
            first = (kind, made.__name__) not in seen
            seen.add((kind, made.__name__))
            if name in SMALLEST.get(made.__name__, (name,) if first else ()):
                found[f"{name}/{kind}"] = kind
    return found


READERS = {name: kind for name, kind in readers().items() if name not in SAME}


def network(name: str) -> tuple[Schema, Network]:
    kind = READERS[name]
    given = scalar_columns() if kind == "scalars" else (fitted(kind, "x"),)
    label = Category(name="label").fit(np.array(["a", "b", "c"] * 8, object))
    schema = Schema(tuple(given), (label,))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        preset = name.partition("/")[0]
        options = SMALL if preset not in SIZES else ModelConfig.model_validate(SIZES[preset])
        made = Network(schema, options.model_copy(update={"name": preset}))
    return schema, made.eval()


def batches(schema: Schema) -> list[dict[str, Any]]:
    """Odd rows, one by one and in a batch of several lengths."""
    odd = odd_rows(schema)
    count = min(24, len(next(iter(odd.values()))))
    taken = [*([i] for i in range(min(10, count))), list(range(count))]
    return [{c.name: encoded(c, [odd[c.name][i] for i in one]) for c in schema.given} for one in taken]


def agree(own: Deployed, export: Callable[[dict[str, Any]], list[Any]], schema: Schema) -> float:
    """The largest difference on odd rows; where two are further apart than the bound, the test fails."""
    worst = 0.0
    for inputs in batches(schema):
        both = own.on(inputs)
        wanted, (found, *vectors) = both["label"], export(inputs)
        assert found.shape == wanted.shape
        assert (difference(wanted, found) <= 1).all()
        for made in vectors:
            assert (rows_apart(both[VECTORS], made, BOUNDS["fp32"]) <= 1).all()
        worst = max(worst, float(np.abs(wanted - found).max()))
    return worst


def embedding_of(made: Network, inputs: dict[str, Any]) -> Embedding:
    """What its last output would be, fitted on odd rows."""
    batch = {name: torch.from_numpy(array) for name, array in inputs.items()}
    with torch.no_grad():
        return Embedding(made.features(batch, len(next(iter(inputs.values())))).pool().flatten(1))


@pytest.mark.parametrize("name", sorted(READERS.keys() - REFUSED.keys()))
def test_every_network_is_equal_as_onnx(name: str, tmp_path: Path) -> None:
    schema, made = network(name)
    inputs = long_enough(schema, batches(schema)[-1])
    embedding = embedding_of(made, inputs)
    own, leaving = (Deployed(n, schema, {}, embedding).eval() for n in (made, settled(made)))
    signature = Signature.of(schema, inputs, own.on(inputs))
    (tmp_path / "model.onnx").write_bytes(to_onnx(leaving, schema, inputs, signature))
    opened = session(tmp_path / "model.onnx", 1)

    def export(rows: dict[str, Any]) -> list[Any]:
        return list(opened.run(None, {one["name"]: rows[one["column"]] for one in signature.inputs}))

    assert agree(own, export, schema) < 1e-4


@pytest.mark.parametrize("name", sorted(READERS.keys() - REFUSED.keys() - NOT_TORCH.keys()))
def test_what_torch_takes_is_equal(name: str, tmp_path: Path) -> None:
    schema, made = network(name)
    own, leaving = (Deployed(n, schema, {}).eval() for n in (made, settled(made)))
    inputs = long_enough(schema, batches(schema)[-1])
    to_torch(leaving, schema, inputs, tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2").module()
    assert agree(own, lambda rows: list(own.on(rows, program).values()), schema) < 1e-4


@pytest.mark.parametrize("name", ["bert/text", "gpt/text", "text/text"])  # the others take seconds each
def test_what_torch_binds_to_a_length_does_not_run_at_others(name: str, tmp_path: Path) -> None:
    schema, made = network(name)
    own = Deployed(made, schema, {}).eval()
    inputs = long_enough(schema, batches(schema)[-1])
    to_torch(Deployed(settled(made), schema, {}).eval(), schema, inputs, tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2").module()
    with pytest.raises(AssertionError, match=r"Guard failed: .*size\(\)\[1\]"):
        agree(own, lambda rows: list(own.on(rows, program).values()), schema)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_a_graph_says_why(name: str) -> None:
    schema, made = network(name)
    with pytest.raises(SettingError, match=REFUSED[name]):
        must_be_exportable(schema, made)


def test_an_operator_that_cannot_be_captured_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema, made = network("mlp/scalars")
    own = Deployed(made, schema, {}).eval()
    inputs = long_enough(schema, batches(schema)[-1])

    def stuck(*columns: Any) -> Any:
        if float(columns[0].sum()) > 0:  # a branch on data, which a graph cannot hold
            return made.predict(dict(zip(own.given, columns, strict=True)), len(columns[0]))
        return columns

    monkeypatch.setattr(own, "forward", stuck)
    with pytest.raises(RunError, match=r"cannot be captured for --to onnx, so nothing was written"):
        to_onnx(own, schema, inputs, Signature.of(schema, inputs, {"label": np.zeros((2, 3), np.float32)}))
