"""Spiking network of leaky integrate-and-fire neurons, trained through surrogate gradients.

Neftci, Mostafa and Zenke, "Surrogate Gradient Learning in Spiking Neural Networks", 2019 (arXiv 1901.09948),
with the fast sigmoid of SuperSpike (Zenke and Ganguli 2018, arXiv 1705.11146) as surrogate. For each step t,
with synaptic input I[t], spikes S[t] and threshold 1:

    U[t] = decay U[t-1] + I[t] - S[t-1],  S[t] = 1 where U[t] > 1, else 0,  dS/dU = 1 / (1 + 10 |U - 1|)^2

No gradient passes through the reset. There are no published weights; tests/test_lenet_spiking.py compares
with these equations.

A picture is shown unchanged at every step (direct encoding); a series is the current of its own steps.
B rows, T steps, C channels, H, W cells, V variables, N tokens, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..columns.image import Image
from ..columns.series import Series
from ..config import ModelConfig
from ..errors import DataError
from ..features import Features
from .base import Encoder, Known
from .residual import Normalise

THRESHOLD, STEEPNESS = 1.0, 10.0
DECAY = 0.9  # of the potential in a step, at first: it is learned for every layer
STEPS, WIDTH = 4, 128
LEAST = 8


class Spike(torch.autograd.Function):
    """1 where the potential passes the threshold; its gradient is that of a fast sigmoid."""

    @staticmethod
    def forward(ctx: Any, over: Tensor) -> Tensor:
        ctx.save_for_backward(over)
        return (over > 0).to(over.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (over,) = ctx.saved_tensors
        return gradients[0] / (1 + STEEPNESS * over.abs()).square()


class LeakyIntegrateAndFire(nn.Module):
    """Currents (T, B, ...) to spikes (T, B, ...), and the potentials that they came from."""

    def __init__(self, decay: float = DECAY) -> None:
        super().__init__()
        self.leak = nn.Parameter(torch.logit(torch.tensor(decay)))

    def forward(self, current: Tensor) -> tuple[Tensor, Tensor]:
        decay = self.leak.sigmoid()
        potential = torch.zeros_like(current[0])
        spike = torch.zeros_like(current[0])
        spikes, potentials = [], []
        for now in current:
            potential = decay * potential + now - spike.detach() * THRESHOLD
            spike = Spike.apply(potential - THRESHOLD)
            spikes.append(spike)
            potentials.append(potential)
        return torch.stack(spikes), torch.stack(potentials)


class SpikingImage(Encoder):
    """uint8 (B, H, W, C) -> Features: the rates at which the neurons of the last layer fire.

    Three layers of 3 x 3 convolutions that halve the grid; batch norm scales the currents over rows and steps
    together (Zheng et al. 2020, arXiv 2011.05280).
    """

    def __init__(self, column: Image, options: ModelConfig) -> None:
        super().__init__(column, options)
        check_large_enough(column)
        self.width, self.steps = options.width or WIDTH, options.steps or STEPS
        self.channels = (self.width // 4, self.width // 2, self.width)
        self.normalise = Normalise(column.mean, column.std)
        sizes = (column.channels, *self.channels)
        self.convs = nn.ModuleList(nn.Conv2d(sizes[i], sizes[i + 1], 3, 2, 1, bias=False) for i in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in self.channels)
        self.neurons = nn.ModuleList(LeakyIntegrateAndFire() for _ in self.channels)
        self.dropout = nn.Dropout(options.dropout or 0.0)

    def forward(self, image_BHWC: Tensor) -> Features:
        x = self.normalise(image_BHWC)
        rows, maps = x.shape[0], []
        for level, (conv, norm, neurons) in enumerate(zip(self.convs, self.norms, self.neurons, strict=True)):
            current = norm(conv(x)).float()
            repeated = current.expand(self.steps, *current.shape) if level == 0 else None
            current_TBCHW = current.unflatten(0, (self.steps, rows)) if repeated is None else repeated
            spikes_TBCHW, potential_TBCHW = neurons(current_TBCHW)
            maps.append(spikes_TBCHW.mean(0))
            x = spikes_TBCHW.flatten(0, 1)
        # What a neuron holds back is less than a spike: it says more than the count of a few steps alone.
        maps[-1] = maps[-1] + potential_TBCHW[-1] / self.steps
        return Features.of(self.dropout(maps[-1].flatten(2).transpose(1, 2)), maps=tuple(maps))


def check_large_enough(column: Image) -> None:
    """Raise `DataError` where three halvings leave nothing to see."""
    if min(column.height, column.width) < LEAST:
        raise DataError(
            f"The spiking network needs pictures of at least {LEAST} x {LEAST} pixels; column "
            f"{column.name!r} has {column.height} x {column.width}. "
            f"Choose a larger size with --set data.image_size={LEAST}."
        )


class SpikingSeries(Encoder):
    """float (B, T, V), NaN where nothing was read -> Features of (B, T, D): what fires at each step.

    A layer that sees the readings, and a layer that sees the first one's spikes and, a step later, its own.
    """

    def __init__(self, column: Series, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.width = options.width or WIDTH
        self.enter = nn.Linear(2 * column.variables, self.width)
        self.neurons = LeakyIntegrateAndFire()
        self.forwards = nn.Linear(self.width, self.width)
        self.across = nn.Linear(self.width, self.width, bias=False)
        nn.init.orthogonal_(self.across.weight, 0.5)
        self.leak = nn.Parameter(torch.logit(torch.tensor(DECAY)))
        self.dropout = nn.Dropout(options.dropout or 0.0)

    def forward(self, series_BTV: Tensor) -> Features:
        read_BTV = ~torch.isnan(series_BTV)
        filled_BTV = torch.where(read_BTV, series_BTV, 0.0)
        current_BTD = self.enter(torch.cat([filled_BTV, read_BTV.to(filled_BTV.dtype)], -1)).float()
        spikes_TBD, _ = self.neurons(current_BTD.transpose(0, 1))
        states_BTD = self._recurrent(self.forwards(spikes_TBD).float()).transpose(0, 1)
        mask_BT = read_BTV.any(-1).flip(1).cumsum(1).flip(1) > 0  # up to the last reading of a row
        return Features.of(self.dropout(states_BTD), mask_BT)

    def _recurrent(self, current_TBD: Tensor) -> Tensor:
        decay, weight_DD = self.leak.sigmoid(), self.across.weight
        potential = spike = torch.zeros_like(current_TBD[0])
        seen = []
        for now in current_TBD:
            heard = spike @ weight_DD.T.to(spike.dtype)
            potential = decay * potential + now + heard - spike.detach() * THRESHOLD
            spike = Spike.apply(potential - THRESHOLD)
            seen.append(spike + 0.1 * potential)
        return torch.stack(seen)


KNOWN = {
    "spiking": Known(
        title="Spiking network",
        paper="Neftci et al. 2019, arXiv 1901.09948",
        year=2019,
        encoders={"image": SpikingImage, "series": SpikingSeries},
        parameters=0,
        settings=frozenset({"width", "steps"}),
    )
}
