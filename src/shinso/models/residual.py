"""The default reader of images: a small residual network that suits 8 x 8 to 224 x 224 pixels.

After He et al. 2016 (identity shortcuts, arXiv 1603.05027). B = rows, C = channels, H, W = pixels or cells,
N = tokens, D = token size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..columns.image import Image
from ..config import ModelConfig
from ..features import Features
from .base import Encoder


class Normalise(nn.Module):
    """Pixels of 0..255 (B, H, W, C) to standardised (B, C, H, W), channels last in memory."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        scale = 1 / (255 * torch.tensor(std))
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", -torch.tensor(mean) / torch.tensor(std), persistent=False)

    scale: Tensor
    shift: Tensor

    def forward(self, image_BHWC: Tensor) -> Tensor:
        return (image_BHWC.float() * self.scale + self.shift).permute(0, 3, 1, 2)


def channels_last(x_BCHW: Tensor) -> Tensor:
    """The same numbers with channels last in memory."""
    return x_BCHW.contiguous(memory_format=torch.channels_last)


def conv(inputs: int, outputs: int) -> nn.Sequential:
    """3 x 3 convolution, batch norm, GELU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs, momentum=0.4), nn.SiLU()
    )


class Block(nn.Module):
    """Two convolutions around which the input is carried."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = conv(width, width), conv(width, width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = x_BCHW + self.two(self.one(x_BCHW))
        return out


class Stage(nn.Module):
    """Widen, halve the grid, then `depth` residual blocks."""

    def __init__(self, inputs: int, outputs: int, depth: int) -> None:
        super().__init__()
        self.widen = conv(inputs, outputs)
        self.blocks = nn.Sequential(*(Block(outputs) for _ in range(depth)))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.blocks(F.max_pool2d(self.widen(x_BCHW), 2))
        return out


class ResidualNet(Encoder):
    """uint8 or float (B, H, W, C) of 0..255 -> Features: the last grid as tokens, every stage as a map."""

    def __init__(self, column: Image, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.width = options.width or 256
        depth = options.depth or 1
        self.normalise = Normalise(column.mean, column.std)
        side = min(column.height, column.width)
        stride = 1 if side < 64 else 2 if side < 128 else 4
        stages = max(1, min(3, (side // stride).bit_length() - 2))
        widths = [max(8, self.width >> (stages - 1 - i)) for i in range(stages)]
        first = max(8, widths[0] // 2)
        self.stem = nn.Conv2d(column.channels, first, max(3, stride * 2 - 1), stride, max(1, stride - 1))
        pairs = zip([first, *widths], widths, strict=False)
        self.stages = nn.ModuleList(Stage(a, b, depth) for a, b in pairs)
        self.dropout = nn.Dropout(options.dropout or 0.0)

    def forward(self, image_BHWC: Tensor) -> Features:
        x = F.silu(self.stem(self.normalise(image_BHWC)))
        maps: list[Tensor] = [x]
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        if x.requires_grad:  # else the gradient may come in another layout, and batch norm takes 7 times as long
            x.register_hook(channels_last)
        tokens_BND = self.dropout(x.flatten(2).transpose(1, 2))
        return Features.of(tokens_BND, maps=tuple(maps))
