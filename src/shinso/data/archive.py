"""Zip archives, unpacked with care: nothing lands outside the folder, and nothing unpacks without end."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ..errors import DataError
from ..files import file_digest
from .entries import Entries, make_key
from .folder import list_files
from .notes import shorten

MOST_BYTES = 200 << 30
MOST_MEMBERS = 5_000_000
BOMB_RATIO, BOMB_BYTES = (
    200,
    256 << 20,
)  # what unpacks to more than this many times its size, and to this much
NESTED = (".zip", ".gz", ".tgz", ".tar", ".7z", ".rar", ".bz2", ".xz")
FOLDER = "files"
UTF8_NAME = 0x800  # bit of a member's flags
FORMAT = 2  # changes when the same archive is unpacked otherwise


def unpack(path: Path, entries: Entries) -> tuple[Path, str]:
    """The folder that holds an archive's files, unpacked once, and the archive's hash.

    Raises `DataError` naming the member that is not safe, damaged or encrypted.
    """
    fingerprint = file_digest(path)
    key = make_key("zip", FORMAT, fingerprint)
    place = entries.folder / key
    found = entries.find(key)
    if found is not None and _sizes(place / FOLDER) == found[1].get("sizes"):
        return place / FOLDER, fingerprint
    shutil.rmtree(place, ignore_errors=True)
    try:
        with zipfile.ZipFile(path) as archive:
            members = check_members(archive.infolist(), path.name, path.stat().st_size)
            meta: dict[str, list[int]] = {}
            with entries.writing(key, meta) as target:
                for member in members:
                    _extract(archive, member, target / FOLDER, path.name)
                meta["sizes"] = _sizes(target / FOLDER)
    except zipfile.BadZipFile as error:
        raise DataError(
            f"{path.name} is not a complete zip file: {error}. Copy or download it again."
        ) from None
    return place / FOLDER, fingerprint


def _sizes(folder: Path) -> list[int]:
    """How many files and bytes lie below a folder: what shows that one was removed or cut short."""
    files = list_files(folder) if folder.is_dir() else []
    return [len(files), sum(found.size for found in files)]


def check_members(members: Sequence[zipfile.ZipInfo], name: str, packed: int) -> list[zipfile.ZipInfo]:
    """The members to unpack; raises `DataError` where one is not safe."""
    files = [member for member in members if not member.is_dir()]
    for member in files:
        member.filename = true_name(member)
    if len(files) > MOST_MEMBERS:
        raise DataError(f"{name} holds {len(files):,} files, more than {MOST_MEMBERS:,}. Unpack it by hand.")
    total = sum(member.file_size for member in files)
    if total > MOST_BYTES or (total > BOMB_BYTES and total > BOMB_RATIO * packed):
        largest = max(files, key=lambda member: member.file_size)
        raise DataError(
            f"{name} would unpack to {total:,} bytes from {packed:,} (the largest is "
            f"{shorten(largest.filename)!r}). "
            "That looks like a bomb, so it was not unpacked. If you trust it, unpack it by hand and give "
            "the folder."
        )
    for member in files:
        _check(member, name)
    return [member for member in files if not member.filename.lower().endswith(NESTED)]


def true_name(member: zipfile.ZipInfo) -> str:
    """The name of a member: most programs write UTF-8 or, in Japan, cp932, and do not say so."""
    if member.flag_bits & UTF8_NAME or member.orig_filename.isascii():
        return member.orig_filename
    raw = member.orig_filename.encode("cp437")
    for encoding in ("utf-8", "cp932"):
        try:
            name = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding == "utf-8" or any("\u3040" <= c <= "\u9fff" for c in name):
            return name
    return member.orig_filename


def _check(member: zipfile.ZipInfo, name: str) -> None:
    shown = f"{name}: the member {shorten(member.filename)!r}"
    path = PurePosixPath(member.filename)
    drive = len(path.parts[0]) > 1 and path.parts[0][1] == ":" if path.parts else False
    if (
        "\\" in member.filename
        or "\0" in member.filename
        or path.is_absolute()
        or drive
        or ".." in path.parts
    ):
        raise DataError(
            f"{shown} would be written outside its folder. Nothing was unpacked; do not trust this file."
        )
    if stat.S_ISLNK(member.external_attr >> 16):
        raise DataError(f"{shown} is a link. Nothing was unpacked; pack the file itself.")
    if member.flag_bits & 0x1:
        raise DataError(f"{shown} is encrypted. Unpack it by hand with its password and give the folder.")


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, name: str) -> None:
    target = folder / member.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open(member) as source, target.open("xb") as out:
            shutil.copyfileobj(
                source, out, 1 << 20
            )  # the reader stops at the size that was declared and checked
    except FileExistsError:
        raise DataError(f"{name} holds {shorten(member.filename)!r} twice. Pack it again.") from None
    except (zlib.error, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{name}: the member {shorten(member.filename)!r} is damaged: {error}. Pack it again."
        ) from None
