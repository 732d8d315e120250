"""The reader of series for forecasting: one token a variable, which holds its latest readings as they are.

What a linear forecast needs (DLinear, Zeng et al. 2023, arXiv 2205.13504; reversible normalisation, Kim et al. 2022,
RevIN) is the window itself, normalised, beside its level and its scale. B = rows, T = readings, V = variables,
L = length of the window, D = token size = L + 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..columns.series import Series
from ..config import ModelConfig
from ..features import Features
from .base import Encoder


class Window(Encoder):
    """float (B, T, V), NaN where nothing was read -> Features of (B, V, 2 + L): level, scale, normalised window."""

    def __init__(self, column: Series, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.length = max(column.length, 1)
        self.width = self.length + 2

    def forward(self, series_BTV: Tensor) -> Features:
        window_BVL = latest(series_BTV, self.length).transpose(1, 2)
        read_BVL = ~torch.isnan(window_BVL)
        count_BV1 = read_BVL.sum(-1, keepdim=True).clamp(min=1)
        level_BV1 = torch.where(read_BVL, window_BVL, 0.0).sum(-1, keepdim=True) / count_BV1
        centred_BVL = torch.where(read_BVL, window_BVL - level_BV1, 0.0)
        scale_BV1 = (centred_BVL.square().sum(-1, keepdim=True) / count_BV1 + 1e-5).sqrt()
        return Features.of(torch.cat([level_BV1, scale_BV1, centred_BVL / scale_BV1], -1))


def latest(series_BTV: Tensor, length: int) -> Tensor:
    """(B, length, V): the last `length` readings of every row; NaN in front of a shorter one."""
    rows, times, variables = series_BTV.shape
    read_BT = ~torch.isnan(series_BTV).all(-1)
    places_T = torch.arange(1, times + 1, device=series_BTV.device)
    end_B = (read_BT * places_T).amax(1)  # one past the last reading: padding stands behind it
    index_BL = end_B.unsqueeze(1) + torch.arange(-length, 0, device=series_BTV.device)
    index_BLV = index_BL.clamp(min=0).unsqueeze(-1).expand(rows, length, variables)
    return torch.where((index_BL >= 0).unsqueeze(-1), series_BTV.gather(1, index_BLV), torch.nan)
