"""Paint an image, of nothing or of what was given. B = rows, C = channels, H, W = pixels, D = token size.

Flow matching (Lipman et al. 2023, arXiv 2210.02747; Liu et al. 2023, arXiv 2209.03003): a U-Net learns the
velocity that leads from noise to picture along a straight line; painting follows it.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ..columns.image import Image
from ..features import Features
from .base import Head, HeadOptions, Loss

WIDTH = 32  # channels at the finest grid of the U-Net
TIMES = 32  # size of the embedding of time
STEPS = 12  # steps of painting, two evaluations each (Heun)


class Block(nn.Module):
    """Residual block whose middle is scaled and shifted by time and condition."""

    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.norm_one, self.norm_two = nn.GroupNorm(8, inputs), nn.GroupNorm(8, outputs)
        self.one = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.two = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.film = nn.Linear(condition, 2 * outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.two.weight)

    def forward(self, x_BCHW: Tensor, condition_BD: Tensor) -> Tensor:
        scale, shift = self.film(condition_BD)[:, :, None, None].chunk(2, 1)
        y = self.one(F.silu(self.norm_one(x_BCHW)))
        y = F.silu(self.norm_two(y) * (1 + scale) + shift)
        out: Tensor = self.skip(x_BCHW) + self.two(y)
        return out


class UNet(nn.Module):
    """Velocity (B, C, H, W) of a noisy picture at a time, under a condition."""

    def __init__(self, channels: int, size: tuple[int, int], condition: int) -> None:
        super().__init__()
        side = min(size)
        self.patch = 1 if side <= 32 else 2 if side <= 64 else 4 if side <= 128 else 8
        levels = max(1, min(3, (side // self.patch).bit_length() - 2))
        widths = [WIDTH << level for level in range(levels)]
        inside = widths[-1] * 2
        self.condition = nn.Sequential(
            nn.Linear(condition + TIMES, inside), nn.SiLU(), nn.Linear(inside, inside), nn.SiLU()
        )
        self.enter = nn.Conv2d(channels * self.patch**2, WIDTH, 3, padding=1)
        inputs = [WIDTH, *widths[:-1]]
        self.down = nn.ModuleList(Block(a, b, inside) for a, b in zip(inputs, widths, strict=True))
        self.middle = Block(widths[-1], widths[-1], inside)
        pairs = zip(inputs[::-1], widths[::-1], strict=True)
        self.up = nn.ModuleList(Block(2 * b, a, inside) for a, b in pairs)
        self.leave = nn.Conv2d(WIDTH, channels * self.patch**2, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, x_BCHW: Tensor, time_B: Tensor, given_BD: Tensor) -> Tensor:
        height, width = x_BCHW.shape[-2:]
        condition = self.condition(torch.cat([given_BD, embed_time(time_B)], 1))
        padded = F.pad(x_BCHW, (0, -width % self.patch, 0, -height % self.patch))
        x = self.enter(F.pixel_unshuffle(padded, self.patch))
        skips = []
        for block in self.down:
            x = block(x, condition)
            skips.append(x)
            x = F.avg_pool2d(x, 2, ceil_mode=True)
        x = self.middle(x, condition)
        for block in self.up:
            skip = skips.pop()
            x = F.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = block(torch.cat([x, skip], 1), condition)
        return F.pixel_shuffle(self.leave(F.silu(x)), self.patch)[:, :, :height, :width].float()


def embed_time(time_B: Tensor) -> Tensor:
    """(B, TIMES): sines and cosines of a time in 0..1."""
    frequency = torch.exp(torch.linspace(0, math.log(1000), TIMES // 2, device=time_B.device))
    angle = time_B[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], 1)


class Paint(Head):
    """The condition is the mean of the tokens; with nothing given it is the same for every row."""

    def __init__(self, column: Image, width: int, members: int, options: HeadOptions) -> None:
        super().__init__(column, width, members, options)
        self.shape = (column.channels, column.height, column.width)
        self.network = UNet(column.channels, (column.height, column.width), width)

    def velocity(self, features: Features, x_BCHW: Tensor, time_B: Tensor) -> Tensor:
        """Where a picture that is mostly noise at time 0, all picture at time 1, moves next."""
        out: Tensor = self.network(x_BCHW, time_B, features.pool().mean(1).float())
        return out

    def loss(self, features: Features, target: Tensor) -> Loss:
        """Squared error of the velocity, a mean over pixels; `target` uint8 (B, H, W, C)."""
        picture = target.permute(0, 3, 1, 2).float() / 127.5 - 1
        noise, time_B = torch.randn_like(picture), torch.rand(len(picture), device=picture.device)
        x_BCHW = torch.lerp(noise, picture, time_B[:, None, None, None])
        error = self.velocity(features, x_BCHW, time_B) - (picture - noise)
        count = torch.tensor(float(len(picture)), device=picture.device)
        return Loss(error.square().mean((1, 2, 3)).sum(), count)

    def predict(self, features: Features) -> Tensor:
        """(B, C, H, W) in -1..1 by Heun's method, from noise of a private generator that is seeded alike."""
        device = features.tokens.device
        generator = Generator(device=device).manual_seed(0)
        x = torch.randn((len(features.tokens), *self.shape), generator=generator, device=device)
        times = torch.linspace(0, 1, STEPS + 1, device=device)
        for now, then in pairwise(times):
            first = self.velocity(features, x, now.expand(len(x)))
            second = self.velocity(features, x + (then - now) * first, then.expand(len(x)))
            x = x + (then - now) * (first + second) / 2
        return x.clamp(-1, 1)
