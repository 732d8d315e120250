"""The reader of images and the heads that draw: shapes for all sizes, and planted signals are learned."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn

from shinso.columns.image import Image
from shinso.columns.mask import IGNORE, Mask
from shinso.config import ModelConfig
from shinso.errors import DataError
from shinso.features import Features
from shinso.heads.base import HeadOptions
from shinso.heads.paint import Paint
from shinso.heads.segment import Segment
from shinso.models.residual import ResidualNet

SIZES = [(8, 8), (12, 9), (16, 16), (28, 28), (32, 32), (53, 128), (64, 64), (96, 96), (160, 216), (224, 224)]


def image_column(height: int, width: int, channels: int = 3) -> Image:
    shared = dict.fromkeys(("mean", "std"), (0.5,) * channels)
    return Image(name="photo", height=height, width=width, channels=channels, **shared)


def mask_column(height: int, width: int) -> Mask:
    return Mask(name="mask", height=height, width=width, levels=(0, 1, 2), shares=(0.5, 0.3, 0.2))


def reader(height: int, width: int, channels: int = 3, size: int = 64) -> ResidualNet:
    torch.manual_seed(0)
    return ResidualNet(image_column(height, width, channels), ModelConfig(width=size, depth=1))


def pictures(rows: int, height: int, width: int, channels: int = 3) -> Tensor:
    generator = Generator().manual_seed(0)
    return torch.randint(0, 256, (rows, height, width, channels), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_shapes_of_features(height: int, width: int) -> None:
    encoder = reader(height, width)
    features = encoder(pictures(2, height, width))
    coarse = features.maps[-1]
    assert features.tokens.shape == (2, coarse.shape[2] * coarse.shape[3], encoder.width)
    assert torch.equal(features.tokens, coarse.flatten(2).transpose(1, 2))
    sizes = [grid.shape[2] * grid.shape[3] for grid in features.maps]
    assert sizes == sorted(sizes, reverse=True)
    assert 1 <= sizes[-1] <= 200
    assert bool(torch.isfinite(features.tokens).all())


def test_uint8_and_float_pixels_agree() -> None:
    encoder = reader(16, 16).eval()
    batch = pictures(3, 16, 16)
    assert torch.equal(encoder(batch).tokens, encoder(batch.float()).tokens)


def test_a_row_does_not_depend_on_its_batch() -> None:
    encoder = reader(28, 28, 1).eval()
    batch = pictures(5, 28, 28, 1)
    torch.testing.assert_close(encoder(batch).tokens[:2], encoder(batch[:2]).tokens)


def test_bf16_stays_close_and_gradients_are_finite() -> None:
    encoder = reader(28, 28, 1)
    batch = pictures(8, 28, 28, 1)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = encoder(batch).pool()
        exact = encoder(batch).pool().detach()
    assert float((pooled.detach().float() - exact).norm() / exact.norm()) < 0.05
    pooled.float().square().sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in encoder.parameters())


def test_a_constant_image_is_no_trouble() -> None:
    column = Image(name="photo").fit(np.array([np.zeros((16, 16), np.uint8)] * 3 + [None], object))
    encoder = ResidualNet(column, ModelConfig(width=32, depth=1))
    batch = torch.from_numpy(
        column.encode_many(np.array([np.zeros((16, 16), np.uint8)] * 4 + [None], object))
    )
    assert bool(torch.isfinite(encoder(batch).tokens).all())


def train(modules: list[nn.Module], loss: Callable[[int], Tensor], steps: int, rate: float = 3e-3) -> None:
    torch.manual_seed(0)
    parameters = [p for module in modules for p in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, rate)
    for step in range(steps):
        value = loss(step)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
    for module in modules:
        module.eval()


def test_reader_learns_which_way_stripes_run() -> None:
    generator = Generator().manual_seed(0)
    labels = torch.randint(0, 2, (256,), generator=generator)
    stripes = (torch.arange(16) // 2 % 2 * 120).expand(16, 16)
    clean = torch.where(labels[:, None, None] == 1, stripes, stripes.T)
    noisy = clean[..., None] + torch.randint(0, 130, (256, 16, 16, 1), generator=generator)
    images = noisy.to(torch.uint8)
    encoder, linear = reader(16, 16, 1, 32), nn.Linear(32, 2)

    def loss(step: int) -> Tensor:
        rows = torch.arange(64) + 64 * (step % 3)
        return nn.functional.cross_entropy(linear(encoder(images[rows]).pool()[:, 0]), labels[rows])

    train([encoder, linear], loss, 24)
    guess = linear(encoder(images[192:]).pool()[:, 0]).argmax(1)
    assert float((guess == labels[192:]).float().mean()) > 0.95


def squares(rows: int, side: int) -> tuple[Tensor, Tensor]:
    """Noisy pictures with a brighter square, and the mask of the square."""
    generator = Generator().manual_seed(2)
    mask = torch.zeros(rows, side, side, dtype=torch.uint8)
    for one in mask:
        y, x = torch.randint(0, side - side // 3, (2,), generator=generator).tolist()
        one[y : y + side // 3, x : x + side // 3] = 1
    noise = torch.randint(0, 120, (rows, side, side, 1), generator=generator)
    return (noise + 110 * mask[..., None]).to(torch.uint8), mask


def test_segment_learns_squares() -> None:
    images, mask = squares(80, 24)
    mask[:, 0] = IGNORE
    column = Mask(name="mask", height=24, width=24, levels=(0, 255), shares=(0.9, 0.1))
    encoder = reader(24, 24, 1, 32)
    head = Segment(column, encoder.width, 0, HeadOptions())

    def loss(step: int) -> Tensor:
        rows = torch.arange(32) + 32 * (step % 2)
        total, count = head.loss(encoder(images[rows]), mask[rows])
        assert int(count) == 32 * 23 * 24
        return total / count

    train([encoder, head], loss, 40)
    probabilities = head.predict(encoder(images[64:]))
    assert probabilities.shape == (16, 2, 24, 24)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(16, 24, 24))
    guess, truth = probabilities.argmax(1)[:, 1:] == 1, mask[64:, 1:] == 1
    overlap = (guess & truth).sum() / (guess | truth).sum()
    assert float(overlap) > 0.8
    decoded = column.decode(probabilities[0].detach().numpy())
    assert decoded.dtype == np.uint8
    assert set(np.unique(decoded)) <= {0, 255}


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_segment_gives_the_size_of_the_mask(height: int, width: int) -> None:
    encoder = reader(height, width)
    head = Segment(mask_column(height, width), encoder.width, 0, HeadOptions())
    assert head.predict(encoder(pictures(1, height, width))).shape == (1, 3, height, width)


def test_segment_starts_from_the_shares() -> None:
    encoder = reader(16, 16)
    head = Segment(mask_column(16, 16), encoder.width, 0, HeadOptions())
    mean = head.predict(encoder(pictures(8, 16, 16))).mean((0, 2, 3))
    torch.testing.assert_close(mean, torch.tensor([0.5, 0.3, 0.2]), atol=0.15, rtol=0)


def test_segment_needs_an_image() -> None:
    head = Segment(mask_column(16, 16), 64, 0, HeadOptions())
    with pytest.raises(DataError, match="predicted from an image"):
        head.predict(Features.of(torch.zeros(2, 3, 64)))


def test_segment_without_any_target_gives_zero() -> None:
    encoder = reader(16, 16)
    head = Segment(mask_column(16, 16), encoder.width, 0, HeadOptions(class_weights=(1.0, 2.0, 3.0)))
    total, count = head.loss(encoder(pictures(2, 16, 16)), torch.full((2, 16, 16), IGNORE, dtype=torch.uint8))
    assert (float(total.detach()), float(count)) == (0.0, 0.0)


def test_paint_learns_bright_and_dark() -> None:
    torch.manual_seed(0)
    labels = torch.arange(64) % 2
    generator = Generator().manual_seed(0)
    images = (
        labels[:, None, None, None] * 180 + torch.randint(0, 70, (64, 8, 8, 1), generator=generator)
    ).byte()
    given, head = nn.Embedding(2, 16), Paint(image_column(8, 8, 1), 16, 0, HeadOptions())

    def loss(step: int) -> Tensor:
        total, count = head.loss(Features.of(given(labels)[:, None]), images)
        return total / count

    train([given, head], loss, 80)
    with torch.no_grad():
        features = Features.of(given(torch.tensor([0, 1] * 8))[:, None])
        painted = head.predict(features)
    assert painted.shape == (16, 1, 8, 8)
    assert float(painted.abs().max()) <= 1
    brightness = (painted.mean((1, 2, 3)) + 1) * 127.5
    assert float(brightness[0::2].max()) < 90
    assert float(brightness[1::2].min()) > 160
    assert image_column(8, 8, 1).decode(painted[0].numpy()).shape == (8, 8, 1)


def test_paint_draws_from_its_own_generator() -> None:
    head = Paint(image_column(9, 12), 16, 0, HeadOptions())
    state = torch.get_rng_state()
    with torch.no_grad():
        first, again = (head.predict(Features.of(torch.ones(3, 2, 16))) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_paint_any_size(height: int, width: int) -> None:
    head = Paint(image_column(height, width), 16, 0, HeadOptions())
    total, count = head.loss(Features.of(torch.ones(2, 1, 16)), pictures(2, height, width))
    total.backward()
    assert float(count) == 2
    assert bool(torch.isfinite(total))
