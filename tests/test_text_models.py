"""Readers of text and the head that writes: padding never counts, planted signals are learned in seconds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from shinso.columns.base import object_array
from shinso.columns.category import Category
from shinso.columns.text import BEGIN, END, PADDING, Text
from shinso.config import ModelConfig
from shinso.features import Features
from shinso.heads import HeadOptions
from shinso.heads.classify import Classify
from shinso.heads.write import Write
from shinso.models.bags import Bags
from shinso.models.base import Encoder
from shinso.models.ngrams import NgramNet, characters, counted, hashed, spelled
from shinso.models.text import TextNet

POOLED = pytest.mark.parametrize("reader", [NgramNet, TextNet, Bags])
READERS = pytest.mark.parametrize("reader", [NgramNet, TextNet])
OPTIONS = ModelConfig(width=64, dropout=0.1)
WORDS = "red green blue one two three cat dog".split()
JAPANESE = ["東京は晴れです。", "大阪は雨です。", "京都で買い物をした。", "東京で雨の日。"] * 4


def learned(texts: list[str], **settings: int) -> Text:
    return Text(name="body", max_length=settings.get("max_length", 64)).fit(object_array(texts))


def batch(column: Text, texts: list[str]) -> Tensor:
    return torch.from_numpy(column.collate(column.encode_many(object_array(texts))))


def sentences(rows: int, rng: np.random.Generator) -> list[str]:
    return [" ".join(rng.choice(WORDS, int(rng.integers(1, 6)))) for _ in range(rows)]


@POOLED
def test_padding_never_changes_what_is_read(reader: type[Encoder]) -> None:
    torch.manual_seed(0)
    for texts in (["red cat", "one two three blue dog", ""], JAPANESE[:3]):
        column = learned([*texts, *sentences(50, np.random.default_rng(0)), *JAPANESE])
        model = reader(column, OPTIONS).eval()
        ids = batch(column, texts)
        narrow, wide = model(ids), model(torch.nn.functional.pad(ids, (0, 9)))
        torch.testing.assert_close(wide.pool(), narrow.pool(), atol=1e-5, rtol=1e-4)
        for row in range(len(texts)):
            alone = model(ids[row : row + 1, : max(1, int((ids[row] > 0).sum()))])
            torch.testing.assert_close(alone.pool()[0], narrow.pool()[row], atol=1e-5, rtol=1e-4)


@POOLED
def test_an_empty_text_gives_numbers(reader: type[Encoder]) -> None:
    column = learned(JAPANESE)
    features = reader(column, OPTIONS)(batch(column, ["", ""]))
    assert bool(torch.isfinite(features.pool()).all())


def test_tokens_are_spelled_one_after_another() -> None:
    column = learned(["the cat the dog"] * 3 + JAPANESE)
    table_VL = characters(column)
    for text in ("the cat", "東京は雨"):
        spelt = spelled(batch(column, [text, "the dog the cat 東京は雨"]), table_VL)
        assert "".join(chr(c) for c in spelt[0] if c) == " " + text


def test_ngrams_that_run_over_the_end_are_none() -> None:
    ones, threes = hashed(torch.tensor([[5, 6, 7, 0], [5, 6, 0, 0]]), (1, 3), 1 << 10, seed=0)
    assert (ones > 0).tolist() == [[True, True, True, False], [True, True, False, False]]
    assert (threes > 0).tolist() == [[True, False, False, False], [False] * 4]
    assert ones[0, 0] == ones[1, 0] and int(ones.max()) < 1 << 10


def test_an_ngram_found_c_times_weighs_1_plus_log_c() -> None:
    keys, weights = counted(torch.tensor([[7, 3, 7, 0, 7], [0, 0, 0, 0, 0]]))
    three, seven = weights[0][keys[0] == 3].sum(), weights[0][keys[0] == 7].sum()
    torch.testing.assert_close(seven / three, 1 + torch.tensor(3.0).log())
    torch.testing.assert_close(three**2 + seven**2, torch.tensor(1.0))
    assert bool((weights[1] == 0).all())


@POOLED
@pytest.mark.parametrize("japanese", [False, True])
def test_a_word_decides(reader: type[Encoder], japanese: bool) -> None:
    rng = np.random.default_rng(0)
    fill, signs = (["東京は", "今日も", "雨の日"], ["良い", "悪い"]) if japanese else (WORDS, ["good", "bad"])
    labels = rng.integers(0, 2, 240)
    texts = [
        ("" if japanese else " ").join([*rng.choice(fill, 4), signs[k], *rng.choice(fill, 2)]) for k in labels
    ]
    column = learned(texts)
    torch.manual_seed(0)
    model = reader(column, OPTIONS)
    answer = Category(name="y").fit(object_array([signs[k] for k in labels]))
    head = Classify(answer, model.width, model.members, HeadOptions())
    truth = torch.from_numpy(np.asarray(answer.encode_many(object_array([signs[k] for k in labels]))))
    train(model, head, batch(column, texts[:200]), truth[:200], steps=40, rate=5e-3, rng=rng)
    with torch.no_grad():
        found = head.eval().predict(model.eval()(batch(column, texts[200:]))).argmax(1)
    assert float((found == truth[200:]).float().mean()) > 0.9


@READERS
def test_writing_learns_to_translate(reader: type[Encoder]) -> None:
    rng = np.random.default_rng(0)
    given = [str(rng.choice(WORDS)) for _ in range(300)]
    wanted = [{w: v for w, v in zip(WORDS, reversed(JAPANESE[:4] * 2), strict=True)}[w] for w in given]
    assert right(reader, given, wanted, steps=60, rng=rng) > 0.9


def right(
    reader: type[Encoder], given: list[str], wanted: list[str], *, steps: int, rng: np.random.Generator
) -> float:
    """Share of held-out texts that are written right to the letter."""
    torch.manual_seed(0)
    source, target = learned(given), learned(wanted)
    model = reader(source, OPTIONS)
    head = Write(target, model.width, model.members, HeadOptions())
    held = len(given) // 5
    train(model, head, batch(source, given[held:]), batch(target, wanted[held:]), steps, 3e-3, rng)
    with torch.no_grad():
        written = head.eval().predict(model.eval()(batch(source, given[:held]))).numpy()
    return float(np.mean([target.decode(w) == t for w, t in zip(written, wanted[:held], strict=True)]))


def train(
    model: Encoder,
    head: Write | Classify,
    x: Tensor,
    y: Tensor,
    steps: int,
    rate: float,
    rng: np.random.Generator,
) -> None:
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], rate, fused=True)
    for _ in range(steps):
        rows = torch.from_numpy(rng.integers(0, len(x), 32))
        loss = head.loss(model(x[rows]), y[rows])
        (loss.total / loss.count).backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.fixture
def head() -> Write:
    torch.manual_seed(0)
    return Write(learned(sentences(50, np.random.default_rng(0)), max_length=8), 48, 0, HeadOptions()).eval()


def features(rows: int, mask: Callable[[Tensor], Tensor] | None = None) -> Features:
    tokens = torch.randn(rows, 5, 48, generator=torch.Generator().manual_seed(1))
    real = torch.ones(rows, 5, dtype=torch.bool)
    return Features(tokens, real if mask is None else mask(real))


def test_writing_with_a_cache_is_writing_without(head: Write) -> None:
    read = features(3)
    with torch.no_grad():
        written = head.predict(read)
        ids = torch.nn.functional.pad(written[:, :-1], (1, 0), value=BEGIN)
        hidden, _ = head._step(ids, 0, head._read(read), [None, None])
        scores = head._logits(hidden)
    scores[..., [PADDING, BEGIN]] = -torch.inf
    told = written != PADDING
    assert torch.equal(scores.argmax(-1)[told], written[told])


def test_hidden_tokens_are_not_read(head: Write) -> None:
    def but_two(real: Tensor) -> Tensor:
        real[:, 3:] = False
        return real

    read = features(2, but_two)
    changed = read.tokens.clone()
    changed[:, 3:] = 100.0
    with torch.no_grad():
        target = torch.tensor([[4, 5, 6], [7, 0, 0]], dtype=torch.int32)
        torch.testing.assert_close(
            head.loss(Features(changed, read.mask), target).total, head.loss(read, target).total
        )
        assert torch.equal(head.predict(Features(changed, read.mask)), head.predict(read))


def test_features_without_a_real_token_give_numbers(head: Write) -> None:
    read = features(2, torch.zeros_like)
    loss = head.loss(read, torch.tensor([[4, 5], [6, 0]]))
    loss.total.backward()
    assert bool(torch.isfinite(loss.total))
    assert all(bool(torch.isfinite(p.grad).all()) for p in head.parameters() if p.grad is not None)


def test_the_loss_counts_tokens_and_ends_and_no_empty_text(head: Write) -> None:
    target = torch.tensor([[4, 5, 6], [7, 0, 0], [0, 0, 0]])
    loss = head.loss(features(3), target)
    assert int(loss.count) == 4 + 2
    padded = head.loss(features(3), torch.nn.functional.pad(target, (0, 4)))
    torch.testing.assert_close(padded.total, loss.total)
    empty = head.loss(features(1), torch.zeros(1, 2, dtype=torch.int32))
    assert float(empty.total.detach()) == 0 and float(empty.count) == 0


def test_what_is_written_ends_in_time(head: Write) -> None:
    with torch.no_grad():
        written = head.predict(features(4))
    assert written.shape[1] <= head.most + 1 <= 9
    assert not bool((written == BEGIN).any())
    for row in written.tolist():
        if END in row:
            assert set(row[row.index(END) + 1 :]) <= {PADDING}
