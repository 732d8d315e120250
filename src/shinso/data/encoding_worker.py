"""A process that decodes files: `python -m shinso.data.encoding_worker`, spoken to through standard streams.

First it reads one line of JSON that names the column and answers `ready`; then, for each line `{"start": row,
"paths": [...]}`, it answers a line of JSON and the bytes of the arrays. Nothing is pickled, and the module
that the user runs is not imported again.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..columns.base import Array, Column, Values, object_array
from ..columns.image import Image
from ..errors import DataError
from .encoding import Failures, Piece, encode_chunk

LARGE = 32 << 20  # bytes of a file that a decoder had better read by itself


def restore(described: dict[str, Any]) -> Column:
    """The column that the parent process described."""
    module, _, name = described["type"].partition(":")
    kind = getattr(importlib.import_module(module), name)
    assert isinstance(kind, type) and issubclass(kind, Column)
    fields = {key: value for key, value in described["column"].items() if key != "kind"}
    return kind.restore(fields)


def paths_of(names: list[str | None]) -> Values:
    """Object array of paths, None where a value is missing."""
    return object_array([None if name is None else Path(name) for name in names])


def encode_content(column: Column, names: list[str | None], start: int) -> list[Piece] | None:
    """Encode what stands in the files; None where one of them is at fault, or the column wants paths."""
    if type(column) is not Image:
        return None
    try:
        values = object_array([None if name is None else content(name) for name in names])
        return [(start, column.encode_many(values))]
    except (DataError, OSError):
        return None


def content(name: str) -> bytes | Path:
    """The bytes of a file; a large one by its path."""
    handle = os.open(name, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(handle).st_size
        if size > LARGE:
            return Path(name)
        found = os.read(handle, size + 1)
        return found if len(found) == size else Path(name)
    finally:
        os.close(handle)


def answer(column: Column, job: dict[str, Any], out: BinaryIO) -> None:
    """Encode the files of one job and write them: a line that says what follows, then the bytes."""
    failures = Failures()
    pieces = encode_content(column, job["paths"], job["start"])
    if pieces is None:  # again, one by one: the message names the file
        pieces = list(encode_chunk(column, paths_of(job["paths"]), job["start"], failures))
    arrays: list[Array] = []
    described = []
    for start, found in pieces:
        each = (
            [np.ascontiguousarray(array) for array in found]
            if column.ragged
            else [np.ascontiguousarray(found)]
        )
        described.append(
            {"start": start, "shapes": [array.shape for array in each], "dtype": each[0].dtype.str}
        )
        arrays += each
    listed = [failures.rows, failures.reasons, failures.values]
    out.write(json.dumps({"pieces": described, "failures": listed}).encode() + b"\n")
    for array in arrays:
        out.write(array.data if array.size else b"")
    out.flush()


def main(source: BinaryIO, out: BinaryIO) -> None:
    """Answer jobs until the parent closes the stream."""
    column = restore(json.loads(source.readline()))
    out.write(b"ready\n")
    out.flush()
    for line in source:
        answer(column, json.loads(line), out)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes the stream
    main(sys.stdin.buffer, sys.stdout.buffer)
