"""Augmentation changes whole batches, keeps shape and type, and draws from the given generator alone."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from shinso.augment import AUGMENTS, augment, erase, flip, mirrored, rotate, shift, widened
from shinso.errors import SettingError

SHAPES = [(1, 1, 1, 1), (3, 2, 5, 3), (4, 8, 8, 1), (2, 31, 17, 3)]


def images(shape: tuple[int, ...]) -> Tensor:
    return torch.randint(0, 256, shape, generator=Generator().manual_seed(1), dtype=torch.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", sorted(AUGMENTS))
def test_contract(name: str, shape: tuple[int, ...]) -> None:
    before = images(shape)
    kept, state = before.clone(), torch.get_rng_state()
    first = augment(name)(before, Generator().manual_seed(5))
    again = augment(name)(before, Generator().manual_seed(5))
    assert first.shape == before.shape
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert torch.equal(before, kept)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", sorted(AUGMENTS))
def test_something_changes_but_not_much(name: str) -> None:
    before = torch.linspace(50, 200, 28).round().to(torch.uint8).expand(64, 1, 28, 28).permute(0, 2, 3, 1)
    after = augment(name)(before, Generator().manual_seed(0))
    assert not torch.equal(before, after)
    if name != "flip":
        assert (after.float() - before.float()).abs().mean() < 25


def test_flip_mirrors_half() -> None:
    before = images((400, 4, 6, 3))
    after = flip(before, Generator().manual_seed(0))
    mirrored_rows = (after == before.flip(2)).all((1, 2, 3))
    kept_rows = (after == before).all((1, 2, 3))
    assert bool((mirrored_rows | kept_rows).all())
    assert 140 < int(mirrored_rows.sum()) < 260


def test_shift_moves_whole_images_and_mirrors_at_the_edge() -> None:
    before = images((40, 28, 14, 3))
    after = shift(before, Generator().manual_seed(0))
    seen = set()
    for one, moved in zip(before, after, strict=True):
        found = []
        for y in range(-2, 3):
            for x in (-1, 0, 1):
                rows = mirrored(torch.arange(y, 28 + y), 28)
                columns = mirrored(torch.arange(x, 14 + x), 14)
                if torch.equal(one[rows][:, columns], moved):
                    found.append((y, x))
        assert len(found) == 1
        seen.update(found)
    assert len(seen) > 8


def test_mirrored_indices() -> None:
    assert mirrored(torch.arange(-3, 7), 4).tolist() == [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]
    assert mirrored(torch.arange(-2, 3), 1).tolist() == [0] * 5


def test_rotate_keeps_the_middle() -> None:
    before = torch.zeros(8, 21, 21, 1, dtype=torch.uint8)
    before[:, 8:13, 8:13] = 255
    after = rotate(before, Generator().manual_seed(0))
    assert bool((after[:, 10, 10] == 255).all())
    assert bool((after[:, 0, 0] == 0).all())
    ratio = after.float().mean() / before.float().mean()
    assert 0.9 < float(ratio) < 1.1


def test_names() -> None:
    batch = images((4, 8, 8, 1))
    for nothing in ("none", "", ()):
        assert augment(nothing)(batch, Generator().manual_seed(0)) is batch
    both = augment("flip+shift")(batch, Generator().manual_seed(0))
    assert torch.equal(both, augment(("flip", "shift"))(batch, Generator().manual_seed(0)))
    with pytest.raises(SettingError, match="Did you mean 'flip'"):
        augment("flop")


@pytest.mark.parametrize("width", [1, 2, 3, 28])
@pytest.mark.parametrize("x", [1, 2, 4])
def test_widened_mirrors_as_the_indices_say(width: int, x: int) -> None:
    images = torch.randint(
        0, 255, (3, 4, width, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    expected = images.index_select(2, mirrored(torch.arange(-x, width + x), width))
    assert torch.equal(widened(images, x), expected)


def test_erase_takes_one_square_out_of_each_image() -> None:
    before = torch.full((50, 20, 30, 3), 10, dtype=torch.uint8)
    before[:, ::2] = 30  # the mean, 20, is a value that no pixel has
    gone = (erase(before, Generator().manual_seed(0)) == 20).all(-1)
    assert torch.equal((erase(before, Generator().manual_seed(0)) != before).any(-1), gone)
    for one in gone:
        high, wide = int(one.any(1).sum()), int(one.any(0).sum())
        assert 4 <= high <= 8
        assert 4 <= wide <= 8
        assert int(one.sum()) == high * wide
    assert len({tuple(one.flatten().tolist()) for one in gone}) > 30
