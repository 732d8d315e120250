"""Heads that read pooled features: losses, masks, and the averaging over members."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from shinso.columns.base import object_array
from shinso.columns.category import Category
from shinso.columns.datetime import Datetime
from shinso.columns.labels import Labels
from shinso.columns.number import Number
from shinso.errors import SettingError
from shinso.features import Features
from shinso.heads.base import Head, HeadOptions
from shinso.heads.classify import Classify, Label
from shinso.heads.regress import Regress

CLASSES = Category(name="y").fit(object_array(["a", "b", "c"]))
TAGS = Labels(name="y").fit(object_array(["a|b", "c"]))
AMOUNT = Number(name="y").fit(np.array([1.0, 2.0, 3.0]))
DAY = Datetime(name="y").fit(np.array(["2024-01-01", "2024-03-01"], "datetime64[us]"))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def features(members: int, rows: int = 6, width: int = 8) -> Features:
    """Members (B, K, D), or a sequence of 5 tokens where `members` is 0."""
    tokens = torch.randn(rows, members or 5, width)
    return Features.of(tokens, members=members > 0)


def head_and_target(column: Any, members: int, options: HeadOptions | None = None) -> tuple[Head, Tensor]:
    options = options or HeadOptions()
    if isinstance(column, Category):
        return Classify(column, 8, members, options), torch.tensor([0, 1, 2, -1, 1, 0])
    if isinstance(column, Labels):
        hot = torch.tensor([[1.0, 0, 1], [0, 0, 0], [math.nan] * 3, [1, 1, 1], [0, 1, 0], [0, 0, 1]])
        return Label(column, 8, members, options), hot
    values = torch.tensor([0.5, math.nan, -1.0, 2.0, 0.0, 1.0])
    if isinstance(column, Datetime):
        rest = torch.zeros(6, 12).masked_fill(values.isnan()[:, None], math.nan)
        return Regress(column, 8, members, options), torch.cat([values[:, None], rest], 1)
    return Regress(column, 8, members, options), values


outputs = pytest.mark.parametrize("column", [CLASSES, TAGS, AMOUNT, DAY], ids=lambda c: c.kind)


@outputs
@pytest.mark.parametrize("members", [0, 1, 4])
def test_shapes_counts_and_gradients(column: Any, members: int) -> None:
    head, target = head_and_target(column, members)
    x = features(members)
    with torch.autocast("cpu", torch.bfloat16):
        loss = head.loss(x, target)
        predicted = head.predict(x)
    assert loss.total.dtype == loss.count.dtype == predicted.dtype == torch.float32
    assert loss.total.shape == loss.count.shape == () and loss.count == 5
    loss.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    assert predicted.shape == ((6, 3) if column in (CLASSES, TAGS) else (6,))
    column.decode(predicted[0].detach().numpy())


@outputs
def test_rows_without_a_target_count_nothing(column: Any) -> None:
    head, target = head_and_target(column, 2)
    x = features(2)
    known = target >= 0 if column is CLASSES else ~target.isnan().reshape(6, -1).all(1)
    whole = head.loss(x, target)
    part = head.loss(Features.of(x.tokens[known], members=True), target[known])
    torch.testing.assert_close(whole.total, part.total)
    torch.testing.assert_close(whole.count, part.count)
    none = head.loss(Features.of(x.tokens[~known], members=True), target[~known])
    assert none.total == 0 and none.count == 0


@outputs
def test_two_half_batches_sum_to_the_whole(column: Any) -> None:
    head, target = head_and_target(column, 2)
    x = features(2)
    halves = [head.loss(Features.of(x.tokens[i : i + 3], members=True), target[i : i + 3]) for i in (0, 3)]
    torch.testing.assert_close(halves[0].total + halves[1].total, head.loss(x, target).total)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [(), (0.5, 2.0, 1.0)])
def test_classify_equals_cross_entropy(smoothing: float, weights: tuple[float, ...]) -> None:
    options = HeadOptions(label_smoothing=smoothing, class_weights=weights)
    head, target = head_and_target(CLASSES, 0, options)
    x = features(0)
    logits = x.tokens.mean(1) @ head.linear.weight_KDC[0] + head.linear.bias_KC[0]  # type: ignore[union-attr,index,operator]
    weight = torch.tensor(weights) if weights else None
    wanted = F.cross_entropy(
        logits, target, weight, ignore_index=-1, label_smoothing=smoothing, reduction="sum"
    )
    torch.testing.assert_close(head.loss(x, target).total, wanted)


def test_members_average_losses_and_probabilities() -> None:
    head, target = head_and_target(CLASSES, 4)
    x = features(4)
    logits_BKC = head.linear(x.tokens)  # type: ignore[operator]
    torch.testing.assert_close(head.predict(x), logits_BKC.softmax(-1).mean(1))
    torch.testing.assert_close(head(x).softmax(-1), head.predict(x))
    losses = [F.cross_entropy(logits_BKC[:, k], target, ignore_index=-1, reduction="sum") for k in range(4)]
    torch.testing.assert_close(head.loss(x, target).total, torch.stack(losses).mean())


def test_label_is_binary_cross_entropy_of_each_label() -> None:
    head, target = head_and_target(TAGS, 3)
    x = features(3)
    logits_BKC = head.linear(x.tokens)  # type: ignore[operator]
    torch.testing.assert_close(head.predict(x), logits_BKC.sigmoid().mean(1))
    torch.testing.assert_close(head(x).sigmoid(), head.predict(x))
    known = [0, 1, 3, 4, 5]
    wanted = F.binary_cross_entropy_with_logits(
        logits_BKC[known], target[known].unsqueeze(1).expand(-1, 3, -1), reduction="none"
    )
    torch.testing.assert_close(head.loss(x, target).total, wanted.mean((1, 2)).sum())


@pytest.mark.parametrize("column", [CLASSES, TAGS], ids=lambda c: c.kind)
def test_extreme_logits_stay_finite(column: Any) -> None:
    head, target = head_and_target(column, 2)
    x = Features.of(torch.randn(6, 2, 8) * 1e4, members=True)
    for tensor in (head(x), head.predict(x), head.loss(x, target).total):
        assert tensor.isfinite().all()


@pytest.mark.parametrize("column", [CLASSES, TAGS], ids=lambda c: c.kind)
def test_focal_counts_easy_rows_less(column: Any) -> None:
    plain, target = head_and_target(column, 2)
    focal, _ = head_and_target(column, 2, HeadOptions(loss="focal"))
    focal.load_state_dict(plain.state_dict())
    easy, hard = features(2, width=8), features(2)
    for x in (easy, hard):
        assert 0 < focal.loss(x, target).total < plain.loss(x, target).total
    weights = torch.tensor([0.0, 1.0, 1.0])
    only, _ = head_and_target(column, 2, HeadOptions(class_weights=tuple(weights.tolist())))
    only.load_state_dict(plain.state_dict())
    assert only.loss(easy, target).total < plain.loss(easy, target).total


@pytest.mark.parametrize("name, wanted", [("", 4.0), ("mse", 4.0), ("mae", 2.0), ("huber", 1.5)])
def test_regress_losses(name: str, wanted: float) -> None:
    head = Regress(AMOUNT, 8, 3, HeadOptions(loss=name))
    torch.nn.init.zeros_(head.linear.weight_KDC)
    torch.nn.init.zeros_(head.linear.bias_KC)
    loss = head.loss(features(3, rows=2), torch.tensor([2.0, math.nan]))
    assert loss.total.item() == pytest.approx(wanted) and loss.count == 1


@pytest.mark.parametrize("column", [CLASSES, TAGS, AMOUNT], ids=lambda c: c.kind)
def test_an_unknown_loss_is_an_error_that_helps(column: Any) -> None:
    with pytest.raises(SettingError, match=r"Did you mean|Known"):
        head_and_target(column, 2, HeadOptions(loss="crossentropy"))


@outputs
def test_learns_a_planted_signal(column: Any) -> None:
    x = Features.of(torch.randn(400, 2, 8), members=True)
    signal = x.tokens.mean(1) @ torch.randn(8, 3)
    targets: dict[str, Tensor] = {
        "category": signal.argmax(1), "labels": (signal > 0).float(), "number": signal[:, 0],
        "datetime": signal[:, :1].expand(-1, 13),
    }  # fmt: skip
    target = targets[column.kind]
    head, _ = head_and_target(column, 2)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.05)
    first = head.loss(x, target)
    for _ in range(100):
        loss = head.loss(x, target)
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
    assert head.loss(x, target).total < 0.7 * first.total
