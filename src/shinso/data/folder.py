"""Folders of images or sounds: `label/x.jpg`, below `train/ val/ test/` or not."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..errors import DataError
from .arrow import from_texts
from .loaded import Loaded, Span
from .notes import Note, plural

SUFFIXES = {
    "image": (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"),
    "audio": (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aif", ".aiff", ".m4a"),
}
KIND_OF = {suffix: kind for kind, suffixes in SUFFIXES.items() for suffix in suffixes}
PARTS = {
    "train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 2, "testing": 2,
}  # fmt: skip
IGNORED = ("__MACOSX",)


@dataclass(frozen=True)
class Found:
    """A file below a folder."""

    name: str  # relative, with forward slashes
    size: int
    changed: int  # nanoseconds


def list_files(folder: Path) -> list[Found]:
    """All files below a folder, hidden ones left out, in order of their names."""
    return sorted(_walk(folder, "", ()), key=lambda found: found.name)


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[Found]:
    """Links to folders are followed, but not one that leads back to where it stands."""
    try:
        own = folder.stat()
        above = (*above, (own.st_dev, own.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name in IGNORED:
                    continue
                if entry.is_dir():
                    found = entry.stat()
                    if (found.st_dev, found.st_ino) not in above:
                        yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", above)
                elif entry.is_file():
                    stat = entry.stat()
                    yield Found(prefix + entry.name, stat.st_size, stat.st_mtime_ns)
    except PermissionError:
        raise DataError(f"The folder {folder} may not be read. Change its permissions.") from None


def kind_of(name: str) -> str | None:
    """`image` or `audio` by a file's suffix, else None."""
    dot = name.rfind(".")
    return KIND_OF.get(name[dot:].lower()) if dot >= 0 else None


def load_folder(folder: Path, files: Sequence[Found], name: str) -> Loaded:
    """Images, or else sounds, of a folder as rows: the file, its label, and the part that a folder names."""
    kinds = [kind_of(found.name) for found in files]
    kind = "image" if "image" in kinds else "audio"
    chosen = [found for found, its in zip(files, kinds, strict=True) if its == kind]
    if not chosen:
        raise _nothing(folder, files)
    return from_files(folder, chosen, kind, name).adding(_left_out(files, chosen, kind))


def from_files(folder: Path, files: Sequence[Found], kind: str, name: str) -> Loaded:
    """Files of one kind as rows."""
    pieces = [found.name.split("/") for found in files]
    parts = _parts(pieces)
    inner = [piece[1:] for piece in pieces] if parts is not None else pieces
    labels = [piece[0] if len(piece) > 1 else None for piece in inner]
    table = {kind: _names(files)}
    notes: list[Note] = []
    if any(label is not None for label in labels):
        table["label"] = from_texts(labels)
        notes += _empty_files(files)
    return Loaded(
        pa.table(table), (Span(name, len(files)),), _manifest(files), tuple(notes), parts=parts, key=kind,
        folders={kind: folder.absolute()},
    )  # fmt: skip


def _names(files: Sequence[Found]) -> pa.Array:
    try:
        return from_texts(found.name for found in files)
    except UnicodeEncodeError as error:
        shown = str(error.object).encode("utf-8", "backslashreplace").decode("utf-8")
        raise DataError(
            f"The name of the file {shown!r} is no valid UTF-8, as after unpacking an archive from Windows. "
            f"Rename it, as by: convmv -f cp932 -t utf8 -r --notest FOLDER"
        ) from None


def _parts(pieces: Sequence[Sequence[str]]) -> NDArray[np.int8] | None:
    """(n,) 0 train, 1 validation, 2 test, when all files lie in folders of such names."""
    first = [piece[0].lower() if len(piece) > 1 else "" for piece in pieces]
    if not set(first) <= set(PARTS):
        return None
    if len(set(first)) == 1 and max(map(len, pieces)) < 3:
        return None  # one folder that happens to be called so: the label
    return np.array([PARTS[name] for name in first], np.int8)


def _manifest(files: Sequence[Found]) -> str:
    """A hash of names, sizes and times: the files themselves are too many to hash each time."""
    digest = hashlib.blake2b(digest_size=16)
    for found in files:
        digest.update(f"{found.name}\0{found.size}\0{found.changed}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _left_out(files: Sequence[Found], chosen: Sequence[Found], kind: str) -> list[Note]:
    """What stands in the folder and is not read."""
    known = {found.name for found in chosen}
    others = [found.name for found in files if found.name not in known]
    if not others:
        return []
    what = "image" if kind == "image" else "sound"
    message = f"{plural(len(others), 'file')} left out: no {what} that is read (the first: {others[0]})"
    return [Note("info", message, None, len(others))]


def _empty_files(files: Sequence[Found]) -> list[Note]:
    empty = [found.name for found in files if not found.size]
    if not empty:
        return []
    return [
        Note(
            "warning",
            f"{plural(len(empty), 'file')} without content (the first: {empty[0]})",
            None,
            len(empty),
        )
    ]


def _nothing(folder: Path, files: Sequence[Found]) -> DataError:
    there = sorted({Path(found.name).suffix or found.name for found in files})
    what = f"only {', '.join(there[:8])}" if there else "no files at all"
    return DataError(
        f"There are no images below {folder}, {what}. Expected {folder.name}/LABEL/photo.jpg, or a table "
        f"(.csv .parquet .jsonl). Images end in {' '.join(SUFFIXES['image'])}."
    )
