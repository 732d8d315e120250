"""A number, or a point in time. B rows, K members."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..columns.base import Column
from ..features import Features
from .base import Head, HeadOptions, Loss
from .classify import Members, check_loss


class Regress(Head):
    """The standardised value of a number or datetime column. Loss: mse (default), mae or huber.

    Each member is scored on its own; the prediction is the mean of the members.
    """

    LOSSES = ("mse", "mae", "huber")

    def __init__(self, column: Column, width: int, members: int, options: HeadOptions) -> None:
        super().__init__(column, width, members, options)
        self.name = check_loss(options.loss, self.LOSSES)
        self.linear = Members(members, width, 1)

    def loss(self, features: Features, target: Tensor) -> Loss:
        """`target` (B,), or (B, F) of a datetime, standardised time first; NaN where there is none."""
        target_B = target if target.ndim == 1 else target[:, 0]
        known_B = ~target_B.isnan()
        output_BK = self.linear(features.pool()).squeeze(-1)
        wanted_BK = target_B.float().nan_to_num().unsqueeze(1).expand_as(output_BK)
        losses_B = self._losses(output_BK, wanted_BK).mean(1)
        return Loss(torch.where(known_B, losses_B, 0.0).sum(), known_B.sum().float())

    def forward(self, features: Features) -> Tensor:
        """(B,): the standardised value."""
        return self.linear(features.pool()).squeeze(-1).mean(1)

    def predict(self, features: Features) -> Tensor:
        """(B,): the standardised value."""
        return self(features)

    def _losses(self, output: Tensor, wanted: Tensor) -> Tensor:
        if self.name == "mse":
            return F.mse_loss(output, wanted, reduction="none")
        if self.name == "mae":
            return F.l1_loss(output, wanted, reduction="none")
        return F.huber_loss(output, wanted, reduction="none")
