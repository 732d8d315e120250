"""LeNet-5 and the spiking network against the equations of their papers, in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from formula import noise
from shinso.columns.image import Image
from shinso.columns.series import Series
from shinso.config import ModelConfig
from shinso.models.lenet import TABLE, LeNet, LeNetConfig, TableConv, squash
from shinso.models.spiking import (
    STEEPNESS,
    LeakyIntegrateAndFire,
    Spike,
    SpikingImage,
    SpikingSeries,
)  # fmt: skip


def lenet() -> LeNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LeNet(LeNetConfig()).double()


def test_lenet_has_as_many_weights_as_the_paper_counts() -> None:
    """Section II.B counts 156, 12, 1,516, 32, 48,120 and 10,164 trainable parameters."""
    net = lenet()
    layers = (net.c1, net.s2, net.c3, net.s4, net.c5, net.f6)
    hidden = int((net.c3.seen.expand_as(net.c3.weight) == 0).sum())
    counts = [sum(p.numel() for p in layer.parameters()) for layer in layers]
    counts[2] -= hidden
    assert counts == [156, 12, 1516, 32, 48120, 10164]
    sizes = [len(row) for row in TABLE]
    assert sizes == [3] * 6 + [4] * 9 + [6]


def by_hand(net: LeNet, x: Tensor) -> Tensor:
    """The layers one sum at a time, as the paper writes them."""

    def convolve(maps: Tensor, weight: Tensor, bias: Tensor, seen: tuple[int, ...]) -> Tensor:
        side = maps.shape[-1] - 4
        out = torch.zeros(len(maps), side, side, dtype=torch.float64)
        for channel in seen:
            for i in range(5):
                for j in range(5):
                    out = out + weight[channel, i, j] * maps[:, channel, i : i + side, j : j + side]
        return out + bias

    def subsample(maps: Tensor, coefficient: Tensor, bias: Tensor) -> Tensor:
        total = maps[..., ::2, ::2] + maps[..., 1::2, ::2] + maps[..., ::2, 1::2] + maps[..., 1::2, 1::2]
        return 1.7159 * torch.tanh(2 / 3 * (coefficient * total + bias))

    every = (tuple(range(1)), tuple(range(16)))
    c1 = torch.stack([convolve(x, net.c1.weight[k], net.c1.bias[k], every[0]) for k in range(6)], 1)
    s2 = subsample(squash(c1), net.s2.coefficient, net.s2.bias)
    c3 = torch.stack([convolve(s2, net.c3.weight[k], net.c3.bias[k], TABLE[k]) for k in range(16)], 1)
    s4 = subsample(squash(c3), net.s4.coefficient, net.s4.bias)
    c5 = torch.stack([convolve(s4, net.c5.weight[k], net.c5.bias[k], every[1]) for k in range(120)], 1)
    f6 = squash(squash(c5[..., 0, 0]) @ net.f6.weight.T + net.f6.bias)
    return f6 @ net.output.weight.T + net.output.bias


def test_lenet_follows_the_paper() -> None:
    net, x = lenet(), noise(2 * 32 * 32, 7).reshape(2, 1, 32, 32)
    torch.testing.assert_close(net(x), by_hand(net, x), rtol=1e-10, atol=1e-10)
    framed = torch.zeros(2, 1, 32, 32, dtype=torch.float64)
    framed[..., 2:30, 2:30] = x[..., 2:30, 2:30]
    torch.testing.assert_close(net(x[..., 2:30, 2:30]), net(framed))


def test_gradients_of_lenet_are_right() -> None:
    net = lenet()
    x = noise(5 * 6 * 6 * 6, 3).reshape(5, 6, 6, 6).requires_grad_()
    table = TableConv().double()
    assert torch.autograd.gradcheck(lambda v: squash(net.s2(squash(v))), x)
    assert torch.autograd.gradcheck(lambda v: table(v).sum(1), x[:1].detach().requires_grad_())
    table(x).sum().backward()
    assert table.weight.grad is not None
    assert not table.weight.grad[(table.seen == 0).expand_as(table.weight)].any()


# ---- spikes


def test_neurons_follow_the_equations() -> None:
    """U[t] = decay U[t-1] + I[t] - S[t-1]; S[t] = 1 where U[t] > 1."""
    neurons = LeakyIntegrateAndFire(0.8).double()
    current = noise(12 * 3 * 4, 5).reshape(12, 3, 4) + 0.6
    spikes, potentials = neurons(current)
    decay = float(neurons.leak.detach().sigmoid())
    potential = spike = np.zeros((3, 4))
    for t, now in enumerate(current.numpy()):
        potential = decay * potential + now - spike
        spike = (potential > 1).astype(float)
        np.testing.assert_allclose(potentials[t].detach().numpy(), potential, rtol=1e-12)
        np.testing.assert_array_equal(spikes[t].detach().numpy(), spike)
    assert 0.1 < float(spikes.detach().mean()) < 0.9


def test_the_surrogate_is_the_slope_of_a_fast_sigmoid() -> None:
    """SuperSpike's x / (1 + k |x|) has the slope 1 / (1 + k |x|)^2."""
    over = noise(50, 2).requires_grad_()
    smooth = over.detach().clone().requires_grad_()

    def sigmoid(x: Tensor) -> Tensor:
        return x / (1 + STEEPNESS * x.abs())

    assert torch.autograd.gradcheck(sigmoid, smooth)
    sigmoid(smooth).sum().backward()
    Spike.apply(over).sum().backward()
    torch.testing.assert_close(over.grad, smooth.grad)


def test_potentials_below_the_threshold_have_exact_gradients() -> None:
    neurons = LeakyIntegrateAndFire(0.7).double()
    current = (0.1 * noise(6 * 2 * 3, 4).reshape(6, 2, 3)).requires_grad_()

    def potentials(x: Tensor, leak: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(neurons, {"leak": leak}, (x,))[1]
        return found

    assert torch.autograd.gradcheck(potentials, (current, neurons.leak.detach().requires_grad_()))


def test_more_current_means_more_spikes() -> None:
    column = Image(name="x", height=12, width=12, channels=1, mean=(0.5,), std=(0.25,))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = SpikingImage(column, ModelConfig(width=16, steps=6))
    with torch.no_grad():
        features = net(torch.randint(0, 256, (3, 12, 12, 1), dtype=torch.uint8))
    assert features.tokens.shape == (3, 4, 16) and features.tokens.isfinite().all()
    assert all(float(grid.min()) >= 0 and float(grid.max()) <= 1 for grid in features.maps[:-1])


def test_series_do_not_see_what_comes_later() -> None:
    column = Series(name="x").fit(np.array([np.zeros((9, 2)), np.ones((7, 2))], object))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = SpikingSeries(column, ModelConfig(width=8)).eval()
    series = 3 * noise(2 * 9 * 2, 8).reshape(2, 9, 2).float()
    cut = series.clone()
    cut[:, 6:] = torch.nan
    whole, part = net(series), net(cut)
    torch.testing.assert_close(whole.tokens[:, :6], part.tokens[:, :6])
    assert part.mask.sum(1).tolist() == [6, 6]
