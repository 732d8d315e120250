"""Weights and inputs by a formula, in float64: the same numbers wherever they are computed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def noise(count: int, seed: int) -> Tensor:
    """(count,) numbers between -1 and 1 without order."""
    angle = torch.arange(count, dtype=torch.float64) * 12.9898 + seed * 78.233
    return 2 * torch.frac(torch.sin(angle) * 43758.5453).abs() - 1


def fill(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Numbers for every tensor of a state dict, by its place and shape: a signal neither fades nor grows."""
    found = {}
    for seed, (name, value) in enumerate(state.items()):
        x = noise(value.numel(), seed + 1).reshape(value.shape)
        if not value.is_floating_point():
            x = torch.zeros(value.shape, dtype=value.dtype)
        elif name.endswith("running_var"):
            x = 1 + 0.25 * (1 + x)
        elif value.ndim == 1 and name.endswith("weight"):
            x = 1 + 0.1 * x
        elif value.ndim == 1 or value.ndim == 3:
            x = 0.1 * x
        else:
            x = x * (4.5 / max(1, value[0].numel())) ** 0.5
        found[name] = x
    return found


def picture(rows: int, channels: int, side: int) -> Tensor:
    """(rows, channels, side, side)."""
    return noise(rows * channels * side * side, 977).reshape(rows, channels, side, side)


def layout(module: nn.Module) -> str:
    """A digest of the names and shapes of a module's state dict."""
    lines = sorted(f"{name} {tuple(value.shape)}" for name, value in module.state_dict().items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def measured(module: nn.Module, x_BCHW: Tensor) -> dict[str, object]:
    """Outputs of a module in evaluation mode and the norms of its gradients."""
    logits = module.eval()(x_BCHW)
    (logits * noise(logits.numel(), 31).reshape(logits.shape)).sum().backward()
    norms = {name: float(p.grad.norm()) for name, p in module.named_parameters() if p.grad is not None}
    step = max(1, len(norms) // 12)
    return {
        "logits": [[float(v) for v in row[:6]] for row in logits.detach()],
        "gradients": dict(list(norms.items())[::step]),
        "gradient": sum(v**2 for v in norms.values()) ** 0.5,
    }
