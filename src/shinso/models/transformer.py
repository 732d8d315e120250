"""The Transformer: an encoder that reads a text with attention, and a decoder that writes one.

Vaswani et al., "Attention is all you need", NeurIPS 2017, arXiv 1706.03762. The state dict of `Transformer`
is that of torch.nn.Transformer of the same sizes. As a reader of texts (`TransformerNet`) the encoder stands
alone: a head that predicts a column, or the head that writes a text (heads/write.py), takes the decoder's
part.

| preset | width | layers | heads | inner | parameters without tokens | FLOPs of 64 + 64 tokens |
|---|---|---|---|---|---|---|
| transformer | 128 | 2 | 4 | 512 | 0.4 M (encoder) | 0.1 G |
| transformer-base | 512 | 6 | 8 | 2048 | 44.1 M | 5.8 G |
| transformer-big | 1024 | 6 | 16 | 4096 | 176.4 M | 23 G |

B rows, N tokens read, T tokens written, D width, H heads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..columns.text import Text
from ..config import ModelConfig
from ..errors import SettingError
from ..features import Features
from ..layers.masked import Missed
from .base import Encoder, Known
from .spelling import Spelling

DROPOUT = 0.1
MISSED = 0.3  # share of the tokens of a text that are not seen in training, without published weights


@dataclass(frozen=True, kw_only=True)
class TransformerSizes:
    """Sizes of encoder and decoder."""

    width: int
    depth: int
    heads: int
    inner: int


PRESETS: dict[str, TransformerSizes] = {
    "transformer": TransformerSizes(width=128, depth=2, heads=4, inner=512),
    "transformer-base": TransformerSizes(width=512, depth=6, heads=8, inner=2048),
    "transformer-big": TransformerSizes(width=1024, depth=6, heads=16, inner=4096),
}


class Attention(nn.Module):
    """Attention of some tokens to others; the names are those of torch.nn.MultiheadAttention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        x_BTD: Tensor,
        seen_BND: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        causal: bool = False,
    ) -> Tensor:
        """`mask` is True where a token may be looked at; without `seen` the tokens look at each other."""
        if seen_BND is None:
            parts = F.linear(x_BTD, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        else:
            width = x_BTD.shape[-1]
            query = F.linear(x_BTD, self.in_proj_weight[:width], self.in_proj_bias[:width])
            both = F.linear(seen_BND, self.in_proj_weight[width:], self.in_proj_bias[width:])
            parts = (query, *both.chunk(2, -1))
        query, key, value = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in parts)
        out = F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)
        return self.out_proj(out.transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    """Attention, then two linear layers; each is added, then normalised."""

    def __init__(self, sizes: TransformerSizes, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(sizes.width, sizes.heads)
        self.linear1, self.linear2 = nn.Linear(sizes.width, sizes.inner), nn.Linear(sizes.inner, sizes.width)
        self.norm1, self.norm2 = nn.LayerNorm(sizes.width), nn.LayerNorm(sizes.width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BND: Tensor, mask_B11N: Tensor) -> Tensor:
        x_BND = self.norm1(x_BND + self.dropout(self.self_attn(x_BND, mask=mask_B11N)))
        inner = self.dropout(torch.relu(self.linear1(x_BND)))
        return self.norm2(x_BND + self.dropout(self.linear2(inner)))


class DecoderLayer(nn.Module):
    """As an encoder's, which looks at what was written before, and with attention to what was read."""

    def __init__(self, sizes: TransformerSizes, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(sizes.width, sizes.heads)
        self.multihead_attn = Attention(sizes.width, sizes.heads)
        self.linear1, self.linear2 = nn.Linear(sizes.width, sizes.inner), nn.Linear(sizes.inner, sizes.width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(sizes.width) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, memory_BND: Tensor, mask_B11N: Tensor) -> Tensor:
        x_BTD = self.norm1(x_BTD + self.dropout(self.self_attn(x_BTD, causal=True)))
        x_BTD = self.norm2(x_BTD + self.dropout(self.multihead_attn(x_BTD, memory_BND, mask_B11N)))
        inner = self.dropout(torch.relu(self.linear1(x_BTD)))
        return self.norm3(x_BTD + self.dropout(self.linear2(inner)))


class Stack(nn.Module):
    """Layers and a last norm, as torch.nn.TransformerEncoder and TransformerDecoder have them."""

    def __init__(self, layers: list[nn.Module], width: int) -> None:
        super().__init__()
        self.layers, self.norm = nn.ModuleList(layers), nn.LayerNorm(width)


class Transformer(nn.Module):
    """Encoder and decoder over vectors: (B, N, D) and (B, T, D) to (B, T, D)."""

    def __init__(self, sizes: TransformerSizes, dropout: float = 0.0, *, decoder: bool = True) -> None:
        super().__init__()
        self.encoder = Stack([EncoderLayer(sizes, dropout) for _ in range(sizes.depth)], sizes.width)
        self.decoder = (
            Stack([DecoderLayer(sizes, dropout) for _ in range(sizes.depth)], sizes.width)
            if decoder
            else None
        )

    def read(self, x_BND: Tensor, mask_BN: Tensor) -> Tensor:
        """(B, N, D): what the encoder makes of tokens; `mask` is True where they are real."""
        for layer in self.encoder.layers:
            x_BND = layer(x_BND, mask_BN[:, None, None, :])
        return self.encoder.norm(x_BND)

    def forward(self, x_BND: Tensor, written_BTD: Tensor, mask_BN: Tensor) -> Tensor:
        assert self.decoder is not None
        memory_BND = self.read(x_BND, mask_BN)
        for layer in self.decoder.layers:
            written_BTD = layer(written_BTD, memory_BND, mask_BN[:, None, None, :])
        return self.decoder.norm(written_BTD)


def places(count: int, width: int, device: torch.device) -> Tensor:
    """(count, width): sines and cosines of the places, at speeds from 1 to 1 / 10,000."""
    speed = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000.0) / width))
    angle = torch.arange(count, device=device).unsqueeze(1) * speed
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :width]


class TransformerNet(Encoder):
    """int32 ids (B, N) to Features (B, N, D): the encoder."""

    def __init__(self, column: Text, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.missed = Missed(0.0 if options.weights else MISSED)
        sizes = sized(PRESETS[options.name or "transformer"], options)
        dropout = DROPOUT if options.dropout is None else options.dropout
        self.width = sizes.width
        self.embed = Spelling(column, sizes.width, sizes.width**-0.5)
        self.dropout = nn.Dropout(dropout)
        self.transformer = Transformer(sizes, dropout, decoder=False)

    def forward(self, ids_BN: Tensor) -> Features:
        ids_BN = ids_BN.long()
        mask_BN = ids_BN > 0 if self.attended else self.missed(ids_BN > 0)
        x_BND = self.embed(ids_BN) * self.width**0.5 + places(ids_BN.shape[1], self.width, ids_BN.device)
        nothing_B1 = ~mask_BN.any(1, keepdim=True)  # attention over no token at all is not a number
        return Features(self.transformer.read(self.dropout(x_BND), mask_BN | nothing_B1), mask_BN)


def sized(sizes: TransformerSizes, options: ModelConfig) -> TransformerSizes:
    """A preset with the sizes that the user set; the inner layers grow with the width."""
    width, heads = options.width or sizes.width, options.heads or sizes.heads
    if width % heads:
        raise SettingError(f"model.width must be a multiple of model.heads; received {width} and {heads}.")
    inner = sizes.inner * width // sizes.width
    return replace(sizes, width=width, heads=heads, depth=options.depth or sizes.depth, inner=inner)


KNOWN: dict[str, Known] = {
    name: Known(
        title="Transformer", paper="Vaswani et al. 2017, arXiv 1706.03762", year=2017,
        encoders={"text": TransformerNet}, parameters=0, settings=frozenset({"width", "depth", "heads"}),
    )
    for name in PRESETS
}  # fmt: skip
