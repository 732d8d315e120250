"""Changes to whole batches of images that keep their meaning. B = rows, H, W = pixels, C = channels."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from .errors import SettingError, did_you_mean

Augment = Callable[[Tensor, Generator], Tensor]


def flip(images_BHWC: Tensor, generator: Generator) -> Tensor:
    """Half of the images, drawn at random, mirrored left to right."""
    chosen_B = torch.rand(len(images_BHWC), generator=generator) < 0.5
    return torch.where(chosen_B[:, None, None, None], images_BHWC.flip(2), images_BHWC)


def shift(images_BHWC: Tensor, generator: Generator, share: float = 1 / 14) -> Tensor:
    """Every image moved by up to a fourteenth of its side (a pixel at least); what enters is mirrored."""
    rows, height, width, channels = images_BHWC.shape
    y, x = max(1, round(height * share)), max(1, round(width * share))
    down_B1 = torch.randint(-y, y + 1, (rows, 1), generator=generator)
    right_B1 = torch.randint(-x, x + 1, (rows, 1), generator=generator)
    # Lines of pixels are copied whole: three times as fast as pixels by their row and column.
    lines = widened(images_BHWC, x)
    line, long = width * channels, (width + 2 * x) * channels
    row_BH = mirrored(down_B1 + torch.arange(height), height) + height * torch.arange(rows)[:, None]
    start_BH = row_BH * long + (right_B1 + x) * channels
    return lines.reshape(-1).unfold(0, line, 1)[start_BH].view(images_BHWC.shape)


def widened(images_BHWC: Tensor, x: int) -> Tensor:
    """(B, H, x + W + x, C): what lies beyond the left and right edge is mirrored."""
    width = images_BHWC.shape[2]
    if x >= width:
        return images_BHWC.index_select(2, mirrored(torch.arange(-x, width + x), width))
    left, right = images_BHWC[:, :, 1 : x + 1], images_BHWC[:, :, width - 1 - x : width - 1]
    return torch.cat([left.flip(2), images_BHWC, right.flip(2)], 2)  # ten times as fast as by index


def mirrored(index: Tensor, size: int) -> Tensor:
    """Indices beyond the edge, reflected into it."""
    last = max(1, size - 1)
    return (last - (index.abs() % (2 * last) - last).abs()).clamp(max=size - 1)


def brightness(images_BHWC: Tensor, generator: Generator, most: float = 0.2) -> Tensor:
    """Every image darker or brighter by up to a fifth."""
    factor = 1 + most * (2 * torch.rand(len(images_BHWC), 1, 1, 1, generator=generator) - 1)
    return (images_BHWC * factor + 0.5).clamp_(0, 255).to(images_BHWC.dtype)


def noise(images_BHWC: Tensor, generator: Generator, deviation: float = 8.0) -> Tensor:
    """Normal noise added to every pixel."""
    grain = torch.randn(images_BHWC.shape, generator=generator) * deviation
    return (images_BHWC + grain + 0.5).clamp_(0, 255).to(images_BHWC.dtype)


def rotate(images_BHWC: Tensor, generator: Generator, degrees: float = 15.0) -> Tensor:
    """Every image turned by up to 15 degrees; what enters repeats the edge."""
    rows, height, width, _ = images_BHWC.shape
    angle = math.radians(degrees) * (2 * torch.rand(rows, generator=generator) - 1)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(rows)
    up, across = -sin * height / width, sin * width / height
    turn = torch.stack([cos, up, zero, across, cos, zero], 1).view(rows, 2, 3)
    grid = F.affine_grid(turn, [rows, 1, height, width], align_corners=False)
    turned = F.grid_sample(
        images_BHWC.permute(0, 3, 1, 2).float(), grid, padding_mode="border", align_corners=False
    )
    return (turned.permute(0, 2, 3, 1) + 0.5).clamp(0, 255).to(images_BHWC.dtype)


def erase(images_BHWC: Tensor, generator: Generator, share: float = 0.4) -> Tensor:
    """In every image a square, centred anywhere, becomes the image's mean (DeVries & Taylor 2017, Cutout)."""
    rows, height, width, _ = images_BHWC.shape
    side = max(1, round(share * min(height, width)))
    top_B1 = torch.randint(0, height, (rows, 1), generator=generator) - side // 2
    left_B1 = torch.randint(0, width, (rows, 1), generator=generator) - side // 2
    down_BH, across_BW = torch.arange(height) - top_B1, torch.arange(width) - left_B1
    inside_BH, inside_BW = (down_BH >= 0) & (down_BH < side), (across_BW >= 0) & (across_BW < side)
    gone_BHW1 = (inside_BH[:, :, None] & inside_BW[:, None])[..., None]
    mean_B11C = images_BHWC.float().mean((1, 2), keepdim=True).to(images_BHWC.dtype)
    return torch.where(gone_BHW1, mean_B11C, images_BHWC)


AUGMENTS: dict[str, Augment] = {
    "flip": flip, "shift": shift, "brightness": brightness, "noise": noise, "rotate": rotate, "erase": erase,
}  # fmt: skip


def augment(names: str | tuple[str, ...]) -> Augment:
    """The named changes one after the other: `"flip+shift"`, `("flip", "shift")`; `"none"` changes nothing.

    >>> images = torch.zeros(2, 4, 4, 1, dtype=torch.uint8)
    >>> augment("flip+shift")(images, torch.Generator().manual_seed(0)).shape
    torch.Size([2, 4, 4, 1])
    """
    if isinstance(names, str):
        names = tuple(name.strip() for name in names.split("+"))
    wanted = [name for name in names if name not in ("none", "")]
    for name in wanted:
        if name not in AUGMENTS:
            raise SettingError(f"There is no augmentation {name!r}. {did_you_mean(name, AUGMENTS)}")
    changes = [AUGMENTS[name] for name in wanted]

    def change(images_BHWC: Tensor, generator: Generator) -> Tensor:
        for one in changes:
            images_BHWC = one(images_BHWC, generator)
        return images_BHWC

    return change
