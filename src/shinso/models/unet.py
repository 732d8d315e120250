"""U-Net (Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
2015, arXiv 1505.04597), with padded convolutions and batch norm, as nearly all have it today.

The state dict has the names of the PyTorch U-Net that most files are published for (milesial/Pytorch-UNet:
`inc`, `down1` to `down4`, `up1` to `up4`, `outc`), with transposed convolutions.

B rows, C channels, H, W cells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from .base import Architecture, Backbone, Family, Reading, Size, chosen, same

DEPTH = 4  # halvings
LEAST_CELLS = 3  # of a side at the bottom, where the user sets no depth


@dataclass(frozen=True, kw_only=True)
class UNetConfig(Architecture):
    """Sizes: `depth` halvings, the deepest maps having `width` channels and the finest a part of it."""

    classes: int = 2
    depth: int = DEPTH
    width: int = 1024

    def build(self) -> UNet:
        return UNet(self)

    def suited(self, size: tuple[int, int], options: ModelConfig) -> UNetConfig:
        config = chosen(self, options, ("width", "depth"))
        depth = config.depth
        if not (options.depth or options.weights):
            while depth > 1 and min(size) < LEAST_CELLS << depth:
                depth -= 1
        width = config.width if options.width else config.width >> (config.depth - depth)
        return replace(config, depth=depth, width=max(width, 8 << depth))

    def least(self) -> int:
        return 1 << self.depth


class DoubleConv(nn.Module):
    """Twice: a 3 x 3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (inputs, outputs):
            layers += [
                nn.Conv2d(width, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        self.double_conv = nn.Sequential(*layers)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.double_conv(x_BCHW)
        return out


class Down(nn.Module):
    """Half the grid, then two convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(inputs, outputs))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.maxpool_conv(x_BCHW)
        return out


class Up(nn.Module):
    """Twice the grid, beside it what was seen on the way down, then two convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, inputs // 2, 2, 2)
        self.conv = DoubleConv(inputs, outputs)

    def forward(self, x_BCHW: Tensor, seen_BCHW: Tensor) -> Tensor:
        x = self.up(x_BCHW)
        down, across = (b - a for a, b in zip(x.shape[2:], seen_BCHW.shape[2:], strict=True))
        x = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        out: Tensor = self.conv(torch.cat([seen_BCHW, x], 1))
        return out


class UNet(Backbone):
    """(B, C, H, W) -> logits (B, classes, H, W). Its one map, at full size, is what `outc` reads."""

    last = "outc.conv"

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        widths = [config.width >> (config.depth - level) for level in range(config.depth + 1)]
        self.depth, self.width, self.channels = config.depth, widths[-1], (widths[0],)
        self.inc = DoubleConv(config.channels, widths[0])
        for level in range(1, self.depth + 1):
            setattr(self, f"down{level}", Down(widths[level - 1], widths[level]))
        for level in range(1, self.depth + 1):
            setattr(self, f"up{level}", Up(widths[-level], widths[-level - 1]))
        self.outc = nn.ModuleDict({"conv": nn.Conv2d(widths[0], config.classes, 1)} if config.classes else {})

    def read(self, x_BCHW: Tensor) -> Reading:
        seen = [self.inc(x_BCHW)]
        for level in range(1, self.depth + 1):
            seen.append(self.get_submodule(f"down{level}")(seen[-1]))
        x = bottom = seen.pop()
        for level in range(1, self.depth + 1):
            x = self.get_submodule(f"up{level}")(x, seen.pop())
        return Reading((x,), bottom.flatten(2).transpose(1, 2))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.outc["conv"](self.read(x_BCHW).maps[0])
        return out


PRESETS = {"unet": UNetConfig()}
SIZES = {
    "unet": Size(31_037_698, 477_674_203_136, 572),
}
FAMILY = Family(
    title="U-Net",
    paper="Ronneberger et al. 2015, arXiv 1505.04597",
    year=2015,
    default="unet",
    presets=PRESETS,
    sizes=SIZES,
    weights="milesial/Pytorch-UNet",
    layouts={"milesial": same},
    settings=frozenset({"width", "depth"}),
    any_pixels=True,
)
