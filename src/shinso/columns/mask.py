"""Masks: which class every pixel of a picture belongs to. One mask to uint8 (H, W), 255 for no class."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image as Picture
from PIL.Image import Resampling, fromarray

from ..errors import DataError
from .base import Array, Column, Value, Values, count_missing, is_missing, object_array
from .image import SAMPLE, SHOWN, Image, data_url, readable, spread
from .raster import check_side, read

IGNORE = 255  # an encoded pixel without a class
UNKNOWN = 254  # inside this file: a level that training had not
FEW = 8  # levels up to which all are classes
MOST = 64  # classes whose levels do not count 0, 1, 2, ...
EDGES, MANY_EDGES = 0.8, 0.5  # shares of black and white from which other levels are taken for blurred edges
SCANNED = 20_000  # masks that are searched for levels; a rare class may be in few of them
SMALLEST = 32  # pixels: what is smaller is more likely a drawing than a mask
LOSSLESS = (".png", ".gif", ".bmp", ".tif", ".tiff")
COLOURS = np.array(
    [(0, 0, 0), (230, 25, 75), (60, 180, 75), (0, 130, 200), (255, 225, 25), (245, 130, 48), (145, 30, 180),
     (70, 240, 240), (240, 50, 230), (210, 245, 60), (250, 190, 212), (0, 128, 128)], np.uint8)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Mask(Column):
    """A class for every pixel. Raw masks are PNGs whose palette index or grey level names the class.

    `levels` are those raw numbers in order: class i is levels[i]. Raw 255 says "no class" where the other
    levels count 0, 1, 2, ... (as in Pascal VOC); in a mask of 0 and 255 it is the foreground. Set `height`
    and `width` to the size of the image that the mask belongs to.

    >>> mask = Mask(name="defect", height=2, width=2).fit(object_array([np.array([[0, 255]], np.uint8)]))
    >>> mask.encode(np.array([[0, 255]], np.uint8)).tolist()
    [[0, 1], [0, 1]]
    """

    kind = "mask"
    height: int = 0
    width: int = 0
    levels: tuple[int, ...] = ()
    ignored: tuple[int, ...] = ()  # raw levels that say "no class"
    shares: tuple[float, ...] = ()  # of the classes among the training pixels

    def __post_init__(self) -> None:
        check_side(self.name, self.height, self.width)
        if any(not 0 <= level <= IGNORE for level in (*self.levels, *self.ignored)):
            raise DataError(f"The stored column {self.name!r} has levels outside 0 to {IGNORE}.")

    @property
    def classes(self) -> int:
        """K, how many classes there are."""
        return len(self.levels)

    @classmethod
    def matches(cls, values: Values) -> float:
        sample = spread(values, 16)
        return looks_like_mask(sample) if sample else 0.0

    @classmethod
    def examples(cls, rng: np.random.Generator, n: int) -> Values:
        masks = [np.kron(rng.integers(0, 3, (3, 3)), np.ones((24, 24))).astype(np.uint8) for _ in range(n)]
        return object_array(masks)

    def fit(self, values: Values) -> Self:
        sample = spread(values, SAMPLE)
        height, width = Image(name=self.name, height=self.height, width=self.width).size_of(sample)
        counts = sum(readable(spread(values, SCANNED), self.name, count_levels), np.zeros(256, np.int64))
        levels, ignored = classes_of(counts, self.name)
        share = counts[list(levels)] / max(1, counts[list(levels)].sum())
        shares = tuple(round(float(s), 8) for s in share)
        return replace(self, height=height, width=width, levels=levels, ignored=ignored, shares=shares)

    def encode(self, value: Value) -> Array:
        if is_missing(value):
            return np.full((self.height, self.width), IGNORE, np.uint8)
        if not self.levels:
            raise DataError(
                f"Column {self.name!r} knows no classes: it was not fitted, or its file is damaged."
            )
        raw = raw_levels(value, self.name)
        if raw.shape != (self.height, self.width):
            raw = np.asarray(fromarray(raw).resize((self.width, self.height), Resampling.NEAREST))
        table = class_table(self.levels, self.ignored)
        unknown = np.unique(raw[table[raw] == UNKNOWN])
        if len(unknown):
            raise DataError(
                f"Column {self.name!r}: a mask holds the levels {unknown[:5].tolist()} that are new; "
                f"known are {list(self.levels)}. Correct the mask, or train with masks that have them."
            )
        return table[raw]

    def decode(self, array: Array) -> Value:
        """Probabilities (K, H, W) to raw levels (H, W)."""
        return np.array(self.levels, np.uint8)[array.argmax(0)]

    def parts(self, value: Value) -> list[Hashable]:
        return list(self.levels)

    def hide(self, value: Value, part: Hashable) -> Value:
        raw = raw_levels(value, self.name).copy()
        raw[raw == part] = self.levels[0]
        return raw

    def summary(self, values: Values) -> dict[str, Any]:
        sample = spread(values, SAMPLE)
        masks = readable(sample, self.name, lambda value, _: self.encode(value))
        counts = np.bincount(np.concatenate([m.ravel() for m in masks]), minlength=256)[: self.classes]
        shares = (counts / max(1, counts.sum())).round(6).tolist()
        return {
            "rows": len(values),
            "missing": count_missing(values),
            "looked_at": len(masks),
            "shares": {str(level): share for level, share in zip(self.levels, shares, strict=True)},
        }

    def show(self, value: Value) -> str:
        classes = self.encode(value)
        colours = COLOURS[np.minimum(classes % len(COLOURS), len(COLOURS) - 1)]
        colours[classes == IGNORE] = 128
        scale = SHOWN / max(classes.shape)
        height, width = (max(1, round(side * scale)) for side in classes.shape)
        url = data_url(fromarray(colours))
        return f'<img src="{url}" width="{width}" height="{height}" alt="" style="image-rendering:pixelated">'

    def json_schema(self) -> dict[str, Any]:
        about = f"A PNG in base64 whose palette index or grey level is the class, one of {list(self.levels)}."
        return {"title": self.name, "type": "string", "contentEncoding": "base64", "description": about}


def raw_levels(value: Value, column: str) -> NDArray[np.uint8]:
    """(H, W): palette index or grey level of every pixel."""
    if isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind in "uib":
        if value.size and int(value.min()) >= 0 and int(value.max()) <= 255:
            return value.astype(np.uint8)
    picture = read(value, column, raw=True)
    return np.asarray(single_channel(picture, column), np.uint8)


def count_levels(value: Value, column: str) -> NDArray[np.int64]:
    """(256,): how many pixels have each raw level."""
    return np.bincount(raw_levels(value, column).ravel(), minlength=256)


@lru_cache(maxsize=32)
def class_table(levels: tuple[int, ...], ignored: tuple[int, ...]) -> NDArray[np.uint8]:
    """(256,): the class of every raw level; one between known levels (a blurred edge) goes to the nearest."""
    distance = np.abs(np.arange(256)[:, None] - np.array(levels)[None, :])
    reach = min(np.diff(levels), default=1) / 2
    table = np.where(distance.min(1) <= reach, distance.argmin(1), UNKNOWN).astype(np.uint8)
    table[list(ignored)] = IGNORE
    table.setflags(write=False)
    return table


def single_channel(picture: Picture, column: str) -> Picture:
    """A palette or grey picture as it is; a colour picture only where it is grey."""
    if picture.mode in ("P", "L"):
        return picture
    if picture.mode == "1":
        return picture.convert("L")
    if picture.mode in ("RGB", "RGBA", "LA"):
        red, *others = picture.convert("RGB").split()
        if all(other.tobytes() == red.tobytes() for other in others):
            return red
    raise DataError(
        f"Column {column!r} expects masks with one number a pixel (a palette or greyscale PNG); received "
        f"mode {picture.mode}. Save the class numbers as an 8-bit greyscale PNG."
    )


def classes_of(counts: NDArray[np.int64], column: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(256,) pixels by raw level, to (levels of the classes, levels that say nothing).

    Levels that count 0, 1, 2, ... are classes however many they are. Others, where nearly all pixels are 0 or
    255 and both are there, are black and white with blurred edges. `DataError` for more than 64 that are
    neither.
    """
    levels = [int(level) for level in np.flatnonzero(counts)]
    rest = levels[:-1] if levels[-1:] == [IGNORE] else levels
    if 1 < len(rest) <= UNKNOWN and rest == list(range(len(rest))):
        return tuple(rest), tuple(levels[len(rest) :])
    both = min(
        counts[0], counts[IGNORE], counts[128:IGNORE].sum()
    )  # edges are light and dark; classes are few
    share = (counts[0] + counts[IGNORE]) / max(1, counts.sum()) if both else 0.0
    if len(levels) > FEW and share > (EDGES if len(levels) <= MOST else MANY_EDGES):
        return (0, IGNORE), ()
    if len(levels) > MOST:
        raise DataError(
            f"Column {column!r}: the masks hold {len(levels)} levels, such as {levels[:6]}, which do not "
            f"count 0, 1, 2, ... and are not black and white. Save the number of each pixel's class as PNG."
        )
    return tuple(levels), ()


def looks_like_mask(sample: list[Value]) -> float:
    """How much raw values look like masks: few levels in all, in large even patches.

    Strict, for small drawings have few levels as well, and --types puts right what was taken for an image.
    """
    levels: set[int] = set()
    even = []
    for value in sample:
        if isinstance(value, str) or (isinstance(value, Path) and value.suffix.lower() not in LOSSLESS):
            return 0.0
        try:
            raw = raw_levels(value, "mask")
        except DataError:
            return 0.0
        levels |= set(np.unique(raw).tolist())
        even.append(float((raw[1:] == raw[:-1]).mean()) if min(raw.shape) >= SMALLEST else 0.0)
        if len(levels) > 32:
            return 0.0
    return 0.95 if len(levels) <= 8 and min(even) > 0.9 else 0.0
