"""The default reader of series: a small dilated residual convolution network over time.

After Wang et al. 2017 (residual networks with average pooling for time series, arXiv 1611.06455) and Bai et
al. 2018 (TCN, arXiv 1803.01271). B = rows, T = readings, V = variables, C = channels, N = tokens, D = token
size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..columns.series import Series
from ..config import ModelConfig
from ..features import Features
from ..layers.masked import MaskedNorm
from .base import Encoder

TOKENS = 256  # a usual series is brought to at most about so many tokens
DILATIONS = (1, 2, 4, 8, 16, 32)


class SeriesNet(Encoder):
    """float (B, T, V), NaN where nothing was read or after the end -> Features of (B, T / stride, D).

    Beside its readings the network sees which of them are there.
    """

    def __init__(self, column: Series, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.width = options.width or 64
        self.stride = max(1, column.length // TOKENS)
        size, padding = 2 * self.stride + 7, self.stride + 3
        self.stem = nn.Conv1d(2 * column.variables, self.width, size, self.stride, padding)
        self.blocks = nn.ModuleList(
            Block(self.width, DILATIONS[i % len(DILATIONS)], options.dropout or 0.0)
            for i in range(options.depth or 4)
        )
        self.norm = MaskedNorm(self.width)

    def forward(self, series_BTV: Tensor) -> Features:
        read_BTV = ~torch.isnan(series_BTV)
        filled_BTV = torch.where(read_BTV, series_BTV, 0.0)
        x_BCN = self.stem(torch.cat([filled_BTV, read_BTV.to(filled_BTV.dtype)], -1).transpose(1, 2))
        mask_BN = within(read_BTV.any(-1))[:, :: self.stride]
        keep_B1N = mask_BN.unsqueeze(1)
        x_BCN = torch.where(keep_B1N, x_BCN, 0.0)
        for block in self.blocks:
            x_BCN = block(x_BCN, keep_B1N)
        return Features.of(self.norm(x_BCN, keep_B1N).transpose(1, 2), mask_BN)


class Block(nn.Module):
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
        out_BCN = self.mix(inner_BCN)
        return torch.where(keep_B1N, x_BCN + self.dropout(out_BCN), 0.0)


def within(real_BT: Tensor) -> Tensor:
    """(B, T) bool: True up to the last True of each row, so that a gap inside a series is no padding.

    >>> within(torch.tensor([[True, False, True, False]]))
    tensor([[ True,  True,  True, False]])
    """
    return real_BT.flip(1).cumsum(1).flip(1) > 0
