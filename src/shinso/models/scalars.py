"""All scalar columns of a row, read at once by an ensemble that shares its weights.

TabM: Gorishniy, Kotelnikov, Babenko, ICLR 2025; BatchEnsemble: Wen, Tran, Ba, ICLR 2020. Piecewise-linear
embeddings of numbers: Gorishniy, Rubachev, Babenko, NeurIPS 2022, in version B of the TabM paper. With copied
weights equal to the `tabm` package (tests/test_scalars.py).

B rows, K members, F number features, N bins, E embedding size; D inputs and W outputs of a layer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
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

WIDTH, DEPTH, DROPOUT, MEMBERS, EMBEDDING = 256, 2, 0.0, 16, 16
LEAST = 2  # training rows that a label needs for a slot of its own
ONE_HOT = 64  # most slots of a category that is not embedded
FAR = 100.0  # deviations that a number is clipped to


class PiecewiseLinear(nn.Module):
    """(B, F) to (B, F, E): a linear embedding plus a learned piecewise-linear one that starts at zero.

    `edges` holds for each feature its increasing bin edges. A feature with fewer bins than the others puts
    its last bin into the last of the N slots, so that one clamp with constant limits serves all features.
    """

    def __init__(self, edges: Sequence[Tensor], size: int) -> None:
        super().__init__()
        features, bins = len(edges), max(len(e) - 1 for e in edges)
        self.linear_weight_1FE = nn.Parameter(torch.empty(1, features, size).uniform_(-1, 1))
        self.linear_bias_1FE = nn.Parameter(torch.empty(1, features, size).uniform_(-1, 1))
        self.weight_FNE = nn.Parameter(torch.zeros(features, bins, size))
        slope_FN, start_FN = torch.zeros(features, bins), torch.zeros(features, bins)
        low_FN, high_FN = torch.zeros(features, bins), torch.ones(features, bins)
        for f, edge in enumerate(edges):
            slots = [*range(len(edge) - 2), bins - 1]
            slope_FN[f, slots] = 1 / edge.diff()
            start_FN[f, slots] = -edge[:-1] / edge.diff()
            low_FN[f, slots[0]], high_FN[f, slots[-1]] = -math.inf, math.inf  # the outer bins go on for ever
        self.slope_FN: Tensor
        self.start_FN: Tensor
        self.low_FN: Tensor
        self.high_FN: Tensor
        for name, tensor in (("slope", slope_FN), ("start", start_FN), ("low", low_FN), ("high", high_FN)):
            self.register_buffer(f"{name}_FN", tensor, persistent=False)

    def forward(self, x_BF: Tensor) -> Tensor:
        x_BFN = torch.addcmul(self.start_FN, self.slope_FN, x_BF.unsqueeze(-1))
        x_BFN = torch.minimum(torch.maximum(x_BFN, self.low_FN), self.high_FN)
        bins_BFE = torch.bmm(x_BFN.transpose(0, 1), self.weight_FNE).transpose(0, 1)
        return torch.addcmul(self.linear_bias_1FE, self.linear_weight_1FE, x_BF.unsqueeze(-1)) + bins_BFE


class BatchEnsembleLinear(nn.Module):
    """K linear layers that share one matrix: ((x * r_k) W) * s_k + b_k, (K, B, D) to (K, B, W).

    The scalings are folded into K copies of the matrix: the same numbers as scaling the activations, and
    for batches larger than the layer much less memory traffic. Under autocast they are folded in its
    precision: the copies are most of what a step moves.
    """

    def __init__(self, inputs: int, outputs: int, members: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight_DW = nn.Parameter(torch.empty(inputs, outputs).uniform_(-bound, bound))
        self.r_KD1 = nn.Parameter(torch.ones(members, inputs, 1))
        self.s_K1W = nn.Parameter(torch.ones(members, 1, outputs))
        self.bias_K1W = nn.Parameter(torch.empty(1, 1, outputs).uniform_(-bound, bound).repeat(members, 1, 1))

    def forward(self, x_KBD: Tensor) -> Tensor:
        kind = self.weight_DW.dtype
        if torch.is_autocast_enabled(x_KBD.device.type):
            kind = torch.get_autocast_dtype(x_KBD.device.type)
        weight_KDW = self.weight_DW.to(kind) * self.r_KD1.to(kind) * self.s_K1W.to(kind)
        return torch.baddbmm(self.bias_K1W, x_KBD, weight_KDW)


class DroppedReLU(torch.autograd.Function):
    """ReLU and dropout in one: on a CPU the random numbers of dropout otherwise cost more than the layer.

    Eight draws of one byte are made at once, so the rate is rounded to 1/256.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:
        least = round(256 * rate)
        ctx.scale = 256 / (256 - least)
        draws = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device).random_(-(2**63), None)
        kept = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= least
        y = x.relu().mul_(kept).mul_(ctx.scale)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return gradients[0] * (y > 0) * ctx.scale, None


class LabelSlots(nn.Module):
    """Category indices of several columns to slots of one table: a dict of (B,) to (B, columns).

    Labels with enough training rows have a slot each. The others of a column share one, which stands for
    labels never met too; missing values have one. What training rows cannot teach gets the slot `empty`.
    """

    def __init__(self, columns: Sequence[Category]) -> None:
        super().__init__()
        self.names, self.sizes = [c.name for c in columns], [0] * len(columns)
        flat: list[int | None] = []
        starts = []
        for i, column in enumerate(columns):
            slots, self.sizes[i] = slots_of(column, sum(self.sizes))
            starts.append(len(flat) + 1)  # the index -1 stands before it
            flat += slots
        self.empty = sum(self.sizes)
        indices = torch.tensor([self.empty if slot is None else slot for slot in flat], dtype=torch.int64)
        self.slots: Tensor
        self.starts: Tensor
        self.register_buffer("slots", indices, persistent=False)
        self.register_buffer("starts", torch.tensor(starts, dtype=torch.int64), persistent=False)

    def forward(self, columns: dict[str, Tensor]) -> Tensor:
        return self.slots[torch.stack([columns[name] for name in self.names], 1) + self.starts]


class Scalars(Encoder):
    """Reads a dict of the scalar columns' batches; gives K members as tokens (B, K, D).

    Numbers get piecewise-linear embeddings that bend at the column's knots, categories of few labels one-hot
    slots and those of many labels embeddings, label sets their multi-hot vector, times their calendar
    features. Missing numbers and times have an indicator where training rows had such.
    """

    def __init__(self, columns: tuple[Column, ...], options: ModelConfig) -> None:
        super().__init__(columns, options)
        size, depth = options.embedding or EMBEDDING, options.depth or DEPTH
        self.width, self.members = options.width or WIDTH, options.members or MEMBERS
        self.dropout = DROPOUT if options.dropout is None else options.dropout
        numbers = [c for c in columns if isinstance(c, Number)]
        times = [c for c in columns if isinstance(c, Datetime)]
        sets = [c for c in columns if isinstance(c, Labels)]
        categories = [c for c in columns if isinstance(c, Category)]
        few = [c for c in categories if slots_of(c)[1] <= ONE_HOT]
        many = [c for c in categories if slots_of(c)[1] > ONE_HOT]
        self.numbers, self.vectors = [c.name for c in numbers], [c.name for c in (*times, *sets)]
        self.gaps = [c.name for c in numbers if c.missing > 0] + [c.name for c in times if c.missing > 0]
        self.embed_numbers = PiecewiseLinear([bin_edges(c) for c in numbers], size) if numbers else None
        self.few = LabelSlots(few) if few else None
        self.many = LabelSlots(many) if many else None
        labels = self.many.empty if self.many else 0
        self.embed_labels = nn.Embedding(labels + 1, size, padding_idx=labels) if labels else None
        chunks = [size] * len(numbers) + [1] * TIME_SIZE * len(times) + [len(c.labels) for c in sets]
        chunks += (self.few.sizes if self.few else []) + [size] * len(many) + [1] * len(self.gaps)
        widths = [max(1, sum(chunks)), *[self.width] * depth]
        layers = [BatchEnsembleLinear(a, b, self.members) for a, b in itertools.pairwise(widths)]
        self.layers = nn.ModuleList(layers)
        with torch.no_grad():  # members start apart: one random scale for each feature and member
            draws_KC, counts = torch.randn(self.members, len(chunks)), torch.tensor(chunks)
            first_KD = draws_KC.repeat_interleave(counts, 1, output_size=sum(chunks))
            layers[0].r_KD1.copy_(first_KD.unsqueeze(-1))

    def forward(self, columns: dict[str, Tensor]) -> Features:
        x_KBD = self.flat(columns).unsqueeze(0).expand(self.members, -1, -1)
        for layer in self.layers:
            x_KBD = layer(x_KBD)
            dropped = self.training and self.dropout > 0
            x_KBD = DroppedReLU.apply(x_KBD, self.dropout) if dropped else F.relu(x_KBD)
        return Features.of(x_KBD.transpose(0, 1), members=True)

    def flat(self, columns: dict[str, Tensor]) -> Tensor:
        """(B, D): all columns side by side."""
        pieces = []
        if self.embed_numbers is not None:
            x_BF = torch.stack([columns[name] for name in self.numbers], 1)
            pieces.append(self.embed_numbers(x_BF.nan_to_num().clamp(-FAR, FAR)).flatten(1))
        pieces += [columns[name].nan_to_num() for name in self.vectors]
        if self.few is not None:
            index_BC = self.few(columns)
            hot_BD = torch.zeros(index_BC.shape[0], self.few.empty + 1, device=index_BC.device)
            pieces.append(hot_BD.scatter_(1, index_BC, 1.0)[:, :-1])
        if self.many is not None and self.embed_labels is not None:
            pieces.append(self.embed_labels(self.many(columns)).flatten(1))
        for name in self.gaps:
            pieces.append(columns[name].reshape(columns[name].shape[0], -1)[:, :1].isnan())
        return torch.cat([piece.float() for piece in pieces], 1)


def slots_of(column: Category, start: int = 0) -> tuple[list[int | None], int]:
    """The slots of missing, of every label and of unseen, from `start` on (None: no slot); and how many."""
    number = itertools.count(start)
    labels = [next(number) if rows >= LEAST else None for rows in column.counts]
    rare = next(number) if None in labels else None
    missing = next(number) if column.missing > 0 else None
    return [missing, *(rare if slot is None else slot for slot in labels), rare], next(number) - start


def bin_edges(column: Number) -> Tensor:
    """Increasing edges in standardised units, at least 2."""
    knots = np.asarray(column.knots or (column.low, column.high), np.float64)
    edges = np.unique(column.encode_many(knots).astype(np.float64).clip(-FAR, FAR))
    keep = [edges[0], *(b for a, b in itertools.pairwise(edges) if b - a > 1e-6)]
    return torch.tensor(
        keep if len(keep) > 1 else [keep[0] - 0.5, keep[0] + 0.5], dtype=torch.float32, device="cpu"
    )
