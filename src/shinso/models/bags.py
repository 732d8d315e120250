"""The quick reader of texts: bags of n-grams of tokens, of characters, and of both, each a member.

As the bag in `ngrams.py` (fastText, Joulin et al. 2016, arXiv 1607.01759), with fewer n-grams and nothing
beside it. Three small members whose probabilities are averaged tell more than one of any size (docs/log.md).

B rows, N tokens, M n-grams, V vocabulary, L longest token, D size of a member.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..columns.text import Text
from ..config import ModelConfig
from ..features import Features
from ..layers.bytewise import hashed_bytewise
from .base import Encoder
from .ngrams import BUCKETS, characters, counted, hashed, spelled, unspaced, weighted_sum

LEAST, MOST = 1 << 12, 1 << 15  # buckets of each of the two tables,
NGRAMS = 4  # this many for each token that was learned: few texts need few
SIZE = 16  # of a member
TOKENS = (1, 2)
SPACED, UNSPACED = (3, 5), (1, 2, 3)  # characters; scripts without spaces say more with fewer


class Bags(Encoder):
    """int32 ids (B, N) -> Features of three bags as members (B, 3, D)."""

    table_VL: Tensor

    def __init__(self, column: Text, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.register_buffer("table_VL", characters(column), persistent=False)
        self.orders = UNSPACED if unspaced(self.table_VL) else SPACED
        self.width, self.members = SIZE, 3
        self.narrow = False  # whether integers have 32 bits where this is run
        self.buckets = max(LEAST, min(MOST, 1 << (NGRAMS * len(column.tokens) - 1).bit_length()))
        self.words, self.letters = (
            nn.EmbeddingBag(self.buckets, 2 * SIZE, mode="sum", padding_idx=0) for _ in range(2)
        )
        for table in (self.words, self.letters):
            nn.init.normal_(table.weight, std=0.02)
            with torch.no_grad():
                table.weight[0] = 0
        self.bias_KD = nn.Parameter(torch.zeros(3, SIZE))
        self.dropout = nn.Dropout(0.5 if options.dropout is None else options.dropout)

    def forward(self, ids_BN: Tensor) -> Features:
        ids_BN = ids_BN.long()
        words_BD, words_too_BD = self.weigh(self.words, ids_BN, TOKENS, seed=0)
        letters_BD, letters_too_BD = self.weigh(
            self.letters, spelled(ids_BN, self.table_VL), self.orders, seed=1
        )
        both_BD = (words_too_BD + letters_too_BD) / math.sqrt(2)
        members_BKD = torch.stack([words_BD, letters_BD, both_BD], 1) + self.bias_KD
        return Features.of(self.dropout(members_BKD), members=True)

    def keys(self, codes_BM: Tensor, orders: tuple[int, ...], seed: int) -> Tensor:
        """(B, M): the bucket of every n-gram, from 1 on; 0 for none."""
        if self.narrow:
            found = hashed_bytewise(codes_BM, orders, seed)
        else:
            found = hashed(codes_BM, orders, BUCKETS, seed)
        keys_BM = torch.cat(found, 1)
        return torch.where(keys_BM > 0, keys_BM % (self.buckets - 1) + 1, 0)

    def weigh(
        self, table: nn.EmbeddingBag, codes_BM: Tensor, orders: tuple[int, ...], seed: int
    ) -> tuple[Tensor, ...]:
        """Two times (B, D): the sums of the n-grams' embeddings, by how often each is found."""
        keys_BM, weights_BM = counted(self.keys(codes_BM, orders, seed))
        return weighted_sum(table, keys_BM, weights_BM).chunk(2, 1)
