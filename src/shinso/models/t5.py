"""T5: a Transformer that knows places by their distance, and whose every task is a text to be written.

Raffel et al., "Exploring the limits of transfer learning with a unified text-to-text transformer", JMLR 21,
2020, arXiv 1910.10683. The state dict of `T5` is that of `T5Model` of transformers, with `gated` that of
T5 1.1 (Shazeer 2020, arXiv 2002.05202). As a reader of texts (`T5Net`) the encoder stands alone: a head that
predicts a column, or the head that writes a text (heads/write.py), takes the decoder's part.

| preset | width | layers | heads of size | inner | parameters | FLOPs of reading 128 tokens |
|---|---|---|---|---|---|---|
| t5 | 128 | 2 | 4 of 32 | 512 | 2.5 M and 128 a token, which is spelled (spelling.py) | 0.1 G |
| t5-small | 512 | 6 | 8 of 64 | 2048 | 60.5 M | 5.0 G |
| t5-base | 768 | 12 | 12 of 64 | 3072 | 222.9 M | 22 G |
| t5-v1_1-small | 512 | 8 | 6 of 64 | 1024, gated | 60.5 M without the output | 5.0 G |
| t5-v1_1-base | 768 | 12 | 12 of 64 | 2048, gated | 222.9 M without the output | 22 G |

B rows, N tokens read, T tokens written, D width, H heads, C size of a head, Q queries, K keys.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..columns.text import Text
from ..config import ModelConfig
from ..features import Features
from ..layers.masked import Missed
from .base import Encoder, Known, Published
from .spelling import Spelling, spells

EPSILON = 1e-6
DROPOUT = 0.1
MISSED = 0.3  # share of the tokens of a text that are not seen in training, without published weights
BUCKETS, FARTHEST = 32, 128  # of distances


@dataclass(frozen=True, kw_only=True)
class T5Sizes:
    """Sizes of a T5."""

    width: int
    depth: int
    heads: int
    size: int  # of a head
    inner: int
    gated: bool = False
    vocabulary: int = 32_128


PRESETS: dict[str, T5Sizes] = {
    "t5": T5Sizes(width=128, depth=2, heads=4, size=32, inner=512),
    "t5-small": T5Sizes(width=512, depth=6, heads=8, size=64, inner=2048),
    "t5-base": T5Sizes(width=768, depth=12, heads=12, size=64, inner=3072),
    "t5-v1_1-small": T5Sizes(width=512, depth=8, heads=6, size=64, inner=1024, gated=True),
    "t5-v1_1-base": T5Sizes(width=768, depth=12, heads=12, size=64, inner=2048, gated=True),
}


class Attention(nn.Module):
    """Attention without scaling, which is in the weights; scores are moved by the distance of the tokens."""

    def __init__(self, sizes: T5Sizes, *, distances: bool) -> None:
        super().__init__()
        self.heads, inner = sizes.heads, sizes.heads * sizes.size
        self.q, self.k, self.v = (nn.Linear(sizes.width, inner, bias=False) for _ in range(3))
        self.o = nn.Linear(inner, sizes.width, bias=False)
        self.relative_attention_bias = nn.Embedding(BUCKETS, sizes.heads) if distances else None
        nn.init.normal_(self.q.weight, std=(sizes.width * sizes.size) ** -0.5)
        for layer in (self.k, self.v):
            nn.init.normal_(layer.weight, std=sizes.width**-0.5)
        nn.init.normal_(self.o.weight, std=inner**-0.5)

    def forward(self, x_BQD: Tensor, seen_BKD: Tensor, bias: Tensor) -> Tensor:
        """`bias` (B or 1, H or 1, Q or 1, K) is added to the scores."""
        parts = (self.q(x_BQD), self.k(seen_BKD), self.v(seen_BKD))
        query, key, value = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in parts)
        out = F.scaled_dot_product_attention(query, key, value, bias.to(query.dtype), scale=1.0)
        joined = out.transpose(1, 2).clone(memory_format=torch.contiguous_format)  # as no exporter leaves out
        return self.o(joined.flatten(2))

    def distances(self, count: int, *, both_ways: bool) -> Tensor:
        """(1, H, Q, K): what the distance of two tokens adds to their score."""
        assert self.relative_attention_bias is not None
        place = torch.arange(count, device=self.q.weight.device)
        bucket_QK = buckets(place.unsqueeze(0) - place.unsqueeze(1), both_ways=both_ways)
        return self.relative_attention_bias(bucket_QK).permute(2, 0, 1).unsqueeze(0)


def buckets(ahead: Tensor, *, both_ways: bool) -> Tensor:
    """The bucket of a distance: near ones each have their own, far ones share, on a logarithmic scale.

    >>> buckets(torch.tensor([-200, -2, 0, 2, 200]), both_ways=True).tolist()
    [15, 2, 0, 18, 31]
    """
    count = BUCKETS // 2 if both_ways else BUCKETS
    first = (ahead > 0).long() * count if both_ways else torch.zeros_like(ahead)
    away = ahead.abs() if both_ways else (-ahead).clamp(min=0)
    exact = count // 2
    share = torch.log(away.clamp(min=1).float() / exact) / math.log(FARTHEST / exact)
    far = (exact + (share * (count - exact)).long()).clamp(max=count - 1)
    return first + torch.where(away < exact, away, far)


class SelfAttention(nn.Module):
    """What is normalised looks at itself, and is added."""

    def __init__(self, sizes: T5Sizes, dropout: float, *, distances: bool) -> None:
        super().__init__()
        self.SelfAttention = Attention(sizes, distances=distances)
        self.layer_norm = nn.RMSNorm(sizes.width, EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BND: Tensor, bias: Tensor) -> Tensor:
        normed_BND = self.layer_norm(x_BND)
        return x_BND + self.dropout(self.SelfAttention(normed_BND, normed_BND, bias))


class CrossAttention(nn.Module):
    """What is written looks at what was read."""

    def __init__(self, sizes: T5Sizes, dropout: float) -> None:
        super().__init__()
        self.EncDecAttention = Attention(sizes, distances=False)
        self.layer_norm = nn.RMSNorm(sizes.width, EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, memory_BND: Tensor, bias: Tensor) -> Tensor:
        return x_BTD + self.dropout(self.EncDecAttention(self.layer_norm(x_BTD), memory_BND, bias))


class Dense(nn.Module):
    """Two linear layers around a ReLU, or three around a gate."""

    wi: nn.Module
    wi_0: nn.Module
    wi_1: nn.Module

    def __init__(self, sizes: T5Sizes) -> None:
        super().__init__()
        self.gated = sizes.gated
        for name in ("wi_0", "wi_1") if sizes.gated else ("wi",):
            self.add_module(name, nn.Linear(sizes.width, sizes.inner, bias=False))
        self.wo = nn.Linear(sizes.inner, sizes.width, bias=False)

    def forward(self, x_BND: Tensor) -> Tensor:
        if self.gated:
            return self.wo(F.gelu(self.wi_0(x_BND), approximate="tanh") * self.wi_1(x_BND))
        return self.wo(torch.relu(self.wi(x_BND)))


class FeedForward(nn.Module):
    """The linear layers, behind a norm, added."""

    def __init__(self, sizes: T5Sizes, dropout: float) -> None:
        super().__init__()
        self.DenseReluDense = Dense(sizes)
        self.layer_norm = nn.RMSNorm(sizes.width, EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BND: Tensor) -> Tensor:
        return x_BND + self.dropout(self.DenseReluDense(self.layer_norm(x_BND)))


class Block(nn.Module):
    """One layer; with `memory` a decoder's."""

    def __init__(self, sizes: T5Sizes, dropout: float, *, first: bool, decoder: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList([SelfAttention(sizes, dropout, distances=first)])
        if decoder:
            self.layer.append(CrossAttention(sizes, dropout))
        self.layer.append(FeedForward(sizes, dropout))

    def forward(
        self, x: Tensor, bias: Tensor, memory_BND: Tensor | None = None, seen: Tensor | None = None
    ) -> Tensor:
        x = self.layer[0](x, bias)
        if memory_BND is not None:
            x = self.layer[1](x, memory_BND, seen)
        return self.layer[-1](x)


class Stack(nn.Module):
    """All layers; the first knows the distances for all."""

    def __init__(self, sizes: T5Sizes, dropout: float, *, decoder: bool) -> None:
        super().__init__()
        self.decoder = decoder
        self.block = nn.ModuleList(
            Block(sizes, dropout, first=i == 0, decoder=decoder) for i in range(sizes.depth)
        )
        self.final_layer_norm = nn.RMSNorm(sizes.width, EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x_BND: Tensor, hidden: Tensor, memory_BND: Tensor | None = None, unseen: Tensor | None = None
    ) -> Tensor:
        """`hidden` is True where a token may not be looked at; `unseen` likewise, of what was read."""
        first = self.block[0].layer[0].SelfAttention  # type: ignore[union-attr, index]
        bias = first.distances(x_BND.shape[1], both_ways=not self.decoder)
        bias = bias.masked_fill(hidden, -torch.inf)
        seen = (
            None
            if unseen is None
            else torch.zeros_like(unseen, dtype=bias.dtype).masked_fill(unseen, -torch.inf)
        )
        x_BND = self.dropout(x_BND)
        for block in self.block:
            x_BND = block(x_BND, bias, memory_BND, seen)
        return self.dropout(self.final_layer_norm(x_BND))


class T5(nn.Module):
    """Token ids read (B, N) and written (B, T) to hidden states (B, T, D)."""

    def __init__(self, sizes: T5Sizes, dropout: float = 0.0, *, decoder: bool = True) -> None:
        super().__init__()
        self.shared: nn.Module = nn.Embedding(sizes.vocabulary, sizes.width)
        self.encoder = Stack(sizes, dropout, decoder=False)
        self.decoder = Stack(sizes, dropout, decoder=True) if decoder else None

    def read(self, ids_BN: Tensor, mask_BN: Tensor) -> Tensor:
        """(B, N, D): what the encoder makes of tokens; `mask` is True where they are real."""
        return self.encoder(self.shared(ids_BN), ~mask_BN[:, None, None, :])

    def forward(self, ids_BN: Tensor, written_BT: Tensor, mask_BN: Tensor) -> Tensor:
        assert self.decoder is not None
        memory_BND = self.read(ids_BN, mask_BN)
        count = written_BT.shape[1]
        later_TT = torch.ones(count, count, dtype=torch.bool, device=ids_BN.device).triu(1)
        return self.decoder(self.shared(written_BT), later_TT, memory_BND, ~mask_BN[:, None, None, :])


class T5Net(Encoder):
    """int32 ids (B, N) to Features (B, N, D): the encoder."""

    def __init__(self, column: Text, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.missed = Missed(0.0 if options.weights else MISSED)
        sizes = sized(PRESETS[options.name or "t5"], options)
        # Published tables are longer than their tokenizers.
        rows = max(sizes.vocabulary, len(column.tokens)) if column.tokenizer else len(column.tokens)
        self.width = sizes.width
        dropout = DROPOUT if options.dropout is None else options.dropout
        self.t5 = T5(replace(sizes, vocabulary=rows), dropout, decoder=False)
        if spells(column, options, published=(options.name or "t5") in SIZES):
            self.t5.shared = Spelling(column, sizes.width)

    def published(self) -> Published:
        """All of it; the decoder of a file is left out."""
        return Published(self.t5, {"transformers": rename_encoder})

    def forward(self, ids_BN: Tensor) -> Features:
        ids_BN = ids_BN.long()
        mask_BN = ids_BN > 0 if self.attended else self.missed(ids_BN > 0)
        nothing_B1 = ~mask_BN.any(1, keepdim=True)  # attention over no token at all is not a number
        return Features(self.t5.read(ids_BN, mask_BN | nothing_B1), mask_BN)


def sized(sizes: T5Sizes, options: ModelConfig) -> T5Sizes:
    """A preset with the sizes that the user set; the inner layers grow with the width."""
    width = options.width or sizes.width
    inner = sizes.inner * width // sizes.width
    return replace(
        sizes,
        width=width,
        depth=options.depth or sizes.depth,
        heads=options.heads or sizes.heads,
        inner=inner,
    )


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of transformers, of any of its T5 classes, to that of `T5`: the table of tokens once."""
    twice = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
    found = {name: value for name, value in state.items() if name not in twice}
    if "shared.weight" not in found and twice[0] in state:
        found["shared.weight"] = state[twice[0]]
    return found


def rename_encoder(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As `rename`, without the decoder."""
    return {name: value for name, value in rename(state).items() if not name.startswith("decoder.")}


# Parameters, both sides, and FLOPs of 128 tokens read, of what the presets are published as.
SIZES: dict[str, tuple[int, int]] = {
    "t5-small": (60_506_624, 5_033_164_800), "t5-base": (222_903_552, 22_347_251_712),
    "t5-v1_1-small": (60_511_616, 5_033_164_800), "t5-v1_1-base": (222_903_552, 22_347_251_712),
}  # fmt: skip


def known_of(name: str) -> Known:
    """The line of one preset."""
    parameters, flops = SIZES.get(name, (0, 0))
    return Known(
        title="T5", paper="Raffel et al. 2019, arXiv 1910.10683", year=2019, encoders={"text": T5Net},
        parameters=parameters, flops=flops, input="128 tokens" if parameters else "",
        weights="transformers" if parameters else "", settings=frozenset({"width", "depth", "heads"}),
        reference=partial(reference_of, name) if parameters else None,
    )  # fmt: skip


def reference_of(name: str) -> Published:
    """The encoder of a preset as it is published."""
    return Published(T5(PRESETS[name], decoder=False), {"transformers": rename_encoder})


KNOWN: dict[str, Known] = {name: known_of(name) for name in PRESETS}
