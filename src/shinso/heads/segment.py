"""Say the class of every pixel. B = rows, K = classes, C = channels, H, W = pixels."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..columns.mask import IGNORE, Mask
from ..errors import DataError
from ..features import Features
from .base import Head, HeadOptions, Loss

WIDTH = 32  # channels of the decoder
LEVELS = 6  # most maps that are read, from the coarsest


class Segment(Head):
    """Maps are brought to one width, added from coarse to fine and smoothed (FPN, arXiv 1612.03144).

    Their channels are those of `options.maps`; without, the coarsest has `width` channels and each finer one
    half of that, at least 8, as in `ResidualNet`.
    """

    def __init__(self, column: Mask, width: int, members: int, options: HeadOptions) -> None:
        super().__init__(column, width, members, options)
        self.size = (column.height, column.width)
        self.smoothing = options.label_smoothing
        weights = torch.tensor(options.class_weights) if options.class_weights else None
        self.register_buffer("weights", weights, persistent=False)
        own = [max(8, width >> level) for level in range(LEVELS)]
        self.channels = list(options.maps[::-1][:LEVELS]) or own  # coarse to fine
        self.laterals = nn.ModuleList(nn.Conv2d(channels, WIDTH, 1) for channels in self.channels)
        self.smooth = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in self.channels)
        self.score = nn.Conv2d(WIDTH, column.classes, 1)
        with torch.no_grad():  # start from the shares of the classes: a rare one is not unlearned first
            prior = torch.tensor(column.shares).clamp(min=1e-4).log()
            self.score.bias = nn.Parameter(prior)

    weights: Tensor | None

    def forward(self, features: Features) -> Tensor:
        """(B, K, H, W) logits; `DataError` where the features hold no maps of the expected widths."""
        maps = features.maps[::-1][:LEVELS]
        found = [grid.shape[1] for grid in maps]
        if not maps or found != self.channels[: len(maps)]:
            raise DataError(
                f"A mask is predicted from an image: expected maps of {self.channels} channels; "
                f"received {found}. Give an image column, or a model whose maps are so."
            )
        x_BCHW = self.smooth[0](F.gelu(self.laterals[0](maps[0])))
        for level, (_, fine) in enumerate(pairwise(maps), start=1):
            coarse = F.interpolate(x_BCHW, size=fine.shape[-2:], mode="nearest")
            x_BCHW = self.smooth[level](F.gelu(coarse + self.laterals[level](fine)))
        scores = self.score(F.gelu(x_BCHW)).float()
        return F.interpolate(scores, size=self.size, mode="bilinear", align_corners=False)

    def loss(self, features: Features, target: Tensor) -> Loss:
        """Cross entropy over the pixels that have a class; `target` (B, H, W)."""
        target = target.long()
        total = F.cross_entropy(
            self(features), target, self.weights,
            ignore_index=IGNORE, reduction="sum", label_smoothing=self.smoothing,
        )  # fmt: skip
        return Loss(total, (target != IGNORE).sum().float())

    def predict(self, features: Features) -> Tensor:
        probabilities: Tensor = self(features).softmax(1)
        return probabilities
