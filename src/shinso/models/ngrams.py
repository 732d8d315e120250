"""The default reader of texts judged as a whole: one bag of n-grams and small readers, each a member.

The bag (as fastText, Joulin et al. 2016, arXiv 1607.01759) sees hashed n-grams of characters and tokens; an
n-gram found c times weighs 1 + log c in a text of norm 1, as TF-IDF counts. The readers are convolutions with
max and mean pooling (Kim 2014, arXiv 1408.5882) over embeddings of tokens and of their character n-grams
(Bojanowski et al. 2017, arXiv 1607.04606). All are trained side by side with losses of their own: joined into
one sum they learn worse.

B rows, N tokens, M characters, V vocabulary, L longest token, K readers, D embedding size, W width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..columns.text import FIRST_CHARACTER, Text
from ..config import ModelConfig
from ..features import Features
from ..layers.bytewise import hashed_bytewise
from .base import Encoder

BUCKETS = 1 << 16  # of the bag
SUBWORDS = 1 << 14  # of the readers' character n-grams
KERNELS = (1, 3, 5)
FILTERS, EMBEDDING, READERS, BAG = 32, 32, 4, 64
PIECES = 8  # in which an exported graph sums a bag
STRETCH = 256  # tokens of a long text that a reader sees at a step
WORD_DROPOUT, EMBEDDING_DROPOUT = 0.3, 0.2
SPACED = ((1, 2, 3, 4, 5, 6), (1, 2, 3), (2, 3, 4, 5))  # characters, tokens, characters of a token
UNSPACED = ((1, 2, 3), (), (1, 2, 3, 4))  # scripts without spaces, whose characters say more
CJK = (0x3040, 0x9FFF)
OUTSIDE = 0x110000  # codes of bytes that are no character


class NgramNet(Encoder):
    """int32 ids (B, N) -> Features of K readers and a bag as members (B, K + 1, W)."""

    def __init__(self, column: Text, options: ModelConfig) -> None:
        super().__init__(column, options)
        table_VL = characters(column)
        self.register_buffer("table_VL", table_VL, persistent=False)
        self.table_VL: Tensor
        orders: tuple[tuple[int, ...], ...] = UNSPACED if unspaced(table_VL) else SPACED
        self.orders, self.token_orders, inside = orders
        self.bag = nn.EmbeddingBag(BUCKETS, BAG, mode="sum", padding_idx=0)
        nn.init.normal_(self.bag.weight, std=0.02)
        self.bag_bias = nn.Parameter(torch.zeros(BAG))
        size = READERS * EMBEDDING
        self.embed = nn.Embedding(len(column.tokens), size, padding_idx=0)
        self.subwords = nn.EmbeddingBag(SUBWORDS, size, mode="sum", padding_idx=0)
        for table in (self.embed, self.subwords):
            nn.init.normal_(table.weight, std=0.1)
        ids_VM = torch.cat(hashed(F.pad(table_VL, (0, 1)), inside, SUBWORDS, seed=5), 1)
        self.register_buffer("ids_VM", ids_VM, persistent=False)
        self.ids_VM: Tensor
        self.convolutions = nn.ModuleList(
            nn.Conv1d(size, READERS * FILTERS, k, padding=k // 2, groups=READERS) for k in KERNELS
        )
        self.missed, self.embedding_dropout = nn.Dropout(WORD_DROPOUT), nn.Dropout(EMBEDDING_DROPOUT)
        self.dropout = nn.Dropout(0.5 if options.dropout is None else options.dropout)
        self.width, self.members = FILTERS * len(KERNELS) * 2, READERS + 1
        self.settled_VD: Tensor | None = None
        self.narrow = False  # whether integers have 32 bits where this is run
        with torch.no_grad():
            for table in (self.bag, self.embed, self.subwords):
                table.weight[0] = 0

    def forward(self, ids_BN: Tensor) -> Features:
        ids_BN = ids_BN.long()
        bag_BW = F.pad(self.weigh(ids_BN), (0, self.width - BAG))
        members_BKW = torch.cat([self.read(ids_BN), bag_BW.unsqueeze(1)], 1)
        return Features.of(members_BKW, members=True)

    def weigh(self, ids_BN: Tensor) -> Tensor:
        """(B, BAG): the sum of the embeddings of a text's n-grams, by how often they are found."""
        keys = self.keys(spelled(ids_BN, self.table_VL), self.orders, seed=1)
        keys += self.keys(ids_BN, self.token_orders, seed=0)
        keys_BM, weights_BM = counted(torch.cat(keys, 1))
        return self.summed(keys_BM, weights_BM) + self.bag_bias

    def keys(self, codes_BM: Tensor, orders: Sequence[int], seed: int) -> list[Tensor]:
        """See `hashed`."""
        if self.narrow:
            return hashed_bytewise(codes_BM, orders, seed)
        return hashed(codes_BM, orders, BUCKETS, seed)

    def summed(self, keys_BM: Tensor, weights_BM: Tensor) -> Tensor:
        """(B, BAG): the weighted sum of the embeddings of keys."""
        if not torch.compiler.is_exporting():
            bag: Tensor = self.bag(keys_BM, per_sample_weights=weights_BM)
            return bag
        room = -keys_BM.shape[1] % PIECES  # in pieces, for what is looked up is many times what is summed
        keys_PBM = F.pad(keys_BM, (0, room)).unflatten(1, (PIECES, -1)).unbind(1)
        weights_PBM = F.pad(weights_BM, (0, room)).unflatten(1, (PIECES, -1)).unbind(1)
        pairs = zip(keys_PBM, weights_PBM, strict=True)
        sums = [(w.unsqueeze(1) @ F.embedding(k, self.bag.weight)).squeeze(1) for k, w in pairs]
        return torch.stack(sums).sum(0)

    def read(self, ids_BN: Tensor) -> Tensor:
        """(B, K, W): what each reader makes of the tokens; in training, of a stretch of a long text."""
        if self.training and ids_BN.shape[1] > STRETCH:
            start = int(torch.randint(0, ids_BN.shape[1] - STRETCH + 1, (1,)))
            ids_BN = ids_BN[:, start : start + STRETCH]
        rows, tokens = ids_BN.shape
        mask_BN = ids_BN > 0
        x_BNKD = self.embedded(ids_BN).view(rows, tokens, READERS, EMBEDDING)
        # Each reader misses tokens of its own.
        x_BNKD = x_BNKD * self.missed(torch.ones(rows, tokens, READERS, 1, device=ids_BN.device))
        x_BCN = self.embedding_dropout(x_BNKD.flatten(2)).transpose(1, 2)
        root_B11 = mask_BN.sum(1).clamp(min=1).sqrt().view(rows, 1, 1)
        found = []
        for convolution in self.convolutions:
            read_BKFN = torch.relu(convolution(x_BCN)).view(rows, READERS, FILTERS, tokens)
            read_BKFN = read_BKFN * mask_BN[:, None, None, :]
            found += [read_BKFN.amax(-1), read_BKFN.sum(-1) / root_B11]
        pooled_BKW: Tensor = self.dropout(torch.cat(found, -1).float())
        return pooled_BKW

    def embedded(self, ids_BN: Tensor) -> Tensor:
        """(B, N, K * D): a token's own embedding and those of its character n-grams; zeros for padding."""
        if self.settled_VD is not None:  # an exported graph, whose shapes do not depend on the tokens
            return F.embedding(ids_BN, self.settled_VD) * (ids_BN > 0).unsqueeze(-1)
        distinct, place_BN = ids_BN.unique(return_inverse=True)
        return F.embedding(place_BN, self.spelt(distinct)) * (ids_BN > 0).unsqueeze(-1)

    def settle(self) -> None:
        """Compute the vectors of all tokens once, for a network that learns no more."""
        with torch.no_grad():
            self.settled_VD = self.spelt(torch.arange(len(self.ids_VM)))

    def spelt(self, ids_U: Tensor) -> Tensor:
        """(U, K * D): embeddings of some tokens of the vocabulary."""
        keys_UM = self.ids_VM[ids_U]
        scale_U1 = (keys_UM > 0).sum(1, keepdim=True).clamp(min=1).rsqrt()
        spelt: Tensor = self.embed(ids_U) + self.subwords(keys_UM) * scale_U1
        return spelt


def characters(column: Text) -> Tensor:
    """(V, L) codes of the characters of every token, 0 where it is shorter; bytes lie outside of Unicode."""
    codes: list[list[int]] = []
    for number, token in enumerate(column.tokens):
        raw = token if isinstance(token, bytes) else str(token).encode("utf-8", "surrogateescape")
        try:
            codes.append([ord(c) for c in raw.decode()] if number > 2 else [])
        except UnicodeDecodeError:
            codes.append([OUTSIDE + b for b in raw])
    longest = max(1, max(map(len, codes)))
    return torch.tensor([c + [0] * (longest - len(c)) for c in codes], dtype=torch.long, device="cpu")


def unspaced(table_VL: Tensor) -> bool:
    """True where most characters that were learned are Chinese or Japanese; all columns know the bytes."""
    learned_UL = table_VL[FIRST_CHARACTER:]
    east_asian = (learned_UL >= CJK[0]) & (learned_UL <= CJK[1])
    letters = learned_UL > ord("@")
    return bool(east_asian.sum() * 2 > letters.sum())


def spelled(ids_BN: Tensor, table_VL: Tensor) -> Tensor:
    """(B, M): the characters of the texts, one after another."""
    codes_BNL = table_VL[ids_BN]
    counts_BN = (codes_BNL > 0).sum(-1)
    first_BN = counts_BN.cumsum(1) - counts_BN
    longest = table_VL.shape[1]
    size = measured(counts_BN, ids_BN.shape[1] * longest)
    place_BNL = first_BN.unsqueeze(-1) + torch.arange(longest, device=ids_BN.device)
    place_BNL = torch.where(codes_BNL > 0, place_BNL, size)
    spelt_BM = torch.zeros(ids_BN.shape[0], size + 1, dtype=torch.long, device=ids_BN.device)
    return spelt_BM.scatter(1, place_BNL.flatten(1), codes_BNL.flatten(1))[:, :size]


def measured(counts_BN: Tensor, most: int) -> int:
    """Characters of the longest text, at least 1 and at most `most`."""
    if not torch.compiler.is_exporting():
        return max(1, int(counts_BN.sum(1).max()))
    size: int = counts_BN.sum(1).max().clamp(min=1).item()  # type: ignore[assignment]  # a symbol
    torch._check(size >= 1)  # what a graph has to know of a size that only the batch tells
    torch._check(size <= most)
    return size


def hashed(codes_BM: Tensor, orders: Sequence[int], buckets: int, seed: int) -> list[Tensor]:
    """For each order n (B, M): the bucket, from 1 on, of the n-gram that begins there; 0 past the end."""
    found, state_BM, size = [], torch.zeros_like(codes_BM), codes_BM.shape[1]
    for n in range(1, max(orders, default=0) + 1):
        following_BM = F.pad(codes_BM, (0, n))[:, n - 1 : n - 1 + size]
        state_BM = state_BM * 0x2545F491 + following_BM + n
        if n in orders:
            mixed_BM = (state_BM ^ (state_BM >> 29)) * 0x5851F42D + seed * 7919
            mixed_BM = (mixed_BM ^ (mixed_BM >> 17)) & 0x7FFFFFFF
            found.append(torch.where(following_BM > 0, mixed_BM % (buckets - 1) + 1, 0))
    return found


def counted(keys_BM: Tensor) -> tuple[Tensor, Tensor]:
    """The keys sorted, and weights such that one found c times weighs 1 + log c in all; rows have norm 1."""
    keys_BM, _ = keys_BM.sort(1)
    run_BM = F.pad((keys_BM[:, 1:] != keys_BM[:, :-1]).long().cumsum(1), (1, 0))
    ones_BM = torch.ones(keys_BM.shape, device=keys_BM.device)
    count_BM = torch.zeros_like(ones_BM).scatter_add(1, run_BM, ones_BM).gather(1, run_BM)
    weight_BM = (1 + count_BM.log()) * (keys_BM > 0)
    norm_B1 = (weight_BM.square() / count_BM).sum(1, keepdim=True).clamp(min=math.ulp(1.0)).sqrt()
    return keys_BM, weight_BM / count_BM / norm_B1
