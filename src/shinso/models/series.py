"""The default reader of series: a small dilated residual convolution network over time.

After Bai et al. 2018 (TCN, arXiv 1803.01271) and Wang et al. 2017 (residual networks with average pooling for time
series, arXiv 1611.06455). B = rows, T = readings, V = variables, C = channels, N = tokens, D = token size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..columns.series import Series
from ..config import ModelConfig
from ..features import Features
from .base import Encoder

TOKENS = 256  # a usual series is brought to at most so many tokens
KERNEL = 5


class SeriesNet(Encoder):
    """float (B, T, V), NaN where nothing was read or after the end -> Features of (B, T / stride, D)."""

    def __init__(self, column: Series, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.width = options.width or 128
        self.stride = max(1, -(-column.length // TOKENS))
        self.stem = nn.Conv1d(2 * column.variables, self.width, 2 * self.stride + KERNEL, self.stride, self.stride + 2)
        depth = options.depth or 4
        self.blocks = nn.ModuleList(Block(self.width, 2 ** (i % 6), options.dropout or 0.0) for i in range(depth))
        self.norm = nn.LayerNorm(self.width)

    def forward(self, series_BTV: Tensor) -> Features:
        read_BTV = ~torch.isnan(series_BTV)
        filled_BTV = torch.where(read_BTV, series_BTV, 0.0)
        mask_BN = read_BTV.any(-1)[:, :: self.stride]
        x_BCN = self.stem(torch.cat([filled_BTV, read_BTV.to(filled_BTV.dtype)], -1).transpose(1, 2))
        keep_B1N = mask_BN.unsqueeze(1)
        x_BCN = torch.where(keep_B1N, x_BCN[..., : mask_BN.shape[1]], 0.0)
        for block in self.blocks:
            x_BCN = block(x_BCN, keep_B1N)
        return Features.of(self.norm(x_BCN.transpose(1, 2)), mask_BN)


class Block(nn.Module):
    """Norm, dilated convolution, GELU, mixing of channels, around which the input is carried."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, KERNEL, padding=2 * dilation, dilation=dilation)
        self.mix = nn.Conv1d(width, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BCN: Tensor, keep_B1N: Tensor) -> Tensor:
        normed_BCN = torch.where(keep_B1N, self.norm(x_BCN.transpose(1, 2)).transpose(1, 2), 0.0)
        out_BCN = self.mix(nn.functional.gelu(self.conv(normed_BCN)))
        return torch.where(keep_B1N, x_BCN + self.dropout(out_BCN), 0.0)
