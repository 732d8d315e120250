"""The default reader of sound: a log-mel spectrum and a small dilated residual convolution network over time.

B = rows, T = samples, F = frames, W = samples of a frame, K = frequencies, M = mel bands, N = tokens, D =
token size.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..columns.audio import Audio
from ..config import ModelConfig
from ..features import Features
from ..layers.dilated import DilatedStack
from .base import Encoder

FRAME_SECONDS, HOP_SECONDS = 0.032, 0.012
BANDS = 40


class AudioNet(Encoder):
    """float (B, T), NaN after the end -> Features of (B, N, D), a token for every 24 milliseconds."""

    def __init__(self, column: Audio, options: ModelConfig) -> None:
        super().__init__(column, options)
        self.width = options.width or 128
        self.spectrum = LogMel(column.rate)
        self.stem = nn.Conv1d(BANDS, self.width, 5, 2, 2)
        self.body = DilatedStack(self.width, options.depth or 3, options.dropout or 0.0)

    def forward(self, sound_BT: Tensor) -> Features:
        mel_BMF, mask_BF = self.spectrum(sound_BT)
        mask_BN = mask_BF[:, ::2]
        return Features.of(self.body(self.stem(mel_BMF), mask_BN.unsqueeze(1)).transpose(1, 2), mask_BN)


class LogMel(nn.Module):
    """float (B, T), NaN after the end -> log-mel (B, M, F), standardised by sound, and its mask (B, F).

    The transform is one matrix product over frames (no FFT): every exporter knows it, and it is fast enough.
    """

    def __init__(self, rate: int, bands: int = BANDS) -> None:
        super().__init__()
        self.window, self.hop = max(2, round(FRAME_SECONDS * rate)), max(1, round(HOP_SECONDS * rate))
        self.register_buffer("basis", fourier(self.window), persistent=False)
        self.register_buffer("mel", mel_bands(rate, self.window, bands), persistent=False)

    basis: Tensor
    mel: Tensor

    def forward(self, sound_BT: Tensor) -> tuple[Tensor, Tensor]:
        real_BT = ~torch.isnan(sound_BT)
        padded = F.pad(torch.where(real_BT, sound_BT, 0.0), (self.window // 2, self.window))
        mask_BF = real_BT[:, :: self.hop]
        frames_BFW = padded.unfold(1, self.window, self.hop)[:, : mask_BF.shape[1]]
        cosine_BFK, sine_BFK = (frames_BFW @ self.basis).float().square().chunk(2, -1)
        mel_BFM = ((cosine_BFK + sine_BFK) @ self.mel).float().clamp(min=1e-6).log()
        return standardised(mel_BFM, mask_BF.unsqueeze(-1)).transpose(1, 2), mask_BF


def standardised(x_BFM: Tensor, keep_BF1: Tensor) -> Tensor:
    """Mean 0 and deviation 1 over what is real in each row, 0 elsewhere: loudness and microphone drop out."""
    count_B11 = keep_BF1.sum((1, 2), keepdim=True).clamp(min=1) * x_BFM.shape[-1]
    mean_B11 = torch.where(keep_BF1, x_BFM, 0.0).sum((1, 2), keepdim=True) / count_B11
    centred_BFM = torch.where(keep_BF1, x_BFM - mean_B11, 0.0)
    variance_B11 = centred_BFM.square().sum((1, 2), keepdim=True) / count_B11
    return centred_BFM / (variance_B11 + 1e-3).sqrt()


def fourier(window: int) -> Tensor:
    """(W, 2K): cosines, then sines, in a Hann window; a sine of amplitude 1 has the power 1."""
    times = torch.arange(window, dtype=torch.float64)
    angles = 2 * math.pi / window * times[:, None] * torch.arange(window // 2 + 1, dtype=torch.float64)
    hann = torch.sin(math.pi * (times + 0.5) / window).square()[:, None] * (4 / window)
    return torch.cat([angles.cos() * hann, angles.sin() * hann], 1).float()


def mel_bands(rate: int, window: int, bands: int) -> Tensor:
    """(K, M): triangles of equal width on the mel scale, from 20 Hz to half the rate."""
    low, high = (2595 * math.log10(1 + hertz / 700) for hertz in (20, rate / 2))
    edges = 700 * (10 ** (torch.linspace(low, high, bands + 2, dtype=torch.float64) / 2595) - 1)
    hertz = torch.arange(window // 2 + 1, dtype=torch.float64)[:, None] * rate / window
    widths = (edges[1:] - edges[:-1]).clamp(min=rate / window)  # a band is never narrower than one frequency
    rising = (hertz - edges[:-2]) / widths[:-1]
    falling = (edges[2:] - hertz) / widths[1:]
    return torch.minimum(rising, falling).clamp(min=0).float()
