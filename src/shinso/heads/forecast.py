"""The future of a series. B = rows, K = members, V = variables, A = readings ahead, D = token size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..columns.series import Series
from ..features import Features
from .base import Head, HeadOptions, Loss


class Forecast(Head):
    """A linear forecast of each variable from its own token, and from the mean of all tokens.

    Where there are at least V tokens the first V are those of the predicted variables (as `models/window.py` gives
    them: level, scale, normalised window); else every variable reads the mean of the tokens. The forecast is
    level + scale * (linear map of the token), where level and scale are read from the token by two learned vectors
    that begin as its first two channels, so that other features can be read too.
    """

    def __init__(self, column: Series, width: int, members: int, options: HeadOptions) -> None:
        super().__init__(column, width, members, options)
        self.ahead, self.variables = max(column.length, 1), column.variables
        self.members = max(members, 1)
        self.own = nn.Parameter(torch.zeros(self.members, width, self.ahead))
        self.shared = nn.Parameter(torch.zeros(self.members, width, self.ahead))
        self.gate = nn.Parameter(torch.ones(self.variables, width))
        self.bias = nn.Parameter(torch.zeros(self.variables, self.ahead))
        self.frame = nn.Parameter(torch.eye(width, 2) if width > 1 else torch.zeros(width, 2))

    def forward(self, features: Features) -> Tensor:
        """(B, K, A, V): the forecast of every member."""
        pooled_BKD = features.pool()
        own_BKVD = self._own(features, pooled_BKD)
        level_BKV1, scale_BKV1 = (own_BKVD @ self.frame).split(1, -1)
        own_BKVA = torch.einsum("bkvd,kda->bkva", own_BKVD * self.gate, self.own)
        shared_BK1A = torch.einsum("bkd,kda->bka", pooled_BKD, self.shared).unsqueeze(2)
        return (level_BKV1 + scale_BKV1 * (own_BKVA + shared_BK1A + self.bias)).transpose(2, 3)

    def loss(self, features: Features, target: Tensor) -> Loss:
        """Squared error of (B, A, V), NaN where nothing was read; members are scored one by one."""
        forecast_BKAV = self(features).float()
        read_B1AV = ~torch.isnan(target).unsqueeze(1)
        error = torch.where(read_B1AV, forecast_BKAV - target.unsqueeze(1).nan_to_num(), 0.0)
        return Loss(error.square().mean(1).sum(), read_B1AV.sum().float())

    def predict(self, features: Features) -> Tensor:
        """(B, A, V): the mean forecast of the members, standardised as the column encodes it."""
        return self(features).float().mean(1)

    def _own(self, features: Features, pooled_BKD: Tensor) -> Tensor:
        if features.members or features.tokens.shape[1] < self.variables:
            return pooled_BKD.unsqueeze(2).expand(-1, -1, self.variables, -1)
        return features.tokens[:, None, : self.variables]
