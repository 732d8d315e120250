"""Writes tests/golden_vision.json from torchvision and timm, which the tests compare with but do not need.

python -m venv golden && . golden/bin/activate
pip install torch==2.13.0 numpy pillow huggingface_hub safetensors pyyaml
pip install --no-deps torchvision==0.28.0 timm==1.0.31
python tests/golden_vision.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from formula import fill, layout, measured, picture

# torchvision's own operators are missing where it was built for another device; two are looked up by name.
operators = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import timm  # noqa: E402
from torchvision import models as vision  # noqa: E402

FILE = Path(__file__).with_suffix(".json")
CLASSES, WIDTH = 10, 16
EFFICIENT = [f"efficientnet_b{i}" for i in range(8)]
WHOLE = [
    "alexnet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", *EFFICIENT,
    "vit_b_16", "vit_l_16",
    *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
]  # fmt: skip


def narrow(model: Any, inputs: int, places: tuple[int, int, int]) -> Any:
    """A model whose hidden layers are narrow; its forward pass stays torchvision's."""
    sizes = ((inputs, WIDTH), (WIDTH, WIDTH), (WIDTH, CLASSES))
    for place, size in zip(places, sizes, strict=True):
        model.classifier[place] = nn.Linear(*size)
    return model


def vit() -> Any:
    """Two layers on pictures of 32 x 32."""
    return vision.VisionTransformer(32, 8, 2, 3, 192, 768, num_classes=CLASSES)


TOYS: dict[str, tuple[Callable[[], Any], int]] = {
    "alexnet": (lambda: narrow(vision.alexnet(), 256 * 36, (1, 4, 6)), 96),
    "vgg11": (lambda: narrow(vision.vgg11(), 512 * 49, (0, 3, 6)), 64),
    "vgg13_bn": (lambda: narrow(vision.vgg13_bn(), 512 * 49, (0, 3, 6)), 64),
    "resnet18": (lambda: vision.resnet18(num_classes=CLASSES), 64),
    "resnet50": (lambda: vision.resnet50(num_classes=CLASSES), 64),
    "efficientnet_b0": (lambda: vision.efficientnet_b0(num_classes=CLASSES), 64),
    "efficientnet_b5": (lambda: vision.efficientnet_b5(num_classes=CLASSES), 64),
    "vit": (vit, 32),
}
TIMM: dict[str, tuple[Callable[[], Any], int]] = {
    "efficientnet_b0": (lambda: timm.create_model("efficientnet_b0", num_classes=CLASSES), 64),
    "vit": (
        lambda: timm.create_model(
            "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=CLASSES
        ),
        32,
    ),
}  # fmt: skip


def numbers(make: Callable[[], Any], side: int) -> dict[str, Any]:
    """What a toy gives, with weights by the formula."""
    model = make().double()
    model.load_state_dict(fill(model.state_dict()))
    return measured(model, picture(2, 3, side))


def main() -> None:
    """Write the file."""
    found: dict[str, Any] = {"torchvision": {}, "layouts": {}, "timm": {}, "timm_names": {}}
    for name, (make, side) in TOYS.items():
        found["torchvision"][name] = {"side": side, **numbers(make, side)}
    for name, (make, side) in TIMM.items():
        found["timm"][name] = {"side": side, **numbers(make, side)}
        found["timm_names"][name] = {key: list(v.shape) for key, v in make().state_dict().items()}
    with torch.device("meta"):
        for name in WHOLE:
            found["layouts"][name] = layout(getattr(vision, name)())
        for name in ("resnet18", "resnet50", "vgg11_bn"):
            state = timm.create_model(name).state_dict()
            found["timm_names"][name] = {key: list(v.shape) for key, v in state.items()}
    FILE.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
