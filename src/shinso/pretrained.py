"""Beginning a run with published weights: their size and colours for the schema, their tensors for the
network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn

from .columns import Column
from .columns.image import Image
from .config import RunConfig
from .console import Console
from .errors import RunError, SettingError
from .files import write_atomic
from .heads.classify import Classify
from .models import Encoder
from .models.base import Input
from .network import Network
from .run import RunDirectory
from .schema import Schema
from .weights import Matched, Pretrained, expected_input, load_into, match, open_weights

LARGEST_SIDE = 1024  # pixels, of a picture that weights may ask for


def suited(schema: Schema, config: RunConfig, pretrained: Pretrained | None) -> Schema:
    """The schema with pictures of the size and the colours that the weights were trained on.

    A size that the user set stays.
    """
    wanted = None if pretrained is None else expected_input(config.model, pretrained)
    if wanted is None or not 0 < wanted.side <= LARGEST_SIDE:
        return schema
    return Schema(tuple(_suited(c, config, wanted) for c in schema.given), schema.predict)


def _suited(column: Column, config: RunConfig, wanted: Input) -> Column:
    if not isinstance(column, Image):
        return column
    chosen = config.data.image_size
    height, width = (column.height, column.width) if chosen else (wanted.side, wanted.side)
    average = column.average
    if column.channels == 1 and len(wanted.mean) == 3:  # grey pictures, seen by weights for coloured ones
        average = tuple(tuple(colour * 3 for colour in row) for row in average)
    return replace(
        column, height=height, width=width, channels=len(wanted.mean), mean=wanted.mean, std=wanted.std,
        average=average,
    )  # fmt: skip


def check(network: Network, config: RunConfig, pretrained: Pretrained | None) -> None:
    """Raise `SettingError` where weights do not fit the network, which may hold no numbers yet."""
    if pretrained is None:
        return
    assert config.model.name is not None
    takers = [published for encoder in encoders(network) if (published := encoder.published()) is not None]
    if not takers:
        raise SettingError(
            f"The model {config.model.name!r} takes no published weights. Leave --weights out, or choose "
            f"another: `shinso models` says which take some."
        )
    for published in takers:
        match(published, pretrained.state, str(pretrained.path), config.model.name)


def begun(run: RunDirectory, weights: Pretrained | None, console: Console) -> Network:
    """The network of a run before its first step, with published weights where they were given.

    It is kept beside the checkpoints, which need not hold what rests.
    """
    network, kept = run.build_network(), run.path / "checkpoints" / "initial.safetensors"
    if run.config.model.weights is None:
        return network
    if kept.is_file():
        network.load_state_dict(load_file(kept))
        return network
    weights = weights or open_weights(run.config.model)
    assert weights is not None
    same_file(run.data["weights"], weights)
    begin(network, run.config, weights, console)
    kept.parent.mkdir(exist_ok=True)
    write_atomic(kept, save({name: value.contiguous() for name, value in network.state_dict().items()}))
    return network


def begin(network: Network, config: RunConfig, pretrained: Pretrained, console: Console) -> None:
    """Put published weights into a fresh network, and say which of them were used."""
    name = config.model.name or ""
    for encoder in encoders(network):
        matched = load_into(encoder, pretrained, name)
        if matched is None:
            continue
        count = sum(value.numel() for value in matched.values.values())
        console.say(
            f"Weights: {count:,} parameters of {name} from {pretrained.path.name} ({matched.layout} layout)"
            f"{_classifier(network, encoder, matched)}."
        )


def _classifier(network: Network, encoder: Encoder, matched: Matched) -> str:
    """Take the layer that gives the classes over, where there are as many; words on what became of it."""
    if matched.classifier is None:
        return ""
    weight, bias = matched.classifier
    heads = [head for _, head in network.named_heads() if isinstance(head, Classify)]
    if len(heads) == 1 and network.fuser is None and weight.ndim == 2:
        linear = heads[0].linear
        if linear.weight_KDC.shape == (1, weight.shape[1], weight.shape[0]):
            with torch.no_grad():
                linear.weight_KDC[0].copy_(weight.T)
                linear.bias_KC[0].copy_(bias)
            return f"; their {len(weight)} classes are taken for the labels in order"
    return f"; their layer for {len(weight):,} classes is left out"


def same_file(recorded: Any, pretrained: Pretrained) -> None:
    """Raise `RunError` where weights are not those that a run was started with."""
    if not isinstance(recorded, dict) or recorded.get("sha256") != pretrained.digest:
        raise RunError(
            f"{pretrained.path} is not the file of weights that the run was started with: its content has "
            f"changed. Put the old file back, or train a new run."
        )


def encoders(network: Network) -> list[Encoder]:
    """The encoders of a network."""
    modules: list[nn.Module] = list(network.encoders.values())
    return [module for module in modules if isinstance(module, Encoder)]
