"""A residual convolution over time that leaves padding out. B = rows, C = channels, N = tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .masked import MaskedNorm

DILATIONS = (1, 2, 4, 8, 16, 32)


class DilatedBlock(nn.Module):
    """Norm, dilated convolution, norm, GELU, mixing of channels, around which the input is carried."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = MaskedNorm(width)
        self.conv = nn.Conv1d(width, width, 5, padding=2 * dilation, dilation=dilation, bias=False)
        self.inner = MaskedNorm(width)
        self.mix = nn.Conv1d(width, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BCN: Tensor, keep_B1N: Tensor) -> Tensor:
        inner_BCN = F.gelu(self.inner(self.conv(self.norm(x_BCN, keep_B1N)), keep_B1N))
        return torch.where(keep_B1N, x_BCN + self.dropout(self.mix(inner_BCN)), 0.0)


class DilatedStack(nn.Module):
    """`depth` blocks whose reach doubles, then a norm; (B, C, N) to (B, C, N)."""

    def __init__(self, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        reach = [DILATIONS[i % len(DILATIONS)] for i in range(depth)]
        self.blocks = nn.ModuleList(DilatedBlock(width, dilation, dropout) for dilation in reach)
        self.norm = MaskedNorm(width)

    def forward(self, x_BCN: Tensor, keep_B1N: Tensor) -> Tensor:
        x_BCN = torch.where(keep_B1N, x_BCN, 0.0)
        for block in self.blocks:
            x_BCN = block(x_BCN, keep_B1N)
        out_BCN: Tensor = self.norm(x_BCN, keep_B1N)
        return out_BCN
