"""What happens, as one JSON object a line on stderr."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

EVERY = 0.25  # seconds between two writes of lines about requests


class Log:
    """Lines of JSON. What clients sent stands inside JSON strings, so it cannot forge a line."""

    def __init__(self, file: TextIO | None = None, *, quiet: bool = False) -> None:
        self.file, self.quiet = file or sys.stderr, quiet
        self._lines: list[str] = []
        self._written = 0.0

    def say(self, event: str, facts: dict[str, Any] | None = None, level: str = "info") -> None:
        """One event, at once."""
        if not self.quiet:
            self.flush()
            print(line(event, facts or {}, level), file=self.file, flush=True)

    def note(self, event: str, facts: dict[str, Any]) -> None:
        """One event of many: written with others a little later."""
        if not self.quiet:
            self._lines.append(line(event, facts, "info"))
            if time.monotonic() - self._written > EVERY:
                self.flush()

    def failed(self, request: str, error: Exception) -> None:
        """An error of ours, with its trace, which no client sees."""
        trace = "".join(traceback.format_exception(error))
        self.say("failed", {"request": request, "error": str(error), "trace": trace}, "error")

    def flush(self) -> None:
        """Write what was noted."""
        self._written = time.monotonic()
        if self._lines:
            lines, self._lines = self._lines, []
            print("\n".join(lines), file=self.file, flush=True)


class Passing(logging.Handler):
    """Lines of the libraries beneath, as events of ours."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One line of a library."""
        self.log.say("library", {"logger": record.name, "message": record.getMessage()}, "warning")


def line(event: str, facts: dict[str, Any], level: str) -> str:
    """One event as JSON."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return orjson.dumps({"time": now, "level": level, "event": event, **facts}, default=str).decode()
