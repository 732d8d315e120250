"""The future of a series.

B = rows, N = tokens, K = members, V = variables, A = readings ahead, D = token size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..columns.series import Series
from ..errors import SettingError
from ..features import Features
from .base import Head, HeadOptions, Loss

LOSSES = ("scaled", "mse", "mae")
POOL_RATE = 0.3  # holds back what one variable learns from the others, which overfits first
SMALLEST_SCALE = 1e-5
SMALLEST_LOSS_SCALE = 0.1  # of a window, squared, in the loss: windows that hardly move must not rule it


class Forecast(Head):
    """A linear forecast of each variable from its own token, which is normalised, and put back afterwards.

    After RLinear (Li et al. 2023, arXiv 2305.10721). The first V tokens are those of the predicted
    variables, as `models/window.py` gives them; where there are fewer (or members), every variable reads
    the mean of the tokens. A token is normalised by its own mean (level) and deviation (scale); the
    forecast is level + scale * (linear map of the normalised token + linear map of the mean normalised
    token + level * a learned return to the mean).

    A is the usual length of the column. Losses: `scaled` (default) squared error in units of each window's
    scale, `mse`, `mae`.
    """

    def __init__(self, column: Series, width: int, members: int, options: HeadOptions) -> None:
        super().__init__(column, width, members, options)
        self.kind = options.loss or LOSSES[0]
        if self.kind not in LOSSES:
            raise SettingError(f"A forecast has the losses {', '.join(LOSSES)}; received {self.kind!r}.")
        self.variables, self.ahead = column.variables, max(column.length, 1)
        self.own = nn.Parameter(torch.zeros(max(members, 1), width, self.ahead))
        self.shared = nn.Parameter(torch.zeros(max(members, 1), width, self.ahead))
        self.gate = nn.Parameter(torch.ones(self.variables, self.ahead))
        self.level = nn.Parameter(torch.zeros(self.ahead))
        self.bias = nn.Parameter(torch.zeros(self.variables, self.ahead))

    def forward(self, features: Features) -> Tensor:
        """(B, A, V), standardised as the column encodes it: the mean forecast of the members."""
        return self._members(features)[0].mean(1)

    def loss(self, features: Features, target: Tensor) -> Loss:
        """Over those of the first A readings of (B, T, V) that are not NaN; members are scored singly."""
        forecast_BKAV, scale_BK1V = self._members(features)
        target = target[:, : self.ahead]
        target = F.pad(target, (0, 0, 0, self.ahead - target.shape[1]), value=torch.nan)
        read_BAV = ~torch.isnan(target)
        wanted_B1AV = torch.where(read_BAV, target, 0.0).unsqueeze(1)
        error_BKAV = forecast_BKAV.float() - wanted_B1AV
        if self.kind == "scaled":
            error_BKAV = error_BKAV / (scale_BK1V.detach().float().square() + SMALLEST_LOSS_SCALE).sqrt()
        cost_BAV = (error_BKAV.abs() if self.kind == "mae" else error_BKAV.square()).mean(1)
        return Loss(torch.where(read_BAV, cost_BAV, 0.0).sum(), read_BAV.sum().float())

    def predict(self, features: Features) -> Tensor:
        """(B, A, V), standardised as the column encodes it."""
        forecast: Tensor = self(features).float()
        return forecast

    def _members(self, features: Features) -> tuple[Tensor, Tensor]:
        """(B, K, A, V) and the scale (B, K, 1, V)."""
        tokens_BND = features.tokens.float()  # level and scale must not be rounded
        level_BN1 = tokens_BND.mean(-1, keepdim=True)
        centred_BND = tokens_BND - level_BN1
        scale_BN1 = (centred_BND.square().mean(-1, keepdim=True) + SMALLEST_SCALE).sqrt()
        normal = features._replace(tokens=centred_BND / scale_BN1)
        own_BKVD, pooled_BKD = self._own(normal), normal.pool()
        level_BKV1, scale_BKV1 = (self._own(features._replace(tokens=x)) for x in (level_BN1, scale_BN1))
        own_BKVA = torch.einsum("bkvd,kda->bkva", own_BKVD, self.own)
        shared_BK1A = torch.einsum("bkd,kda->bka", pooled_BKD, self.shared).unsqueeze(2)
        change_BKVA = (own_BKVA + POOL_RATE * shared_BK1A) * self.gate + level_BKV1 * self.level + self.bias
        return (level_BKV1 + scale_BKV1 * change_BKVA).transpose(2, 3), scale_BKV1.transpose(2, 3)

    def _own(self, features: Features) -> Tensor:
        """(B, K, V, D): the token that each variable reads."""
        if features.members or features.tokens.shape[1] < self.variables:
            return features.pool().unsqueeze(2).expand(-1, -1, self.variables, -1)
        return features.tokens[:, None, : self.variables]
