"""Vectors of tokens that know how the tokens are spelled, for networks that learn from a few thousand texts.

A token's own vector and those of its character n-grams (Bojanowski et al. 2017, arXiv 1607.04606), so that
rare words borrow from common ones.

B rows, N tokens, D size of a vector, V vocabulary, M n-grams of a token, U distinct tokens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..columns.text import Text
from ..config import ModelConfig
from .ngrams import SPACED, SUBWORDS, UNSPACED, characters, hashed, unspaced


def spells(column: Text, options: ModelConfig, *, published: bool) -> bool:
    """Whether a network's tokens are spelled: where nothing of it is published or given."""
    return not published and not options.weights and not column.tokenizer


class Spelling(nn.Module):
    """Token ids (B, N) to vectors (B, N, D), zero for padding."""

    def __init__(self, column: Text, width: int, scale: float = 0.1) -> None:
        super().__init__()
        table_VL = characters(column)
        orders = (UNSPACED if unspaced(table_VL) else SPACED)[2]
        ids_VM = torch.cat(hashed(F.pad(table_VL, (0, 1)), orders, SUBWORDS, seed=5), 1)
        self.register_buffer("ids_VM", ids_VM, persistent=False)
        self.embed = nn.Embedding(len(column.tokens), width, padding_idx=0)
        self.subwords = nn.EmbeddingBag(SUBWORDS, width, mode="sum", padding_idx=0)
        for table in (self.embed, self.subwords):
            nn.init.normal_(table.weight, std=scale)
            with torch.no_grad():
                table.weight[0] = 0
        self.settled_VD: Tensor | None = None

    ids_VM: Tensor

    def settle(self) -> None:
        """Compute the vectors of all tokens once, for a network that learns no more."""
        with torch.no_grad():
            self.settled_VD = self._spelled(torch.arange(len(self.ids_VM)))

    def forward(self, ids_BN: Tensor) -> Tensor:
        if self.settled_VD is not None:  # an exported graph, whose shapes do not depend on the tokens
            return F.embedding(ids_BN, self.settled_VD)
        distinct_U, place_BN = ids_BN.unique(return_inverse=True)
        return F.embedding(place_BN, self._spelled(distinct_U))

    def _spelled(self, ids_U: Tensor) -> Tensor:
        keys_UM = self.ids_VM[ids_U]
        scale_U1 = (keys_UM > 0).sum(1, keepdim=True).clamp(min=1).rsqrt()
        return self.embed(ids_U) + self.subwords(keys_UM) * scale_U1
