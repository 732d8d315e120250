"""One vector of many tokens, by what a few learned questions look at.

The pooling by attention of Lin et al., ICLR 2017 (arXiv 1703.03130), with values of their own for each
question.

B rows, N tokens, S size of what is read, H questions, V size of the answer together.
"""

from __future__ import annotations

import torch
from torch import nn

from ..features import Features

WIDTH, QUESTIONS, DROPOUT = 256, 8, 0.3


class AttentionPool(nn.Module):
    """Tokens (B, N, S) to one token (B, 1, V)."""

    def __init__(self, states: int, width: int = WIDTH, questions: int = QUESTIONS) -> None:
        super().__init__()
        self.states, self.width = states, width
        self.score, self.value = nn.Linear(states, questions), nn.Linear(states, width)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, features: Features) -> Features:
        scores_BNH = self.score(features.tokens).float()
        weights_BNH = scores_BNH.masked_fill(~features.mask.unsqueeze(-1), -1e4).softmax(1)
        values_BNHC = self.value(features.tokens).unflatten(-1, (scores_BNH.shape[-1], -1))
        answers_BHC = torch.einsum("bnh,bnhc->bhc", weights_BNH.to(values_BNHC.dtype), values_BNHC)
        real_B11 = features.mask.any(1)[:, None, None]  # a text without tokens says nothing
        return Features.of(self.dropout(answers_BHC.float().flatten(1).unsqueeze(1)) * real_B11)
