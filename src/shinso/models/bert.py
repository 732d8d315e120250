"""BERT: a text read by attention in both directions.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019, arXiv 1810.04805; small
sizes: Turc et al. 2019, arXiv 1908.08962; MiniLM: Wang et al. 2020, arXiv 2002.10957. The state dict of
`Bert` is that of `BertModel` of transformers without its pooler, whose place the heads take; the sentence
vectors of `all-MiniLM-L6-v2` are the mean of the tokens.

| preset | width | layers | heads | parameters | FLOPs of 128 tokens |
|---|---|---|---|---|---|
| bert | 128 | 2 | 4 | 2.6 M and 128 a token, which is spelled (spelling.py) | 0.1 G |
| bert-tiny | 128 | 2 | 2 | 4.4 M | 0.1 G |
| bert-mini | 256 | 4 | 4 | 11.1 M | 0.8 G |
| bert-small | 512 | 4 | 8 | 28.5 M | 3.3 G |
| bert-medium | 512 | 8 | 8 | 41.1 M | 6.6 G |
| bert-base | 768 | 12 | 12 | 108.9 M | 22 G |
| bert-large | 1024 | 24 | 16 | 334.1 M | 79 G |
| minilm | 384 | 6 | 12 | 22.6 M | 2.8 G |

B rows, N tokens, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..columns.text import Text
from ..config import ModelConfig
from ..errors import SettingError
from ..features import Features
from ..layers.attentionpool import AttentionPool
from ..layers.masked import Missed
from ..layers.selfattention import seen
from .base import Encoder, Known, Published
from .spelling import Spelling, spells

EPSILON = 1e-12  # of the layer norms
DROPOUT = 0.1
READ = 4  # last layers that attention pools: those before the last tell more than it does
MISSED = 0.3  # share of the tokens of a text that are not seen in training, without published weights


@dataclass(frozen=True, kw_only=True)
class BertSizes:
    """Sizes of a BERT; the inner layers are four times as wide as the tokens."""

    width: int
    depth: int
    heads: int
    vocabulary: int = 30_522
    positions: int = 512


PRESETS: dict[str, BertSizes] = {
    "bert": BertSizes(width=128, depth=2, heads=4),
    "bert-tiny": BertSizes(width=128, depth=2, heads=2),
    "bert-mini": BertSizes(width=256, depth=4, heads=4),
    "bert-small": BertSizes(width=512, depth=4, heads=8),
    "bert-medium": BertSizes(width=512, depth=8, heads=8),
    "bert-base": BertSizes(width=768, depth=12, heads=12),
    "bert-large": BertSizes(width=1024, depth=24, heads=16),
    "minilm": BertSizes(width=384, depth=6, heads=12),
}


class Embeddings(nn.Module):
    """The sum of a token's, its place's and its segment's vector, normalised; there is one segment."""

    def __init__(self, sizes: BertSizes, dropout: float) -> None:
        super().__init__()
        self.word_embeddings: nn.Module = nn.Embedding(sizes.vocabulary, sizes.width, padding_idx=0)
        self.position_embeddings = nn.Embedding(sizes.positions, sizes.width)
        self.token_type_embeddings = nn.Embedding(2, sizes.width)
        self.LayerNorm = nn.LayerNorm(sizes.width, EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids_BN: Tensor) -> Tensor:
        x_BND = self.word_embeddings(ids_BN) + self.token_type_embeddings.weight[0]
        x_BND = x_BND + self.position_embeddings.weight[: ids_BN.shape[1]]
        return self.dropout(self.LayerNorm(x_BND))


class SelfAttention(nn.Module):
    """Every token looks at all that are real."""

    def __init__(self, sizes: BertSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.query, self.key, self.value = (nn.Linear(sizes.width, sizes.width) for _ in range(3))

    def forward(self, x_BND: Tensor, mask_B11N: Tensor) -> Tensor:
        parts = (layer(x_BND) for layer in (self.query, self.key, self.value))
        query, key, value = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in parts)
        seen_BHNC = seen(query, key, value, mask_B11N, training=self.training)
        return seen_BHNC.transpose(1, 2).flatten(2)


class Output(nn.Module):
    """A linear layer, added to what came before and normalised."""

    def __init__(self, inputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(inputs, width), nn.LayerNorm(width, EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inner: Tensor, before_BND: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(inner)) + before_BND)


class Attention(nn.Module):
    """Self-attention and what follows it."""

    def __init__(self, sizes: BertSizes, dropout: float) -> None:
        super().__init__()
        self.self = SelfAttention(sizes)
        self.output = Output(sizes.width, sizes.width, dropout)

    def forward(self, x_BND: Tensor, mask_B11N: Tensor) -> Tensor:
        return self.output(self.self(x_BND, mask_B11N), x_BND)


class Intermediate(nn.Module):
    """The wide inner layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, 4 * width)

    def forward(self, x_BND: Tensor) -> Tensor:
        return F.gelu(self.dense(x_BND))


class Layer(nn.Module):
    """Attention, then two linear layers, each added and then normalised."""

    def __init__(self, sizes: BertSizes, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(sizes, dropout)
        self.intermediate = Intermediate(sizes.width)
        self.output = Output(4 * sizes.width, sizes.width, dropout)

    def forward(self, x_BND: Tensor, mask_B11N: Tensor) -> Tensor:
        x_BND = self.attention(x_BND, mask_B11N)
        return self.output(self.intermediate(x_BND), x_BND)


class Layers(nn.Module):
    """All layers, one after another."""

    def __init__(self, sizes: BertSizes, dropout: float) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(sizes, dropout) for _ in range(sizes.depth))

    def forward(self, x_BND: Tensor, mask_B11N: Tensor) -> Tensor:
        return self.states(x_BND, mask_B11N)[-1]

    def states(self, x_BND: Tensor, mask_B11N: Tensor) -> list[Tensor]:
        """What every layer makes, the embeddings first."""
        found = [x_BND]
        for layer in self.layer:
            found.append(layer(found[-1], mask_B11N))
        return found


class Bert(nn.Module):
    """Token ids (B, N), 0 for padding, to the last hidden states (B, N, D)."""

    def __init__(self, sizes: BertSizes, dropout: float = 0.0) -> None:
        super().__init__()
        self.embeddings = Embeddings(sizes, dropout)
        self.encoder = Layers(sizes, dropout)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, ids_BN: Tensor, mask_BN: Tensor) -> Tensor:
        return self.encoder(self.embeddings(ids_BN), mask_BN[:, None, None, :])

    def states(self, ids_BN: Tensor, mask_BN: Tensor) -> list[Tensor]:
        """The hidden states of every layer, the embeddings first."""
        return self.encoder.states(self.embeddings(ids_BN), mask_BN[:, None, None, :])


class BertNet(Encoder):
    """int32 ids (B, N) to Features (B, N, D); tokens past the last position are not read."""

    def __init__(self, column: Text, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.missed = Missed(0.0 if options.weights else MISSED)
        sizes = sized(PRESETS[options.name or "bert"], options)
        sizes = replace(sizes, vocabulary=len(column.tokens))
        self.width, self.positions = sizes.width, sizes.positions
        self.bert = Bert(sizes, DROPOUT if options.dropout is None else options.dropout)
        if spells(column, options, published=(options.name or "bert") in SIZES):
            self.bert.embeddings.word_embeddings = Spelling(column, sizes.width)
        self.readout = attention_pool(options, sizes.width, sizes.depth)
        if self.readout:
            self.width = self.readout.width

    def published(self) -> Published:
        """All of it."""
        return Published(self.bert, {"transformers": rename})

    def forward(self, ids_BN: Tensor) -> Features:
        if self.readout:
            return self.readout(self.states(ids_BN))
        ids_BN, mask_BN, seen_BN = self._masks(ids_BN)
        return Features(self.bert(ids_BN, seen_BN), mask_BN)

    def states(self, ids_BN: Tensor) -> Features:
        """The last layers side by side."""
        ids_BN, mask_BN, seen_BN = self._masks(ids_BN)
        return Features(torch.cat(self.bert.states(ids_BN, seen_BN)[1:][-READ:], -1), mask_BN)

    def _masks(self, ids_BN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, what is real of them, and what is looked at."""
        ids_BN = ids_BN[:, : self.positions].long()
        mask_BN = ids_BN > 0 if self.attended else self.missed(ids_BN > 0)
        nothing_B1 = ~mask_BN.any(1, keepdim=True)  # attention over no token at all is not a number
        return ids_BN, mask_BN, mask_BN | nothing_B1


def attention_pool(options: ModelConfig, width: int, depth: int) -> AttentionPool | None:
    """What reads the last layers where the settings say so."""
    return AttentionPool(min(READ, depth) * width) if options.pooling == "attention" else None


def sized(sizes: BertSizes, options: ModelConfig) -> BertSizes:
    """A preset with the sizes that the user set."""
    chosen = {"width": options.width, "depth": options.depth, "heads": options.heads}
    sizes = replace(sizes, **{name: value for name, value in chosen.items() if value is not None})
    if sizes.width % sizes.heads:
        raise SettingError(
            f"model.width must be a multiple of model.heads; received {sizes.width} and {sizes.heads}."
        )
    return sizes


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of transformers, of any of its BERT classes and of old files, to that of `Bert`."""
    found = {}
    for name, value in state.items():
        name = name.removeprefix("bert.").replace("LayerNorm.gamma", "LayerNorm.weight")
        name = name.replace("LayerNorm.beta", "LayerNorm.bias")
        if name.startswith(("embeddings.", "encoder.")) and not name.endswith("position_ids"):
            found[name] = value
    return found


# Parameters and FLOPs of 128 tokens, of what the presets are published as.
SIZES: dict[str, tuple[int, int]] = {
    "bert-tiny": (4_369_408, 117_440_512), "bert-mini": (11_104_768, 872_415_232),
    "bert-small": (28_500_992, 3_355_443_200), "bert-medium": (41_110_528, 6_710_886_400),
    "bert-base": (108_891_648, 22_347_251_712), "bert-large": (334_092_288, 78_920_024_064),
    "minilm": (22_565_376, 2_868_903_936),
}  # fmt: skip


BERT = ("BERT", "Devlin et al. 2018, arXiv 1810.04805", 2018)
MINILM = ("MiniLM", "Wang et al. 2020, arXiv 2002.10957", 2020)


def known_of(name: str) -> Known:
    """The line of one preset."""
    parameters, flops = SIZES.get(name, (0, 0))
    title, paper, year = MINILM if name == "minilm" else BERT
    return Known(
        title=title, paper=paper, year=year, encoders={"text": BertNet}, parameters=parameters, flops=flops,
        input="128 tokens" if parameters else "", weights="transformers" if parameters else "",
        settings=frozenset({"width", "depth", "heads", "pooling"}),
        reference=partial(reference_of, name) if parameters else None,
    )  # fmt: skip


def reference_of(name: str) -> Published:
    """A preset as it is published."""
    return Published(Bert(PRESETS[name]), {"transformers": rename})


KNOWN: dict[str, Known] = {name: known_of(name) for name in PRESETS}
