"""Readers of series and sound, and the forecast head: what they see, what they leave out, what they learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shinso.columns.audio import Audio
from shinso.columns.series import Series
from shinso.config import ModelConfig
from shinso.errors import SettingError
from shinso.features import Features
from shinso.heads.base import HeadOptions
from shinso.heads.forecast import Forecast
from shinso.layers.masked import MaskedNorm
from shinso.models.audio import AudioNet, LogMel, fourier, mel_bands
from shinso.models.series import TOKENS, SeriesNet
from shinso.models.window import Window, latest

NAN = float("nan")
OPTIONS = ModelConfig(width=16, depth=2, dropout=0.0)


def series(length: int, variables: int = 1) -> Series:
    mean, std = (0.0,) * variables, (1.0,) * variables
    return Series(name="x", length=length, variables=variables, mean=mean, std=std)


def forecast(length: int, width: int, variables: int = 1, members: int = 0, loss: str = "") -> Forecast:
    return Forecast(series(length, variables), width, members, HeadOptions(loss=loss))


def waves(rows: int, length: int, seed: int = 0) -> Tensor:
    """(B, T, 1): sines of one frequency with any phase, height and level."""
    rng = np.random.default_rng(seed)
    phase, height, level = (rng.uniform(*r, (rows, 1)) for r in ((0, 6.28), (0.5, 2), (-3, 3)))
    return torch.from_numpy(level + height * np.sin(0.5 * np.arange(length) + phase)).float().unsqueeze(-1)


# Normalisation over what is real -------------------------------------------------------------------


def test_masked_norm_is_batch_norm_where_all_is_real() -> None:
    torch.manual_seed(0)
    ours, theirs = MaskedNorm(5), nn.BatchNorm1d(5, momentum=None)
    for _ in range(5):
        x = torch.randn(4, 5, 7) * 3 + 1
        real = torch.ones(4, 1, 7, dtype=torch.bool)
        torch.testing.assert_close(ours(x, real), theirs(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    ours.eval()
    keep = torch.ones(1, 1, 7, dtype=torch.bool)
    manual = (x - ours.running_mean.view(-1, 1)) / (ours.running_var.view(-1, 1) + ours.eps).sqrt()
    torch.testing.assert_close(ours(x, keep), manual, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("junk", [0.0, 1e6, NAN])
def test_masked_norm_never_looks_at_padding(junk: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 2, 6)
    keep = torch.arange(6) < torch.tensor([6, 2, 4]).view(3, 1, 1)
    norm = MaskedNorm(2)
    clean = norm(torch.where(keep, x, 0.0), keep)
    dirty = norm(torch.where(keep, x, junk), keep)
    assert torch.equal(clean, dirty) and not clean.masked_select(~keep.expand_as(clean)).any()
    both = clean.transpose(1, 2)[keep[:, 0]]
    torch.testing.assert_close(both.mean(0), torch.zeros(2), rtol=0, atol=1e-5)


def test_masked_norm_of_a_picture_and_of_nothing() -> None:
    norm = MaskedNorm(3)
    keep = torch.tensor([True, True, False]).view(1, 1, 1, 3)
    assert not norm(torch.randn(2, 3, 4, 3), keep)[..., 2].any()
    assert norm(torch.randn(2, 3, 4), torch.zeros(2, 1, 4, dtype=torch.bool)).isfinite().all()


# Readers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 10, TOKENS - 1, TOKENS, 2 * TOKENS, 5 * TOKENS + 3])
def test_tokens_and_mask_agree_at_every_length(length: int) -> None:
    model = SeriesNet(series(length), OPTIONS).eval()
    for times in {1, 7, length, length + 1}:
        features = model(torch.randn(2, times, 1))
        assert features.tokens.shape == (2, features.mask.shape[1], 16)
        assert features.mask.all() and features.tokens.shape[1] == -(-times // model.stride)
    assert model(torch.randn(1, length, 1)).tokens.shape[1] <= 2 * TOKENS


def test_a_gap_is_seen_and_is_no_padding() -> None:
    model = SeriesNet(series(20, 2), OPTIONS).eval()
    whole = torch.randn(1, 20, 2)
    gap, tail = whole.clone(), whole.clone()
    gap[:, 5:8] = NAN
    tail[:, 15:] = NAN
    assert model(gap).mask.all() and model(tail).mask.sum() == 15
    filled = torch.where(gap.isnan(), 0.0, gap)
    assert not torch.allclose(model(gap).pool(), model(filled).pool()), "a gap is not a reading of 0"


def test_the_latest_readings_stand_at_the_end() -> None:
    rows = [[1, 2, 3, 4, 5], [1, 2, NAN, NAN, NAN], [NAN] * 5, [NAN, 2, NAN, 4, NAN]]
    padded = torch.tensor(rows).unsqueeze(-1)
    expected = torch.tensor([[3, 4, 5], [NAN, 1, 2], [NAN] * 3, [2, NAN, 4]])
    torch.testing.assert_close(latest(padded, 3)[..., 0], expected, equal_nan=True)
    assert latest(padded, 7).shape == (4, 7, 1)


def test_a_window_fills_gaps_with_its_mean() -> None:
    features = Window(series(4, 2), OPTIONS)(torch.tensor([[[1, 5], [NAN, 5], [3, NAN], [2, NAN]]]))
    assert features.tokens.tolist() == [[[1, 2, 3, 2], [5, 5, 5, 5]]]
    assert Window(series(3), OPTIONS)(torch.full((2, 3, 1), NAN)).tokens.tolist() == [[[0, 0, 0]]] * 2


def test_the_spectrum_is_that_of_a_fourier_transform() -> None:
    sound = torch.randn(320)
    spectrum = torch.stft(
        sound, 320, 320, window=torch.sin(math.pi * (torch.arange(320) + 0.5) / 320).square(), center=False,
        return_complex=True,
    )  # fmt: skip
    cosine, sine = (sound @ fourier(320)).chunk(2)
    power = spectrum[:, 0].abs().square() * (4 / 320) ** 2
    torch.testing.assert_close(cosine**2 + sine**2, power, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_every_band_hears_and_a_tone_lands_in_its_own(rate: int) -> None:
    bands = mel_bands(rate, round(0.032 * rate), 40)
    assert bands.shape[1] == 40 and (bands.sum(0) > 0).all() and bands.min() >= 0
    heard = []
    for hertz in (300, 1000, 3000):
        sound = torch.sin(2 * math.pi * hertz * torch.arange(rate) / rate).unsqueeze(0)
        mel_BMF, mask_BF = LogMel(rate)(sound)
        assert mel_BMF.shape[2] == mask_BF.shape[1]
        heard.append(int(mel_BMF[0, :, 5:-5].mean(1).argmax()))
    assert heard == sorted(set(heard))


def test_loudness_does_not_matter() -> None:
    model = AudioNet(Audio(name="x", rate=8000), OPTIONS).eval()
    sound = torch.randn(1, 4000)
    torch.testing.assert_close(model(sound).pool(), model(sound * 0.1).pool(), rtol=1e-2, atol=1e-2)
    assert model(torch.zeros(1, 4000)).tokens.isfinite().all()
    assert model(torch.full((1, 1), NAN)).pool().isfinite().all()


# Forecasts -----------------------------------------------------------------------------------------


def test_a_new_head_forecasts_the_level_of_the_window() -> None:
    tokens = torch.randn(3, 2, 10) * 5 + 7
    found = forecast(4, 10, variables=2).predict(Features.of(tokens))
    torch.testing.assert_close(found, tokens.mean(-1).unsqueeze(1).expand(3, 4, 2), rtol=1e-4, atol=1e-4)


def test_a_forecast_moves_and_grows_with_its_window() -> None:
    torch.manual_seed(0)
    head = forecast(4, 10)
    nn.init.normal_(head.own)
    tokens = torch.randn(3, 1, 10)
    plain = head.predict(Features.of(tokens))
    moved = head.predict(Features.of(tokens * 3 + 100))
    torch.testing.assert_close(moved, plain * 3 + 100, rtol=1e-3, atol=1e-2)


def test_readings_that_are_not_there_count_nothing() -> None:
    head, features = forecast(3, 5, variables=2, loss="mse"), Features.of(torch.zeros(2, 2, 5))
    target = torch.tensor([[[1.0, NAN], [2, 2], [NAN, NAN]], [[NAN, NAN]] * 3])
    total, count = head.loss(features, target)
    assert count == 3 and total.item() == pytest.approx(1 + 4 + 4)
    assert head.loss(features, torch.ones(2, 9, 2)).count == 12, "of a longer future the first readings"
    assert head.loss(features, torch.ones(2, 1, 2)).count == 4, "of a shorter one what there is"


@pytest.mark.parametrize(("name", "expected"), [("mse", 8.0), ("mae", 4.0), ("scaled", 8.0 / 0.10001)])
def test_losses(name: str, expected: float) -> None:
    total, _ = forecast(2, 5, loss=name).loss(Features.of(torch.zeros(1, 1, 5)), torch.full((1, 2, 1), 2.0))
    assert total.item() == pytest.approx(expected, rel=1e-3)


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(SettingError, match="scaled, mse, mae"):
        forecast(2, 5, loss="huber")


def test_members_are_scored_one_by_one_and_averaged() -> None:
    head = forecast(2, 6, members=3, loss="mse")
    nn.init.normal_(head.own)
    tokens, target = torch.randn(4, 3, 6), torch.randn(4, 2, 1)
    together = Features.of(tokens, members=True)
    assert head.predict(together).shape == (4, 2, 1)
    alone = []
    for k in range(3):
        single = forecast(2, 6, loss="mse")
        single.own.data, single.shared.data = head.own.data[[k]], head.shared.data[[k]]
        alone.append((single, Features.of(tokens[:, [k]])))
    losses = [single.loss(features, target).total for single, features in alone]
    torch.testing.assert_close(head.loss(together, target).total, torch.stack(losses).mean())
    forecasts = [single.predict(features) for single, features in alone]
    torch.testing.assert_close(head.predict(together), torch.stack(forecasts).mean(0))


def test_fewer_tokens_than_variables_are_shared() -> None:
    head = forecast(2, 6, variables=3)
    assert head.predict(Features.of(torch.randn(4, 1, 6))).shape == (4, 2, 3)


def test_a_wave_is_continued() -> None:
    data = waves(256, 36)
    model, head = Window(series(24), OPTIONS), forecast(12, 24)
    optimizer = torch.optim.AdamW(head.parameters(), 0.03)
    for step in range(150):
        rows = torch.arange(64) + 64 * (step % 4)
        total, count = head.loss(model(data[rows, :24]), data[rows, 24:])
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
    unseen = waves(64, 36, seed=1)
    error = F.mse_loss(head.predict(model(unseen[:, :24])), unseen[:, 24:])
    naive = F.mse_loss(unseen[:, 23:24].expand(-1, 12, -1), unseen[:, 24:])
    assert error < 0.02 < naive


def learns(model: nn.Module, x: Tensor, y: Tensor, steps: int = 40) -> float:
    """Share of rows that a pooled linear head tells apart after a few steps on them."""
    head = nn.Linear(16, 2)
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], 0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(head(model(x).pool()[:, 0]), y).backward()
        optimizer.step()
    model.eval()
    return float((head(model(x).pool()[:, 0]).argmax(1) == y).float().mean())


def test_a_bump_anywhere_is_found_in_series_of_any_length() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(64, 60, 1) * 0.3, torch.arange(64) % 2
    for i in range(64):
        x[i, 30 + i % 30 :] = NAN
        x[i, i % 20 : i % 20 + 6] += 1.5 if y[i] else -1.5
    assert learns(SeriesNet(series(45), OPTIONS), x, y) > 0.95


def test_tones_are_told_apart() -> None:
    torch.manual_seed(0)
    y = torch.arange(32) % 2
    hertz = torch.where(y == 1, 600.0, 900.0) + torch.randn(32) * 30
    x = torch.sin(2 * math.pi * hertz[:, None] * torch.arange(2000) / 8000) + torch.randn(32, 2000) * 0.1
    x[::3, 1500:] = NAN
    assert learns(AudioNet(Audio(name="x", rate=8000), OPTIONS), x, y, 20) > 0.95
