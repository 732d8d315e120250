"""Text files as UTF-8 pieces that end where a line ends, whatever their encoding and compression."""

from __future__ import annotations

import codecs
import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import charset_normalizer
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..errors import DataError, SettingError

SEGMENT = 1 << 25  # bytes that are parsed at a time
SAMPLE = 1 << 20
MOST_UNPACKED = 1 << 40  # bytes of text in one compressed file
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
WESTERN = "àáâãäåæçèéêëìíîïñòóôõöøœùúûüÿßÀÁÂÄÅÆÇÈÉÊËÍÎÏÑÓÔÖØŒÙÚÛÜ¿¡«»“”‘’–—…€£°·©®"
MAGIC = (
    (b"PK\x03\x04", "a zip or an Excel workbook; unzip it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook; save the sheet as CSV"),
    (
        b"\x80\x04",
        "a pickle, which shinso never opens because it can run code; save the data as Parquet or CSV",
    ),
    (
        b"\x80\x05",
        "a pickle, which shinso never opens because it can run code; save the data as Parquet or CSV",
    ),
    (b"%PDF", "a PDF; save its table as CSV"),
    (b"\x89PNG", "an image; give the folder it lies in"),
    (b"\xff\xd8\xff", "an image; give the folder it lies in"),
    (b"\x89HDF", "an HDF5 file; save the data as Parquet or CSV"),
)


@dataclass(frozen=True)
class TextFile:
    """A file of text, looked at once from end to end."""

    path: Path
    name: str  # for messages
    encoding: str
    size: int  # bytes, unpacked
    fingerprint: str
    damaged: int = 0  # bytes of UTF-8 that are not valid: read as U+FFFD

    def chunks(self) -> Iterator[bytes]:
        """The whole text as UTF-8, without byte order mark."""
        if self.encoding == "utf-8" and not self.damaged:
            yield from _raw(self.path)
            return
        decoder = codecs.getincrementaldecoder(self.encoding)("replace" if self.damaged else "strict")
        for chunk in _raw(self.path):
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()

    def head(self, size: int) -> str:
        """The beginning of the text, up to a whole line where there is one."""
        data = b""
        for chunk in self.chunks():
            data += chunk
            if len(data) >= size:
                cut = data.rfind(b"\n", 0, size)
                data = data[: cut + 1] if cut > 0 else data[:size]
                break
        return data.decode("utf-8", "ignore")

    def segments(self, quote: str | None) -> Iterator[bytes]:
        """The text in parts that end with a line, never inside a quoted cell."""
        held: list[bytes] = []
        size, wanted = 0, SEGMENT
        for chunk in self.chunks():
            held.append(chunk)
            size += len(chunk)
            if size < wanted:
                continue
            data = b"".join(held)
            cut = _last_line_end(data, quote)
            if cut:
                yield data[:cut]
                data = data[cut:]
            held, size = [data], len(data)
            wanted = SEGMENT if cut else 2 * size  # one long line is not searched often
        if size:
            yield b"".join(held)


def scan(path: Path, name: str, encoding: str | None = None) -> TextFile:
    """Find the encoding of a text file and hash it; a file that is no text is a `DataError`."""
    digest = hashlib.blake2b(digest_size=16)
    size, first = 0, b""
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_utf8 = True
    for chunk in _raw(path):
        first = first or chunk[:SAMPLE]
        size += len(chunk)
        digest.update(chunk)
        is_utf8 = is_utf8 and _decodes(decoder, chunk)
    is_utf8 = is_utf8 and _decodes(decoder, b"", final=True)
    _refuse_binary(first, name)
    if encoding is not None:
        encoding = _with_mark(encoding, first)
        file = TextFile(path, name, encoding, size, digest.hexdigest())
        _verify(file)
        return file
    found = _guess(first, path, is_utf8=is_utf8)
    file = TextFile(path, name, found, size, digest.hexdigest())
    if found == "utf-8" and not is_utf8:
        damaged = sum(chunk.decode("utf-8", "replace").count("\ufffd") for chunk in _raw(path))
        return replace(file, damaged=damaged)
    if found != "utf-8":
        _verify(file)
    return file


def lines_of_records(segment: bytes, quote: str | None, *, blank: bool) -> NDArray[np.int64]:
    """(n,): the line, from 0, on which each record of a segment begins; `blank` lines may be records too."""
    data = np.frombuffer(segment, np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    quotes = np.flatnonzero(data == ord(quote)) if quote else np.zeros(0, np.int64)
    outside = np.searchsorted(quotes, ends) % 2 == 0
    if len(data) and data[-1] != ord("\n"):
        ends, outside = np.append(ends, len(data)), np.append(outside, True)
    last_lines = np.flatnonzero(outside)
    starts = np.concatenate([[0], ends[last_lines[:-1]] + 1]) if len(last_lines) else np.zeros(0, np.int64)
    first_lines = np.concatenate([[0], last_lines[:-1] + 1]) if len(last_lines) else np.zeros(0, np.int64)
    if blank:
        return first_lines
    lengths = ends[last_lines] - starts
    only_return = (lengths == 1) & (data[np.minimum(starts, len(data) - 1)] == ord("\r"))
    return np.asarray(first_lines[(lengths > 0) & ~only_return])


def _raw(path: Path) -> Iterator[bytes]:
    """The bytes of a file, unpacked when it is compressed with gzip."""
    total = 0
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        with pa.input_stream(str(path), compression="gzip" if packed else None) as stream:
            while chunk := stream.read(1 << 22):
                total += len(chunk)
                if total > MOST_UNPACKED:
                    raise DataError(
                        f"{path.name} unpacks to more than {MOST_UNPACKED >> 30} GiB. Unpack it first."
                    )
                yield chunk
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error}. Check that it is complete.") from None


def _decodes(decoder: codecs.IncrementalDecoder, chunk: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        return False
    return True


def _with_mark(encoding: str, first: bytes) -> str:
    """UTF-8 as it was asked for, less the mark that the file begins with."""
    utf8 = encoding.lower().replace("_", "-") in ("utf-8", "utf8")
    return "utf-8-sig" if utf8 and first.startswith(codecs.BOM_UTF8) else encoding


def _refuse_binary(first: bytes, name: str) -> None:
    for magic, what in MAGIC:
        if first.startswith(magic):
            raise DataError(f"{name} is {what}.")


def _guess(first: bytes, path: Path, *, is_utf8: bool) -> str:
    """The encoding of a file that was not told: a mark, UTF-8 where it is valid, else what fits best."""
    for bom, encoding in BOMS:
        if first.startswith(bom):
            return encoding
    zeros = [first[side::2].count(0) / max(1, len(first) // 2) for side in (0, 1)]
    if max(zeros) > 0.2:
        return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    if is_utf8:
        return "iso2022_jp" if b"\x1b$" in first and _kana(first, "iso2022_jp") > 0.2 else "utf-8"
    sample = _around_first_strange_byte(path)
    text = sample.decode("utf-8", "replace")
    if text.count("\ufffd") < 0.05 * sum(c >= "\x80" for c in text):
        return "utf-8"  # damaged in a few places
    japanese = {encoding: _kana(sample, encoding) for encoding in ("cp932", "euc_jp")}
    if max(japanese.values()) > 0.2:
        return max(japanese, key=lambda encoding: japanese[encoding])
    if _is_western(sample):
        return "cp1252"
    best = charset_normalizer.from_bytes(sample).best()
    return "cp1252" if best is None or best.encoding.startswith("utf") else best.encoding


def _around_first_strange_byte(path: Path) -> bytes:
    """The lines around the first bytes that are not ASCII: what tells encodings apart."""
    previous = b""
    for chunk in _raw(path):
        if not chunk.isascii():
            data = previous + chunk
            strange = int(np.flatnonzero(np.frombuffer(data, np.uint8) >= 128)[0])
            start = data.rfind(b"\n", 0, strange) + 1
            end = data.rfind(b"\n", strange, start + SAMPLE)
            return data[start : end if end > 0 else start + SAMPLE]
        previous = chunk[-4096:]
    return previous


def _kana(sample: bytes, encoding: str) -> float:
    """The share of hiragana, katakana and kanji in what is not ASCII; 0 where the encoding does not fit."""
    try:
        text = sample.decode(encoding)
    except UnicodeDecodeError:
        return 0.0
    foreign = [c for c in text if c >= "\x80"]
    kana = sum("\u3041" <= c <= "\u30ff" for c in foreign)
    kanji = sum("\u4e00" <= c <= "\u9fff" for c in foreign)
    return (kana + 0.5 * kanji) / max(1, len(foreign))


def _is_western(sample: bytes) -> bool:
    """Whether what is not ASCII is mostly accented letters that stand alone, as in French or German."""
    text = sample.decode("cp1252", "replace")
    foreign = [i for i, c in enumerate(text) if c >= "\x80"]
    alone = [i for i in foreign if all(c < "\x80" for c in text[max(0, i - 1) : i] + text[i + 1 : i + 2])]
    return sum(text[i] in WESTERN for i in alone) > 0.8 * len(foreign)


def _verify(file: TextFile) -> None:
    """Decode everything once, so that reading cannot fail half way."""
    try:
        " ".encode(file.encoding)  # a lookup alone would find codecs that give no text, such as base64
    except (LookupError, ValueError):
        raise SettingError(
            f"There is no encoding {file.encoding!r}. Known ones: utf-8, cp932, euc_jp, utf-16."
        ) from None
    decoder = codecs.getincrementaldecoder(file.encoding)()
    lines = 0
    for chunk in itertools.chain(_raw(file.path), [b""]):
        try:
            lines += decoder.decode(chunk, final=not chunk).count("\n")
        except UnicodeDecodeError as error:
            lines += bytes(error.object[: error.start]).count(b"\n")
            raise DataError(
                f"{file.name}, line {lines + 1}: byte 0x{error.object[error.start]:02x} is not valid "
                f"{file.encoding}. Name the encoding, as in --set data.encoding=cp932, or save it as UTF-8."
            ) from None


def _last_line_end(data: bytes, quote: str | None) -> int:
    """The place after the last line end outside quotes, 0 where there is none."""
    if quote is None:
        return data.rfind(b"\n") + 1
    mark = quote.encode()
    end = len(data)
    inside = data.count(mark) % 2 == 1
    while True:
        place = data.rfind(b"\n", 0, end)
        if place < 0:
            return 0
        if data.count(mark, place, end) % 2 == 1:
            inside = not inside
        if not inside:
            return place + 1
        end = place
