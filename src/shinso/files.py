"""Files that are never half-written: temporary file, fsync, rename, fsync of the folder."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from .errors import RunError, ShinsoError

MAX_JSON_BYTES = 512 << 20


def write_atomic(path: Path, *content: bytes | str) -> None:
    """Put `content` at `path` so that a reader, or a kill at any moment, sees the old file or the new one.

    Parts are written one after another, so that large ones need not be joined in memory first.
    Halves of characters, as in names of files that are no UTF-8, are written as JSON escapes them.
    A full disk or a read-only folder is a `ShinsoError` that names the file; what stood there before stays.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            for part in content:
                file.write(part.encode("utf-8", "backslashreplace") if isinstance(part, str) else part)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        temporary = None
        sync_folder(path.parent)
    except OSError as error:
        raise ShinsoError(
            f"Could not write {path}: {error.strerror or error}. "
            f"Nothing that stood there was changed. Free some space or choose another folder, then try again."
        ) from error
    finally:
        if temporary is not None:  # whatever stopped it: a full disk, Ctrl-C
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write plain data as JSON, with NaN and infinity refused."""
    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON that shinso wrote; a missing, huge or broken file is a `RunError` that names it."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise RunError(f"{path} is larger than {MAX_JSON_BYTES >> 20} MiB and is not read.")
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} is missing: {path.parent} is no complete run directory.") from None
    except (ValueError, RecursionError, OSError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{path} is damaged ({error}). Restore it from a copy, or train again.") from None


def read_json_lines(path: Path) -> list[Any]:
    """Read one JSON value a line; a last line cut short by a kill is left out. No file, no lines."""
    if not path.exists():
        return []
    found = []
    lines = path.read_text("utf-8", "replace").split("\n")  # not splitlines: JSON may hold U+2028
    for number, line in enumerate(lines, 1):
        try:
            found.append(json.loads(line))
        except ValueError:
            if line and number < len(lines):
                raise RunError(f"{path}, line {number} is damaged. Restore it from a copy.") from None
    return found


def file_digest(path: Path) -> str:
    """BLAKE2b of a file, as 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def cache_folder(chosen: str | None = None) -> Path:
    """Where decoded data and measurements of the machine are kept between runs."""
    base = chosen or os.environ.get("SHINSO_CACHE")
    if base:
        return Path(base).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shinso"
