"""The perceptron (Rosenblatt 1958, "The perceptron: a probabilistic model for information storage and
organization in the brain") and its multilayer form (Rumelhart, Hinton and Williams 1986, Nature 323), for
tables and for pictures.

The layers of `MLP` have the names of torchvision's `ops.MLP`: linear, activation, dropout, one after the
other.

The perceptron is the head's one linear layer on the inputs as they are; here trained by its gradient.
B rows, D inputs, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..columns.base import Column
from ..columns.category import Category
from ..columns.datetime import SIZE as TIME_SIZE
from ..columns.datetime import Datetime
from ..columns.image import Image
from ..columns.labels import Labels
from ..columns.number import Number
from ..config import ModelConfig
from ..features import Features
from .base import Encoder, Known
from .residual import Normalise
from .scalars import FAR, LabelSlots

WIDTH, DEPTH = 256, 2
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid,
}  # fmt: skip


class MLP(nn.Sequential):
    """`depth` hidden layers of `width`: (B, D) -> (B, W)."""

    def __init__(
        self, inputs: int, width: int, depth: int, activation: str = "relu", dropout: float = 0.0
    ) -> None:
        layers: list[nn.Module] = []
        for size in [inputs] + [width] * (depth - 1):
            layers += [nn.Linear(size, width), ACTIVATIONS[activation](), nn.Dropout(dropout)]
        super().__init__(*layers)
        initialise(self, activation)


def initialise(network: nn.Module, activation: str) -> None:
    """Normal weights whose signal neither fades nor grows: He et al. 2015 for ReLU and what is like it,
    Glorot and Bengio 2010 for the others."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            if activation in ("relu", "gelu", "silu"):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)


class Flat(nn.Module):
    """Scalar columns side by side, (B, D): standardised numbers, one slot a label, gaps with an indicator."""

    def __init__(self, columns: tuple[Column, ...]) -> None:
        super().__init__()
        categories = [c for c in columns if isinstance(c, Category)]
        self.numbers = [c.name for c in columns if isinstance(c, Number)]
        self.times = [c.name for c in columns if isinstance(c, Datetime)]
        sets = [c for c in columns if isinstance(c, Labels)]
        self.sets = [c.name for c in sets]
        gaps = [c for c in columns if isinstance(c, Number | Datetime) and c.missing > 0]
        self.gaps = [c.name for c in gaps]
        self.slots = LabelSlots(categories) if categories else None
        self.size = len(self.numbers) + TIME_SIZE * len(self.times) + sum(len(c.labels) for c in sets)
        self.size += len(gaps) + (self.slots.empty if self.slots else 0)

    def forward(self, columns: dict[str, Tensor]) -> Tensor:
        pieces = [columns[name].nan_to_num().clamp(-FAR, FAR).unsqueeze(1) for name in self.numbers]
        pieces += [columns[name].nan_to_num() for name in (*self.times, *self.sets)]
        pieces += [columns[name].reshape(columns[name].shape[0], -1)[:, :1].isnan() for name in self.gaps]
        if self.slots is not None:
            index_BC = self.slots(columns)
            hot_BD = torch.zeros(index_BC.shape[0], self.slots.empty + 1, device=index_BC.device)
            pieces.append(hot_BD.scatter_(1, index_BC, 1.0)[:, :-1])
        if not self.size:  # nothing that training rows could teach
            pieces.append(torch.zeros(next(iter(columns.values())).shape[0], 1))
        return torch.cat([piece.float() for piece in pieces], 1)


class PerceptronTable(Encoder):
    """A dict of the scalar columns' batches -> Features of one token (B, 1, D): the inputs as they are."""

    def __init__(self, columns: tuple[Column, ...], options: ModelConfig) -> None:
        super().__init__(columns, options)
        self.flat = Flat(columns)
        self.width = max(1, self.flat.size)

    def forward(self, columns: dict[str, Tensor]) -> Features:
        return Features.of(self.flat(columns).unsqueeze(1))


class PerceptronImage(Encoder):
    """uint8 (B, H, W, C) -> Features of one token (B, 1, D): the standardised pixels."""

    def __init__(self, column: Image, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.normalise = Normalise(column.mean, column.std)
        self.width = column.height * column.width * column.channels

    def forward(self, image_BHWC: Tensor) -> Features:
        return Features.of(self.normalise(image_BHWC).flatten(1).unsqueeze(1))


class MLPTable(PerceptronTable):
    """A dict of the scalar columns' batches -> Features of one token (B, 1, W): the last hidden layer."""

    def __init__(self, columns: tuple[Column, ...], options: ModelConfig) -> None:
        super().__init__(columns, options)
        self.layers = layers(self.width, options)
        self.width = options.width or WIDTH

    def forward(self, columns: dict[str, Tensor]) -> Features:
        return Features.of(self.layers(self.flat(columns)).unsqueeze(1))


class MLPImage(PerceptronImage):
    """uint8 (B, H, W, C) -> Features of one token (B, 1, W): the last hidden layer on all pixels."""

    def __init__(self, column: Image, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.layers = layers(self.width, options)
        self.width = options.width or WIDTH

    def forward(self, image_BHWC: Tensor) -> Features:
        return Features.of(self.layers(self.normalise(image_BHWC).flatten(1)).unsqueeze(1))


def layers(inputs: int, options: ModelConfig) -> MLP:
    """The hidden layers that the settings ask for."""
    return MLP(
        inputs,
        options.width or WIDTH,
        options.depth or DEPTH,
        options.activation or "relu",
        options.dropout or 0.0,
    )


KNOWN = {
    "perceptron": Known(
        title="Perceptron",
        paper="Rosenblatt 1958",
        year=1958,
        encoders={"scalars": PerceptronTable, "image": PerceptronImage},
        parameters=0,
    ),
    "mlp": Known(
        title="Multilayer perceptron",
        paper="Rumelhart et al. 1986, Nature 323",
        year=1986,
        encoders={"scalars": MLPTable, "image": MLPImage},
        parameters=0,
        settings=frozenset({"width", "depth", "activation"}),
    ),
}
