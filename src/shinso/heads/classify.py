"""One label of many (`Classify`), or any number of labels (`Label`).

B rows, K members, D token size, C labels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..columns.category import Category
from ..columns.labels import Labels
from ..errors import SettingError, did_you_mean
from ..features import Features
from .base import Head, HeadOptions, Loss

GAMMA = 2.0  # of the focal loss


class Members(nn.Module):
    """A linear layer for each of K members, (B, K, D) to (B, K, C), in fp32 also under autocast."""

    def __init__(self, members: int, width: int, outputs: int) -> None:
        super().__init__()
        bound = width**-0.5
        self.weight_KDC = nn.Parameter(torch.empty(max(members, 1), width, outputs).uniform_(-bound, bound))
        self.bias_KC = nn.Parameter(torch.empty(max(members, 1), outputs).uniform_(-bound, bound))

    def forward(self, tokens_BKD: Tensor) -> Tensor:
        with torch.autocast(tokens_BKD.device.type, enabled=False):
            return torch.einsum("bkd,kdc->bkc", tokens_BKD.float(), self.weight_KDC) + self.bias_KC


class Classify(Head):
    """Probabilities of the labels of a category column.

    Loss: cross_entropy (default) or focal (Lin et al., ICCV 2017). Each member is scored on its own;
    probabilities, not logits, are averaged over members.
    """

    LOSSES = ("cross_entropy", "focal")

    def __init__(self, column: Category, width: int, members: int, options: HeadOptions) -> None:
        super().__init__(column, width, members, options)
        self.options = options
        self.focal = check_loss(options.loss, self.LOSSES) == "focal"
        self.linear = Members(members, width, len(column.labels))
        weights = torch.tensor(options.class_weights) if options.class_weights else None
        self.register_buffer("weights_C", weights, persistent=False)
        self.weights_C: Tensor | None

    def loss(self, features: Features, target: Tensor) -> Loss:
        """`target` (B,) int64, -1 where there is none; a label too rare to be kept (C) teaches nothing."""
        logits_BKC = self.linear(features.pool())
        target = torch.where(target < logits_BKC.shape[-1], target, -1)
        target_BK = target.unsqueeze(1).expand(logits_BKC.shape[:2])
        losses = F.cross_entropy(
            logits_BKC.flatten(0, 1),
            target_BK.flatten(),
            self.weights_C,
            ignore_index=-1,
            reduction="none",
            label_smoothing=self.options.label_smoothing,
        )
        if self.focal:
            p_BKC = logits_BKC.detach().softmax(-1)
            p_target = p_BKC.gather(-1, target_BK.clamp(min=0).unsqueeze(-1)).flatten()
            losses = losses * (1 - p_target) ** GAMMA
        return Loss(losses.sum() / logits_BKC.shape[1], (target >= 0).sum().float())

    def forward(self, features: Features) -> Tensor:
        """(B, C): logits whose softmax is the mean of the members' probabilities."""
        log_BKC = self.linear(features.pool()).log_softmax(-1)
        return log_BKC.logsumexp(1) - math.log(log_BKC.shape[1])

    def predict(self, features: Features) -> Tensor:
        """(B, C) probabilities."""
        return self(features).softmax(-1)


class Label(Head):
    """A probability for each label of a labels column. Loss: binary cross_entropy (default) or focal."""

    LOSSES = ("cross_entropy", "focal")

    def __init__(self, column: Labels, width: int, members: int, options: HeadOptions) -> None:
        super().__init__(column, width, members, options)
        self.options = options
        self.focal = check_loss(options.loss, self.LOSSES) == "focal"
        self.linear = Members(members, width, len(column.labels))
        weights = torch.tensor(options.class_weights or (1.0,) * len(column.labels))
        self.register_buffer("weights_C", weights, persistent=False)
        self.weights_C: Tensor

    def loss(self, features: Features, target: Tensor) -> Loss:
        """`target` (B, C) of zeros and ones; NaN where there is none."""
        logits_BKC = self.linear(features.pool())
        known_BC = ~target.isnan()
        smooth = self.options.label_smoothing
        hot_BKC = (target.nan_to_num() * (1 - smooth) + smooth / 2).unsqueeze(1).expand_as(logits_BKC)
        losses_BKC = F.binary_cross_entropy_with_logits(logits_BKC, hot_BKC, reduction="none")
        if self.focal:
            losses_BKC = losses_BKC * (hot_BKC - logits_BKC.detach().sigmoid()).abs() ** GAMMA
        losses_BC = losses_BKC.mean(1) * self.weights_C * known_BC
        return Loss(losses_BC.mean(1).sum(), known_BC.any(1).sum().float())

    def forward(self, features: Features) -> Tensor:
        """(B, C): logits whose sigmoid is the mean of the members' probabilities."""
        logits_BKC = self.linear(features.pool())
        return F.logsigmoid(logits_BKC).logsumexp(1) - F.logsigmoid(-logits_BKC).logsumexp(1)

    def predict(self, features: Features) -> Tensor:
        """(B, C) probabilities."""
        return self(features).sigmoid()


def check_loss(name: str, known: tuple[str, ...]) -> str:
    """`name`, or the first of `known` where it is empty; unknown names are a SettingError."""
    if name and name not in known:
        raise SettingError(f"There is no loss {name!r} for this output. {did_you_mean(name, known)}")
    return name or known[0]
