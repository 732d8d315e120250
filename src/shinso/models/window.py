"""The reader of series for forecasting: one token a variable, which holds its latest readings as they are.

A linear map of the window is hard to beat (DLinear, Zeng et al. 2023, arXiv 2205.13504), so
`heads/forecast.py` gets the window itself. B = rows, T = readings, V = variables, L = length of the window
= D, token size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..columns.series import Series
from ..config import ModelConfig
from ..features import Features
from .base import Encoder


class Window(Encoder):
    """float (B, T, V), NaN where nothing was read -> Features of (B, V, L): the last L readings.

    L is the usual length of the column. A missing reading gets the mean of the variable's window.
    """

    def __init__(self, column: Series, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.width = max(column.length, 1)

    def forward(self, series_BTV: Tensor) -> Features:
        window_BVL = latest(series_BTV, self.width).transpose(1, 2)
        read_BVL = ~torch.isnan(window_BVL)
        total_BV1 = torch.where(read_BVL, window_BVL, 0.0).sum(-1, keepdim=True)
        mean_BV1 = total_BV1 / read_BVL.sum(-1, keepdim=True).clamp(min=1)
        return Features.of(torch.where(read_BVL, window_BVL, mean_BV1))


def latest(series_BTV: Tensor, length: int) -> Tensor:
    """(B, length, V): the last `length` readings of every row; NaN in front of a shorter one."""
    rows, times, variables = series_BTV.shape
    read_BT = ~torch.isnan(series_BTV).all(-1)
    places_T = torch.arange(1, times + 1, device=series_BTV.device)
    end_B = (read_BT * places_T).amax(1)  # one past the last reading: padding stands behind it
    index_BL = end_B.unsqueeze(1) + torch.arange(-length, 0, device=series_BTV.device)
    index_BLV = index_BL.clamp(min=0).unsqueeze(-1).expand(rows, length, variables)
    return torch.where((index_BL >= 0).unsqueeze(-1), series_BTV.gather(1, index_BLV), torch.nan)
