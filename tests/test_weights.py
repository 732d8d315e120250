"""Published weights: what is read, what is refused, what is said, and a run that begins with them."""

from __future__ import annotations

import collections
import io
import json
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import save_file
from torch import Tensor, nn

import shinso
from formula import fill
from shinso import cli
from shinso.errors import RunError, SettingError
from shinso.models import resnet, vit
from shinso.models.base import Published
from shinso.weights import match, nearest, read_weights

FAST = {"train.epochs": 1, "train.threads": 1, "train.batch_size": 16, "train.learning_rate": 1e-4}


def state(classes: int = 10, width: int = 128, depth: int = 18) -> dict[str, Tensor]:
    """Weights of a thin ResNet as someone would publish them."""
    body = resnet.ResNetConfig(depth=depth, width=width, classes=classes).build()
    return {k: v.float() if v.is_floating_point() else v for k, v in fill(body.state_dict()).items()}


def photos(folder: Path, labels: int = 2, side: int = 40) -> Path:
    rng = np.random.default_rng(0)
    for label in range(labels):
        (folder / f"kind{label}").mkdir(parents=True, exist_ok=True)
        for i in range(24 // labels + 6):
            pixels = rng.integers(60 * label, 60 * label + 150, (side, side, 3), np.uint8)
            Pillow.fromarray(pixels).save(folder / f"kind{label}" / f"{i}.png")
    return folder


# ---- reading


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin"])
def test_tensors_of_any_layout_are_read(tmp_path: Path, suffix: str, wrap: bool) -> None:
    tensors = {"a.weight": torch.ones(2, 3, dtype=torch.bfloat16), "a.bias": torch.arange(3)}
    path = tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        save_file(tensors, path)
    else:
        named = collections.OrderedDict({f"module.{k}": v for k, v in tensors.items()})
        torch.save({"state_dict": named, "epoch": 3} if wrap else named, path)
    digest, found = read_weights(path)
    assert len(digest) == 64
    assert {k: (v.shape, v.dtype) for k, v in found.items()} == {
        "a.weight": ((2, 3), torch.float32),
        "a.bias": ((3,), torch.int64),
    }


def test_parameters_are_tensors(tmp_path: Path) -> None:
    torch.save({"w": nn.Parameter(torch.ones(2))}, tmp_path / "w.pt")
    assert read_weights(tmp_path / "w.pt")[1]["w"].tolist() == [1.0, 1.0]


class Evil:
    """What an attacker would put into a file of weights."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("stolen",)


def archive(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


def test_what_could_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    good = tmp_path / "good.pth"
    torch.save({"a": torch.ones(2)}, good)
    evil = pickle.dumps({"a": Evil()}, 2)
    legacy = io.BytesIO()
    torch.save({"a": torch.ones(2)}, legacy, _use_new_zipfile_serialization=False)
    (tmp_path / "legacy.pth").write_bytes(legacy.getvalue())
    (tmp_path / "plain.pth").write_bytes(evil)
    archive(tmp_path / "evil.pth", {"x/data.pkl": evil, "x/version": b"3\n"})
    archive(tmp_path / "stack.pth", {"x/data.pkl": pickle.dumps({"a": Evil()}, 4)})
    archive(tmp_path / "script.pth", {"x/data.pkl": b"\x80\x02}.", "x/code/__torch__.py": b"import os"})
    archive(tmp_path / "bomb.pth", {"x/data.pkl": b"\x80\x02}."}, zipfile.ZIP_DEFLATED)
    archive(tmp_path / "cut.pth", {"x/data.pkl": b"\x80\x02}q"})
    archive(tmp_path / "empty.pth", {"x/version": b"3\n"})
    messages = {
        "legacy": "a pickle, not an archive", "plain": "a pickle, not an archive", "evil": "posix.mkdir",
        "stack": "could run code", "script": "code/__torch__.py", "bomb": "holds 'x/data.pkl'",
        "cut": "damaged", "empty": "does not list its tensors",
    }  # fmt: skip
    for name, message in messages.items():
        with pytest.raises(SettingError, match=message):
            read_weights(tmp_path / f"{name}.pth")
    assert not (tmp_path / "stolen").exists()
    assert read_weights(good)[1].keys() == {"a"}


def test_a_small_file_does_not_fill_the_memory(tmp_path: Path) -> None:
    one = torch.zeros(1, dtype=torch.float16)
    torch.save({"a": one.expand(1 << 20, 1 << 20)}, tmp_path / "views.pth")
    torch.save({f"a{i}": torch.zeros(4096, dtype=torch.float16) for i in range(3)}, tmp_path / "plain.pth")
    packed = archive(
        tmp_path / "zeros.pth",
        {"x/data.pkl": b"\x80\x02}.", "x/data/0": bytes(1 << 22)},
        zipfile.ZIP_DEFLATED,
    )
    assert packed.stat().st_size < 1 << 14
    with pytest.raises(SettingError, match=r"says that it holds 1,099,511,627,776 numbers.*not read"):
        read_weights(tmp_path / "views.pth")
    with pytest.raises(SettingError, match=r"holds 'x/data.pkl'"):
        read_weights(packed)
    assert len(read_weights(tmp_path / "plain.pth")[1]) == 3


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"\x00" * 50)
    (tmp_path / "w.onnx").write_bytes(b"x")
    torch.save({"lr": 3.0}, tmp_path / "numbers.pth")
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    messages = {
        "broken.safetensors": "no readable safetensors", "w.onnx": "expected .safetensors",
        "numbers.pth": "no table of tensors", "list.pth": "no table of tensors",
        "none.pth": "There is no file",
    }  # fmt: skip
    for name, message in messages.items():
        with pytest.raises(SettingError, match=message):
            read_weights(tmp_path / name)
    with pytest.raises(SettingError, match="50 bytes; weights of this network have 40 at most"):
        read_weights(tmp_path / "broken.safetensors", 40)


# ---- matching


def published(width: int = 128, depth: int = 18) -> Published:
    body = resnet.ResNetConfig(depth=depth, width=width, classes=0).build()
    return Published(body, resnet.FAMILY.layouts, ("fc.weight", "fc.bias"))


def test_the_layer_for_the_classes_is_left_out() -> None:
    matched = match(published(), state(), "file", "resnet18")
    assert matched.layout == "torchvision" and matched.classifier is not None
    assert matched.classifier[0].shape == (10, 128) and "fc.weight" not in matched.values


def test_a_misfit_names_keys_shapes_and_the_nearest_preset() -> None:
    with pytest.raises(SettingError) as caught:
        match(published(64), state(), "file.pth", "resnet18")
    assert "conv1.weight: expected (8, 3, 7, 7), found (16, 3, 7, 7)" in str(caught.value)
    with torch.device("meta"):
        theirs = resnet.PRESETS["resnet34"].build().state_dict()
    with pytest.raises(SettingError) as caught:
        with torch.device("meta"):
            match(published(512), theirs, "file.pth", "resnet18")
    assert "layer1.2.conv1.weight: not in the network, found (64, 64, 3, 3)" in str(caught.value)
    assert "The nearest preset is 'resnet34', of which 100% fits: try --model resnet34" in str(caught.value)
    assert "No preset comes near" in nearest({"a": torch.ones(2)}, "resnet18")


def test_positions_of_a_vit_are_brought_to_another_grid() -> None:
    small = vit.ViTConfig(width=64, depth=1, patch=8, height=32, breadth=32, classes=0)
    theirs = fill(small.build().state_dict())
    wide = replace(small, height=48, breadth=64).build()
    found = vit.resized(theirs, wide.config.grid)
    assert found["encoder.pos_embedding"].shape == wide.encoder.pos_embedding.shape == (1, 1 + 6 * 8, 64)
    first, wanted = (s["encoder.pos_embedding"][:, 0].double() for s in (found, theirs))
    torch.testing.assert_close(first, wanted, atol=1e-6, rtol=0)
    assert vit.resized(theirs, (4, 4))["encoder.pos_embedding"] is theirs["encoder.pos_embedding"]


def test_old_names_of_torchvision() -> None:
    old = {"encoder.layers.encoder_layer_0.mlp.linear_2.bias": torch.ones(1)}
    assert list(vit.from_torchvision(old)) == ["encoder.layers.encoder_layer_0.mlp.3.bias"]


# ---- runs


@pytest.fixture
def thin(monkeypatch: pytest.MonkeyPatch) -> None:
    """ResNet-18, thin, so that a run takes a moment."""
    monkeypatch.setitem(resnet.PRESETS, "resnet18", resnet.ResNetConfig(depth=18, width=128))


@pytest.mark.usefixtures("thin")
def test_a_run_begins_with_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({k: v.contiguous() for k, v in state(1000).items()}, tmp_path / "w.safetensors")
    settings = FAST | {"train.learning_rate": 1e-7, "train.ema": 0.0, "data.image_size": 64}
    run = shinso.train(
        photos(tmp_path / "photos"), model="resnet18", weights=tmp_path / "w.safetensors",
        settings=settings, out=tmp_path / "run",
    )  # fmt: skip
    assert "(torchvision layout); their layer for 1,000 classes is left out" in capsys.readouterr().err
    recorded = json.loads((tmp_path / "run/data.json").read_text())["weights"]
    assert recorded["sha256"] == read_weights(tmp_path / "w.safetensors")[0]
    column = run.schema.given[0]
    assert (column.height, column.mean) == (64, (0.485, 0.456, 0.406))
    body = next(iter(run.network.encoders.values())).body
    torch.testing.assert_close(body.conv1.weight, state()["conv1.weight"], atol=1e-4, rtol=0)
    (tmp_path / "w.safetensors").unlink()
    assert len(run.predict(tmp_path / "photos")["label"]) == 36


@pytest.mark.usefixtures("thin")
def test_size_and_colours_come_with_the_weights(tmp_path: Path) -> None:
    torch.save(state(2), tmp_path / "w.pth")
    run = shinso.train(
        photos(tmp_path / "photos", side=20), model="resnet18", weights=tmp_path / "w.pth",
        settings=FAST, out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    column = run.schema.given[0]
    assert (column.height, column.width, column.channels) == (224, 224, 3)
    assert column.std == (0.229, 0.224, 0.225)


@pytest.mark.usefixtures("thin")
def test_as_many_classes_are_taken_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(state(2), tmp_path / "w.pth")
    run = shinso.train(
        photos(tmp_path / "photos"), model="resnet18", weights=tmp_path / "w.pth",
        settings=FAST | {"train.learning_rate": 1e-7, "data.image_size": 64}, out=tmp_path / "run",
    )  # fmt: skip
    assert "their 2 classes are taken for the labels in order" in capsys.readouterr().err
    linear = next(iter(run.network.heads.values())).linear
    torch.testing.assert_close(linear.weight_KDC[0].T, state(2)["fc.weight"], atol=1e-4, rtol=0)


@pytest.mark.usefixtures("thin")
def test_resuming_without_a_checkpoint_needs_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({k: v.contiguous() for k, v in state().items()}, tmp_path / "w.safetensors")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shinso.pretrained.begin", killed)
        with pytest.raises(KeyboardInterrupt):
            shinso.train(
                photos(tmp_path / "photos"), model="resnet18", weights=tmp_path / "w.safetensors",
                settings=FAST | {"data.image_size": 64}, out=tmp_path / "run", quiet=True,
            )  # fmt: skip
    save_file({k: v + 1 for k, v in state().items()}, tmp_path / "w.safetensors")
    with pytest.raises(RunError, match="is not the file of weights that the run was started with"):
        shinso.train(resume=tmp_path / "run", quiet=True)
    save_file({k: v.contiguous() for k, v in state().items()}, tmp_path / "w.safetensors")
    assert shinso.train(resume=tmp_path / "run", quiet=True).evaluation


def test_mistakes_end_with_status_2_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(photos(tmp_path / "photos"))
    torch.save(state(), tmp_path / "w.pth")
    weights = str(tmp_path / "w.pth")
    cases = {
        ("--model", "resnett18"): "Did you mean 'resnet18'",
        ("--weights", weights): "Name it with --model",
        (
            "--model",
            "resnet18",
            "--weights",
            weights,
        ): "conv1.weight: expected (64, 3, 7, 7), found (16, 3, 7, 7)",
        ("--model", "plain18", "--weights", weights): "takes no published weights",
        ("--model", "mlp", "--weights", weights): "takes no published weights",
        ("--model", "resnet18", "--weights", str(tmp_path / "none.pth")): "There is no file of weights",
        ("--model", "vit_ti", "--set", "model.patch=200"): "at least 200 x 200 pixels",
        ("--model", "resnet18", "--set", "model.dept=34"): "Did you mean 'model.depth'",
    }
    for arguments, message in cases.items():
        out = str(tmp_path / "run")
        assert cli.main(["train", data, *arguments, "--out", out, "--set", "train.threads=1"]) == 2
        assert message in capsys.readouterr().err, arguments
        assert not Path(out).exists()


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == 0
    shown = capsys.readouterr().out
    assert "resnet50" in shown and "25.6 M" in shown and "2015" in shown
    assert cli.main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["vit_b"]["parameters"] == 86_567_656


def test_a_plain_module_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain_net_of_a_user.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, in_channels):\n"
        "        super().__init__(nn.Conv2d(in_channels, 6, 5, 3), nn.ReLU())\n"
        "class Odd(nn.Linear):\n"
        "    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = photos(tmp_path / "photos", side=16)
    run = shinso.train(
        folder,
        model="plain_net_of_a_user:Net",
        settings=FAST,
        out=tmp_path / "run",
        quiet=True,
        allow=["plain_net_of_a_user:Net"],
    )
    assert len(run.predict(folder)["label"]) == 36
    with pytest.raises(SettingError, match=r"is no subclass of shinso.models.Encoder or torch.nn.Module"):
        shinso.train(folder, model="plain_net_of_a_user:nn", settings=FAST, out=tmp_path / "odd", quiet=True)
    with pytest.raises(SettingError, match=r"Path' is no subclass of"):
        shinso.train(folder, model="pathlib:Path", settings=FAST, out=tmp_path / "odd", quiet=True)
    with pytest.raises(SettingError, match=r"could not be imported.*Expected my_module:MyEncoder"):
        shinso.train(folder, model="plain_net_of_a_user:N", settings=FAST, out=tmp_path / "odd", quiet=True)
    assert not (tmp_path / "odd").exists()
    with pytest.raises(SettingError, match="Odd needs 'in_features'"):
        shinso.train(folder, model="plain_net_of_a_user:Odd", settings=FAST, out=tmp_path / "odd", quiet=True)
