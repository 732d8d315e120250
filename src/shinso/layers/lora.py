"""Low-rank adapters: a frozen matrix and a small change of it that is learned, merged back when it is done.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685. O outputs, I inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

SCALE = 2.0  # what the change is multiplied by (alpha / rank in the paper)


class LowRank(nn.Module):
    """A matrix (O, I) and the product of two small ones, which is zero at first."""

    def __init__(self, matrix_OI: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = matrix_OI.shape
        rank = min(rank, outputs, inputs)
        self.down = nn.Parameter(torch.randn(rank, inputs, device=matrix_OI.device) * inputs**-0.5)
        self.up = nn.Parameter(torch.zeros(outputs, rank, device=matrix_OI.device))

    def forward(self, matrix_OI: Tensor) -> Tensor:
        return matrix_OI + SCALE * (self.up @ self.down)


def add_adapters(module: nn.Module, rank: int) -> int:
    """Freeze all of `module` and put an adapter on each of its linear layers; gives how many there are."""
    module.requires_grad_(requires_grad=False)
    places = matrices(module)
    for layer, name in places:
        parametrize.register_parametrization(layer, name, LowRank(layer.get_parameter(name), rank))
    return len(places)


def merge_adapters(module: nn.Module) -> None:
    """Add every change to its matrix, so that the layers are ordinary ones again."""
    for layer in list(module.modules()):
        if parametrize.is_parametrized(layer):
            for name in list(layer.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
    module.requires_grad_()


def matrices(module: nn.Module) -> list[tuple[nn.Module, str]]:
    """The matrices of linear layers and of attention: (layer, name of its parameter)."""
    found: list[tuple[nn.Module, str]] = []
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            found.append((layer, "weight"))
        elif isinstance(layer, nn.MultiheadAttention) and layer.in_proj_weight is not None:
            found.append((layer, "in_proj_weight"))
    return found
