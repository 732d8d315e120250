"""Reads a text token by token, for heads that attend to tokens: n-gram embeddings and a convolution.

B rows, N tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..columns.text import Text
from ..config import ModelConfig
from ..features import Features
from .base import Encoder

BUCKETS = 1 << 16


class TextNet(Encoder):
    """Token, bigram and trigram embeddings at every place (Joulin 2016), plus a convolution (Kim 2014)."""

    def __init__(self, column: Text, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.width = options.width or 64
        self.embed = nn.Embedding(len(column.tokens), self.width, padding_idx=0)
        self.ngrams = nn.ModuleList(nn.Embedding(BUCKETS, self.width, padding_idx=0) for _ in (2, 3))
        self.conv = nn.Conv1d(self.width, self.width, 5, padding=2)
        self.dropout = nn.Dropout(0.3 if options.dropout is None else options.dropout)

    def forward(self, ids_BN: Tensor) -> Features:
        ids_BN = ids_BN.long()
        mask_BN = ids_BN > 0
        mask_BN1 = mask_BN.unsqueeze(-1)
        embedded_BND = self.dropout(self.embed(ids_BN))
        read_BND = torch.relu(self.conv(embedded_BND.transpose(1, 2)).transpose(1, 2))
        tokens_BND = embedded_BND + read_BND
        hashed_BN = ids_BN
        for table in self.ngrams:
            following_BN = torch.cat([ids_BN[:, 1:], ids_BN.new_zeros(ids_BN.shape[0], 1)], 1)
            hashed_BN = (hashed_BN * 1_000_003 + following_BN) % (BUCKETS - 1) + 1
            tokens_BND = tokens_BND + self.dropout(table(hashed_BN))
        return Features(tokens_BND * mask_BN1, mask_BN)
