"""Images: photographs, scans, drawings. One picture to uint8 (H, W, C)."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image as Picture
from PIL.Image import Resampling, fromarray

from ..errors import DataError
from .base import Array, Column, Value, Values, count_missing, is_missing, object_array
from .raster import check_side, is_picture, measure, read

LARGEST_SIDE = 224  # of what a network reads, unless the user says otherwise
SAMPLE = 256  # pictures that are looked at to learn size, colour and the mean image
GRID = 8  # an explanation speaks of 8 x 8 patches; the mean image has a pixel for each
SHOWN = 160  # pixels of the longer side in a report
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Image(Column):
    """A picture of a fixed size. Construct with `height` and `width` to choose the size; 0 learns it.

    Pictures of one size, up to 224, keep it. Otherwise every picture is stretched to the median size (its
    longer side at most 224), which has the median shape, so that little is stretched far. Nothing is cut off,
    and what is said in fractions of the picture (boxes, masks, patches) holds for the original as well.

    >>> image = Image(name="photo", height=2, width=2).fit(Image.examples(np.random.default_rng(0), 9))
    >>> image.encode(np.zeros((5, 7, 3), np.uint8)).shape
    (2, 2, 3)
    """

    kind = "image"
    height: int = 0
    width: int = 0
    channels: int = 0  # 1 grey, 3 red green blue
    mean: tuple[float, ...] = ()  # of each channel, in 0..1
    std: tuple[float, ...] = ()
    average: tuple[tuple[tuple[int, ...], ...], ...] = ()  # the mean image, small: GRID rows of GRID colours

    def __post_init__(self) -> None:
        check_side(self.name, self.height, self.width)
        if self.channels not in (0, 1, 3) or any(
            len(part) not in (0, self.channels) for part in (self.mean, self.std)
        ):
            raise DataError(f"The stored column {self.name!r} does not describe grey or coloured pictures.")

    @classmethod
    def matches(cls, values: Values) -> float:
        present = [value for value in values if not is_missing(value)]
        return 0.9 * float(np.mean([is_picture(value) for value in present])) if present else 0.0

    @classmethod
    def examples(cls, rng: np.random.Generator, n: int) -> Values:
        sides = rng.integers(12, 24, (n, 2))
        return object_array([rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in sides])

    def fit(self, values: Values) -> Self:
        sample = spread(values, SAMPLE)
        height, width = self.size_of(sample)
        sized = replace(self, height=height, width=width, channels=3)
        pixels = sized.encode_readable(sample)
        grey = bool((pixels == pixels[..., :1]).all())
        channels = self.channels or (1 if grey else 3)
        if channels == 1:
            pixels = pixels[..., :1]
        scaled = pixels.reshape(-1, channels).astype(np.float32) / 255
        return replace(
            sized,
            channels=channels,
            mean=tuple(round(float(m), 6) for m in scaled.mean(0, dtype=np.float64)),
            std=tuple(round(max(float(s), 1 / 255), 6) for s in scaled.std(0, dtype=np.float64)),
            average=shrink(pixels),
        )

    def size_of(self, sample: list[Value]) -> tuple[int, int]:
        """(height, width): as constructed, else the common size, else the median size within 224."""
        if self.height and self.width:
            return self.height, self.width
        sizes = np.array([measured[:2] for measured in readable(sample, self.name, measure)])
        width, height = np.median(sizes, axis=0)
        scale = min(1.0, LARGEST_SIDE / max(width, height))
        if scale == 1.0 and (sizes == sizes[0]).all():
            return int(height), int(width)
        return multiple(height * scale), multiple(width * scale)

    def encode_readable(self, sample: list[Value]) -> NDArray[np.uint8]:
        """(n, H, W, C): those of `sample` that can be read; damaged ones are reported where rows are read."""
        return np.stack(readable(sample, self.name, lambda value, _: self.encode(value)))

    def encode(self, value: Value) -> Array:
        if is_missing(value):
            return self.background()
        return self.sized(read(value, self.name, at_least=(2 * self.width, 2 * self.height)))

    def encode_many(self, values: Values) -> Array:
        out = np.empty((len(values), self.height, self.width, self.channels), np.uint8)
        for row, value in zip(out, values, strict=True):
            row[:] = self.encode(value)
        return out

    def sized(self, picture: Picture) -> NDArray[np.uint8]:
        """An L or RGB picture to (H, W, C) of this column."""
        mode = "L" if self.channels == 1 else "RGB"
        if picture.mode != mode:
            picture = picture.convert(mode)
        if picture.size != (self.width, self.height):
            picture = picture.resize((self.width, self.height), Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(picture).reshape(self.height, self.width, self.channels)

    def background(self) -> NDArray[np.uint8]:
        """(H, W, C): the mean image at full size; stands for what is missing or hidden."""
        small = np.array(self.average, np.uint8)
        return self.sized(fromarray(small[..., 0] if self.channels == 1 else small))

    def decode(self, array: Array) -> Value:
        return ((array.transpose(1, 2, 0) + 1) * 127.5 + 0.5).clip(0, 255).astype(np.uint8)

    def parts(self, value: Value) -> list[Hashable]:
        rows, columns = min(GRID, self.height), min(GRID, self.width)
        return [(row, column) for row in range(rows) for column in range(columns)]

    def hide(self, value: Value, part: Hashable) -> Value:
        row, column = part if isinstance(part, tuple) else (0, 0)
        rows, columns = min(GRID, self.height), min(GRID, self.width)
        ys = slice(row * self.height // rows, (row + 1) * self.height // rows)
        xs = slice(column * self.width // columns, (column + 1) * self.width // columns)
        hidden = self.encode(value).copy()
        hidden[ys, xs] = self.background()[ys, xs]
        return hidden

    def summary(self, values: Values) -> dict[str, Any]:
        sample = spread(values, SAMPLE)
        found = readable(sample, self.name, measure)
        brightness = [float(pixels.mean()) for pixels in self.encode_readable(sample)]
        return {
            "rows": len(values),
            "missing": count_missing(values),
            "looked_at": len(found),
            "sizes": dict(Counter(f"{width}x{height}" for width, height, _ in found).most_common(10)),
            "modes": dict(Counter(mode for _, _, mode in found).most_common()),
            "brightness": [round(float(q), 2) for q in np.quantile(brightness, (0, 0.25, 0.5, 0.75, 1))],
        }

    def show(self, value: Value) -> str:
        picture = read(value, self.name, at_least=(SHOWN, SHOWN))
        scale = SHOWN / max(picture.size)
        width, height = (max(1, round(side * scale)) for side in picture.size)
        if scale < 1:
            picture = picture.resize((width, height), Resampling.BILINEAR, reducing_gap=2.0)
        style = ' style="image-rendering:pixelated"' if scale > 1 else ""
        return f'<img src="{data_url(picture)}" width="{width}" height="{height}" alt=""{style}>'

    def json_schema(self) -> dict[str, Any]:
        about = "A PNG, JPEG, WebP, GIF, BMP or TIFF file in base64; a data URL is taken as well."
        return {"title": self.name, "type": "string", "contentEncoding": "base64", "description": about}


def data_url(picture: Picture) -> str:
    """A picture as a PNG inside a URL, for a page that stands alone."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def spread(values: Values, most: int) -> list[Value]:
    """At most `most` of the present `values`, evenly spread, for files often stand in order of class."""
    present = [i for i, value in enumerate(values) if not is_missing(value)]
    chosen = np.linspace(0, len(present) - 1, min(most, len(present))).round().astype(int)
    return [values[present[i]] for i in chosen]


def readable(sample: list[Value], column: str, read_one: Callable[[Value, str], T]) -> list[T]:
    """What `read_one` gives for those of `sample` that can be read; raises only when none can."""
    found: list[T] = []
    first: DataError | None = None
    for value in sample:
        try:
            found.append(read_one(value, column))
        except DataError as error:
            first = first or error
    if not found:
        raise first or DataError(f"Column {column!r} has no image to learn from: all its values are missing.")
    return found


def shrink(pixels: NDArray[np.uint8]) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """The mean of (n, H, W, C) pictures at GRID x GRID, as plain data."""
    mean = pixels.mean(0).round().astype(np.uint8)
    picture = fromarray(mean[..., 0] if mean.shape[2] == 1 else mean).resize((GRID, GRID), Resampling.BOX)
    small = np.asarray(picture).reshape(GRID, GRID, -1)
    return tuple(tuple(tuple(int(c) for c in colour) for colour in row) for row in small)


def multiple(side: float, of: int = 8) -> int:
    """The nearest multiple of 8 (at least 8): strides divide it without remainder."""
    return max(of, round(side / of) * of)
