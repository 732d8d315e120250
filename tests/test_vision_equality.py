"""Image networks give the numbers of torchvision, timm and transformers with the same weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from formula import fill, layout, measured, noise, picture
from shinso.layers.convolution import Conv3x3
from shinso.layers.selfattention import attend
from shinso.models import alexnet, efficientnet, images, resnet, vgg, vit
from shinso.models.base import Architecture, Backbone

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden_vision.json").read_text("utf-8"))
CLASSES, WIDTH = 10, 16
TOYS: dict[str, Architecture] = {
    "alexnet": alexnet.AlexNetConfig(width=WIDTH, classes=CLASSES),
    "vgg11": vgg.VGGConfig(depth=11, width=WIDTH, classes=CLASSES),
    "vgg13_bn": vgg.VGGConfig(depth=13, width=WIDTH, norm=True, classes=CLASSES),
    "resnet18": resnet.ResNetConfig(depth=18, classes=CLASSES),
    "resnet50": resnet.ResNetConfig(depth=50, classes=CLASSES),
    "efficientnet_b0": replace(efficientnet.PRESETS["efficientnet_b0"], classes=CLASSES),
    "efficientnet_b5": replace(efficientnet.PRESETS["efficientnet_b5"], classes=CLASSES),
    "vit": vit.ViTConfig(width=192, depth=2, patch=8, height=32, breadth=32, classes=CLASSES),
}
RENAMES: dict[str, Callable[[Any], dict[str, Tensor]]] = {
    "efficientnet_b0": efficientnet.from_timm, "vit": vit.from_timm,
    "vgg11_bn": vgg.from_timm, "resnet18": dict, "resnet50": dict,
}  # fmt: skip
NAMES = {"vit_b_16": "vit_b", "vit_l_16": "vit_l"}


def close(found: Any, wanted: dict[str, Any], *, rename: dict[str, str] | None = None) -> None:
    """Outputs and gradients agree to 1e-5 of their size."""
    torch.testing.assert_close(
        torch.tensor(found["logits"]), torch.tensor(wanted["logits"]), rtol=1e-5, atol=1e-7
    )
    assert found["gradient"] == pytest.approx(wanted["gradient"], rel=1e-5)
    if rename is None:
        assert found["gradients"] == pytest.approx(wanted["gradients"], rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("name", TOYS)
def test_equal_to_torchvision(name: str) -> None:
    wanted = GOLDEN["torchvision"][name]
    model = TOYS[name].build().double()
    model.load_state_dict(fill(model.state_dict()))
    close(measured(model, picture(2, 3, wanted["side"])), wanted)


@pytest.mark.parametrize("name", GOLDEN["layouts"])
def test_state_dicts_have_the_layout_of_torchvision(name: str) -> None:
    with torch.device("meta"):
        assert layout(images.architecture(NAMES.get(name, name))[1].build()) == GOLDEN["layouts"][name]


@pytest.mark.parametrize("name", GOLDEN["timm"])
def test_equal_to_timm(name: str) -> None:
    wanted = GOLDEN["timm"][name]
    theirs = {key: stub(key, shape) for key, shape in GOLDEN["timm_names"][name].items()}
    model = TOYS[name].build().double()
    model.load_state_dict(RENAMES[name](fill(theirs)))
    found = measured(model, picture(2, 3, wanted["side"]))
    close(found, wanted, rename={})


def stub(name: str, shape: list[int]) -> Tensor:
    return torch.zeros(shape, dtype=torch.int64 if name.endswith("num_batches_tracked") else torch.float32)


@pytest.mark.parametrize("name", RENAMES)
def test_layouts_of_timm_have_our_names(name: str) -> None:
    config = TOYS[name] if name in GOLDEN["timm"] else images.architecture(name)[1]
    with torch.device("meta"):
        ours = config.build().state_dict()
        theirs = {key: stub(key, shape) for key, shape in GOLDEN["timm_names"][name].items()}
        renamed = RENAMES[name](theirs)
    assert {k: v.shape for k, v in renamed.items()} == {k: v.shape for k, v in ours.items()}


def test_equal_to_the_vit_of_transformers() -> None:
    library = pytest.importorskip("transformers")
    shape = {"hidden_size": 192, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 768}
    config = library.ViTConfig(**shape, image_size=32, patch_size=8, num_labels=CLASSES, layer_norm_eps=1e-6)
    compare(library.ViTForImageClassification(config), TOYS["vit"].build(), vit.from_transformers, 32)


@pytest.mark.parametrize("depth", [18, 50])
def test_equal_to_the_resnet_of_transformers(depth: int) -> None:
    library = pytest.importorskip("transformers")
    basic = depth < resnet.BOTTLENECK_FROM
    config = library.ResNetConfig(
        layer_type="basic" if basic else "bottleneck", depths=resnet.LAYERS[depth], num_labels=CLASSES,
        hidden_sizes=[64, 128, 256, 512] if basic else [256, 512, 1024, 2048],
    )  # fmt: skip
    theirs = library.ResNetForImageClassification(config)
    compare(theirs, TOYS[f"resnet{depth}"].build(), resnet.from_transformers, 32)


def compare(theirs: Any, ours: Backbone, rename: Callable[[Any], dict[str, Tensor]], side: int) -> None:
    """The same weights give the same outputs and the same gradient of the picture."""
    theirs, ours = theirs.double().eval(), ours.double().eval()
    theirs.load_state_dict(fill(theirs.state_dict()))
    ours.load_state_dict(rename(theirs.state_dict()))
    x = picture(2, 3, side).requires_grad_()
    y = x.detach().clone().requires_grad_()
    wanted, found = theirs(x).logits, ours(y)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)
    weight = noise(wanted.numel(), 5).reshape(wanted.shape)
    (wanted * weight).sum().backward()
    (found * weight).sum().backward()
    torch.testing.assert_close(y.grad, x.grad, rtol=1e-5, atol=1e-7)


# ---- what stands in for torch's own layers


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_on_a_tiny_grid_is_a_convolution(side: int, stride: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ours = Conv3x3(5, 6, stride, bias=True).double()
    x = noise(2 * 5 * side * side, 3).reshape(2, 5, side, side).requires_grad_()
    y = x.detach().clone().requires_grad_()
    found, wanted = ours(x), nn.functional.conv2d(y, ours.weight, ours.bias, stride, 1)
    torch.testing.assert_close(found, wanted)
    found.square().sum().backward()
    wanted.square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize("tokens", [7, 600])
def test_attention_is_that_of_torch(tokens: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.MultiheadAttention(24, 3, batch_first=True).double()
    x = noise(2 * tokens * 24, 3).reshape(2, tokens, 24)
    torch.testing.assert_close(attend(layer, x), layer(x, x, x, need_weights=True)[0])
