"""Normalisation over real tokens only. B = rows, C = channels, N = tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MaskedNorm(nn.BatchNorm1d):
    """Batch normalisation (Ioffe & Szegedy 2015, arXiv 1502.03167) of (B, C, N) that leaves padding out.

    Padding is 0 afterwards, so that a convolution behind it sees the same with and without padding.
    Statistics are fp32 whatever the input is.
    """

    def forward(self, x_BCN: Tensor, keep_B1N: Tensor) -> Tensor:  # type: ignore[override]
        wide_BCN = x_BCN.float()
        if self.training:
            count = keep_B1N.sum().clamp(min=1)
            mean_C1 = torch.where(keep_B1N, wide_BCN, 0.0).sum((0, 2)).unsqueeze(-1) / count
            centred_BCN = torch.where(keep_B1N, wide_BCN - mean_C1, 0.0)
            variance_C1 = centred_BCN.square().sum((0, 2)).unsqueeze(-1) / count
            self._remember(mean_C1[:, 0], variance_C1[:, 0])
        else:
            assert self.running_mean is not None and self.running_var is not None
            mean_C1, variance_C1 = self.running_mean.unsqueeze(-1), self.running_var.unsqueeze(-1)
        scale_C1 = self.weight.unsqueeze(-1) * torch.rsqrt(variance_C1 + self.eps)
        normed_BCN = (wide_BCN - mean_C1) * scale_C1 + self.bias.unsqueeze(-1)
        return torch.where(keep_B1N, normed_BCN, 0.0).to(x_BCN.dtype)

    @torch.no_grad()
    def _remember(self, mean_C: Tensor, variance_C: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        # The first batches count fully, so that a short training has true statistics too.
        share = (1 / self.num_batches_tracked).clamp(min=self.momentum)
        self.running_mean.lerp_(mean_C.detach(), share)
        self.running_var.lerp_(variance_C.detach(), share)
