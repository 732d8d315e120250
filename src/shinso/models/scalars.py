"""All numbers, categories, label sets and times of a row, read at once by an ensemble that shares its weights.

TabM: Gorishniy, Kotelnikov, Babenko, ICLR 2025 (BatchEnsemble: Wen et al., 2020). Embeddings of numbers: Gorishniy,
Rubachev, Babenko, NeurIPS 2022, piecewise linear, version B of the TabM paper. Equal to the `tabm` package with
copied weights (tests/test_scalars.py).

B rows, K members, D width, F number features, N bins, E embedding size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..columns.base import Column
from ..columns.category import Category
from ..columns.datetime import SIZE as TIME_SIZE
from ..columns.datetime import Datetime
from ..columns.labels import Labels
from ..columns.number import Number
from ..config import ModelConfig
from ..features import Features
from .base import Encoder

WIDTH, DEPTH, DROPOUT, MEMBERS, EMBEDDING, BINS = 256, 2, 0.1, 16, 16, 48


class PiecewiseLinear(nn.Module):
    """(B, F) to (B, F, E): a linear embedding plus a learned piecewise-linear one that starts at zero.

    `edges` holds for each feature its increasing bin edges. A feature with fewer bins than the widest one uses the
    first of the N slots for its own bins and the last for its last bin, so that one clamp serves all.
    """

    def __init__(self, edges: Sequence[Tensor], size: int) -> None:
        super().__init__()
        features, bins = len(edges), max(len(e) - 1 for e in edges)
        self.linear_weight = nn.Parameter(torch.empty(features, size).uniform_(-1, 1))
        self.linear_bias = nn.Parameter(torch.empty(features, size).uniform_(-1, 1))
        self.weight_FNE = nn.Parameter(torch.zeros(features, bins, size))
        slope_FN, start_FN = torch.zeros(features, bins), torch.zeros(features, bins)
        low_FN, high_FN = torch.zeros(features, bins), torch.ones(features, bins)
        for f, edge in enumerate(edges):
            slots = [*range(len(edge) - 2), bins - 1]
            slope_FN[f, slots] = 1 / edge.diff()
            start_FN[f, slots] = -edge[:-1] / edge.diff()
            low_FN[f, slots[0]], high_FN[f, slots[-1]] = -math.inf, math.inf  # the outer bins go on for ever
        for name, tensor in (("slope", slope_FN), ("start", start_FN), ("low", low_FN), ("high", high_FN)):
            self.register_buffer(f"{name}_FN", tensor, persistent=False)
        self.slope_FN: Tensor
        self.start_FN: Tensor
        self.low_FN: Tensor
        self.high_FN: Tensor

    def forward(self, x_BF: Tensor) -> Tensor:
        x_BFN = torch.addcmul(self.start_FN, self.slope_FN, x_BF.unsqueeze(-1))
        x_BFN = torch.minimum(torch.maximum(x_BFN, self.low_FN), self.high_FN)
        bins_BFE = torch.bmm(x_BFN.transpose(0, 1), self.weight_FNE).transpose(0, 1)
        return torch.addcmul(self.linear_bias, self.linear_weight, x_BF.unsqueeze(-1)) + bins_BFE


class BatchEnsembleLinear(nn.Module):
    """K linear layers that share one matrix: ((x * r_k) W) * s_k + b_k, (B, K, D) to (B, K, D')."""

    def __init__(self, inputs: int, outputs: int, members: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        self.r_KD = nn.Parameter(torch.ones(members, inputs))
        self.s_KD = nn.Parameter(torch.ones(members, outputs))
        self.bias_KD = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound).repeat(members, 1))

    def forward(self, x_BKD: Tensor) -> Tensor:
        return torch.addcmul(self.bias_KD, nn.functional.linear(x_BKD * self.r_KD, self.weight), self.s_KD)


class Scalars(Encoder):
    """Reads a dict of the scalar columns' batches; gives K members as tokens (B, K, D).

    Numbers and times get piecewise-linear embeddings (bins: the training quantiles), categories one-hot columns
    (one for "unseen"; rare labels share it), label sets their multi-hot vector, missing values an indicator each.
    """

    def __init__(self, columns: tuple[Column, ...], options: ModelConfig) -> None:
        super().__init__(columns, options)
        size = options.embedding or EMBEDDING
        self.width, self.members = options.width or WIDTH, options.members or MEMBERS
        self.numbers = [c.name for c in columns if isinstance(c, Number)]
        self.times = [c.name for c in columns if isinstance(c, Datetime)]
        self.categories = [(c.name, len(c.labels) + 1) for c in columns if isinstance(c, Category)]
        self.sets = [(c.name, len(c.labels)) for c in columns if isinstance(c, Labels)]
        self.gaps = [c.name for c in columns if not isinstance(c, Category)]
        edges = [bin_edges(c) for c in columns if isinstance(c, Number)]
        self.embed = PiecewiseLinear(edges, size) if edges else None
        chunks = [size] * len(edges) + [1] * TIME_SIZE * len(self.times)
        chunks += [n for _, n in self.categories] + [n for _, n in self.sets] + [1] * len(self.gaps)
        dropout = DROPOUT if options.dropout is None else options.dropout
        layers = []
        for inputs in [sum(chunks)] + [self.width] * ((options.depth or DEPTH) - 1):
            layers.append(BatchEnsembleLinear(inputs, self.width, self.members))
        with torch.no_grad():  # members start apart: one random scale for each feature and member
            draws_KC, counts = torch.randn(self.members, len(chunks)), torch.tensor(chunks)
            layers[0].r_KD.copy_(draws_KC.repeat_interleave(counts, 1, output_size=sum(chunks)))
        self.blocks = nn.ModuleList(nn.Sequential(layer, nn.ReLU(), nn.Dropout(dropout)) for layer in layers)

    def forward(self, columns: dict[str, Tensor]) -> Features:
        x_BKD = self.flat(columns).unsqueeze(1).expand(-1, self.members, -1)
        for block in self.blocks:
            x_BKD = block(x_BKD)
        return Features.of(x_BKD, members=True)

    def flat(self, columns: dict[str, Tensor]) -> Tensor:
        """(B, sum of chunks): all columns side by side."""
        pieces = []
        if self.embed is not None:
            x_BF = torch.stack([columns[name] for name in self.numbers], 1).nan_to_num()
            pieces.append(self.embed(x_BF.float()).flatten(1))
        pieces += [columns[name].nan_to_num() for name in self.times]
        pieces += [one_hot(columns[name], n) for name, n in self.categories]
        pieces += [columns[name].nan_to_num() for name, _ in self.sets]
        for name in self.gaps:
            gap = columns[name].isnan()
            pieces.append((gap if gap.ndim == 1 else gap.any(1)).float().unsqueeze(1))
        return torch.cat(pieces, 1)


def one_hot(index_B: Tensor, size: int) -> Tensor:
    """(B, size) float; all zeros where the index is -1."""
    return (index_B.unsqueeze(1) == torch.arange(size, device=index_B.device)).float()


def bin_edges(column: Number, bins: int = BINS) -> Tensor:
    """Increasing edges in standardised units, at most `bins` + 1 of them and at least 2."""
    raw = np.asarray(column.quantiles or (column.low, column.high), np.float64)
    picked = raw[np.linspace(0, len(raw) - 1, bins + 1).round().astype(int)]
    edges = np.unique(column.encode_many(picked).astype(np.float64))
    keep = [edges[0]] + [b for a, b in itertools.pairwise(edges) if b - a > 1e-6]
    return torch.tensor(keep if len(keep) > 1 else [keep[0] - 0.5, keep[0] + 0.5], dtype=torch.float32)
