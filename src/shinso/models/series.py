"""The default reader of series: a small dilated residual convolution network over time.

After Wang et al. 2017 (residual networks with average pooling for time series, arXiv 1611.06455) and Bai et
al. 2018 (TCN, arXiv 1803.01271). B = rows, T = readings, V = variables, C = channels, N = tokens, D = token
size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..columns.series import Series
from ..config import ModelConfig
from ..features import Features
from ..layers.dilated import DilatedStack
from .base import Encoder

TOKENS = 256  # a usual series is brought to at most about so many tokens


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
        self.body = DilatedStack(self.width, options.depth or 4, options.dropout or 0.0)

    def forward(self, series_BTV: Tensor) -> Features:
        read_BTV = ~torch.isnan(series_BTV)
        filled_BTV = torch.where(read_BTV, series_BTV, 0.0)
        x_BCN = self.stem(torch.cat([filled_BTV, read_BTV.to(filled_BTV.dtype)], -1).transpose(1, 2))
        mask_BN = within(read_BTV.any(-1))[:, :: self.stride]
        return Features.of(self.body(x_BCN, mask_BN.unsqueeze(1)).transpose(1, 2), mask_BN)


def within(real_BT: Tensor) -> Tensor:
    """(B, T) bool: True up to the last True of each row, so that a gap inside a series is no padding.

    >>> within(torch.tensor([[True, False, True, False]]))
    tensor([[ True,  True,  True, False]])
    """
    return real_BT.flip(1).cumsum(1).flip(1) > 0
