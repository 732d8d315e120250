"""Sound: one value is a WAV, FLAC or OGG file. T = samples, at the rate learned from the training rows."""

from __future__ import annotations

import base64
import binascii
import html
import io
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from ..errors import DataError
from .base import Array, Column, Value, Values, count_missing, is_missing, object_array
from .series import sparkline

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".aiff", ".aif", ".mp3")
MIN_RATE, MAX_RATE = 100, 768_000  # samples a second
MAX_CHANNELS = 64
MAX_SAMPLES = 1 << 28
SPANS = 16  # pieces of time that an explanation speaks of


@dataclass(frozen=True, kw_only=True)
class Audio(Column):
    """Sound from a file or from bytes (base64 in a request), mixed to one channel, at the learned rate.

    `encode` gives float32 (T,) in -1 to 1; a missing value is one sample, NaN. `collate` pads with NaN at
    the end, which encoders mask. A sound longer than `max_seconds` is an error: the header is read before
    anything is decoded.
    """

    kind: ClassVar[str] = "audio"
    ragged: ClassVar[bool] = True
    rate: int = 16_000  # samples a second
    length: int = 0  # the usual T: the median over the training rows
    max_seconds: float = 60.0

    def __post_init__(self) -> None:
        rate, length, seconds = self.rate, self.length, self.max_seconds
        if type(rate) is not int or not MIN_RATE <= rate <= MAX_RATE:
            raise DataError(f"Column {self.name!r}: rate is {MIN_RATE} to {MAX_RATE}; received {rate!r:.60}.")
        if type(length) is not int or not 0 <= length <= MAX_SAMPLES:
            raise DataError(f"Column {self.name!r}: a length is 0 to {MAX_SAMPLES}; received {length!r:.80}.")
        if type(seconds) not in (int, float) or not 0 < seconds <= MAX_SAMPLES / rate:
            most = MAX_SAMPLES // rate
            raise DataError(f"Column {self.name!r}: max_seconds is 0 to {most}; received {seconds!r:.80}.")

    @classmethod
    def matches(cls, values: Values) -> float:
        """0.95 where all values are paths of sound files, or bytes that begin like one."""
        seen = [v for v in values if not is_missing(v)] if values.dtype.kind == "O" else []
        return 0.95 if seen and all(_looks_like_sound(v) for v in seen) else 0.0

    @classmethod
    def examples(cls, rng: np.random.Generator, n: int) -> Values:
        """Tones of a tenth of a second as WAV bytes."""
        return object_array([_wav(_tone(rng), 8000) for _ in range(n)])

    def fit(self, values: Values) -> Self:
        """Learn the most common sampling rate and the usual length; only headers are read.

        Sounds that cannot be read are told where rows are; an error only where none can.
        """
        rates, seconds, first = self._headers(values)
        if not rates:
            lacking = f"Column {self.name!r} has no values: every row is missing. Leave it out."
            raise first or DataError(lacking)
        rate = rates.most_common(1)[0][0]
        return replace(self, rate=rate, length=math.ceil(float(np.median(seconds)) * rate))

    def encode(self, value: Value) -> Array:
        """float32 (T,) at `rate`, one channel."""
        if is_missing(value):
            return np.full(1, np.nan, np.float32)
        with self._open(value) as sound:
            samples, rate = self._decode_all(sound), sound.samplerate
        if len(samples) == 0:
            raise DataError(f"Column {self.name!r}: the sound has no samples.")
        if not np.isfinite(samples).all():
            raise DataError(f"Column {self.name!r}: the sound holds NaN or infinite samples.")
        mono = samples.mean(1, dtype=np.float32)
        return mono if rate == self.rate else soxr.resample(mono, rate, self.rate).astype(np.float32)

    def collate(self, arrays: Sequence[Array]) -> Array:
        """(B, T): shorter sounds are padded with NaN at the end."""
        batch = np.full((len(arrays), max(len(a) for a in arrays)), np.nan, np.float32)
        for row, array in zip(batch, arrays, strict=True):
            row[: len(array)] = array
        return batch

    def parts(self, value: Value) -> list[Hashable]:
        """Up to 16 spans of time, as (first, past the last) in samples at `rate`."""
        if is_missing(value):
            return ["value"]
        length = len(self.encode(value))
        edges = np.linspace(0, length, min(SPANS, length) + 1).astype(int).tolist()
        return list(pairwise(edges))

    def hide(self, value: Value, part: Hashable) -> Value:
        """`value` as WAV bytes with silence in the span `part`; nothing at all for "value"."""
        if is_missing(value) or not isinstance(part, tuple):
            return None
        start, stop = part
        samples = self.encode(value)
        samples[start:stop] = 0
        return _wav(samples, self.rate)

    def summary(self, values: Values) -> dict[str, Any]:
        """Rows, missing rows, quantiles of seconds, and the sampling rates, from the headers alone."""
        rates, seconds, _ = self._headers(values)
        facts: dict[str, Any] = {"rows": len(values), "missing": count_missing(values)}
        if not seconds:
            return facts
        quantiles = np.quantile(seconds, (0, 0.5, 1)).tolist()
        return facts | {
            "seconds": quantiles,
            "rates": {str(rate): count for rate, count in rates.most_common(20)},
        }

    def show(self, value: Value) -> str:
        """The loudness over time as inline SVG, with a player where the sound is short."""
        if is_missing(value):
            return "<i>missing</i>"
        try:
            samples = self.encode(value)
        except DataError:
            return html.escape(str(value)[:80])
        seconds = len(samples) / self.rate
        pieces = np.array_split(np.abs(samples), min(160, len(samples)))
        loudness = np.array([piece.max() for piece in pieces])
        drawing = sparkline(np.stack([loudness, -loudness]).astype(np.float64), f"{seconds:.2f} s")
        return drawing + (_player(samples, self.rate) if seconds <= 5 else "")

    def json_schema(self) -> dict[str, Any]:
        """A sound file in base64."""
        encoding = {"contentEncoding": "base64", "contentMediaType": "audio/*"}
        return {"title": self.name, "type": ["string", "null"], **encoding}

    def _open(self, value: Value) -> soundfile.SoundFile:
        """The header, checked: nothing is decoded yet."""
        source, size = self._source(value)
        if size == 0:
            raise DataError(f"Column {self.name!r}: {_label(value)} is empty (0 bytes).")
        try:
            sound = soundfile.SoundFile(source)
        except (soundfile.LibsndfileError, OSError, TypeError) as error:
            why = str(error).removeprefix("Error opening ").strip(".")
            raise DataError(f"Column {self.name!r}: {_label(value)} is no readable sound: {why}.") from None
        try:
            self._check_header(sound, value)
            _check_wav_is_whole(source, value, self.name)
        except DataError:
            sound.close()
            raise
        return sound

    def _headers(self, values: Values) -> tuple[Counter[int], list[float], DataError | None]:
        """Sampling rates and seconds of the sounds that can be read, and why the first other cannot."""
        rates: Counter[int] = Counter()
        seconds: list[float] = []
        first: DataError | None = None
        for value in values:
            if is_missing(value):
                continue
            try:
                with self._open(value) as sound:
                    rates[sound.samplerate] += 1
                    seconds.append(sound.frames / sound.samplerate)
            except DataError as error:
                first = first or error
        return rates, seconds, first

    def _source(self, value: Value) -> tuple[str | io.BytesIO, int]:
        if isinstance(value, str):
            value = _from_base64(value, self.name)
        if isinstance(value, bytes | bytearray | memoryview):
            return io.BytesIO(bytes(value)), len(value)
        if not isinstance(value, Path):
            found = type(value).__name__
            raise DataError(f"Column {self.name!r} takes a sound file or its bytes; received {found}.")
        if not value.is_file():
            raise DataError(f"Column {self.name!r}: there is no file {value}.")
        return str(value), value.stat().st_size

    def _check_header(self, sound: soundfile.SoundFile, value: Value) -> None:
        if not 0 < sound.samplerate <= MAX_RATE or not 0 < sound.channels <= MAX_CHANNELS:
            raise DataError(
                f"Column {self.name!r}: {_label(value)} states {sound.channels} channels at "
                f"{sound.samplerate} Hz; expected at most {MAX_CHANNELS} channels at {MAX_RATE} Hz."
            )
        seconds = sound.frames / sound.samplerate
        if seconds > self.max_seconds:
            raise DataError(
                f"Column {self.name!r}: {_label(value)} lasts {seconds:.4g} seconds; at most "
                f"{self.max_seconds:g} are read. Cut it, or set data.max_seconds={math.ceil(seconds)}."
            )

    def _decode_all(self, sound: soundfile.SoundFile) -> NDArray[np.float32]:
        """(T, channels); `DataError` where the file ends before its header says."""
        try:
            samples: NDArray[np.float32] = sound.read(sound.frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise DataError(f"Column {self.name!r}: the sound is damaged: {error}.") from None
        if len(samples) < sound.frames:
            raise DataError(
                f"Column {self.name!r}: the sound is truncated: {len(samples)} of {sound.frames} samples "
                "could be read. Copy or record it again."
            )
        return samples


def _check_wav_is_whole(source: str | io.BytesIO, value: Value, name: str) -> None:
    """libsndfile shortens a cut WAV file in silence: the size in its header is compared with the file's."""
    head, size = _head(source)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        stated = int.from_bytes(head[4:8], "little") + 8
        if size + 1 < stated < 0xFFFFFFFF:  # writers to a pipe state 0xFFFFFFFF; some leave the last byte out
            raise DataError(
                f"Column {name!r}: {_label(value)} is truncated: {size} of {stated} bytes are there. "
                "Copy it again."
            )


def _head(source: str | io.BytesIO) -> tuple[bytes, int]:
    if isinstance(source, io.BytesIO):
        view = source.getbuffer()
        return bytes(view[:12]), len(view)
    with Path(source).open("rb") as file:
        return file.read(12), file.seek(0, 2)


def _looks_like_sound(value: Value) -> bool:
    if isinstance(value, Path):
        return value.suffix.lower() in SUFFIXES
    if isinstance(value, bytes):
        return value[:4] in (b"RIFF", b"fLaC", b"OggS", b"FORM") and value[8:12] != b"WEBP"
    return isinstance(value, str) and value.startswith("data:audio/")


def _from_base64(text: str, name: str) -> bytes:
    body = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise DataError(f"Column {name!r} takes a sound in base64; received {text[:40]!r}.") from None


def _label(value: Value) -> str:
    return str(value) if isinstance(value, Path) else "the sound"


def _tone(rng: np.random.Generator) -> NDArray[np.float32]:
    times = np.arange(rng.integers(600, 1000)) / 8000
    return (0.3 * np.sin(2 * np.pi * rng.uniform(200, 2000) * times)).astype(np.float32)


def _wav(samples: NDArray[np.float32], rate: int) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format="WAV", subtype="FLOAT")
    return out.getvalue()


def _player(samples: NDArray[np.float32], rate: int) -> str:
    out = io.BytesIO()
    soundfile.write(out, samples.clip(-1, 1), min(rate, 655_350), format="FLAC", subtype="PCM_16")
    data = base64.b64encode(out.getvalue()).decode()
    return f'<audio controls preload="none" src="data:audio/flac;base64,{data}"></audio>'
