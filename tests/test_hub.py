"""Networks of transformers and timm as readers, from files alone."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor, nn

import shinso
from shinso.columns.image import Image
from shinso.config import ModelConfig
from shinso.errors import MissingExtraError, SettingError
from shinso.models import encoder_for
from shinso.models.hub import configuration, hub_input

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
