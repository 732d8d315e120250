"""Recurrent networks: equal to torch's, packed or not, equal to the published equations, and they learn."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shinso.columns.base import object_array
from shinso.columns.series import Series
from shinso.columns.text import Text
from shinso.config import ModelConfig
from shinso.errors import SettingError
from shinso.models import encoder_for
from shinso.models.peephole import PeepholeRecurrent, peephole
from shinso.models.recurrent import KINDS, STEPS, Cell, Recurrent, backwards

CELLS = pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
SHAPES = pytest.mark.parametrize(("depth", "both"), [(1, False), (1, True), (2, True)])
NAMES = ["rnn", "lstm", "gru", "peephole"]
LENGTHS = torch.tensor([6, 1, 4, 3])


def copied(cell: str, depth: int, *, both: bool) -> tuple[Recurrent, nn.RNNBase]:
    """Our network and torch's with the same random weights."""
    torch.manual_seed(0)
    theirs = KINDS[cell](5, 7, depth, batch_first=True, bidirectional=both)
    ours = Recurrent(cast(Cell, cell), 5, 7, depth=depth, bidirectional=both)
    ours.layers.load_state_dict(theirs.state_dict())
    return ours, theirs


def gradients(module: nn.Module, out: Tensor, weight: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad((out * weight).sum(), list(module.parameters())))


@CELLS
@SHAPES
def test_rows_of_one_length_are_read_as_torch_reads_them(cell: str, depth: int, both: bool) -> None:
    ours, theirs = copied(cell, depth, both=both)
    x = torch.randn(4, 6, 5)
    out, expected = ours(x, torch.full((4,), 6)), theirs(x)[0]
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    weight = torch.randn_like(out)
    for mine, other in zip(gradients(ours, out, weight), gradients(theirs, expected, weight), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


@CELLS
@SHAPES
@pytest.mark.parametrize("junk", [0.0, 1e3])
def test_ragged_rows_are_read_as_torch_reads_packed_ones(
    cell: str, depth: int, both: bool, junk: float
) -> None:
    ours, theirs = copied(cell, depth, both=both)
    real = (torch.arange(6) < LENGTHS.unsqueeze(1)).unsqueeze(-1)
    x = torch.where(real, torch.randn(4, 6, 5), junk)
    packed = nn.utils.rnn.pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    expected = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)[0]
    out = torch.where(real, ours(x, LENGTHS), 0.0)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    weight = torch.randn_like(out)
    for mine, other in zip(gradients(ours, out, weight), gradients(theirs, expected, weight), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_rows_are_reversed_within_their_length() -> None:
    order = backwards(torch.tensor([3, 0, 4]), 4)
    assert order.tolist() == [[2, 1, 0, 3], [0, 1, 2, 3], [3, 2, 1, 0]]
    assert torch.equal(order.gather(1, order), torch.arange(4).expand(3, 4)), "twice is not at all"


# Peepholes, in float64 -----------------------------------------------------------------------------


def published(x_TBD: Tensor, w: dict[str, Tensor], *, squash: bool) -> Tensor:
    """Gers and Schmidhuber 2000, unit by unit as in the paper: no matrix of gates, no batches of steps."""
    out = cell = torch.zeros(x_TBD.shape[1], len(w["R_i"]), dtype=x_TBD.dtype)
    found = []
    for x in x_TBD:
        i = 1 / (1 + torch.exp(-(x @ w["W_i"].T + out @ w["R_i"].T + w["p_i"] * cell + w["b_i"])))
        f = 1 / (1 + torch.exp(-(x @ w["W_f"].T + out @ w["R_f"].T + w["p_f"] * cell + w["b_f"])))
        cell = f * cell + i * torch.tanh(x @ w["W_c"].T + out @ w["R_c"].T + w["b_c"])
        o = 1 / (1 + torch.exp(-(x @ w["W_o"].T + out @ w["R_o"].T + w["p_o"] * cell + w["b_o"])))
        out = o * (torch.tanh(cell) if squash else cell)
        found.append(out)
    return torch.stack(found)


@pytest.mark.parametrize("squash", [True, False])
def test_peepholes_follow_the_published_equations(squash: bool) -> None:
    torch.manual_seed(0)
    net = PeepholeRecurrent(3, 4, squash=squash).double()
    w = {}
    for name, short in (("weight_ih", "W"), ("weight_hh", "R")):
        for gate, rows in zip("ifco", net.layers.get_parameter(f"{name}_l0").chunk(4), strict=True):
            w[f"{short}_{gate}"] = rows
    bias = net.layers.get_parameter("bias_ih_l0") + net.layers.get_parameter("bias_hh_l0")
    w |= {f"b_{gate}": part for gate, part in zip("ifco", bias.chunk(4), strict=True)}
    w |= {f"p_{gate}": row for gate, row in zip("ifo", net.peepholes["peephole_l0"], strict=True)}
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    expected = published(x.transpose(0, 1), w, squash=squash).transpose(0, 1)
    torch.testing.assert_close(net(x, torch.tensor([6, 6])), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("squash", [True, False])
def test_gradients_of_peepholes_are_right(squash: bool) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(2, 4, 12), torch.randn(12, 3), torch.randn(3, 3)]
    given = tuple(t.double().requires_grad_() for t in inputs)
    assert torch.autograd.gradcheck(lambda *a: peephole(*a, squash=squash), given)


def test_peepholes_of_zero_are_none() -> None:
    torch.manual_seed(0)
    theirs = nn.LSTM(5, 7, 2, batch_first=True, bidirectional=True)
    ours = PeepholeRecurrent(5, 7, depth=2, bidirectional=True)
    ours.layers.load_state_dict(theirs.state_dict())
    for p in ours.peepholes.values():
        nn.init.zeros_(p)
    x = torch.randn(4, 6, 5)
    torch.testing.assert_close(ours(x, torch.full((4,), 6)), theirs(x)[0], rtol=1e-5, atol=1e-6)


# Readers -------------------------------------------------------------------------------------------


def text(texts: list[str]) -> tuple[Text, Tensor]:
    column = Text(name="x").fit(object_array(texts))
    return column, torch.from_numpy(column.collate(column.encode_many(object_array(texts))))


def sentences(rows: int) -> tuple[list[str], Tensor]:
    """The last of the words "good" and "bad" decides: order matters."""
    rng = np.random.default_rng(0)
    words = "red green blue one two three cat dog".split()
    told = rng.integers(0, 2, rows)
    texts = []
    for y in told:
        fill = [" ".join(rng.choice(words, int(rng.integers(0, 4)))) for _ in range(3)]
        texts.append(" ".join((fill[0], ("good", "bad")[y], fill[1], ("bad", "good")[y], fill[2])).strip())
    return texts, torch.from_numpy(told)


@pytest.mark.parametrize("name", NAMES)
def test_order_is_read(name: str) -> None:
    torch.manual_seed(0)
    texts, told = sentences(160)
    column, ids = text(texts)
    model = encoder_for(column, ModelConfig(name=name, width=32, dropout=0.0, bidirectional=name != "gru"))
    head = nn.Linear(32, 2)
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], 0.02)
    for _ in range(25):
        optimizer.zero_grad()
        F.cross_entropy(head(model(ids).pool()[:, 0]), told).backward()
        optimizer.step()
    model.eval()
    assert (head(model(ids).pool()[:, 0]).argmax(1) == told).float().mean() > 0.9


@pytest.mark.parametrize("kind", ["additive", "dot"])
@pytest.mark.parametrize("both", [True, False])
def test_attention_weighs_what_is_real(kind: str, both: bool) -> None:
    torch.manual_seed(0)
    column, ids = text(["one two three cat", "dog", "", "red green"])
    options = ModelConfig(name="lstm", width=16, dropout=0.0, bidirectional=both)
    plain = encoder_for(column, options).eval()
    model = encoder_for(column, options.model_copy(update={"attention": kind})).eval()
    model.load_state_dict(plain.state_dict(), strict=False)
    sharpened = [p for name, p in model.named_parameters() if name.startswith("attention")]
    for p in sharpened:
        p.data *= 20
    features, states = model(ids), plain(ids)
    assert torch.equal(features.mask, states.mask)
    share = (features.tokens.norm(dim=-1) / states.tokens.norm(dim=-1).clamp(min=1e-9)).nan_to_num()
    weights = share / features.mask.sum(1, keepdim=True).clamp(min=1)
    expected = torch.tensor([1.0, 1, 0, 1])
    torch.testing.assert_close(weights.sum(1), expected, rtol=1e-4, atol=1e-4)
    assert weights[0].max() > 1.02 * weights[0][features.mask[0]].min(), "weights differ"
    pooled = (weights.unsqueeze(-1) * states.tokens).sum(1)
    torch.testing.assert_close(features.pool()[:, 0], pooled, rtol=1e-4, atol=1e-5)


def test_readings_of_a_long_series_are_taken_together() -> None:
    column = Series(name="x", length=3 * STEPS + 5)
    model = encoder_for(column, ModelConfig(name="gru", width=16)).eval()
    series = torch.randn(2, 3 * STEPS + 5, 1)
    series[1, 10:] = float("nan")
    features = model(series)
    assert features.tokens.shape == (2, STEPS + 2, 16) and features.mask.sum(1).tolist() == [STEPS + 2, 4]
    alone = model(series[1:, :10])
    torch.testing.assert_close(alone.pool()[0], features.pool()[1], rtol=1e-4, atol=1e-5)


def test_a_name_reads_both_kinds_and_odd_widths_are_refused() -> None:
    column, _ = text(["a b", "c d"])
    assert encoder_for(column, ModelConfig(name="lstm")).width == 128
    with pytest.raises(SettingError, match=r"must be even.*received 33"):
        encoder_for(column, ModelConfig(name="lstm", width=33))
    assert encoder_for(column, ModelConfig(name="lstm", width=33, bidirectional=False)).width == 33
