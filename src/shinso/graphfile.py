"""What a file of ONNX refers to, read without onnx and without loading a weight.

A graph may name other files as the place of its weights, which whoever opens it would then read. shinso
writes none such, so none such is opened. The walk is over the wire format of protocol buffers: a field is a
number and a type, and what is nested has a length. Weights are skipped as a whole.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import RunError

VARINT, FIXED64, NESTED, FIXED32 = 0, 1, 2, 5  # types of the wire format
DEEPEST = 32  # graphs within graphs
# Of onnx.proto: which fields of a message hold which messages.
MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
EXTERNAL, PLACE = 13, 14  # fields of a tensor: where its numbers are, and whether that is another file
DIMENSIONS, TYPE, RAW = 1, 2, 9
# Bytes of a number by its type in onnx.proto, where the numbers are stored as raw bytes.
WIDTHS = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}


def refuse_foreign(path: Path) -> None:
    """Raise `RunError` where a graph is cut off, reads other files, or has a tensor of another size."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _walk(content, 0, len(content), "model", path, 0)
    except (OSError, ValueError, IndexError) as error:
        raise RunError(f"{path} is no complete graph of ONNX ({error}). Export the run again.") from None


def _walk(content: mmap.mmap, start: int, end: int, message: str, path: Path, depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError("graphs are nested too deeply")
    inside, sizes = MESSAGES[message], dict[int, Any]()
    for number, kind, value, length in _fields(content, start, end):
        if message == "tensor":
            _note(content, sizes, number, kind, value, length)
        elif number in inside and kind == NESTED:
            _walk(content, value, value + length, inside[number], path, depth + 1)
    if message == "tensor":
        _check(sizes, path)


def _fields(content: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, type, value (or where it begins) and length of each field."""
    while at < end:
        key, at = _varint(content, at, end)
        number, kind, length = key >> 3, key & 7, 0
        if kind == VARINT:
            value, at = _varint(content, at, end)
        elif kind in (FIXED64, FIXED32):
            value, length = at, 8 if kind == FIXED64 else 4
            at += length
        elif kind == NESTED:
            length, value = _varint(content, at, end)
            at = value + length
        else:
            raise ValueError(f"a field of the unknown type {kind}")
        if at > end:
            raise ValueError("it ends in the middle of a field")
        yield number, kind, value, length


def _varint(content: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("it ends in the middle of a number")


def _note(content: mmap.mmap, sizes: dict[int, Any], number: int, kind: int, value: int, length: int) -> None:
    """Keep what `_check` looks at."""
    if number == DIMENSIONS and kind == NESTED:  # packed
        while length > 0:
            one, after = _varint(content, value, value + length)
            sizes.setdefault(DIMENSIONS, []).append(one)
            length, value = length - (after - value), after
    elif number == DIMENSIONS:
        sizes.setdefault(DIMENSIONS, []).append(value)
    elif number == RAW:
        sizes[RAW] = length
    elif number in (EXTERNAL, PLACE, TYPE):
        sizes[number] = value if kind == VARINT else 1


def _check(sizes: dict[int, Any], path: Path) -> None:
    if sizes.get(EXTERNAL) or sizes.get(PLACE):
        raise RunError(
            f"{path} keeps weights in another file, which shinso never writes and does not open. "
            f"Export the run again."
        )
    width = WIDTHS.get(sizes.get(TYPE, 0))
    if RAW in sizes and width is not None:
        wanted = width
        for one in sizes.get(DIMENSIONS, ()):
            wanted *= one
        if wanted != sizes[RAW]:
            raise RunError(
                f"{path} has a tensor of the shape {sizes.get(DIMENSIONS, [])} that holds {sizes[RAW]:,} "
                f"bytes where {wanted:,} are needed. Restore it from a copy, or export the run again."
            )
