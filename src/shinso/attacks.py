"""Changes of an input that a person would overlook and that raise the loss: FGSM and PGD.

FGSM: Goodfellow, Shlens, Szegedy, ICLR 2015. PGD: Madry et al., ICLR 2018. Training on them: Wong, Rice,
Kolter, ICLR 2020 (one step from a random start is enough). The size of a change is a share: of the range of a
pixel, of the standard deviation of a number or a reading. Only what enters as numbers can be attacked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from .columns import Column
from .heads import Loss

Batch = dict[str, Tensor]
RANGE = {"image": 255.0, "number": 1.0, "series": 1.0, "audio": 1.0}  # by kind: what a share is a share of


def attackable(columns: Sequence[Column]) -> dict[str, float]:
    """By column: what a change of size 1 is, for those that enter as numbers."""
    return {c.name: RANGE[c.kind] for c in columns if c.kind in RANGE}


def attacked(
    losses: Callable[[Batch], Mapping[str, Loss]], batch: Batch, ranges: Mapping[str, float], size: float, *,
    steps: int = 1, generator: torch.Generator | None = None,
) -> Batch:  # fmt: skip
    """`batch` with columns of `ranges` changed by at most `size` so that the loss rises.

    One step is FGSM; more are PGD, from a random start where there is a generator. Missing values stay so.
    """
    clean = {name: batch[name].detach().float() for name in ranges}
    moved = {name: value + start(value, size * ranges[name], generator) for name, value in clean.items()}
    step = size if steps == 1 else 2.5 * size / steps
    for _ in range(steps):
        leaves = {name: value.detach().requires_grad_() for name, value in moved.items()}
        with torch.enable_grad():
            total = torch.stack([loss.total for loss in losses({**batch, **leaves}).values()]).sum()
        total.backward(inputs=list(leaves.values()))  # not autograd.grad, which counters of FLOPs refuse
        for name, leaf in leaves.items():
            way = 0.0 if leaf.grad is None else leaf.grad.nan_to_num().sign()
            far = leaf.detach() + step * ranges[name] * way
            moved[name] = near(far, clean[name], size * ranges[name], pixels=ranges[name] == RANGE["image"])
    return {**batch, **moved}


def start(value: Tensor, size: float, generator: torch.Generator | None) -> Tensor:
    """A random place within reach; no change without a generator."""
    if generator is None:
        return torch.zeros_like(value)
    return (2 * torch.rand(value.shape, generator=generator).to(value.device) - 1) * size


def near(value: Tensor, clean: Tensor, size: float, *, pixels: bool) -> Tensor:
    """Back within reach of the clean value, and of what a pixel can be."""
    held = torch.minimum(torch.maximum(value, clean - size), clean + size)
    return held.clamp(0, 255) if pixels else held
