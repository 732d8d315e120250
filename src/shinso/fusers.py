"""Where several inputs meet; with one input there is no fuser. B = rows, K = members, D = token size."""

from __future__ import annotations

import torch
from torch import nn

from .features import Features


class Concat(nn.Module):
    """For heads that pool: each input's pooled vector, normalised and joined, through one hidden layer.

    The largest ensemble among the inputs keeps its members; what the others give is averaged and shared by
    all members, each of which scales the joined vector in its own way (BatchEnsemble), so that they differ.
    """

    def __init__(self, widths: list[int], members: list[int], width: int, dropout: float) -> None:
        super().__init__()
        self.members, self.width = max(members), width
        self.norms = nn.ModuleList(nn.LayerNorm(w) for w in widths)
        self.scale = nn.Parameter(torch.ones(max(self.members, 1), sum(widths)))
        if self.members:
            nn.init.normal_(self.scale, mean=1.0, std=0.1)
        self.body = nn.Sequential(nn.Linear(sum(widths), width), nn.ReLU(), nn.Dropout(dropout))

    def forward(self, parts: list[Features]) -> Features:
        pooled = [norm(part.pool()) for norm, part in zip(self.norms, parts, strict=True)]
        members = max(self.members, 1)
        shared = [p if p.shape[1] == members else p.mean(1, keepdim=True) for p in pooled]
        joined_BKD = torch.cat([p.expand(-1, members, -1) for p in shared], -1) * self.scale
        maps = tuple(m for part in parts for m in part.maps)
        return Features.of(self.body(joined_BKD), maps=maps, members=self.members > 0)


class Join(nn.Module):
    """For heads that attend: all tokens of all inputs, each projected to one size, in one row of tokens."""

    def __init__(self, widths: list[int], width: int) -> None:
        super().__init__()
        self.members, self.width = 0, width
        self.projections = nn.ModuleList(nn.Linear(w, width) for w in widths)

    def forward(self, parts: list[Features]) -> Features:
        tokens = [project(part.tokens) for project, part in zip(self.projections, parts, strict=True)]
        maps = tuple(m for part in parts for m in part.maps)
        return Features.of(torch.cat(tokens, 1), torch.cat([part.mask for part in parts], 1), maps)


class Nothing(nn.Module):
    """Stands for "no inputs": one learned token, given to every row."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.members, self.width = 0, width
        self.token = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, rows: int) -> Features:
        return Features.of(self.token.expand(rows, 1, self.width))

    def extra_repr(self) -> str:
        return f"width={self.width}"
