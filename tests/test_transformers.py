"""Attention networks: equal to transformers and torch, outputs and gradients, with copied random weights."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shinso.columns.base import object_array
from shinso.columns.text import Text
from shinso.config import ModelConfig
from shinso.errors import SettingError
from shinso.models import FAMOUS, encoder_for
from shinso.models.bert import PRESETS as BERTS
from shinso.models.bert import Bert, BertSizes
from shinso.models.bert import rename as rename_bert
from shinso.models.gpt import PRESETS as GPTS
from shinso.models.gpt import Gpt, GptSizes, rotated
from shinso.models.gpt import rename as rename_gpt
from shinso.models.t5 import PRESETS as T5S
from shinso.models.t5 import T5, T5Sizes, rename_encoder
from shinso.models.t5 import rename as rename_t5
from shinso.models.transformer import Transformer, TransformerSizes, places

MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]]).bool()


@pytest.fixture(scope="module")
def reference() -> Any:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    return pytest.importorskip("transformers", reason="the reference, the package transformers, is absent")


def ids(vocabulary: int = 50) -> Tensor:
    torch.manual_seed(1)
    return torch.where(MASK, torch.randint(1, vocabulary, MASK.shape), 0)


def perturbed(theirs: nn.Module) -> nn.Module:
    """The reference with weights that no symmetry hides, norms and biases too."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return theirs.eval()


def same(ours: nn.Module, out: Tensor, expected: Tensor, theirs: nn.Module, rename: Any) -> None:
    """Outputs agree to 1e-5, and so do the gradients of all weights that both have."""
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    weight = torch.randn_like(out)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    expected_of = rename(gradients)
    found = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    assert set(found) <= set(expected_of) and len(found) > 10
    for name, gradient in found.items():
        scale = expected_of[name].abs().max().clamp(min=1.0)
        torch.testing.assert_close(gradient / scale, expected_of[name] / scale, rtol=1e-5, atol=1e-5)


def test_bert(reference: Any) -> None:
    sizes = BertSizes(width=32, depth=2, heads=4, vocabulary=50, positions=16)
    config = reference.BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=16,
    )  # fmt: skip
    theirs = perturbed(reference.BertModel(config))
    ours = Bert(sizes).eval()
    ours.load_state_dict(rename_bert(theirs.state_dict()))
    expected = theirs(ids(), attention_mask=MASK.long()).last_hidden_state[MASK]
    same(ours, ours(ids(), MASK)[MASK], expected, theirs, rename_bert)


def test_names_of_old_and_of_other_files_are_known() -> None:
    old = {"bert.embeddings.LayerNorm.gamma": torch.ones(1), "cls.predictions.bias": torch.ones(1)}
    assert set(rename_bert(old)) == {"embeddings.LayerNorm.weight"}
    assert (
        set(rename_bert({"embeddings.position_ids": torch.ones(1), "pooler.dense.bias": torch.ones(1)}))
        == set()
    )
    tied = {
        "lm_head.weight": torch.ones(2, 2),
        "transformer.h.0.attn.bias": torch.ones(1),
        "wte.weight": torch.ones(1),
    }
    assert set(rename_gpt(tied)) == {"wte.weight"}
    assert set(rename_encoder({"shared.weight": torch.ones(1), "decoder.x": torch.ones(1)})) == {
        "shared.weight"
    }


def test_gpt2(reference: Any) -> None:
    sizes = GptSizes(width=32, depth=2, heads=4, vocabulary=50, places=16)
    config = reference.GPT2Config(vocab_size=50, n_positions=16, n_embd=32, n_layer=2, n_head=4)
    theirs = perturbed(reference.GPT2LMHeadModel(config))
    ours = Gpt(sizes).eval()
    ours.load_state_dict(rename_gpt(theirs.state_dict()))
    expected = theirs(ids(), attention_mask=MASK.long()).logits[MASK]
    same(ours, ours.logits(ours(ids()))[MASK], expected, theirs, rename_gpt)


@pytest.mark.parametrize("gated", [False, True])
def test_t5(reference: Any, gated: bool) -> None:
    sizes = T5Sizes(width=32, depth=2, heads=4, size=8, inner=64, gated=gated, vocabulary=50)
    config = reference.T5Config(
        vocab_size=50, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, dropout_rate=0.0,
        feed_forward_proj="gated-gelu" if gated else "relu",
    )  # fmt: skip
    theirs = perturbed(reference.T5Model(config))
    ours = T5(sizes).eval()
    ours.load_state_dict(rename_t5(theirs.state_dict()))
    written = torch.randint(1, 50, (3, 5))
    expected = theirs(ids(), attention_mask=MASK.long(), decoder_input_ids=written).last_hidden_state
    same(ours, ours(ids(), written, MASK), expected, theirs, rename_t5)
    alone = T5(sizes, decoder=False)
    alone.load_state_dict(rename_encoder(theirs.state_dict()))
    torch.testing.assert_close(alone.read(ids(), MASK), ours.read(ids(), MASK))


@pytest.mark.parametrize("count", [40, 300])
def test_distances_of_t5(reference: Any, count: int) -> None:
    theirs = perturbed(reference.T5EncoderModel(reference.T5Config(
        vocab_size=50, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, dropout_rate=0.0,
    )))  # fmt: skip
    ours = T5(T5Sizes(width=32, depth=1, heads=4, size=8, inner=64, vocabulary=50), decoder=False).eval()
    ours.load_state_dict(rename_encoder(theirs.state_dict()))
    read = torch.randint(1, 50, (1, count))
    expected = theirs(read).last_hidden_state
    torch.testing.assert_close(ours.read(read, read > 0), expected, rtol=1e-4, atol=1e-5)


def test_transformer() -> None:
    sizes = TransformerSizes(width=32, depth=2, heads=4, inner=64)
    theirs = nn.Transformer(32, 4, 2, 2, 64, dropout=0.0, batch_first=True)
    perturbed(theirs).train()
    ours = Transformer(sizes)
    ours.load_state_dict(theirs.state_dict())
    read, written = torch.randn(3, 6, 32), torch.randn(3, 5, 32)
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    expected = theirs(
        read, written, tgt_mask=causal, src_key_padding_mask=torch.where(MASK, 0.0, -torch.inf),
        memory_key_padding_mask=torch.where(MASK, 0.0, -torch.inf), tgt_is_causal=True,
    )  # fmt: skip
    same(ours, ours(read, written, MASK), expected, theirs, dict)


def test_places_are_those_of_the_paper() -> None:
    found = places(7, 6, torch.device("cpu"))
    for place in range(7):
        for i in range(3):
            angle = torch.tensor(place / 10_000 ** (2 * i / 6))
            expected = torch.stack([angle.sin(), angle.cos()])
            torch.testing.assert_close(found[place, 2 * i : 2 * i + 2], expected, rtol=1e-5, atol=1e-6)


# The modern options --------------------------------------------------------------------------------


def test_turned_products_depend_on_the_distance_alone() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(8), torch.randn(8)
    turned_q, turned_k = (rotated(v.expand(1, 1, 12, 8))[0, 0] for v in (query, key))
    scores = turned_q @ turned_k.T
    for distance in (-3, 0, 4):
        values = scores.diagonal(distance)
        torch.testing.assert_close(values, values[:1].expand_as(values), rtol=1e-4, atol=1e-4)
    assert scores.diagonal(1)[0] != scores.diagonal(2)[0]


def test_shared_keys_are_keys_written_twice() -> None:
    torch.manual_seed(0)
    shared = Gpt(GptSizes(width=16, depth=1, heads=4, kv_heads=2, vocabulary=9)).eval()
    full = Gpt(GptSizes(width=16, depth=1, heads=4, vocabulary=9)).eval()
    state = shared.state_dict()
    for name in ("h.0.attn.c_attn.weight", "h.0.attn.c_attn.bias"):
        query, key, value = state[name].split((16, 8, 8))
        twice = [p.unflatten(0, (2, 4)).repeat_interleave(2, 0).flatten(0, 1) for p in (key, value)]
        state[name] = torch.cat([query, *twice])
    full.load_state_dict(state)
    torch.testing.assert_close(shared(ids(9)), full(ids(9)), rtol=1e-5, atol=1e-5)


def test_normalised_queries_and_keys_forget_their_length() -> None:
    torch.manual_seed(0)
    net = Gpt(GptSizes(width=16, depth=1, heads=4, qk_norm=True, norm="rms", vocabulary=9)).eval()
    before = net(ids(9))
    with torch.no_grad():
        net.h[0].attn.c_attn.weight[:32] *= 100  # type: ignore[union-attr, index]
    torch.testing.assert_close(net(ids(9)), before, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["gpt", "gpt-modern"])
def test_a_token_sees_only_those_before_it(name: str) -> None:
    column = Text(name="x").fit(object_array(["one two three four five"] * 3))
    net = encoder_for(column, ModelConfig(name=name, width=32)).eval()
    read = torch.tensor([column.encode("one two three four five").tolist()])
    changed = read.clone()
    changed[0, 3] = 5
    before, after = net(read).tokens, net(changed).tokens
    assert torch.equal(before[:, :3], after[:, :3]) and not torch.allclose(before[:, 3:], after[:, 3:])


def test_sizes_that_do_not_fit_are_refused() -> None:
    column = Text(name="x").fit(object_array(["one two"] * 3))
    for name, settings in (
        ("bert", {"width": 30}), ("transformer", {"width": 30}), ("gpt", {"heads": 3}),
        ("gpt", {"kv_heads": 3}), ("gpt-modern", {"width": 36, "heads": 4}),
    ):  # fmt: skip
        with pytest.raises(SettingError, match=r"must be a multiple of model\.heads"):
            encoder_for(column, ModelConfig(name=name, **settings))


@pytest.mark.parametrize("name", ["bert", "gpt", "gpt-modern", "transformer", "t5"])
def test_they_learn(name: str) -> None:
    torch.manual_seed(0)
    texts = [f"{'good' if i % 2 else 'bad'} {i % 7} film {i % 5}" for i in range(64)]
    told = torch.arange(64) % 2
    column = Text(name="x").fit(object_array(texts))
    read = torch.from_numpy(column.collate(column.encode_many(object_array(texts))))
    net = encoder_for(column, ModelConfig(name=name, width=32, depth=1, dropout=0.0))
    head = nn.Linear(32, 2)
    optimizer = torch.optim.AdamW([*net.parameters(), *head.parameters()], 0.01)
    for _ in range(30):
        optimizer.zero_grad()
        F.cross_entropy(head(net(read).pool()[:, 0]), told).backward()
        optimizer.step()
    assert (head(net.eval()(read).pool()[:, 0]).argmax(1) == told).float().mean() > 0.95


def test_sizes_are_those_of_the_modules() -> None:
    found = {}
    with torch.device("meta"):
        for presets, made in ((BERTS, Bert), (GPTS, Gpt), (T5S, T5)):
            for name, sizes in presets.items():
                if FAMOUS[name].parameters:
                    found[name] = sum(p.numel() for p in made(sizes).parameters())  # type: ignore[operator]
    assert found == {name: FAMOUS[name].parameters for name in found} and len(found) == 15
