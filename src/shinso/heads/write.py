"""Writes a text: a small causal transformer that looks at the features.

B = rows, T = tokens written, N = tokens read, D = token size, H = attention heads, V = vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..columns.text import BEGIN, END, PADDING, Text
from ..features import Features
from .base import Head, HeadOptions, Loss

DEPTH = 2
HEAD = 32  # size of an attention head
DROPOUT = 0.1


class Read(NamedTuple):
    """What a layer attends to, computed once for all that is written: keys and values of the features."""

    keys_BHND: Tensor
    values_BHND: Tensor
    mask_B11N: Tensor


class Past(NamedTuple):
    """Keys and values of what a layer has written so far."""

    keys_BHTD: Tensor
    values_BHTD: Tensor


class Layer(nn.Module):
    """Attention to what was written, attention to the features, two linear layers; each normalised first."""

    def __init__(self, width: int, source: int) -> None:
        super().__init__()
        self.heads = width // HEAD
        self.self_norm, self.source_norm, self.norm = (nn.LayerNorm(width) for _ in range(3))
        self.self_in, self.self_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query, self.source_in = nn.Linear(width, width), nn.Linear(source, 2 * width)
        self.source_out = nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(DROPOUT)

    def read(self, tokens_BND: Tensor, mask_BN: Tensor) -> Read:
        """Prepare the features to be attended to."""
        keys, values = self._split(self.source_in(tokens_BND), 2)
        return Read(keys, values, mask_BN[:, None, None, :])

    def forward(self, hidden_BTD: Tensor, read: Read, past: Past | None = None) -> tuple[Tensor, Past]:
        """With `past` the one token after it; without, all tokens, each of which sees those before it."""
        query, keys, values = self._split(self.self_in(self.self_norm(hidden_BTD)), 3)
        if past is not None:
            keys, values = torch.cat([past.keys_BHTD, keys], 2), torch.cat([past.values_BHTD, values], 2)
        seen = F.scaled_dot_product_attention(query, keys, values, is_causal=past is None)
        hidden_BTD = hidden_BTD + self.dropout(self.self_out(_joined(seen)))
        (query,) = self._split(self.query(self.source_norm(hidden_BTD)), 1)
        seen = F.scaled_dot_product_attention(query, read.keys_BHND, read.values_BHND, read.mask_B11N)
        hidden_BTD = hidden_BTD + self.dropout(self.source_out(_joined(seen)))
        changed = self.narrow(F.gelu(self.wide(self.norm(hidden_BTD))))
        return hidden_BTD + self.dropout(changed), Past(keys, values)

    def _split(self, x: Tensor, parts: int) -> list[Tensor]:
        """(B, T, parts * D) to `parts` of (B, H, T, D / H)."""
        return [p.unflatten(-1, (self.heads, HEAD)).transpose(1, 2) for p in x.chunk(parts, -1)]


class Write(Head):
    """The tokens of a text, one after another (Vaswani et al., NeurIPS 2017; Xiong et al., ICML 2020).

    Learns by teacher forcing; predicts greedily, up to the length of the longest training text. A row whose
    text is empty has no target. Features may be tokens or the members of an ensemble.
    """

    def __init__(self, column: Text, width: int, members: int, options: HeadOptions) -> None:
        super().__init__(column, width, members, options)
        self.smoothing = options.label_smoothing
        self.most = max(1, min(column.longest, column.max_length))
        inner = HEAD * max(2, round(width / HEAD))
        self.embed = nn.Embedding(len(column.tokens), inner)
        self.places = nn.Parameter(torch.randn(column.max_length + 1, inner) * 0.02)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.source_norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(Layer(inner, width) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(inner)

    def loss(self, features: Features, target: Tensor) -> Loss:
        """`target` (B, T) token ids, 0 for padding; counts tokens, the end of a text among them."""
        target_BT = target.long()
        lengths_B1 = (target_BT != PADDING).sum(1, keepdim=True)
        begun_BT = F.pad(target_BT, (1, 0), value=BEGIN)
        ended_BT = F.pad(target_BT, (0, 1)).scatter(1, lengths_B1, END)
        ended_BT = torch.where(lengths_B1 > 0, ended_BT, PADDING)
        hidden_BTD, _ = self._step(begun_BT, 0, self._read(features), [None] * DEPTH)
        told_BT = ended_BT != PADDING  # the vocabulary is large: only these tokens are scored
        logits_NV = self._logits(hidden_BTD[told_BT]).float()
        total = F.cross_entropy(logits_NV, ended_BT[told_BT], reduction="sum", label_smoothing=self.smoothing)
        return Loss(total, told_BT.sum().float())

    def predict(self, features: Features) -> Tensor:
        """(B, T) token ids of the likeliest next tokens; after the end there is padding."""
        read = self._read(features)
        past: list[Past | None] = [None] * DEPTH
        last_B = torch.full((len(features.tokens),), BEGIN, device=features.tokens.device)
        ended_B = torch.zeros_like(last_B, dtype=torch.bool)
        written = []
        for place in range(self.most + 1):
            hidden_BTD, present = self._step(last_B[:, None], place, read, past)
            past = list(present)
            logits_BV = self._logits(hidden_BTD[:, 0])
            logits_BV[:, [PADDING, BEGIN]] = -torch.inf
            last_B = logits_BV.argmax(-1).masked_fill(ended_B, PADDING)
            ended_B = ended_B | (last_B == END)
            written.append(last_B)
            if bool(ended_B.all()):
                break
        return torch.stack(written, 1)

    def _read(self, features: Features) -> list[Read]:
        tokens_BND = self.source_norm(features.tokens)
        nothing_B1 = ~features.mask.any(1, keepdim=True)  # attention over no token at all is not a number
        return [layer.read(tokens_BND, features.mask | nothing_B1) for layer in self.layers]  # type: ignore[operator]

    def _step(
        self, ids_BT: Tensor, place: int, read: list[Read], past: list[Past | None]
    ) -> tuple[Tensor, list[Past]]:
        """Hidden states of `ids_BT`, which stand at `place` and after it."""
        hidden_BTD = self.embed(ids_BT) + self.places[place : place + ids_BT.shape[1]]
        hidden_BTD = F.dropout(hidden_BTD, DROPOUT, self.training)
        present = []
        for layer, read_here, past_here in zip(self.layers, read, past, strict=True):
            hidden_BTD, present_here = layer(hidden_BTD, read_here, past_here)
            present.append(present_here)
        return self.norm(hidden_BTD), present

    def _logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.embed.weight)


def _joined(x_BHTD: Tensor) -> Tensor:
    return x_BHTD.transpose(1, 2).flatten(2)
