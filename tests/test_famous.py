"""The contract of every famous network that reads pictures or tables, at a small size, and its settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from shinso.catalogue import models
from shinso.columns import Column
from shinso.columns.category import Category
from shinso.columns.image import Image
from shinso.columns.mask import Mask
from shinso.columns.number import Number
from shinso.columns.series import Series
from shinso.config import ModelConfig, RunConfig
from shinso.errors import DataError, SettingError
from shinso.layers.convolution import Conv1x1, guard
from shinso.models import FAMOUS, Encoder, encoder_for, scalars_for
from shinso.models.images import architecture
from shinso.network import Network
from shinso.recipes import Facts, resolve
from shinso.schema import Schema

# Every row of the table that reads pictures, at its own depth, made thin by its own settings.
THIN: dict[str, dict[str, Any]] = {
    "AlexNet": {"width": 16}, "VGG": {"width": 16}, "ResNet": {"width": 128}, "Plain network": {"width": 128},
    "EfficientNet": {"width": 128}, "ViT": {"width": 32}, "U-Net": {"width": 32, "depth": 2},
    "Spiking network": {"width": 16}, "Multilayer perceptron": {"width": 16}, "LeNet": {}, "Perceptron": {},
}  # fmt: skip
BOTTLENECKS = ("resnet50", "resnet101", "resnet152")  # four times as wide as what is inside
ROWS = tuple(name for name, known in FAMOUS.items() if "image" in known.encoders)
SMALL = {n: {"width": 256} if n in BOTTLENECKS else THIN[FAMOUS[n].title] for n in ROWS}
EVERY = pytest.mark.parametrize("name", SMALL)
# The rows of a family differ in numbers alone: one of each is traced and tried at odd sizes.
FIRST = {
    **{FAMOUS[name].title: name for name in reversed(ROWS)},
    "with batch norm": "vgg11_bn", "bottlenecks": "resnet50",
}  # fmt: skip
EACH_FAMILY = pytest.mark.parametrize("name", FIRST.values())


def column(side: int = 28, channels: int = 1) -> Image:
    colours = {"mean": (0.4,) * channels, "std": (0.3,) * channels}
    return Image(name="photo", height=side, width=side, channels=channels, **colours)


def reader(name: str, seed: int = 0, side: int = 28, **settings: Any) -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return encoder_for(column(side), ModelConfig(name=name, **{**SMALL.get(name, {}), **settings}))


def pictures(rows: int = 6, side: int = 28) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (rows, side, side, 1), generator=generator, dtype=torch.uint8)


@EVERY
def test_features_are_finite_and_rows_are_independent(name: str) -> None:
    model = reader(name).eval()
    with torch.no_grad():
        features = model(pictures())
        alone = model(pictures()[2:3])
    assert features.tokens.shape[::2] == (6, model.width) and features.tokens.isfinite().all()
    assert tuple(grid.shape[1] for grid in features.maps) == model.channels
    cells = [grid.shape[2] * grid.shape[3] for grid in features.maps]
    assert cells == sorted(cells, reverse=True)
    torch.testing.assert_close(alone.pool()[0], features.pool()[2], rtol=1e-4, atol=1e-5)


@EVERY
def test_every_parameter_learns(name: str) -> None:
    model = reader(name).train()
    if not list(model.parameters()):
        pytest.skip("has no parameters: a perceptron is the layer of its head")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in model.parameters():
            if not parameter.any():  # a layer that begins at zero hides those before it
                nn.init.normal_(parameter, std=0.1)
        features = model(pictures(8))
        total = (features.tokens * torch.randn_like(features.tokens)).sum()
        (total + sum(grid.square().sum() for grid in features.maps)).backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


@EVERY
def test_weights_survive_a_file(name: str, tmp_path: Path) -> None:
    model, other = reader(name).eval(), reader(name, 1).eval()
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "w.safetensors")
    other.load_state_dict(load_file(tmp_path / "w.safetensors"))
    with torch.no_grad():
        assert torch.equal(model(pictures()).tokens, other(pictures()).tokens)


@EVERY
def test_bfloat16_stays_close(name: str) -> None:
    model = reader(name).eval()
    with torch.no_grad():
        exact = model(pictures()).pool()
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(pictures()).pool().float()
    # A spike is there or not: rounding moves some of them.
    assert float((rough - exact).norm() / exact.norm()) < (0.3 if name == "spiking" else 0.06)


@EACH_FAMILY
def test_it_can_be_exported(name: str) -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = reader(name).eval()

        def forward(self, batch: Tensor) -> Tensor:
            pooled: Tensor = self.model(batch).pool()
            return pooled

    module, batch = Pooled(), pictures(2)
    program = torch.export.export(module, (batch,), strict=False).module()
    with torch.no_grad():
        torch.testing.assert_close(program(batch), module(batch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [8, 30, 97])
@EACH_FAMILY
def test_any_size_of_picture(name: str, side: int) -> None:
    model = reader(name, side=side).eval()
    with torch.no_grad():
        assert model(pictures(2, side)).tokens.isfinite().all()


# Networks whose channels are counted: those of the families that `images` reads.
BODIES = tuple(name for name in FIRST.values() if name not in ("spiking", "mlp", "perceptron"))


@pytest.mark.parametrize("name", BODIES)
def test_any_number_of_channels_forwards_and_backwards(name: str) -> None:
    """fp32 and bf16; a column has 1 or 3, but 4 and 5 are what modules inside of others see."""
    for side, channels in (*((32, c) for c in (1, 2, 3, 4, 5)), (224, 4)):
        settings = {**SMALL[name], **({"width": 32} if "resnet" in name else {})}  # 4 channels inside
        config = architecture(name)[1].suited((side, side), ModelConfig(name=name, **settings))
        generator = torch.Generator().manual_seed(0)
        pixels = torch.rand(2 if side == 32 else 1, side, side, channels, generator=generator)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            body = replace(config, channels=channels, classes=0).build().train(side == 32)
        for precise in (True, False) if side == 32 else (True,):
            with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
                maps, tokens = body.read(pixels.permute(0, 3, 1, 2))
            every = maps if tokens is None else (*maps, tokens)
            torch.stack([m.float().square().mean() for m in every]).sum().backward()
            gradients = [p.grad for p in body.parameters() if p.grad is not None]
            assert gradients and all(g.isfinite().all() for g in (*gradients, *every)), (side, channels)


@pytest.mark.parametrize("channels", [2, 4, 9, 15])
def test_strided_products_of_few_channels_have_the_right_gradient(channels: int) -> None:
    """In fp32 with channels last oneDNN's own writes past its memory (see `UNSAFE`)."""
    ours, theirs = Conv1x1(channels, 8, 2), nn.Sequential(nn.Conv2d(channels, 8, 1, 2, bias=False))
    guard(theirs)
    theirs.load_state_dict({"0.weight": ours.weight})
    x = torch.rand(4, 112, 112, channels, generator=torch.Generator().manual_seed(0)).permute(0, 3, 1, 2)
    wanted = F.conv2d(x.double(), exact := ours.weight.detach().double().requires_grad_(), stride=2)
    (expected,) = torch.autograd.grad(wanted.square().sum(), [exact])
    for module in (ours, theirs):
        out = module(x)
        torch.testing.assert_close(out.double(), wanted, rtol=1e-5, atol=1e-5)
        (found,) = torch.autograd.grad(out.square().sum(), list(module.parameters()))
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-2)


def test_every_row_of_the_table_is_tested() -> None:
    """Pictures here; everything else in tests/test_contracts.py, over the table itself."""
    assert set(SMALL) == {name for name, known in FAMOUS.items() if "image" in known.encoders}
    assert {FAMOUS[name].title for name in SMALL} == {FAMOUS[name].title for name in FIRST.values()}


@pytest.mark.parametrize("name", [n for n, known in FAMOUS.items() if "image" in known.encoders])
def test_presets_have_the_sizes_that_are_listed(name: str) -> None:
    known = FAMOUS[name]
    if known.reference is None:
        return
    with torch.device("meta"):
        body = known.reference().module
        encoder_for(column(32, 3), ModelConfig(name=name))
    count = sum(p.numel() for p in body.parameters())
    classes = 2 if name == "unet" else 1000
    assert (
        known.parameters == count + (body.width if name != "unet" else body.channels[0]) * classes + classes
    )


def test_dense_heads_read_the_maps_of_any_network() -> None:
    mask = Mask(name="mask", height=28, width=28, levels=(0, 1), shares=(0.7, 0.3))
    for name in ("resnet18", "unet", "vit_ti"):
        net = Network(Schema((column(),), (mask,)), ModelConfig(name=name, **SMALL[name]))
        batch = {"photo": pictures(2), "mask": torch.zeros(2, 28, 28, dtype=torch.uint8)}
        net.losses(batch, 2)["mask"].total.backward()
        assert net.predict(batch, 2)["mask"].shape == (2, 2, 28, 28)


# ---- tables


def scalar_columns() -> tuple[Column, ...]:
    rng = np.random.default_rng(0)
    numbers = np.where(rng.random(60) < 0.1, np.nan, rng.normal(size=60))
    labels = rng.choice(np.array(["a", "b", "c"], object), 60)
    return Number(name="n").fit(numbers), Category(name="c").fit(labels)


@pytest.mark.parametrize("name", ["mlp", "perceptron"])
def test_tables_are_read_by_perceptrons(name: str) -> None:
    columns = scalar_columns()
    model = scalars_for(columns, ModelConfig(name=name, width=8, depth=3, activation="tanh"))
    batch = {"n": torch.tensor([0.5, torch.nan]), "c": torch.tensor([0, -1])}
    features = model(batch)
    assert features.tokens.shape == (2, 1, model.width) and features.tokens.isfinite().all()
    assert not torch.equal(features.tokens[0], features.tokens[1])


def test_a_perceptron_sees_the_inputs_as_they_are() -> None:
    model = scalars_for(scalar_columns()[:1], ModelConfig(name="perceptron"))
    assert model({"n": torch.tensor([0.5])}).tokens[0, 0].tolist() == [0.5, 0.0]
    assert not list(model.parameters())


# ---- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "resnett18"}, "Did you mean 'resnet18'"),
        ({"name": "resnet18", "depth": 20}, "18, 34, 50, 101 or 152"),
        ({"name": "vgg11", "depth": 12}, "11, 13, 16 or 19"),
        ({"name": "resnet18", "patch": 4}, "has no setting model.patch. It has: model.width"),
        ({"name": "lenet5", "width": 64}, "has no setting model.width"),
        ({"name": "vit_ti", "width": 200}, "must divide"),
        ({"name": "ngrams"}, "reads text; given is image"),
    ],
)
def test_settings_that_a_network_does_not_have(settings: dict[str, Any], message: str) -> None:
    schema = Schema((column(),), (Category(name="label").fit(np.array(["a", "b"] * 9, object)),))
    with pytest.raises(SettingError, match=message):
        Network(schema, ModelConfig(**settings))


def test_pictures_that_are_too_small_name_the_least_size() -> None:
    with pytest.raises(DataError, match=r"at least 63 x 63 pixels.*has 28 x 28"):
        reader("alexnet", stem="full")
    with pytest.raises(DataError, match="at least 32 x 32"):
        reader("vit_ti", patch=32)
    with pytest.raises(DataError, match="at least 16 x 16"):
        reader("unet", depth=4, width=64, side=8)


def test_depth_and_the_name_of_a_family_choose_a_preset() -> None:
    with torch.device("meta"):
        by_family = encoder_for(column(), ModelConfig(name="resnet", depth=34)).state_dict()
        by_preset = encoder_for(column(), ModelConfig(name="resnet34")).state_dict()
    assert {k: v.shape for k, v in by_family.items()} == {k: v.shape for k, v in by_preset.items()}


def test_recipes_leave_the_sizes_of_a_preset_alone() -> None:
    label = Category(name="label").fit(np.array(["a", "b"] * 9, object))
    config = RunConfig().override({"model.name": "vit_ti"})
    chosen = resolve(config, Schema((column(),), (label,)), Facts(54_000, 28, validation=6_000))
    assert (chosen.model.width, chosen.model.depth) == (None, None)
    assert chosen.train.epochs is not None and chosen.train.learning_rate is not None
    own = resolve(config.override({"train.epochs": 3}), Schema((column(),), (label,)), Facts(100, 28))
    assert own.train.epochs == 3


def test_few_series_are_read_many_times_by_a_recurrent_network() -> None:
    label = Category(name="label").fit(np.array(["a", "b"] * 9, object))
    schema = Schema((Series(name="x", length=150, variables=1),), (label,))
    config = RunConfig().override({"model.name": "lstm"})
    passes = [resolve(config, schema, Facts(rows)).train.epochs for rows in (45, 243, 5_000)]
    assert passes == [200, 60, 12]
    assert resolve(config, schema, Facts(45)).train.learning_rate == 3e-3
    assert resolve(RunConfig(), schema, Facts(45)).train.epochs == 60


def test_the_catalogue_is_complete() -> None:
    found = models()
    assert {"resnet18", "vgg16_bn", "efficientnet_b7", "vit_l", "tabm"} <= set(found)
    assert found["resnet50"]["parameters"] == 25_557_032 and found["resnet50"]["year"] == 2015
    assert all(one["paper"] and one["title"] for name, one in found.items() if name in FAMOUS)
