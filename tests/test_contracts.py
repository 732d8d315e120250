"""What every column, model and head promises, over the tables: a new entry is tested by being there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from shinso.columns import COLUMNS, Column, restore_column
from shinso.columns.base import Values, object_array
from shinso.config import ModelConfig
from shinso.errors import DataError, ShinsoError
from shinso.features import Features
from shinso.heads import HEADS
from shinso.models import FAMOUS, MODELS, Encoder
from shinso.network import Network
from shinso.schema import Schema

ROWS = 24
TYPES = {c.kind: c for c in COLUMNS}
KINDS = pytest.mark.parametrize("kind", sorted(TYPES))
OPTIONS = ModelConfig(width=32, depth=2, dropout=0.1, members=2, embedding=4)
SMALL = ModelConfig(width=16, depth=1, dropout=0.0, members=2, embedding=4)
HOSTILE_TEXT = "<script>alert(1)</script>\"' onload=x <img src=x onerror=alert(1)> &"
HOSTILE: tuple[Any, ...] = (
    None, "x", HOSTILE_TEXT, "__import__('os').system('false')", -1, 10**12, 10**400, 1e308, float("nan"),
    float("inf"), True, [], [None], [["a"]], ["a", "a"], [1, 2, 3], [1e308, -1e308], {"a": 1}, [{"a": 1}], {},
)  # fmt: skip


def examples(kind: str, rows: int = ROWS) -> Values:
    return TYPES[kind].examples(np.random.default_rng(0), rows)


def fitted(kind: str, name: str = "x") -> Column:
    return TYPES[kind](name=name).fit(examples(kind))


def missing(column: Column) -> Any:
    """The encoded missing value, or None where the column refuses it."""
    try:
        return column.encode(None)
    except DataError as error:
        assert repr(column.name) in str(error), "the error names the column"
        return None


def stored(column: Column) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(json.dumps(column.to_dict(), allow_nan=False))
    return data


# Columns -------------------------------------------------------------------------------------------


@KINDS
def test_examples_are_of_their_type(kind: str) -> None:
    values = examples(kind)
    assert isinstance(values, np.ndarray) and values.shape == (ROWS,)
    assert 0 < TYPES[kind].matches(values) <= 1


@KINDS
def test_the_right_type_matches_best(kind: str) -> None:
    scores = {c.kind: c.matches(examples(kind)) for c in COLUMNS}
    assert all(0 <= score <= 1 for score in scores.values())
    assert max(scores, key=lambda k: scores[k]) == kind, f"of the best the first counts: {scores}"


@KINDS
def test_nothing_matches_where_all_is_missing_or_empty(kind: str) -> None:
    for values in (object_array([None] * 5), object_array([]), np.full(3, np.nan)):
        assert TYPES[kind].matches(values) in (0, 0.0) or kind in ("number", "category", "text")


@KINDS
def test_fitting_is_repeatable_and_leaves_the_column_alone(kind: str) -> None:
    plain = TYPES[kind](name="x")
    before = plain.to_dict()
    assert plain.fit(examples(kind)) == plain.fit(examples(kind))
    assert plain.to_dict() == before


@KINDS
def test_encoding_has_one_type_and_shape(kind: str) -> None:
    column = fitted(kind)
    arrays = [column.encode(value) for value in examples(kind)]
    assert len({a.dtype for a in arrays}) == 1
    assert len({a.shape[1:] if column.ragged else a.shape for a in arrays}) == 1
    assert all(a.dtype.kind in "fiu" for a in arrays)


@KINDS
def test_encoding_many_equals_encoding_one_by_one(kind: str) -> None:
    column = fitted(kind)
    many = column.encode_many(examples(kind))
    assert isinstance(many, list if column.ragged else np.ndarray)
    for one, value in zip(many, examples(kind), strict=True):
        np.testing.assert_array_equal(np.asarray(one), column.encode(value))
        assert np.asarray(one).dtype == column.encode(value).dtype


@KINDS
def test_collating_pads_and_keeps_every_value(kind: str) -> None:
    column = fitted(kind)
    arrays = [column.encode(value) for value in examples(kind)]
    batch = column.collate(arrays)
    assert batch.shape[0] == ROWS and batch.dtype == arrays[0].dtype
    for row, array in zip(batch, arrays, strict=True):
        part = row[: len(array)] if column.ragged else row
        np.testing.assert_array_equal(part, array)


@KINDS
def test_columns_survive_json(kind: str) -> None:
    column = fitted(kind)
    back = restore_column(stored(column))
    assert back == column and type(back) is type(column)
    value = examples(kind)[0]
    np.testing.assert_array_equal(back.encode(value), column.encode(value))


@KINDS
def test_parts_can_be_hidden(kind: str) -> None:
    column = fitted(kind)
    for value in examples(kind)[:6]:
        before = column.encode(value)
        parts = column.parts(value)
        assert len(set(parts)) == len(parts)
        for part in parts[:20]:
            hidden = column.hide(value, part)
            if hidden is None and missing(column) is None:
                continue
            array = column.encode(hidden)
            assert array.dtype == before.dtype
        np.testing.assert_array_equal(column.encode(value), before, "hiding leaves the value alone")


@KINDS
def test_summaries_are_json(kind: str) -> None:
    column = fitted(kind)
    values = examples(kind)
    found = json.loads(json.dumps(column.summary(values), allow_nan=False))
    assert found["rows"] == ROWS
    if values.dtype.kind == "O":
        gaps = object_array([None, *values[1:]])
        assert column.summary(gaps)["missing"] >= 1
        try:
            json.dumps(column.summary(object_array([None] * 3)), allow_nan=False)
        except DataError as error:
            assert repr(column.name) in str(error)


@KINDS
def test_showing_is_safe_html(kind: str) -> None:
    column = fitted(kind)
    hostile = (HOSTILE_TEXT, HOSTILE_TEXT.encode(), [HOSTILE_TEXT], [{"label": HOSTILE_TEXT}])
    for value in (*examples(kind)[:4], None, *hostile, Path(HOSTILE_TEXT[:20])):
        try:
            shown = column.show(value)
        except DataError:
            continue
        check_html(shown)


@KINDS
def test_hostile_labels_stay_text(kind: str) -> None:
    if "labels" not in fitted(kind).to_dict():
        pytest.skip("has no labels")
    box = {"label": HOSTILE_TEXT, "x1": 0.1, "y1": 0.1, "x2": 0.5, "y2": 0.5}
    value = {"labels": [HOSTILE_TEXT], "boxes": [box]}.get(kind, HOSTILE_TEXT)
    column = TYPES[kind](name=HOSTILE_TEXT).fit(object_array([value, value]))
    check_html(column.show(value))
    json.dumps(column.json_schema())
    assert restore_column(stored(column)) == column


@KINDS
def test_the_json_schema_is_json(kind: str) -> None:
    schema = json.loads(json.dumps(fitted(kind).json_schema(), allow_nan=False))
    assert schema["title"] == "x"


@KINDS
def test_a_missing_value_is_encoded_or_refused_by_name(kind: str) -> None:
    column = fitted(kind)
    array = missing(column)
    if array is not None:
        example = column.encode(examples(kind)[0])
        assert array.dtype == example.dtype
        assert array.shape[1:] == example.shape[1:] if column.ragged else array.shape == example.shape
        column.collate([example, array])


@KINDS
@pytest.mark.parametrize("value", [object(), 1j, {"a": object()}, [[[]]], b"\x00\xff", "\ud800", [object()]])
def test_a_value_of_a_wrong_type_is_refused_by_name(kind: str, value: Any) -> None:
    column = fitted(kind, name="the column")
    try:
        column.encode(value)
    except DataError as error:
        assert "'the column'" in str(error), "the error names the column"


@KINDS
def test_a_str_is_never_opened_as_a_file(kind: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    value = examples(kind)[0]
    secret.write_bytes(value if isinstance(value, bytes) else b"secret")
    column = fitted(kind)
    if kind in ("text", "category", "labels"):
        pytest.skip("a str is a value of this type")
    with pytest.raises(DataError) as error:
        column.encode(str(secret))
    assert "b'" not in str(error.value)


@KINDS
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_stored_columns_may_be_hostile(kind: str) -> None:
    """Altered JSON gives an error for users, or a column that still only gives errors for users."""
    data = stored(fitted(kind))
    value = examples(kind)[0]
    for field in data.keys() - {"kind", "name"}:
        for bad in HOSTILE:
            if bad == data[field]:
                continue
            try:
                column = restore_column({**data, field: bad})
                array = column.encode(value)
                column.collate([array])
            except ShinsoError:
                continue
            assert array.nbytes < 1 << 24, f"{field}={bad!r} makes a huge array"


@KINDS
def test_stored_columns_need_exactly_their_fields(kind: str) -> None:
    data = stored(fitted(kind))
    nameless = {key: value for key, value in data.items() if key != "name"}
    for wrong in ({**data, "extra": 1}, {**data, "kind": "nothing"}, nameless):
        with pytest.raises(ShinsoError):
            restore_column(wrong)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, [name for name, _ in attrs]))


def check_html(text: str) -> None:
    parser = _Tags()
    parser.feed(text)
    parser.close()
    for tag, names in parser.found:
        assert tag not in ("script", "iframe", "object", "style", "link"), text
        assert not [n for n in names if n.startswith("on")], text
        assert tag != "img" or "data:" in text, text


# Models ---------------------------------------------------------------------------------------------

# Every row of the table that reads anything but pictures, by name and kind; tests/test_famous.py has those.
READERS = {name: (kind, made) for name, (kind, made) in MODELS.items()}
READERS |= {
    f"{name}/{kind}": (kind, made)
    for name, known in FAMOUS.items() for kind, made in known.encoders.items() if kind != "image"
}  # fmt: skip
ENCODERS = {name: kind for name, (kind, _) in READERS.items()}
EVERY_MODEL = pytest.mark.parametrize("name", sorted(ENCODERS))


def encoder(name: str, seed: int = 0, options: ModelConfig = OPTIONS) -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if ENCODERS[name] == "scalars":
            return READERS[name][1](scalar_columns(), options)
        known = FAMOUS.get(name.partition("/")[0])
        heads = 2 if known and "heads" in known.settings else None
        preset = options.model_copy(update={"name": name.partition("/")[0], "heads": heads})
        return READERS[name][1](fitted(ENCODERS[name]), preset)


def idle(model: torch.nn.Module, prefix: str) -> list[str]:
    """Parameters that got no gradient, or one that is not finite."""
    named = [(name, p.grad) for name, p in model.named_parameters() if name.startswith(prefix)]
    return [n for n, grad in named if grad is None or not grad.isfinite().all() or not grad.any()]


def scalar_columns() -> tuple[Column, ...]:
    return tuple(fitted(c.kind, name=c.kind) for c in COLUMNS if c.scalar)


def batch_for(name: str, rows: int = 8) -> Any:
    if ENCODERS[name] == "scalars":
        return {c.name: tensor_of(c, examples(c.kind)[:rows]) for c in scalar_columns()}
    return tensor_of(fitted(ENCODERS[name]), examples(ENCODERS[name])[:rows])


def tensor_of(column: Column, values: Values) -> Tensor:
    return torch.from_numpy(np.array(column.collate(list(column.encode_many(values)))))


@EVERY_MODEL
def test_models_give_features(name: str) -> None:
    model = encoder(name).eval()
    features = model(batch_for(name))
    rows, tokens, width = features.tokens.shape
    assert (rows, width) == (8, model.width) and features.mask.shape == (rows, tokens)
    assert features.members == (model.members > 0) and (not model.members or tokens == model.members)
    assert features.mask.any() and features.mask.dtype == torch.bool
    assert all(torch.isfinite(x).all() for x in (features.tokens, *features.maps))
    assert all(m.ndim == 4 and len(m) == rows for m in features.maps)
    assert all(prefix in {n.split(".")[0] for n, _ in model.named_parameters()} for prefix in model.rates)


@EVERY_MODEL
def test_every_parameter_of_a_model_learns(name: str) -> None:
    model = encoder(name).train()
    if not list(model.parameters()):
        pytest.skip("has no parameters: gives what it reads as it is, and its head learns")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in model.parameters():
            if not parameter.any():  # a layer that begins at zero hides those before it at the first step
                torch.nn.init.normal_(parameter, std=0.1)
        features = model(batch_for(name))
        weight = torch.randn_like(features.tokens)
        total = (features.tokens * weight).sum() + sum((m.square()).sum() for m in features.maps)
        total.backward()
    assert not idle(model, ""), idle(model, "")


@EVERY_MODEL
@pytest.mark.parametrize("training", [False, True])
def test_padding_changes_nothing(name: str, training: bool) -> None:
    if ENCODERS[name] == "scalars" or not fitted(ENCODERS[name]).ragged:
        pytest.skip("rows of one size are never padded")
    column = fitted(ENCODERS[name])
    arrays = list(column.encode_many(examples(ENCODERS[name])[:6]))
    longest = column.collate([*arrays, np.concatenate([max(arrays, key=len)] * 3)])[:-1]
    model = encoder(name)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.train(training)
    alone, padded = (model(torch.from_numpy(np.array(b))) for b in (column.collate(arrays), longest))
    torch.testing.assert_close(padded.pool(), alone.pool(), rtol=1e-3, atol=1e-4)
    assert (padded.mask.sum(1) == alone.mask.sum(1)).all()


@EVERY_MODEL
def test_a_row_means_the_same_in_any_batch(name: str) -> None:
    model = encoder(name).eval()
    batch = batch_for(name)
    alone = {k: v[2:3] for k, v in batch.items()} if isinstance(batch, dict) else batch[2:3]
    with torch.no_grad():
        torch.testing.assert_close(model(alone).pool()[0], model(batch).pool()[2], rtol=1e-4, atol=1e-5)


@EVERY_MODEL
def test_missing_inputs_give_finite_features(name: str) -> None:
    columns = scalar_columns() if ENCODERS[name] == "scalars" else (fitted(ENCODERS[name]),)
    arrays = {c.name: (c, missing(c)) for c in columns}
    if any(array is None for _, array in arrays.values()):
        pytest.skip("its column refuses missing values")
    batch = {}
    for column, array in arrays.values():
        both = column.collate([column.encode(examples(column.kind)[0]), array])
        batch[column.name] = torch.from_numpy(np.array(both))
    model = encoder(name).eval()
    features = model(batch if ENCODERS[name] == "scalars" else next(iter(batch.values())))
    assert torch.isfinite(features.pool()).all()


@EVERY_MODEL
def test_weights_survive_a_file(name: str, tmp_path: Path) -> None:
    model, other = encoder(name, seed=0).eval(), encoder(name, seed=1).eval()
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "w.safetensors")
    other.load_state_dict(load_file(tmp_path / "w.safetensors"), strict=True)
    with torch.no_grad():
        assert torch.equal(model(batch_for(name)).tokens, other(batch_for(name)).tokens)


@EVERY_MODEL
def test_bfloat16_stays_close(name: str) -> None:
    model = encoder(name).eval()
    with torch.no_grad():
        exact = model(batch_for(name)).pool()
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(batch_for(name)).pool().float()
    error = (rough - exact).norm() / exact.norm()
    assert error < 0.05, error


@EVERY_MODEL
def test_models_can_be_exported(name: str) -> None:
    model = encoder(name, options=SMALL).eval()
    batch = batch_for(name, 2)
    program = torch.export.export(Pooled(model), (batch,), strict=False).module()
    with torch.no_grad():
        torch.testing.assert_close(program(batch), model(batch).pool(), rtol=1e-4, atol=1e-5)


class Pooled(torch.nn.Module):
    """A model behind a plain tensor, as an exporter sees it."""

    def __init__(self, model: Encoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any) -> Tensor:
        features: Features = self.model(batch)
        return features.pool()


# Heads ----------------------------------------------------------------------------------------------

EVERY_HEAD = pytest.mark.parametrize("kind", sorted(HEADS))
ONE_PASS = ("category", "labels", "number", "datetime", "series", "mask")
SAMPLED = ("image",)  # the loss of these draws noise
UNUSED = {"mask": ("laterals", "smooth")}  # a decoder reads as many maps as there are


def network(kind: str, given: str = "image", seed: int = 0) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Network(Schema((fitted(given, "given"),), (fitted(kind, "wanted"),)), OPTIONS)


def batches(kind: str, given: str = "image", rows: int = 8) -> dict[str, Tensor]:
    return {
        "given": tensor_of(fitted(given, "given"), examples(given)[:rows]),
        "wanted": tensor_of(fitted(kind, "wanted"), examples(kind)[:rows]),
    }


def loss_of(net: Network, batch: dict[str, Tensor]) -> Iterator[Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        loss = net.losses(batch, len(batch["given"]))["wanted"]
    yield loss.total
    yield loss.count


@EVERY_HEAD
def test_the_loss_is_finite_and_counted(kind: str) -> None:
    total, count = loss_of(network(kind).eval(), batches(kind))
    assert total.ndim == count.ndim == 0 and total.dtype == count.dtype == torch.float32
    assert torch.isfinite(total) and total > 0 and count > 0


@EVERY_HEAD
def test_every_parameter_of_a_head_learns(kind: str) -> None:
    net = network(kind).train()
    for _ in range(4):  # layers that begin at zero let nothing through before their first steps
        net.zero_grad()
        total, count = loss_of(net, batches(kind))
        (total / count).backward()
        with torch.no_grad():
            for p in net.parameters():
                if p.grad is not None:
                    p -= 0.01 * p.grad
    found = [n for n in idle(net, "heads.") if not any(part in n for part in UNUSED.get(kind, ()))]
    assert not found, found


@EVERY_HEAD
def test_rows_without_a_target_count_nothing(kind: str) -> None:
    column = fitted(kind, "wanted")
    none = missing(column)
    if none is None or kind in SAMPLED:
        pytest.skip("its loss draws noise" if kind in SAMPLED else "its column refuses missing values")
    net, batch = network(kind).eval(), batches(kind, rows=4)
    arrays = [column.encode(v) for v in examples(kind)[:3]]
    some = {**batch, "wanted": torch.from_numpy(np.array(column.collate([*arrays, none])))}
    less = {"given": batch["given"][:3], "wanted": torch.from_numpy(np.array(column.collate(arrays)))}
    (total, count), (fewer_total, fewer_count) = loss_of(net, some), loss_of(net, less)
    assert count == fewer_count
    torch.testing.assert_close(total, fewer_total, rtol=1e-4, atol=1e-4)
    nothing = {**batch, "wanted": torch.from_numpy(np.array(column.collate([none] * 4)))}
    total, count = loss_of(net, nothing)
    assert count == 0 and total == 0
    total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@EVERY_HEAD
def test_predictions_decode_to_values_of_the_column(kind: str) -> None:
    column, net = fitted(kind, "wanted"), network(kind).eval()
    with torch.no_grad():
        predicted = net.predict(batches(kind, rows=2), 2)["wanted"].numpy()
    assert len(predicted) == 2
    for row in predicted:
        value = column.decode(row)
        array = column.encode(value)
        assert array.dtype == column.encode(examples(kind)[0]).dtype
        check_html(column.show(value))


@EVERY_HEAD
def test_a_prediction_does_not_depend_on_its_batch(kind: str) -> None:
    if kind in SAMPLED:
        pytest.skip("each prediction is a draw of its own")
    net, batch = network(kind).eval(), batches(kind)
    with torch.no_grad():
        both = net.predict(batch, 8)["wanted"]
        one = net.predict({"given": batch["given"][:1]}, 1)["wanted"]
    if kind == "text":
        length = min(both.shape[1], one.shape[1])
        assert torch.equal(both[:1, :length], one[:, :length])
    else:
        torch.testing.assert_close(one, both[:1], rtol=1e-4, atol=1e-5)


@EVERY_HEAD
def test_predicting_draws_nothing(kind: str) -> None:
    net, batch = network(kind).eval(), batches(kind, rows=1)
    state = torch.get_rng_state()
    with torch.no_grad():
        first = net.predict(batch, 1)["wanted"]
        second = net.predict(batch, 1)["wanted"]
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


@EVERY_HEAD
def test_heads_read_an_ensemble_and_padded_tokens(kind: str) -> None:
    if kind == "mask":
        pytest.skip("reads maps, which only images have")
    for given in ("number", "text"):
        total, count = loss_of(network(kind, given).eval(), batches(kind, given))
        assert torch.isfinite(total) and count > 0


@EVERY_HEAD
def test_bfloat16_losses_stay_close(kind: str) -> None:
    net, batch = network(kind).eval(), batches(kind)
    with torch.no_grad():
        exact, _ = loss_of(net, batch)
        with torch.autocast("cpu", torch.bfloat16):
            rough, _ = loss_of(net, batch)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.05)


@EVERY_HEAD
def test_networks_survive_a_file(kind: str, tmp_path: Path) -> None:
    net, other = network(kind, seed=0).eval(), network(kind, seed=1).eval()
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, tmp_path / "w.safetensors")
    other.load_state_dict(load_file(tmp_path / "w.safetensors"), strict=True)
    batch = batches(kind, rows=1)
    with torch.no_grad():
        assert torch.equal(net.predict(batch, 1)["wanted"], other.predict(batch, 1)["wanted"])


def test_one_pass_networks_can_be_exported() -> None:
    """One network with all the heads: exporting takes seconds, however many heads there are."""
    net = Network(Schema((fitted("image", "given"),), tuple(fitted(k, k) for k in ONE_PASS)), SMALL).eval()
    batch = {"given": tensor_of(fitted("image", "given"), examples("image")[:2])}
    program = torch.export.export(net, (batch,), strict=False).module()
    with torch.no_grad():
        exported, direct = program(batch), net(batch)
    for kind in ONE_PASS:
        torch.testing.assert_close(exported[kind], direct[kind], rtol=1e-4, atol=1e-4)
