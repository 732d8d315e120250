"""How this process asks the system for memory."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # parameters of mallopt, from malloc.h
LARGEST = 1 << 30  # bytes


def keep_freed_memory() -> bool:
    """Let freed memory be used again in place of going back to the system, where the C library can.

    Activations are freed and asked for again at every step; giving each page back and having it zeroed anew
    takes a tenth to a fifth of a step. True where it was done. For a process of our own: a program that calls
    shinso keeps its way of using memory.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = _in_libc("mallopt")
    return bool(mallopt(MMAP_THRESHOLD, LARGEST)) and bool(mallopt(TRIM_THRESHOLD, LARGEST))


def give_back() -> None:
    """Give memory that was freed back to the system, where the C library can: after what is done once."""
    if sys.platform.startswith("linux"):
        _in_libc("malloc_trim")(0)


def _in_libc(name: str) -> Callable[..., int]:
    """A function of the GNU C library; with another, one that does nothing."""
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL("libc.so.6"), name)
    except (OSError, AttributeError):
        return lambda *_: 0
    return found
