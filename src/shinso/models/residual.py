"""The default reader of images: a small residual network that suits 8 x 8 to 224 x 224 pixels.

After He et al. 2016 (identity shortcuts around normalised branches, arXiv 1603.05027), thinned for processors
on which a bf16 convolution costs no more than the normalisation beside it: a block has one batch norm and one
ReLU for its two convolutions, and the grid is halved by strides, never by pooling.
B = rows, C = channels, H, W = pixels or cells, N = tokens, D = token size.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..columns.image import Image
from ..config import ModelConfig
from ..features import Features
from .base import Encoder

LEAST = 8  # channels of a map


class Normalise(nn.Module):
    """Pixels of 0..255 (B, H, W, C) to standardised (B, C, H, W), channels last in memory."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        # Reckoned by Python: arithmetic on the meta device imports half a second of torch.
        scale, shift = [1 / (255 * s) for s in std], [-m / s for m, s in zip(mean, std, strict=True)]
        self.register_buffer("scale", torch.tensor(scale), persistent=False)
        self.register_buffer("shift", torch.tensor(shift), persistent=False)

    scale: Tensor
    shift: Tensor

    def forward(self, image_BHWC: Tensor) -> Tensor:
        return (image_BHWC.float() * self.scale + self.shift).permute(0, 3, 1, 2)


class Block(nn.Module):
    """x + conv(relu(conv(norm(x)))). The last filters begin at zero: a new block changes nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        nn.init.dirac_(self.conv1.weight)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = x_BCHW + self.conv2(F.relu_(self.conv1(self.norm(x_BCHW))))
        return out


class Stage(nn.Module):
    """Widen, halving the grid with stride 2, then `depth` residual blocks."""

    def __init__(self, inputs: int, outputs: int, stride: int, depth: int) -> None:
        super().__init__()
        kernel = 4 if stride == 2 and inputs <= 4 else 3
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, 1, bias=False)
        if inputs > 4:
            nn.init.dirac_(self.conv.weight[:inputs])
        self.norm = nn.BatchNorm2d(outputs)
        self.blocks = nn.Sequential(*(Block(outputs) for _ in range(depth)))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.blocks(F.relu_(self.norm(self.conv(x_BCHW))))
        return out


class ChannelsLast(torch.autograd.Function):
    """The identity, with a gradient whose channels are last: otherwise batch norm takes 7 times as long."""

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor) -> Tensor:
        return x_BCHW.view_as(x_BCHW)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].contiguous(memory_format=torch.channels_last)


class ResidualNet(Encoder):
    """uint8 or float (B, H, W, C) of 0..255 -> Features: the last grid as tokens, every stage as a map.

    The grid is halved until its shorter side has 6 to 11 cells (4 or 5 below 12 pixels); the last two grids,
    of `width` / 2 and `width` channels, have `depth` blocks each.
    """

    def __init__(self, column: Image, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.width = max(LEAST, options.width or 128)
        self.normalise = Normalise(column.mean, column.std)
        self.stages = nn.ModuleList(self._stages(column, options.depth or 2))
        self.norm = nn.BatchNorm2d(self.width)
        self.dropout = nn.Dropout(options.dropout or 0.0)

    def _stages(self, column: Image, depth: int) -> list[Stage]:
        halvings = max(1, int(math.log2(min(column.height, column.width) / 3)) - 1)
        first = 0 if halvings == 1 else 1
        widths = [max(LEAST, self.width >> (halvings - level)) for level in range(first, halvings + 1)]
        inputs = [column.channels, *widths[:-1]]
        strides = [2 if level else 1 for level in range(first, halvings + 1)]
        depths = [depth if len(widths) - i <= 2 else 0 for i in range(len(widths))]
        return [Stage(*sizes) for sizes in zip(inputs, widths, strides, depths, strict=True)]

    def forward(self, image_BHWC: Tensor) -> Features:
        x = self.normalise(image_BHWC)
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        maps[-1] = x = ChannelsLast.apply(F.relu(self.norm(x)))
        return Features.of(self.dropout(x.flatten(2).transpose(1, 2)), maps=tuple(maps))
