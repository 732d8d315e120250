"""A folder of cache entries: each appears whole or not at all, is checked when found, and leaves in time."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..config import DataConfig
from ..errors import DataError
from ..files import cache_folder

META = "meta.json"
LIMIT = 20 << 30  # bytes of all entries together; the least recently used ones leave first
BLOCK, BLOCKS = 1 << 16, 64  # how much of a file is hashed to see that it is what was written
ABANDONED = 86_400.0  # seconds after which an unfinished entry is taken for the rest of a killed process


class Entries:
    """Cache entries below one folder. An entry is a folder named after its key, with a `meta.json`.

    Two processes may write one entry at once: the first to finish wins, the other takes what is there.
    """

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        self.folder = cache_folder() if folder is None else folder
        self.limit = limit

    @classmethod
    def of(cls, options: DataConfig) -> Entries:
        """The entries in the folder that the settings name, or the user's cache folder."""
        return cls(cache_folder(options.cache))

    def find(self, key: str) -> tuple[Path, dict[str, Any]] | None:
        """An entry's folder and its meta data; a damaged entry is removed and not found."""
        place = self.folder / key
        if not place.exists():
            return None
        try:
            meta = json.loads((place / META).read_text("utf-8"))
            intact = isinstance(meta, dict) and all(
                sample_hash(place / name) == expected for name, expected in meta["files"].items()
            )
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            intact = False
        if not intact:
            shutil.rmtree(place, ignore_errors=True)
            return None
        with contextlib.suppress(OSError):  # a cache that may only be read from
            os.utime(place / META)
        return place, meta

    @contextlib.contextmanager
    def writing(self, key: str, meta: dict[str, Any]) -> Iterator[Path]:
        """A new folder to write an entry's files into; `meta` is completed before the block ends.

        Raises `DataError` when the disk is full or may not be written.
        """
        place = self.folder / f".{key}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        try:
            place.mkdir(parents=True)
            yield place
            self._commit(place, key, meta)
        except OSError as error:
            raise _no_room(self.folder, error) from None
        finally:
            shutil.rmtree(place, ignore_errors=True)
        self.evict(keep=key)

    def _commit(self, place: Path, key: str, meta: dict[str, Any]) -> None:
        files = sorted(path for path in place.iterdir() if path.is_file())
        for path in files:
            _sync(path)
        complete = {**meta, "files": {path.name: sample_hash(path) for path in files}}
        (place / META).write_text(json.dumps(complete), "utf-8")
        _sync(place / META)
        _sync(place)
        try:
            place.rename(self.folder / key)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES):
                raise
            return  # another process was first
        _sync(self.folder)

    def evict(self, keep: str) -> None:
        """Remove the least recently used entries beyond the limit, and what killed processes left behind."""
        found = []
        now = time.time()
        for place in self.folder.iterdir():
            with contextlib.suppress(OSError):  # another process may evict as well
                if place.name.startswith("."):
                    if now - place.stat().st_mtime > ABANDONED:
                        shutil.rmtree(place, ignore_errors=True)
                elif (place / META).is_file():
                    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
                    found.append(((place / META).stat().st_mtime, size, place))
        total = sum(size for _, size, _ in found)
        for _, size, place in sorted(found):
            if total <= self.limit:
                break
            if place.name != keep:
                shutil.rmtree(place, ignore_errors=True)
                total -= size


def make_key(*facts: Any) -> str:
    """A key from plain JSON data.

    >>> make_key("a", 1) == make_key("a", 1) != make_key("a", 2)
    True
    """
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()


def sample_hash(path: Path) -> str:
    """A hash of a file's size and of up to 64 blocks of it, the first and the last among them."""
    size = path.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    steps = min(BLOCKS, max(1, -(-size // BLOCK)))
    with path.open("rb") as file:
        for i in range(steps):
            file.seek((max(0, size - BLOCK) * i) // max(1, steps - 1))
            digest.update(file.read(BLOCK))
    return digest.hexdigest()


def _sync(path: Path) -> None:
    """Make a file or folder durable."""
    if sys.platform == "win32" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _no_room(folder: Path, error: OSError) -> DataError:
    what = (
        "is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"cannot be written ({error.strerror})"
    )
    return DataError(
        f"The disk of the cache folder {folder} {what}. "
        "Free some space, or name another folder, as in --set data.cache=/path/to/folder."
    )
