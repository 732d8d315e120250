"""Networks of transformers and timm as readers, from files alone."""

from __future__ import annotations

import json
import re
import socket
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from tokenizers import Tokenizer, models
from torch import Tensor, nn

import shinso
from shinso.columns import mecab, restore_column
from shinso.columns.image import Image
from shinso.columns.text import Text
from shinso.config import ModelConfig
from shinso.errors import DataError, MissingExtraError, SettingError
from shinso.models import encoder_for
from shinso.models.hub import configuration, hub_input, reachable
from shinso.schema import tokenizer_at

FAST = {"train.epochs": 1, "train.threads": 1, "train.batch_size": 16, "train.ema": 0.0}
COLOURS = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2], "size": {"height": 32, "width": 32}}


def photos(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for label in range(2):
        (folder / f"kind{label}").mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(60 * label, 60 * label + 150, (24, 24, 3), np.uint8)
            Pillow.fromarray(pixels).save(folder / f"kind{label}" / f"{i}.png")
    return folder


def saved(folder: Path, kind: str) -> Any:
    """A toy network, written as transformers writes them."""
    library = pytest.importorskip("transformers")
    if kind == "vit":
        sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
        made = library.ViTForImageClassification(library.ViTConfig(**sizes, image_size=32, patch_size=8))
    else:
        config = library.ConvNextConfig(hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 1, 1], num_labels=5)
        made = library.ConvNextForImageClassification(config)
    made.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(COLOURS), "utf-8")
    return made


@pytest.mark.parametrize("kind", ["vit", "convnext"])
def test_a_folder_of_transformers_is_a_reader(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = saved(tmp_path / "model", kind)
    run = shinso.train(
        photos(tmp_path / "photos"), model=f"hf:{tmp_path / 'model'}", out=tmp_path / "run",
        settings=FAST | {"train.learning_rate": 1e-7},
    )  # fmt: skip
    assert "hf layout)" in capsys.readouterr().err
    column = run.schema.given[0]
    assert (column.height, column.mean) == (32, (0.5, 0.4, 0.3))
    for path in (tmp_path / "model").iterdir():
        path.unlink()  # a run needs the folder no more
    body = next(iter(shinso.Run(tmp_path / "run").network.encoders.values())).body
    wanted = dict(theirs.base_model.named_parameters())
    for name, value in body.named_parameters():
        if name.startswith("pooler."):
            continue  # of the bare network alone, and not used
        torch.testing.assert_close(value, wanted[name], atol=1e-4, rtol=0)
    assert len(run.predict(tmp_path / "photos")["label"]) == 40


def test_what_is_not_here_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "none").mkdir()
    with pytest.raises(SettingError, match=r"Put its config.json and model.safetensors.*--model hf:FOLDER"):
        configuration(ModelConfig(name=f"hf:{tmp_path / 'none'}"))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'shinso\[hub\]'"):
        configuration(ModelConfig(name="hf:any"))
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'shinso\[hub\]'.*torchvision"):
        configuration(ModelConfig(name="timm:any"))


# ---- timm, by a stand-in with its interface


class Body(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 6, 4, 4)

    def forward_features(self, x: Tensor) -> Tensor:
        out: Tensor = self.stem(x)
        return out


@dataclass
class Config:
    input_size: tuple[int, int, int] = (3, 48, 48)
    mean: tuple[float, ...] = (0.1, 0.2, 0.3)
    std: tuple[float, ...] = (0.4, 0.5, 0.6)
    classifier: str = "head.fc"


def stand_in() -> types.ModuleType:
    """The four functions of timm that are used."""
    module: Any = types.ModuleType("timm")

    def create_model(name: str, *, pretrained: bool, num_classes: int, in_chans: int) -> nn.Module:
        assert (name, pretrained, num_classes) == ("toy", False, 0)
        return Body(in_chans)

    module.create_model = create_model
    module.is_model = lambda name: name == "toy"
    module.list_models = lambda: ["toy"]
    module.get_pretrained_cfg = lambda name: Config()
    found: types.ModuleType = module
    return found


def test_networks_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", stand_in())
    with pytest.raises(SettingError, match=r"timm has no model 'toi'. Did you mean 'toy'"):
        configuration(ModelConfig(name="timm:toi"))
    options = ModelConfig(name="timm:toy", **configuration(ModelConfig(name="timm:toy")))
    assert hub_input(options) == (48, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    column = Image(name="x", height=16, width=12, channels=3, mean=(0.5,) * 3, std=(0.3,) * 3,
                   average=(((0, 0, 0),),))  # fmt: skip
    encoder = encoder_for(column, options)
    features = encoder(torch.zeros(2, 16, 12, 3, dtype=torch.uint8))
    assert features.tokens.shape == (2, 12, 6) and encoder.channels == (6,)
    published = encoder.published()
    assert published is not None and published.classifier == ("head.fc.weight", "head.fc.bias")


# ---- texts

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "film", "good", "bad", "##ly", "very"]


def saved_bert(folder: Path) -> Any:
    """A toy BERT with a head of its own, and its tokenizer."""
    library = pytest.importorskip("transformers")
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    made = library.BertForMaskedLM(library.BertConfig(**sizes, vocab_size=16, max_position_embeddings=20))
    made.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", "utf-8")
    return made.eval()


def verdicts() -> dict[str, list[str]]:
    texts = ["a very good film", "a very bad film", "good a film", "badly bad a film"] * 10
    return {"text": [f"{text} {'a ' * (i % 7)}" for i, text in enumerate(texts)],
            "verdict": ["yes", "no", "yes", "no"] * 10}  # fmt: skip


@pytest.mark.parametrize("tune", ["all", "head"])
def test_a_text_network_of_transformers(tune: str, tmp_path: Path) -> None:
    theirs = saved_bert(tmp_path / "model")
    settings = FAST | {"train.learning_rate": 1e-7, "data.split": "8:2:0"}
    if tune == "all":
        settings["model.pooling"] = "mean"
    run = shinso.train(
        verdicts(), predict="verdict", model=f"hf:{tmp_path / 'model'}", tune=tune,
        types={"text": "text"}, out=tmp_path / "run", settings=settings,
    )  # fmt: skip
    for path in (tmp_path / "model").iterdir():
        path.unlink()  # a run needs the folder no more
    run = shinso.Run(tmp_path / "run")
    encoder = next(iter(run.network.encoders.values())).eval()
    ids = torch.tensor([[2, 5, 7, 6, 3], [2, 8, 3, 0, 0]])
    with torch.no_grad():
        states = theirs.bert(ids, attention_mask=(ids > 0).long(), output_hidden_states=True).hidden_states
        if tune == "head":  # the default attends to the last layers
            found, wanted = encoder.states(ids.int()), torch.cat(states[1:], -1)
        else:
            found, wanted = encoder(ids.int()), states[-1]
    assert found.mask.tolist() == (ids > 0).tolist()
    torch.testing.assert_close(found.tokens[found.mask], wanted[ids > 0], atol=1e-4, rtol=1e-4)
    assert len(run.predict(verdicts())["verdict"]) == 40


def test_a_text_network_with_the_wrong_tokenizer(tmp_path: Path) -> None:
    saved_bert(tmp_path / "model")
    more = "\n".join([*VOCABULARY, *(f"word{i}" for i in range(9))])
    (tmp_path / "model" / "vocab.txt").write_text(more, "utf-8")
    with pytest.raises(SettingError, match=r"knows 16 tokens, and the tokenizer of column 'text' has 20"):
        shinso.train(verdicts(), predict="verdict", model=f"hf:{tmp_path / 'model'}", types={"text": "text"},
                     out=tmp_path / "run")  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_ids_are_those_of_the_network_whatever_it_pads_with() -> None:
    """RoBERTa's padding is 1, and its places are counted from there."""
    library = pytest.importorskip("transformers")
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    config = library.RobertaConfig(**sizes, vocab_size=16, max_position_embeddings=12, pad_token_id=1)
    made = Tokenizer(models.WordLevel({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4}, "<unk>"))
    column = Text(name="x", tokenizer=made.to_str())
    options = ModelConfig(name="hf:toy", hub=json.dumps({"config": config.to_dict()}))
    encoder = encoder_for(column, options).eval()
    theirs = library.RobertaModel(config).eval()
    published = encoder.published()
    assert published is not None
    theirs.load_state_dict(published.module.state_dict())
    ids = torch.tensor([[0, 4, 4, 2], [0, 4, 2, 1]])
    with torch.no_grad():
        wanted = theirs(ids, attention_mask=(ids != 1).long()).last_hidden_state
        found = encoder(torch.where(ids == 1, 0, ids + 1).int())
        assert encoder(torch.ones(1, 30, dtype=torch.int32)).tokens.shape == (1, 10, 24)
    torch.testing.assert_close(found.tokens[found.mask], wanted[ids != 1], atol=1e-5, rtol=1e-5)


# ---- Japanese words

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = [*SPECIAL, "深層", "##学習", "学習", "です", "ゲーム", "。", "ab", "##c"]
TEXTS = ["深層学習です。 ｹﾞｰﾑ", "外国人参政権 ABC\n学習。", "", "　。。", "学習 です ab abc"]


def japanese(folder: Path, **more: Any) -> Path:
    """A vocabulary of BERT for Japanese and what its tokenizer_config.json says."""
    (folder / "vocab.txt").write_text("\n".join(PIECES), "utf-8")
    kind = {"tokenizer_class": "BertJapaneseTokenizer", "do_lower_case": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind | more), "utf-8")
    return folder / "vocab.txt"


def japanese_column(path: Path) -> Text:
    return Text(name="x", **tokenizer_at(str(path)))


@pytest.fixture
def stand_in_mecab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """fugashi and a dictionary that cuts after each 学習 and each です."""
    (tmp_path / "dictionary").mkdir()
    (tmp_path / "dictionary" / "mecabrc").touch()
    fugashi: Any = types.ModuleType("fugashi")
    dictionary: Any = types.ModuleType("unidic_lite")
    dictionary.DICDIR = str(tmp_path / "dictionary")

    def tagger(options: str) -> Any:
        assert options.startswith(f'-d "{dictionary.DICDIR}" -r ')
        cut = re.compile(r".*?(?:学習|です)|[^。]+|。")
        return lambda text: [types.SimpleNamespace(surface=w) for w in cut.findall(text.replace(" ", ""))]

    fugashi.GenericTagger = tagger
    monkeypatch.setitem(sys.modules, "fugashi", fugashi)
    monkeypatch.setitem(sys.modules, "unidic_lite", dictionary)
    mecab._tagger.cache_clear()
    return tmp_path


def test_japanese_words_are_cut_before_their_pieces(stand_in_mecab: Path) -> None:
    column = japanese_column(japanese(stand_in_mecab, word_tokenizer_type="mecab"))
    assert column.dictionary == "unidic_lite"
    assert column.encode("深層学習です。 ｹﾞｰﾑ").tolist() == [2, 5, 6, 8, 10, 9, 3]
    back = restore_column(json.loads(json.dumps(column.to_dict())))
    assert back == column and back.encode("深層学習").tolist() == [2, 5, 6, 3]
    characters = japanese(stand_in_mecab, word_tokenizer_type="mecab", subword_tokenizer_type="character")
    assert japanese_column(characters).encode("。。").tolist() == [2, 10, 10, 3]
    mecab._tagger.cache_clear()


def test_japanese_without_mecab_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mecab._tagger.cache_clear()
    monkeypatch.setitem(sys.modules, "fugashi", None)
    column = japanese_column(japanese(tmp_path, word_tokenizer_type="mecab"))
    with pytest.raises(MissingExtraError, match=r"'unidic_lite'.*`pip install 'shinso\[hub\]'`"):
        column.encode("深層")
    column = japanese_column(
        japanese(tmp_path, word_tokenizer_type="mecab", mecab_kwargs={"mecab_dic": "ipadic"})
    )
    with pytest.raises(MissingExtraError, match=r"`pip install 'shinso\[hub\]' ipadic`"):
        column.encode("深層")
    for more, message in (
        ({"word_tokenizer_type": "sudachi"}, "cuts words by 'sudachi'; known is MeCab"),
        ({"word_tokenizer_type": "mecab", "mecab_kwargs": {"mecab_dic": "os"}}, "with the dictionary 'os'"),
    ):
        with pytest.raises(DataError, match=message):
            japanese_column(japanese(tmp_path, **more))
    with pytest.raises(DataError, match="there is no dictionary 'os'"):
        Text(name="x", dictionary="os")


@pytest.mark.parametrize("subword", ["wordpiece", "character"])
@pytest.mark.parametrize("lower", [False, True])
def test_japanese_is_cut_as_transformers_cuts_it(subword: str, lower: bool, tmp_path: Path) -> None:
    library = pytest.importorskip("transformers")
    pytest.importorskip("fugashi", reason="fugashi and unidic-lite (extra hub) are not installed")
    more: dict[str, Any] = {
        "word_tokenizer_type": "mecab", "mecab_kwargs": {"mecab_dic": "unidic_lite"}, "do_lower_case": lower,
        "subword_tokenizer_type": subword,
    }  # fmt: skip
    path = japanese(tmp_path, **more)
    mecab._tagger.cache_clear()
    theirs = library.BertJapaneseTokenizer(str(path), **more)
    for text in TEXTS:
        assert japanese_column(path).encode(text).tolist() == theirs(text).input_ids, text


def test_a_name_of_the_hub_is_answered_at_once_without_a_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    asked: list[str] = []

    def away(address: str) -> bool:
        asked.append(address)
        return False

    monkeypatch.setattr("shinso.models.hub.reachable", away)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    with pytest.raises(SettingError, match=r"cannot be reached from here\. Put its config\.json.*hf:FOLDER"):
        configuration(ModelConfig(name="hf:nobody/nothing-of-that-name"))
    with pytest.raises(SettingError, match="Put its config"):
        configuration(ModelConfig(name=f"hf:{tmp_path / 'none'}"))
    assert len(asked) == 1, "a folder is no name of the hub"


def test_a_server_that_does_not_answer_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shinso.models.hub.PATIENCE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert not reachable(address), "it accepts, and says nothing"
    assert not reachable(address), "nobody listens"
