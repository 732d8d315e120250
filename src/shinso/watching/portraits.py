"""Large values as a few numbers: what is kept of a picture, a text or a sound, and compared with training.

A portrait is small (under 60 numbers), cheap (under a millisecond) and cannot be turned back into the value.
It is made of what the column's own `encode` gives, so that it means the same in training and in serving.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..columns import Column, Value
from ..columns.mask import Mask

Floats = NDArray[np.float64]
GRAMS = 32  # classes that three bytes in a row fall into
GRID = 4
BANDS = 8
MOST_BYTES = 20_000  # of a text that are looked at
MOST_VARIABLES = 6
MOST_LEVELS = 16


@dataclass(frozen=True)
class Portrait:
    """The names of the numbers, and how they are measured."""

    names: tuple[str, ...]
    measure: Callable[[Column, Value], Floats]


def portrait_of(column: Column) -> Portrait | None:
    """How a column's values are portrayed; None where values are kept as they are."""
    make = PORTRAITS.get(column.kind)
    return None if make is None else make(column)


def digest(value: Value) -> str:
    """16 hexadecimal digits by which copies of a value are known."""
    if isinstance(value, np.ndarray):
        data = np.ascontiguousarray(value).tobytes()
    else:
        data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def image(column: Column) -> Portrait:
    """Light, contrast, sharpness, colour, and a thumbnail of 4 x 4."""
    cells = tuple(f"light at {row},{cell}" for row in range(GRID) for cell in range(GRID))
    names = ("brightness", "contrast", "darkest", "lightest", "sharpness", "colour", *cells)
    return Portrait(names, _image)


def _image(column: Column, value: Value) -> Floats:
    pixels_HWC = np.asarray(column.encode(value), np.float32) / 255
    grey_HW = pixels_HWC.mean(2)
    dark, light = np.quantile(grey_HW, (0.05, 0.95))
    edges = [
        np.abs(np.diff(grey_HW, axis=axis)).mean() if grey_HW.shape[axis] > 1 else 0.0 for axis in (0, 1)
    ]
    colour = np.abs(pixels_HWC - grey_HW[..., None]).mean()
    rows = np.array_split(grey_HW, GRID, axis=0)
    cells = [cell.mean() if cell.size else 0.0 for row in rows for cell in np.array_split(row, GRID, axis=1)]
    return np.array([grey_HW.mean(), grey_HW.std(), dark, light, sum(edges), colour, *cells], np.float64)


def text(column: Column) -> Portrait:
    """Length, kinds of characters, and how often each of 32 classes of three bytes in a row stands."""
    names = ("characters", "words", "letters a word", "digits", "capitals", "spaces", "beyond ASCII")
    return Portrait((*names, *(f"letters in a row {i}" for i in range(GRAMS))), _text)


def _text(column: Column, value: Value) -> Floats:
    written = str(value)[:MOST_BYTES]
    size, words = max(1, len(written)), len(written.split())
    spaces = sum(map(str.isspace, written))
    shares = [
        sum(map(str.isdigit, written)) / size, sum(map(str.isupper, written)) / size, spaces / size,
        sum(c > "\x7f" for c in written) / size,
    ]  # fmt: skip
    facts = [np.log1p(len(str(value))), np.log1p(words), (size - spaces) / max(1, words), *shares]
    codes = np.frombuffer(written.lower().encode("utf-8", "replace"), np.uint8).astype(np.uint64)
    if len(codes) < 3:
        return np.array([*facts, *[0.0] * GRAMS], np.float64)
    grams = codes[:-2] << np.uint64(16) | codes[1:-1] << np.uint64(8) | codes[2:]
    classes = (grams * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(59)
    return np.array(
        [*facts, *np.bincount(classes.astype(np.int64), minlength=GRAMS) / len(grams)], np.float64
    )


def sound(column: Column) -> Portrait:
    """Length, loudness, roughness, silence, and the share of the energy in 8 bands."""
    names = ("seconds", "loudness", "peak", "crossings", "silence", *(f"band {i}" for i in range(BANDS)))
    return Portrait(names, _sound)


def _sound(column: Column, value: Value) -> Floats:
    samples = np.asarray(column.encode(value), np.float64).ravel()
    if not len(samples):
        return np.zeros(5 + BANDS)
    loud = np.sqrt(np.mean(samples**2))
    signs = np.mean(np.abs(np.diff(np.signbit(samples).astype(np.int8)))) if len(samples) > 1 else 0.0
    energy = np.abs(np.fft.rfft(samples[: 1 << 17])) ** 2
    bands = np.array([part.sum() for part in np.array_split(energy, BANDS)])
    quiet = np.mean(np.abs(samples) < 0.01)
    facts = [len(samples), np.log10(loud + 1e-6), np.abs(samples).max(), signs, quiet]
    return np.array([*facts, *(bands / max(bands.sum(), 1e-12))], np.float64)


def series(column: Column) -> Portrait:
    """Length and gaps, and of each of up to 6 variables its mean, deviation, range and movement."""
    variables = min(MOST_VARIABLES, int(column.to_dict().get("variables", 1)))
    facts = ("mean", "deviation", "lowest", "highest", "movement")
    return Portrait(
        ("length", "gaps", *(f"{fact} of variable {i + 1}" for i in range(variables) for fact in facts)),
        _series,
    )


def _series(column: Column, value: Value) -> Floats:
    readings_TV = np.asarray(column.encode(value), np.float64)
    readings_TV = readings_TV.reshape(len(readings_TV), -1)
    variables = min(MOST_VARIABLES, int(column.to_dict().get("variables", 1)))
    found = [float(len(readings_TV)), float(np.isnan(readings_TV).mean()) if readings_TV.size else 0.0]
    for readings in readings_TV.T[:variables]:
        known = readings[~np.isnan(readings)]
        if len(known) < 2:
            found += [0.0] * 5
        else:
            found += [known.mean(), known.std(), known.min(), known.max(), np.abs(np.diff(known)).mean()]
    return np.array(found, np.float64)


def boxes(column: Column) -> Portrait:
    """How many boxes."""
    return Portrait(("boxes",), lambda column, value: np.array([float(len(value))]))


def mask(column: Column) -> Portrait:
    """The share of the picture that each class covers."""
    levels = column.levels[:MOST_LEVELS] if isinstance(column, Mask) else ()
    return Portrait(tuple(f"share of {level}" for level in levels), _mask)


def _mask(column: Column, value: Value) -> Floats:
    assert isinstance(column, Mask)
    classes = np.asarray(column.encode(value)).ravel()
    counts = np.bincount(classes, minlength=len(column.levels))[: min(MOST_LEVELS, len(column.levels))]
    return np.asarray(counts / max(1, len(classes)), np.float64)


PORTRAITS: dict[str, Callable[[Column], Portrait]] = {
    "image": image, "text": text, "audio": sound, "series": series, "boxes": boxes, "mask": mask,
}  # fmt: skip
