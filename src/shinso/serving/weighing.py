"""How long a row takes to read, guessed from its files without decoding them.

Rows that take long are read in a thread of their own, so that they hold up nobody: large files, and small
files that become large pictures (40 KB of PNG may be 40 million pixels).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..columns.raster import measure
from ..errors import DataError
from .natural import Form

LARGE = 65_536  # bytes of a value
SMALL = 1_024  # bytes: deflate makes at most a thousand times as much of them
PIXELS = 1_000_000  # decoded in about 10 ms
RIFF, RIFF_TEXT = b"RIFF", "UklGR"  # a WAV file, also in base64: as long as it looks


def is_heavy(rows: Mapping[str, Any], form: Form) -> bool:
    """Whether a value of the rows takes long to read."""
    return any(weighs(value, form.kinds[name]) for name in form.files for value in rows[name])


def weighs(value: Any, kind: str) -> bool:
    """Whether one file takes long to read."""
    if not isinstance(value, str | bytes) or len(value) <= SMALL:
        return False
    if len(value) > LARGE:
        return True
    if kind == "audio":
        return value[: len(RIFF)] != RIFF and value[: len(RIFF_TEXT)] != RIFF_TEXT
    try:
        width, height, _ = measure(value, "")
    except DataError:  # which the column refuses as quickly
        return False
    return width * height > PIXELS
