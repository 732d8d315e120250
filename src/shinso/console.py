"""What a person sees while work goes on, on stderr: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

BAR = 28
REFRESH = 0.1  # seconds between two drawings of a bar


class Advance(Protocol):
    """Moves a progress bar."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


class Console:
    """Lines and progress on stderr; silent where `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.terminal = sys.stderr.isatty() and not quiet
        self._drawn = False

    def say(self, text: str = "") -> None:
        """One line for a person."""
        if not self.quiet:
            self._wipe()
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def progress(self, title: str) -> Iterator[Advance]:
        """A bar for the length of the block (on a terminal), without a trace afterwards."""
        last, started = 0.0, time.monotonic()

        def advance(done: int, total: int, note: str = "") -> None:
            nonlocal last
            now = time.monotonic()
            if self.terminal and (now - last >= REFRESH or done >= total):
                last = now
                self._draw(title, done, total, note, now - started)

        try:
            yield advance
        finally:
            self._wipe()

    def _draw(self, title: str, done: int, total: int, note: str, seconds: float) -> None:
        share = min(1.0, done / max(total, 1))
        bar = "━" * round(BAR * share) + "╌" * (BAR - round(BAR * share))
        left = seconds / share * (1 - share) if share > 0.01 else 0.0
        line = f"{title} {bar} {done:,}/{total:,}  {clock(left)} left  {note}"
        line = line[: shutil.get_terminal_size().columns - 1]  # a line that wraps could not be wiped
        print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)
        self._drawn = True

    def _wipe(self) -> None:
        if self._drawn:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
            self._drawn = False


def clock(seconds: float) -> str:
    """Seconds as a person says them.

    >>> clock(4.21), clock(75), clock(7300)
    ('4.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
