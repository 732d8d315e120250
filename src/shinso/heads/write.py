"""Writes a text: a small causal transformer that looks at the features.

B rows, T tokens written, N tokens read, D width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..columns.text import BEGIN, END, PADDING, Text
from ..features import Features
from .base import Head, HeadOptions, Loss


class Write(Head):
    """Text, token by token (Vaswani et al. 2017; layers before normalisation, Xiong et al. 2020)."""

    def __init__(self, column: Text, width: int, members: int, options: HeadOptions) -> None:
        super().__init__(column, width, members, options)
        self.smoothing = options.label_smoothing
        self.steps = column.max_length
        self.embed = nn.Embedding(len(column.tokens), width, padding_idx=PADDING)
        self.places = nn.Parameter(torch.randn(column.max_length + 1, width) * 0.02)
        nn.init.normal_(self.embed.weight, std=width**-0.5)
        heads = max(h for h in (8, 4, 2, 1) if width % h == 0)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(width, heads, 4 * width, 0.1, batch_first=True, norm_first=True) for _ in range(2)
        )
        self.norm = nn.LayerNorm(width)

    def _logits(self, features: Features, written_BT: Tensor) -> Tensor:
        hidden_BTD = self.embed(written_BT) + self.places[: written_BT.shape[1]]
        causal_TT = nn.Transformer.generate_square_subsequent_mask(written_BT.shape[1], device=written_BT.device)
        for layer in self.layers:
            hidden_BTD = layer(
                hidden_BTD, features.tokens, tgt_mask=causal_TT, memory_key_padding_mask=~features.mask, tgt_is_causal=True
            )
        logits: Tensor = functional.linear(self.norm(hidden_BTD), self.embed.weight)
        return logits

    def loss(self, features: Features, target: Tensor) -> Loss:
        target_BT = target.long()
        begin_B1 = target_BT.new_full((len(target_BT), 1), BEGIN)
        read_BT = torch.cat([begin_B1, target_BT], 1)
        wanted_BT = torch.cat([target_BT, torch.zeros_like(begin_B1)], 1)
        wanted_BT[torch.arange(len(target_BT)), (target_BT != PADDING).sum(1)] = END
        wanted_BT = wanted_BT * (target_BT != PADDING).any(1, keepdim=True)
        logits_BTV = self._logits(features, read_BT).float()
        total = functional.cross_entropy(
            logits_BTV.flatten(0, 1), wanted_BT.flatten(), ignore_index=PADDING, reduction="sum", label_smoothing=self.smoothing
        )
        return Loss(total, (wanted_BT != PADDING).sum().float())

    def predict(self, features: Features) -> Tensor:
        rows = len(features.tokens)
        written_BT = torch.full((rows, 1), BEGIN, device=features.tokens.device)
        done_B = torch.zeros(rows, dtype=torch.bool, device=written_BT.device)
        for _ in range(self.steps):
            best_B = self._logits(features, written_BT)[:, -1].argmax(-1)
            written_BT = torch.cat([written_BT, best_B.masked_fill(done_B, PADDING)[:, None]], 1)
            done_B = done_B | (best_B == END)
            if bool(done_B.all()):
                break
        return written_BT[:, 1:]
