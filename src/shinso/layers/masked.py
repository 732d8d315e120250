"""Normalisation over what is real only, and tokens that are missed.

B = rows, N = tokens, C = channels, S = any further dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MaskedNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015) of (B, C, *S) that leaves padding out.

    `keep` is (B, 1, *S) or broadcasts to it. Padding is 0 afterwards, so that a convolution behind it sees
    the same with and without padding. Statistics are fp32 whatever the input is.
    """

    running_mean: Tensor
    running_var: Tensor
    seen: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("seen", torch.zeros(()))  # batches

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        wide = x.float()
        shape = (1, -1) + (1,) * (x.ndim - 2)
        if self.training:
            mean, variance = self._measure(wide, keep, shape)
        else:
            mean, variance = self.running_mean, self.running_var
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normed = wide * scale.view(shape) + (self.bias - mean * scale).view(shape)
        return torch.where(keep, normed, 0.0).to(x.dtype)

    def _measure(self, x: Tensor, keep: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """(C,) mean and variance over what is real, which are remembered."""
        others = [d for d in range(x.ndim) if d != 1]
        count = keep.expand(x.shape[0], 1, *x.shape[2:]).sum().clamp(min=1)
        mean = torch.where(keep, x, 0.0).sum(others) / count
        variance = torch.where(keep, x - mean.view(shape), 0.0).square().sum(others) / count
        with torch.no_grad():
            self.seen += 1
            share = (1 / self.seen).clamp(min=self.momentum)  # the first batches count fully
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance, share)
        return mean, variance


class Missed(nn.Dropout):
    """A mask (B, N) of what is real, without a share of it in training: a reader learns texts by heart less.

    Nothing is missed where nothing would be left of a row.
    """

    def forward(self, mask_BN: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return mask_BN
        seen_BN = mask_BN & (torch.rand(mask_BN.shape, device=mask_BN.device) >= self.p)
        return torch.where(seen_BN.any(1, keepdim=True), seen_BN, mask_BN)
