"""The published image networks as readers of a column: pixels in, `Features` out; and plain modules of the
user's.

B rows, C channels, H, W pixels or cells, N tokens, D width.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..columns.image import Image
from ..columns.text import Text
from ..config import ModelConfig
from ..errors import DataError, SettingError
from ..features import Features
from ..layers.convolution import guard
from . import alexnet, efficientnet, lenet, resnet, unet, vgg, vit
from .base import Architecture, Encoder, Family, Input, Known, Published
from .residual import ChannelsLast, Normalise

FAMILIES: dict[str, Family] = {
    "lenet": lenet.FAMILY,
    "alexnet": alexnet.FAMILY,
    "vgg": vgg.FAMILY,
    "resnet": resnet.FAMILY,
    "plain": resnet.PLAIN_FAMILY,
    "efficientnet": efficientnet.FAMILY,
    "vit": vit.FAMILY,
    "unet": unet.FAMILY,
}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation of its pixels, in 0..1


def architecture(name: str) -> tuple[Family, Architecture]:
    """The family and the sizes of a preset; the name of a family stands for its default."""
    if name in FAMILIES:
        return FAMILIES[name], FAMILIES[name].presets[FAMILIES[name].default]
    family = next(f for f in FAMILIES.values() if name in f.presets)
    return family, family.presets[name]


class ImageEncoder(Encoder):
    """uint8 or float (B, H, W, C) of 0..255 -> Features of the network that `model.name` says.

    The tokens are the cells of the coarsest map, the last hidden layer, or the patches, as the network has
    it. With published weights a ViT is pooled as it was trained, by its first token; else by the mean.
    """

    def __init__(self, column: Image, options: ModelConfig) -> None:
        super().__init__(column, options)
        assert options.name is not None
        self.family, config = architecture(options.name)
        config = config.suited((column.height, column.width), options)
        check_size(column, options.name, config)
        self.normalise = Normalise(column.mean, column.std)
        self.body = replace(config, channels=column.channels, classes=0).build()
        self.width, self.channels = self.body.width, self.body.channels
        self.first_only = self.body.leads and options.weights is not None
        self.dropout = nn.Dropout(options.dropout or 0.0)

    def forward(self, image_BHWC: Tensor) -> Features:
        maps, tokens_BND = self.body.read(self.normalise(image_BHWC))
        if tokens_BND is None:
            last_BCHW = ChannelsLast.apply(maps[-1])
            return Features.of(self.dropout(last_BCHW.flatten(2).transpose(1, 2)), maps=maps)
        if self.first_only and not self.attended:
            tokens_BND = tokens_BND[:, :1]
        return Features.of(tokens_BND, maps=maps)

    def published(self) -> Published | None:
        if not self.family.layouts:
            return None
        fit = dict if not isinstance(self.body, vit.VisionTransformer) else self._fit
        last = self.body.last
        return Published(self.body, self.family.layouts, (f"{last}.weight", f"{last}.bias"), fit)

    def _fit(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        assert isinstance(self.body, vit.VisionTransformer)
        return vit.resized(state, self.body.config.grid)


def check_size(column: Image, name: str, config: Architecture) -> None:
    """Raise `DataError` where the pictures are smaller than the network can take."""
    least = config.least()
    if min(column.height, column.width) < least:
        raise DataError(
            f"The model {name!r} needs pictures of at least {least} x {least} pixels as it is set; column "
            f"{column.name!r} has {column.height} x {column.width}. Enlarge them with "
            f"--set data.image_size={least}, or choose another model (`shinso models`)."
        )


class PlainEncoder(Encoder):
    """Any `nn.Module` of the user's as a reader of one column: what it gives is what heads see.

    Pictures come as float (B, C, H, W), standardised; series as float (B, T, V), 0 where nothing was read;
    texts as int64 ids (B, N). It gives (B, D), (B, N, D), or (B, C, H, W) as a map. Its constructor is called
    with what it asks for by one of the names in `arguments`.
    """

    def __init__(self, column: Any, options: ModelConfig, made: type[nn.Module]) -> None:
        super().__init__(column, options)
        self.normalise = Normalise(column.mean, column.std) if isinstance(column, Image) else None
        self.body = made(**arguments(made, column))
        guard(self.body)
        self.width, self.channels = width_of(self, column)

    def forward(self, values: Tensor) -> Features:
        if self.normalise is not None:
            return reading(self.body(self.normalise(values)))
        if not values.is_floating_point():
            return reading(self.body(values.long()), values > 0)
        real_BT = ~values.isnan() if values.ndim == 2 else ~values.isnan().all(-1)
        return reading(self.body(values.nan_to_num()), real_BT)


def width_of(encoder: Encoder, column: Any) -> tuple[int, tuple[int, ...]]:
    """The size of the tokens and the channels of the maps that an encoder gives, found by trying."""
    example = column.collate([column.encode(value) for value in shown(column)])
    encoder.eval()
    with torch.no_grad():
        probe: Features = encoder(torch.from_numpy(example).to(torch.get_default_device()))
    encoder.train()
    return probe.tokens.shape[-1], tuple(m.shape[1] for m in probe.maps)


def reading(out: Any, mask_BN: Tensor | None = None) -> Features:
    """What a module gave as features."""
    if not isinstance(out, Tensor) or out.ndim not in (2, 3, 4):
        shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise SettingError(
            f"A module that reads a column gives (rows, size), (rows, tokens, size) or (rows, channels, "
            f"height, width); received {shape}."
        )
    if out.ndim == 4:
        last_BCHW = ChannelsLast.apply(out)
        return Features.of(last_BCHW.flatten(2).transpose(1, 2), maps=(out,))
    if out.ndim == 2:
        return Features.of(out.unsqueeze(1))
    return Features.of(out, mask_BN if mask_BN is not None and mask_BN.shape == out.shape[:2] else None)


def shown(column: Any) -> list[Any]:
    """Two values of a column, for a first look at what a module gives."""
    return ["a", "a"] if isinstance(column, Text) else [None, None]


def arguments(made: type[nn.Module], column: Any) -> dict[str, Any]:
    """What the constructor asks for by a known name; anything else that it needs is a `SettingError`."""
    facts = column.to_dict()
    known = {
        "channels": facts.get("channels"), "in_channels": facts.get("channels"),
        "height": facts.get("height"), "width": facts.get("width"), "variables": facts.get("variables"),
        "vocabulary": len(column.tokens) if isinstance(column, Text) else None,
    }  # fmt: skip
    found = {}
    for name, parameter in inspect.signature(made).parameters.items():
        if known.get(name) is not None:
            found[name] = known[name]
        elif parameter.default is inspect.Parameter.empty and parameter.kind not in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
        ):
            raise SettingError(
                f"{made.__name__} needs {name!r}, which shinso cannot know. Give it a default; known are "
                f"{', '.join(sorted(known))}."
            )
    return found


def pixels_of(family: Family, name: str) -> Any:
    """By layout and renamed weights: the size and the colours that published weights expect."""
    side = family.sizes[name].side

    def expected(layout: str, state: Mapping[str, Tensor]) -> Input:
        return Input(side, *IMAGENET)

    return family.pixels or expected


def known_of(family: Family, name: str) -> Known:
    """A preset as `shinso models` lists it."""
    size = family.sizes[name]
    return Known(
        title=family.title, paper=family.paper, year=family.year, encoders={"image": ImageEncoder},
        parameters=size.parameters, flops=size.flops, input=f"{size.side} x {size.side}",
        weights=family.weights, settings=family.settings,
        pixels=pixels_of(family, name) if family.layouts and not family.any_pixels else None,
        reference=partial(reference_of, family, name) if family.layouts else None,
    )  # fmt: skip


def reference_of(family: Family, name: str) -> Published:
    """A preset as its paper has it, without the layer that gives the classes."""
    body = replace(family.presets[name], classes=0).build()
    return Published(body, family.layouts, (f"{body.last}.weight", f"{body.last}.bias"))


KNOWN: dict[str, Known] = {name: known_of(f, name) for f in FAMILIES.values() for name in f.presets}
KNOWN |= {name: known_of(f, f.default) for name, f in FAMILIES.items() if name not in KNOWN}
