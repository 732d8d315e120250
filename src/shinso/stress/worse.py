"""Values made worse as the world does it, at a strength from 0 to 1. One line a corruption in CORRUPTIONS.

Images after Hendrycks and Dietterich, ICLR 2019. H, W pixels, C colours, T readings, V variables.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as pillow
from PIL import ImageFilter

from ..columns import Column
from ..columns.base import Value
from ..later import Later

ndimage = Later("scipy.ndimage")

Rng = np.random.Generator
Corruption = Callable[[Column, Value, float, Rng], Value]
KANA = "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをん"
LATIN = "etaoinshrdlucmfwypvbgkqjxz"


def pixels(column: Column, value: Value) -> NDArray[np.float64]:
    """(H, W, C) as the network reads it."""
    return np.asarray(column.encode(value), np.float64)


def bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Back to what a picture holds."""
    return np.asarray((array + 0.5).clip(0, 255).astype(np.uint8))


def noise(column: Column, value: Value, strength: float, rng: Rng) -> Value:
    """Grain of the sensor: a deviation of up to 40% of the range."""
    image = pixels(column, value)
    return bytes_of(image + rng.normal(0, 102 * strength, image.shape))


def blur(column: Column, value: Value, strength: float, rng: Rng) -> Value:
    """Out of focus: a radius of up to an eighth of the side."""
    image = pixels(column, value)
    radius = strength * min(image.shape[:2]) / 8
    return bytes_of(ndimage.gaussian_filter(image, (radius, radius, 0)))


def contrast(column: Column, value: Value, strength: float, rng: Rng) -> Value:
    """Fog: down to a tenth of the contrast."""
    image = pixels(column, value)
    return bytes_of(image.mean() + (1 - 0.9 * strength) * (image - image.mean()))


def brightness(column: Column, value: Value, strength: float, rng: Rng) -> Value:
    """Too much light: up to 60% of the range."""
    return bytes_of(pixels(column, value) + 153 * strength)


def coarse(column: Column, value: Value, strength: float, rng: Rng) -> Value:
    """Too few pixels: down to a fifth of the side."""
    image = bytes_of(pixels(column, value))
    height, width = image.shape[:2]
    small = max(1, round(width * (1 - 0.8 * strength))), max(1, round(height * (1 - 0.8 * strength)))
    picture = pillow.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    back = picture.resize(small, pillow.Resampling.BOX).resize((width, height), pillow.Resampling.NEAREST)
    return np.asarray(back).reshape(image.shape)


def compressed(column: Column, value: Value, strength: float, rng: Rng) -> Value:
    """JPEG, down to quality 5."""
    image = bytes_of(pixels(column, value))
    file = io.BytesIO()
    picture = pillow.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    picture.save(file, "JPEG", quality=max(5, round(95 - 90 * strength)))
    return np.asarray(pillow.open(file)).reshape(image.shape)


def turned(column: Column, value: Value, strength: float, rng: Rng) -> Value:
    """Held askew: up to 45 degrees to either side."""
    image = bytes_of(pixels(column, value))
    picture = pillow.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    angle = 45 * strength * (1 if rng.random() < 0.5 else -1)
    return np.asarray(picture.rotate(angle, pillow.Resampling.BILINEAR)).reshape(image.shape)


def smudged(column: Column, value: Value, strength: float, rng: Rng) -> Value:
    """A finger on the lens: a soft grey spot of up to half the side."""
    image = pixels(column, value)
    height, width = image.shape[:2]
    spot = pillow.new("L", (width, height), 0)
    side = round(0.5 * strength * min(height, width))
    if side == 0:
        return bytes_of(image)
    y, x = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
    spot.paste(255, (x, y, x + side, y + side))
    soft = np.asarray(spot.filter(ImageFilter.GaussianBlur(side / 8)), np.float64)[..., None] / 255
    return bytes_of(image * (1 - soft) + 128 * soft)


def typos(column: Column, value: Value, strength: float, rng: Rng) -> Value:
    """Letters swapped, dropped, doubled or mistaken, up to one in five; kana for kana in Japanese."""
    if not isinstance(value, str):
        return value
    letters, found, i = list(value), [], 0
    while i < len(letters):
        letter, kind = letters[i], int(rng.integers(4))
        if letter.isspace() or rng.random() >= 0.2 * strength:
            found.append(letter)
        elif kind == 0 and i + 1 < len(letters):
            found += [letters[i + 1], letter]
            i += 1
        elif kind == 1:
            found += [letter, letter]
        elif kind == 2:
            found.append(mistaken(letter, rng))
        i += 1
    return "".join(found)


def mistaken(letter: str, rng: Rng) -> str:
    """Another letter of the same script."""
    return str(rng.choice(list(LATIN if letter.isascii() else KANA)))


def words_lost(column: Column, value: Value, strength: float, rng: Rng) -> Value:
    """Up to half of the words missing."""
    for part in column.parts(value):
        if rng.random() < 0.5 * strength:
            value = column.hide(value, part)
    return value


def missing(column: Column, value: Value, strength: float, rng: Rng) -> Value:
    """No value at all, up to every second row."""
    return None if rng.random() < 0.5 * strength else value


def shaken(column: Column, value: Value, strength: float, rng: Rng) -> Value:
    """Noise of up to one standard deviation on a number."""
    encoded = float(column.encode(value))
    return value if np.isnan(encoded) else column.decode(np.asarray(encoded + rng.normal(0, strength)))


def gaps(column: Column, value: Value, strength: float, rng: Rng) -> Value:
    """Up to half of the readings missing."""
    series = np.asarray(value, np.float64).copy()
    series[rng.random(len(series)) < 0.5 * strength] = np.nan
    return series.tolist()


def unsteady(column: Column, value: Value, strength: float, rng: Rng) -> Value:
    """Noise of up to one standard deviation of the row on its readings."""
    series = np.asarray(value, np.float64)
    return (series + rng.normal(0, 1, series.shape) * strength * np.nanstd(series)).tolist()


CORRUPTIONS: dict[str, dict[str, Corruption]] = {
    "image": {
        "noise": noise, "blur": blur, "contrast": contrast, "brightness": brightness, "coarse": coarse,
        "compressed": compressed, "turned": turned, "smudged": smudged,
    },
    "text": {"typos": typos, "words lost": words_lost},
    "number": {"missing values": missing, "noise on numbers": shaken},
    "category": {"missing values": missing},
    "datetime": {"missing values": missing},
    "labels": {"missing values": missing},
    "series": {"gaps": gaps, "noise on readings": unsteady},
}  # fmt: skip
