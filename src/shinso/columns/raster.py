"""Reading pictures that strangers made: one raw value to one upright, checked picture (for image and mask).

Only the decoders listed in `READERS` are ever called, and only after the header has been looked at: a file
cannot choose a decoder by its name, and an image bomb is refused before a pixel of it is decoded.
"""

from __future__ import annotations

import base64
import binascii
import io
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Image import Image as Picture
from PIL.Image import Transpose, fromarray, new
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ..errors import DataError
from .base import Value

LARGEST = 64_000_000  # pixels; a decoded picture of this size takes 192 MB
MOST_SIDE = 16_384  # pixels of a column's pictures
SUFFIXES = frozenset(".png .jpg .jpeg .jfif .gif .bmp .webp .tif .tiff .ppm .pgm .pbm .pnm".split())
READERS: tuple[tuple[bytes, type[ImageFile.ImageFile]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"\xff\xd8\xff", JpegImageFile),
    (b"GIF8", GifImageFile),
    (b"BM", BmpImageFile),
    (b"II*\0", TiffImageFile),
    (b"MM\0*", TiffImageFile),
    *((b"P%d" % n, PpmImageFile) for n in range(1, 7)),
)
# What Pillow's decoders raise on damaged files, found by feeding them damaged files; their warnings, where
# warnings are errors.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, OverflowError,
          RuntimeError, UserWarning, struct.error, zlib.error)  # fmt: skip
ORIENTATION = 0x0112  # the EXIF tag, and what undoes each of its values
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE, 6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
}  # fmt: skip


def read(value: Value, column: str, *, at_least: tuple[int, int] | None = None, raw: bool = False) -> Picture:
    """One raw value as an upright picture: L or RGB, alpha on white; with `raw` its own mode and numbers.

    `at_least` (width, height) lets a large JPEG be decoded at an eighth to a half of its size, never below.
    Raises `DataError` for what is no picture, is damaged, or is larger than `LARGEST` pixels.
    """
    if isinstance(value, Picture):
        return finish(value, column, raw=raw)
    if isinstance(value, np.ndarray):
        return from_array(value, column)
    with stream(value, column) as file:
        picture = identify(file, value, column)
        try:
            if at_least is not None and isinstance(picture, JpegImageFile):
                picture.draft(None, at_least)
            picture.load()
            return finish(picture, column, raw=raw)
        except DataError:
            raise
        except BROKEN as error:
            damaged(value, column, error)


def measure(value: Value, column: str) -> tuple[int, int, str]:
    """(width, height, mode) of a raw value from its header alone, as it will stand upright."""
    if isinstance(value, Picture | np.ndarray):
        picture = read(value, column, raw=True)
        return (*picture.size, picture.mode)
    with stream(value, column) as file:
        picture = identify(file, value, column)
        width, height = picture.size
        turned = orientation(picture) >= 5 and not isinstance(picture, TiffImageFile)  # whose size is turned
        return (height, width, picture.mode) if turned else (width, height, picture.mode)


def is_picture(value: Value) -> bool:
    """Whether a raw value looks like a picture, without opening any file."""
    if isinstance(value, Path):
        return value.suffix.lower() in SUFFIXES
    if isinstance(value, bytes):
        return reader_of(value[:16]) is not None
    if isinstance(value, str):
        return value.startswith("data:image/")
    if isinstance(value, np.ndarray):
        shaped = value.ndim == 2 or (value.ndim == 3 and value.shape[2] in (1, 3, 4))
        return shaped and value.dtype.kind in "ubf"
    return isinstance(value, Picture)


def stream(value: Value, column: str) -> BinaryIO:
    """An open file over a path, bytes, or base64 text. A `str` is never taken as the name of a file."""
    if isinstance(value, Path):
        try:
            return value.open("rb")
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise DataError(f"Column {column!r}: cannot open {value} ({why}). Check the path.") from None
    if isinstance(value, str):
        value = from_base64(value, column)
    if not isinstance(value, bytes | bytearray):
        raise DataError(
            f"Column {column!r} expects an image: a path, the bytes of a file, or base64 text; "
            f"received {type(value).__name__}."
        )
    return io.BytesIO(value)


def from_base64(text: str, column: str) -> bytes:
    """The bytes behind base64 text, which may be a data URL."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise DataError(
            f"Column {column!r} expects an image as base64 text; received {text[:40]!r}. "
            "Send the file's bytes in base64. (The name of a file is not read here.)"
        ) from None


def reader_of(start: bytes) -> type[ImageFile.ImageFile] | None:
    """Which decoder reads a file that begins with these bytes."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return WebPImageFile
    return next((reader for magic, reader in READERS if start.startswith(magic)), None)


def identify(file: BinaryIO, value: Value, column: str) -> ImageFile.ImageFile:
    """Open a picture by its first bytes and check its size; no pixel is decoded yet."""
    start = file.read(16)
    reader = reader_of(start)
    if reader is None:
        what = "is empty (zero bytes)" if not start else "is not an image that can be read"
        raise DataError(
            f"Column {column!r}: {named(value)} {what}. Expected PNG, JPEG, WebP, GIF, BMP, TIFF or PPM; "
            "convert or remove it."
        )
    file.seek(0)
    try:
        picture = reader(file)
    except BROKEN as error:
        damaged(value, column, error)
    check_size(picture.size, value, column)
    return picture


def check_size(size: tuple[int, int], value: Value, column: str) -> None:
    """Refuse a picture of too many pixels, or of none."""
    width, height = size
    if not 0 < width * height <= LARGEST:
        raise DataError(
            f"Column {column!r}: {named(value)} is {width} x {height} pixels; at most "
            f"{LARGEST / 1e6:g} million are read. Make it smaller, or remove it."
        )


def named(value: Value) -> str:
    """How an error speaks of a raw value."""
    return str(value) if isinstance(value, Path) else "the image"


def damaged(value: Value, column: str, error: Exception) -> NoReturn:
    """Raise what the user sees where a decoder gave up."""
    raise DataError(
        f"Column {column!r}: {named(value)} is a damaged or truncated image ({error}). Replace or remove it."
    ) from None


def orientation(picture: Picture) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) where there is none or it is nonsense."""
    if "exif" not in picture.info and not isinstance(picture, TiffImageFile):
        return 1
    try:
        turn = picture.getexif().get(ORIENTATION, 1)
    except BROKEN:
        return 1
    return turn if turn in TURNS else 1


def finish(picture: Picture, column: str, *, raw: bool) -> Picture:
    """Turn a decoded picture upright and, unless `raw`, bring it to 8-bit L or RGB."""
    check_size(picture.size, picture, column)
    turn = orientation(picture)
    if turn != 1:
        picture = picture.transpose(TURNS[turn])
    return picture if raw else flatten(picture, column)


def flatten(picture: Picture, column: str) -> Picture:
    """Any mode to L or RGB: alpha is laid on white, 16 bits are scaled by their whole range."""
    mode = picture.mode
    if "transparency" in picture.info or mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        picture = picture.convert("RGBA")
        white = new("RGBA", picture.size, (255, 255, 255, 255))
        white.alpha_composite(picture)
        return white.convert("RGB")
    if mode in ("L", "RGB"):
        return picture
    if mode == "1":
        return picture.convert("L")
    if mode.startswith("I"):  # 16-bit files, which some versions of Pillow open as 32 bits
        return from_array(sixteen_bits(np.asarray(picture), column), column)
    if mode == "F":
        return from_array(np.asarray(picture), column)
    return picture.convert("RGB")


def from_array(array: NDArray[np.generic], column: str) -> Picture:
    """(H, W), (H, W, 1), (H, W, 3) or (H, W, 4) numbers to L or RGB.

    uint8 as it is, bool as black and white, uint16 by its whole range, fractions of 0..1, other whole numbers
    of 0..255. Raises `DataError` for other shapes and ranges.
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or array.size == 0:
        raise DataError(
            f"Column {column!r} expects an image of shape (height, width), (height, width, 3) or "
            f"(height, width, 4); received {array.shape}."
        )
    check_size((array.shape[1], array.shape[0]), array, column)
    picture = fromarray(np.ascontiguousarray(to_bytes(array, column)))
    return flatten(picture, column)


def to_bytes(array: NDArray[np.generic], column: str) -> NDArray[np.uint8]:
    """Numbers of any common range to 0..255."""
    if array.dtype == np.uint8:
        return array.view(np.uint8)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype.kind in "iuf":
        low, high = float(array.min()), float(array.max())
        if array.dtype.kind == "f" and low >= 0 and high <= 1:
            return (array.astype(np.float32) * 255 + 0.5).astype(np.uint8)
        if array.dtype.kind != "f" and low >= 0 and high <= 255:
            return array.astype(np.uint8)
        found = f"runs from {low:g} to {high:g}"
    else:
        found = "holds no plain numbers"
    raise DataError(
        f"Column {column!r}: an image array of type {array.dtype} {found}. Give uint8, uint16, or fractions "
        "of 0..1."
    )


def sixteen_bits(array: NDArray[np.generic], column: str) -> NDArray[np.uint16]:
    """The numbers of a 16-bit picture, however Pillow holds them."""
    if array.min() < 0 or array.max() > 65535:
        raise DataError(f"Column {column!r}: a picture of 32-bit numbers. Save it with 8 or 16 bits each.")
    return array.astype(np.uint16)


def check_side(name: str, height: int, width: int) -> None:
    """Raise `DataError` for a size that no picture column has; 0 stands for "not learned yet"."""
    if not (0 <= height <= MOST_SIDE and 0 <= width <= MOST_SIDE):
        raise DataError(
            f"Column {name!r} has pictures of {height} x {width}; expected 1 to {MOST_SIDE} a side."
        )
