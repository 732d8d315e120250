"""The default reader of sound: a log-mel picture and a small convolution network.

B = rows, T = samples, F = frames, M = mel bands, C = channels, N = tokens, D = token size.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..columns.audio import Audio
from ..config import ModelConfig
from ..features import Features
from .base import Encoder

WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.010
BANDS = 64


class LogMel(nn.Module):
    """float (B, T), NaN after the end -> log-mel (B, M, F), mean 0 and deviation 1 by sound, and (B, F), True where real.

    The transform is one matrix product over frames (no FFT), which every exporter knows and which is fast enough.
    """

    def __init__(self, rate: int, bands: int = BANDS) -> None:
        super().__init__()
        self.window, self.hop = max(2, round(WINDOW_SECONDS * rate)), max(1, round(HOP_SECONDS * rate))
        self.register_buffer("basis", _fourier(self.window), persistent=False)
        self.register_buffer("mel", _mel(rate, self.window, bands), persistent=False)

    basis: Tensor
    mel: Tensor

    def forward(self, sound_BT: Tensor) -> tuple[Tensor, Tensor]:
        real_BT = ~torch.isnan(sound_BT)
        padded = F.pad(torch.where(real_BT, sound_BT, 0.0), (self.window // 2, self.window))
        frames_BFW = padded.unfold(1, self.window, self.hop)
        mask_BF = real_BT[:, :: self.hop]
        frames_BFW = frames_BFW[:, : mask_BF.shape[1]]
        parts = (frames_BFW @ self.basis).square()
        power_BFK = parts[..., : parts.shape[-1] // 2] + parts[..., parts.shape[-1] // 2 :]
        mel_BFM = (power_BFK @ self.mel).clamp(min=1e-6).log()
        return self._normalised(mel_BFM, mask_BF).transpose(1, 2), mask_BF

    def _normalised(self, mel_BFM: Tensor, mask_BF: Tensor) -> Tensor:
        keep = mask_BF.unsqueeze(-1)
        count = keep.sum((1, 2), keepdim=True).clamp(min=1) * mel_BFM.shape[-1]
        mean = torch.where(keep, mel_BFM, 0.0).sum((1, 2), keepdim=True) / count
        centred = torch.where(keep, mel_BFM - mean, 0.0)
        return centred / (centred.square().sum((1, 2), keepdim=True) / count + 1e-3).sqrt()


class AudioNet(Encoder):
    """float (B, T), NaN after the end -> Features of (B, N, D), a token for every 80 milliseconds."""

    def __init__(self, column: Audio, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.width = options.width or 128
        self.spectrum = LogMel(column.rate)
        widths = [1, self.width // 4, self.width // 2, self.width]
        self.stages = nn.ModuleList(Stage(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.dropout = nn.Dropout(options.dropout or 0.0)
        self.out = nn.Linear(self.width * BANDS // 8, self.width)

    def forward(self, sound_BT: Tensor) -> Features:
        mel_BMF, mask_BF = self.spectrum(sound_BT)
        x_BCMF = mel_BMF.unsqueeze(1)
        for stage in self.stages:
            x_BCMF, mask_BF = stage(x_BCMF, mask_BF)
        tokens_BND = F.gelu(self.out(self.dropout(x_BCMF.flatten(1, 2).transpose(1, 2))))
        return Features.of(tokens_BND, mask_BF)


class Stage(nn.Module):
    """Convolution, group norm over what is real, GELU, halving of bands and frames."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x_BCMF: Tensor, mask_BF: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(self.conv(x_BCMF).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = torch.where(mask_BF[:, None, None], F.gelu(x), 0.0)
        x = F.avg_pool2d(x, 2, ceil_mode=True)
        return x, F.max_pool1d(mask_BF.float().unsqueeze(1), 2, ceil_mode=True).squeeze(1) > 0


def _fourier(window: int) -> Tensor:
    """(W, 2K): Hann-windowed cosines and sines, scaled so that a sine of amplitude 1 has the power 1."""
    times = torch.arange(window, dtype=torch.float64)
    angles = 2 * math.pi / window * times[:, None] * torch.arange(window // 2 + 1, dtype=torch.float64)
    hann = torch.sin(math.pi * (times + 0.5) / window).square()[:, None] * (4 / window)
    return torch.cat([angles.cos() * hann, angles.sin() * hann], 1).float()


def _mel(rate: int, window: int, bands: int) -> Tensor:
    """(K, M): triangles of equal width on the mel scale, from 20 Hz to half the rate."""
    def to_mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    steps = torch.linspace(to_mel(20), to_mel(rate / 2), bands + 2, dtype=torch.float64)
    edges = 700 * (10 ** (steps / 2595) - 1)
    hertz = torch.arange(window // 2 + 1, dtype=torch.float64)[:, None] * rate / window
    width = torch.tensor(rate / window, dtype=torch.float64)  # low bands are never narrower than one bin
    rising = (hertz - edges[:-2]) / torch.maximum(edges[1:-1] - edges[:-2], width)
    falling = (edges[2:] - hertz) / torch.maximum(edges[2:] - edges[1:-1], width)
    return torch.minimum(rising, falling).clamp(min=0).float()
