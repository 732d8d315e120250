"""Rows that may be larger than memory: streamed once into an Arrow file, and mapped from there."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from .entries import Entries
from .loaded import Loaded, Span
from .notes import Bad, Note

LARGE = 192 << 20  # bytes of a source from which on its rows are kept on disk
FORMAT = 1
FILE = "rows.arrow"
Facts = tuple[tuple[Span, ...], tuple[Note, ...], tuple[Bad, ...]]


def gather(pieces: Iterator[pa.Table], facts: Callable[[], Facts], fingerprint: str) -> Loaded:
    """Rows in memory; `facts` is asked after the last piece."""
    data = pa.concat_tables(list(pieces))
    spans, notes, bad = facts()
    return Loaded(data, spans, fingerprint, notes, bad)


def spool(
    pieces: Iterator[pa.Table], facts: Callable[[], Facts], fingerprint: str, entries: Entries, key: str
) -> Loaded:
    """Rows on disk: written piece by piece, then mapped."""
    meta: dict[str, Any] = {}
    with entries.writing(key, meta) as place:
        first = next(pieces)
        with pa.OSFile(str(place / FILE), "wb") as sink, pyarrow.ipc.new_file(sink, first.schema) as writer:
            writer.write_table(first.combine_chunks())
            for piece in pieces:
                writer.write_table(piece.combine_chunks())
        spans, notes, bad = facts()
        meta["spans"] = [[span.file, span.count, list(span.skipped)] for span in spans]
        meta["notes"] = [asdict(note) for note in notes]
        meta["bad"] = [asdict(one) for one in bad]
    found = restore(fingerprint, entries, key, [span.line for span in spans])
    assert found is not None, "an entry that was just written is there"
    return found


def restore(
    fingerprint: str, entries: Entries, key: str, lines: list[Callable[[int], int | None] | None]
) -> Loaded | None:
    """Rows that an earlier reading left on disk."""
    found = entries.find(key)
    if found is None:
        return None
    place, meta = found
    data, mapping = map_rows(place / FILE)
    spans = tuple(
        Span(file, count, tuple(skipped), line)
        for (file, count, skipped), line in zip(meta["spans"], lines, strict=True)
    )
    notes = tuple(Note(**note) for note in meta["notes"])
    bad = tuple(Bad(**one) for one in meta["bad"])
    return Loaded(data, spans, fingerprint, notes, bad, mapping=mapping)


def map_rows(path: Path) -> tuple[pa.Table, mmap.mmap]:
    """The table in an Arrow file, without reading it into memory."""
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return pyarrow.ipc.open_file(pa.BufferReader(pa.py_buffer(mapping))).read_all(), mapping


def forget(mapping: mmap.mmap) -> None:
    """Let the system take back the memory of a mapped file; what is read again comes from its own cache."""
    if sys.platform != "win32":
        mapping.madvise(mmap.MADV_DONTNEED)
