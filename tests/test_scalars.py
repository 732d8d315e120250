"""The encoder of scalar columns: equal to the public reference, sound on odd values, and able to learn."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from shinso.columns.base import Column, Values, object_array
from shinso.columns.category import Category
from shinso.columns.datetime import Datetime
from shinso.columns.labels import Labels
from shinso.columns.number import Number
from shinso.config import ModelConfig
from shinso.heads.base import HeadOptions
from shinso.heads.classify import Classify
from shinso.heads.regress import Regress
from shinso.models.scalars import ONE_HOT, DroppedReLU, PiecewiseLinear, Scalars, bin_edges

SMALL = ModelConfig(width=16, depth=2, members=3, embedding=4, dropout=0.0)


def table(rows: int = 200, seed: int = 0) -> dict[str, tuple[Column, Values]]:
    """A column of each scalar kind and its values, missing ones among them."""
    rng = np.random.default_rng(seed)
    drawn = {kind.kind: kind.examples(rng, rows) for kind in (Number, Category, Labels, Datetime)}
    drawn["plain"] = rng.normal(size=rows)
    kinds: dict[str, type[Column]] = {"plain": Number}
    kinds |= {kind.kind: kind for kind in (Number, Category, Labels, Datetime)}
    return {name: (kinds[name](name=name).fit(values), values) for name, values in drawn.items()}


def batch(columns: dict[str, tuple[Column, Values]]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(column.encode_many(values)) for name, (column, values) in columns.items()}


def encoder(columns: dict[str, tuple[Column, Values]], options: ModelConfig = SMALL) -> Scalars:
    return Scalars(tuple(column for column, _ in columns.values()), options)


def test_all_kinds_together_give_members() -> None:
    columns = table()
    model = encoder(columns)
    features = model(batch(columns))
    assert features.members and features.tokens.shape == (200, 3, 16) and features.mask.all()
    assert (model.width, model.members) == (16, 3)
    features.tokens.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("kind", ["number", "category", "labels", "datetime"])
def test_one_kind_alone(kind: str) -> None:
    columns = {kind: table()[kind]}
    assert encoder(columns)(batch(columns)).tokens.isfinite().all()


def test_odd_values_stay_finite_and_apart() -> None:
    columns = table()
    model = encoder(columns).eval()
    odd = {
        "number": object_array([1e300, -1e300, None, 0.0]),
        "plain": object_array([None, 1e30, 0.0, -1e30]),
        "category": object_array(["never met", None, "cat", 7]),
        "labels": object_array([None, [], ["?"], "art"]),
        "datetime": object_array([None, "1900-01-01", "2250-01-01", "2022-01-01"]),
    }  # fmt: skip
    encoded = {name: torch.from_numpy(columns[name][0].encode_many(values)) for name, values in odd.items()}
    for precision in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision), torch.no_grad():
            tokens = model(encoded).tokens
        assert tokens.isfinite().all() and len({str(row.tolist()) for row in tokens}) == 4


def test_rows_do_not_see_each_other() -> None:
    columns = table()
    model, whole = encoder(columns).eval(), batch(columns)
    few = {name: tensor[5:8] for name, tensor in whole.items()}
    torch.testing.assert_close(model(few).tokens, model(whole).tokens[5:8], rtol=1e-5, atol=1e-5)


def test_the_shapes_can_be_built_without_memory() -> None:
    columns = table()
    with torch.device("meta"):
        shapes = {n: p.shape for n, p in encoder(columns).state_dict().items()}
    assert shapes == {n: p.shape for n, p in encoder(columns).state_dict().items()}


def reference(model: Scalars, columns: list[Column]) -> Any:
    """The `tabm` package's network with the weights of `model`."""
    tabm = pytest.importorskip("tabm")
    embeddings = pytest.importorskip("rtdl_num_embeddings")
    numbers = [c for c in columns if isinstance(c, Number)]
    labels = [len(c.labels) for c in columns if isinstance(c, Category)]
    edges = [bin_edges(c) for c in numbers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of features with two values
        embed = embeddings.PiecewiseLinearEmbeddings(edges, 4, activation=False, version="B")
    net = tabm.TabM(
        n_num_features=len(numbers), cat_cardinalities=labels, d_out=None, num_embeddings=embed, n_blocks=2,
        d_block=16, dropout=0.0, k=3, arch_type="tabm", start_scaling_init="normal", activation="ReLU",
    )  # fmt: skip
    ours = model.state_dict()
    theirs = {
        "num_module.linear0.weight": ours["embed_numbers.linear_weight_1FE"][0],
        "num_module.linear0.bias": ours["embed_numbers.linear_bias_1FE"][0],
        "num_module.linear.weight": ours["embed_numbers.weight_FNE"],
    }
    for i in range(2):
        theirs[f"backbone.blocks.{i}.0.weight"] = ours[f"layers.{i}.weight_DW"].T
        theirs[f"backbone.blocks.{i}.0.r"] = ours[f"layers.{i}.r_KD1"].squeeze(2)
        theirs[f"backbone.blocks.{i}.0.s"] = ours[f"layers.{i}.s_K1W"].squeeze(1)
        theirs[f"backbone.blocks.{i}.0.bias"] = ours[f"layers.{i}.bias_K1W"].squeeze(1)
    missing, unexpected = net.load_state_dict(theirs, strict=False)
    assert not unexpected and all(name.startswith("num_module.impl.") for name in missing)
    return net.eval()


def test_equal_to_the_tabm_package_with_copied_weights() -> None:
    rng = np.random.default_rng(0)
    values: dict[str, tuple[type[Column], Values]] = {
        "many": (Number, rng.normal(size=400)), "few": (Number, rng.integers(0, 4, 400)),
        "two": (Number, rng.integers(0, 2, 400)), "skewed": (Number, rng.exponential(size=400) ** 2),
        "word": (Category, object_array(rng.choice(["a", "b", "c"], 400).tolist())),
        "digit": (Category, rng.integers(0, 5, 400)),
    }  # fmt: skip
    columns = {name: (kind(name=name).fit(v), v) for name, (kind, v) in values.items()}
    model = encoder(columns).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape) * 0.5)
    ours = batch(columns)
    net = reference(model, [column for column, _ in columns.values()])
    numbers = torch.stack([ours[n] for n in ("many", "few", "two", "skewed")], 1)
    with torch.no_grad():
        wanted = net(numbers, torch.stack([ours["word"], ours["digit"]], 1))
        torch.testing.assert_close(model(ours).tokens, wanted, rtol=1e-4, atol=1e-4)


def test_piecewise_linear_passes_through_any_values_at_its_edges() -> None:
    edges = torch.tensor([-1.0, 0.0, 0.5, 2.0])
    layer = PiecewiseLinear([edges, torch.tensor([0.0, 1.0])], 1)
    with torch.no_grad():
        layer.linear_weight_1FE.zero_()
        layer.linear_bias_1FE.zero_()
        layer.weight_FNE.copy_(torch.tensor([[[1.0], [-3.0], [2.0]], [[0.0], [0.0], [5.0]]]))
        x = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 2.0, 3.5])
        y = layer(torch.stack([x, x], 1)).squeeze(-1)
    torch.testing.assert_close(y[:, 0], torch.tensor([-1.0, 0.0, 0.5, 1.0, -2.0, 0.0, 2.0]))
    torch.testing.assert_close(y[:, 1], 5 * x)


def test_dropped_relu_keeps_the_mean_and_its_gradient() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 1000, 17, requires_grad=True)
    y = DroppedReLU.apply(x, 0.25)
    kept = y > 0
    torch.testing.assert_close(y[kept], x[kept] / 0.75)
    assert kept.sum() / (x > 0).sum() == pytest.approx(0.75, abs=0.01)
    y.sum().backward()
    torch.testing.assert_close(x.grad, kept / 0.75)


def test_dropout_only_in_training() -> None:
    columns = table()
    model = encoder(columns, ModelConfig(width=16, members=3, dropout=0.5))
    whole = batch(columns)
    assert not torch.equal(model(whole).tokens, model(whole).tokens)
    model.eval()
    assert torch.equal(model(whole).tokens, model(whole).tokens)


def test_many_labels_are_embedded_and_rare_ones_share_a_slot() -> None:
    rng = np.random.default_rng(0)
    values = object_array([f"id{i}" for i in rng.integers(0, 400, 1000)] + ["once", "only"])
    column = Category(name="c").fit(values)
    model = Scalars((column,), SMALL).eval()
    rare, common = column.counts.count(1), column.labels[int(np.argmax(column.counts))]
    assert rare >= 2 and len(column.labels) - rare > ONE_HOT
    assert model.embed_labels is not None and len(model.embed_labels.weight) == len(column.labels) - rare + 2
    codes = column.encode_many(object_array(["once", "only", "never met", None, common]))
    once, only, never, gap, often = model({"c": torch.from_numpy(codes)}).tokens
    assert torch.equal(once, only) and torch.equal(once, never)
    assert not torch.equal(once, gap) and not torch.equal(once, often)


def test_what_training_rows_never_had_adds_nothing() -> None:
    column = Category(name="c").fit(object_array(["a", "b", "a", "b"]))
    model = Scalars((column,), SMALL)
    hot = model.flat({"c": torch.tensor([0, 1, 2, -1])})
    assert hot.tolist() == [[1, 0], [0, 1], [0, 0], [0, 0]]


def fit(model: Scalars, head: Any, columns: dict[str, Tensor], target: Tensor, steps: int = 150) -> None:
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=1e-2)
    for _ in range(steps):
        loss = head.loss(model(columns), target)
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
    model.eval()


def test_learns_what_depends_on_a_number_a_label_and_a_day_of_the_week() -> None:
    torch.manual_seed(0)
    columns = table(1500)
    columns.pop("labels")
    plain, word = columns["plain"][1], columns["category"][1]
    weekend = np.asarray(columns["datetime"][0].encode_many(columns["datetime"][1]))[:, 11] == 1
    truth = np.where((np.abs(plain) < 0.7) ^ (word == "dog") ^ weekend, "yes", "no")
    target = Category(name="y").fit(truth.astype(object))
    y, x = torch.from_numpy(target.encode_many(truth.astype(object))), batch(columns)
    model = encoder(columns, ModelConfig(width=64, depth=2, members=4, embedding=8, dropout=0.0))
    head = Classify(target, model.width, model.members, HeadOptions())
    fit(model, head, {n: t[:1200] for n, t in x.items()}, y[:1200])
    test = {n: t[1200:] for n, t in x.items()}
    assert (head.predict(model(test)).argmax(1) == y[1200:]).float().mean() > 0.9


def test_learns_a_step_function_of_a_number() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 10, 800)
    truth = np.floor(values) % 3 * 100.0
    column, target = Number(name="x").fit(values), Number(name="y").fit(truth)
    x, y = torch.from_numpy(column.encode_many(values)), torch.from_numpy(target.encode_many(truth))
    model = Scalars((column,), ModelConfig(width=64, depth=2, members=4, embedding=8, dropout=0.0))
    head = Regress(target, model.width, model.members, HeadOptions())
    fit(model, head, {"x": x[:600]}, y[:600])
    predicted = [target.decode(p) for p in head.predict(model({"x": x[600:]})).detach().numpy()]
    assert np.mean(np.abs(np.array(predicted) - truth[600:])) < 15
