"""What reading and cleaning have to say: notes for people, bad rows and cells for the quarantine file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

MOST_LISTED = 10_000  # bad rows and cells that are listed one by one; the rest is counted
LONGEST_VALUE = 80


@dataclass(frozen=True)
class Note:
    """One thing to say aloud about the data before training starts."""

    level: Literal["info", "warning"]
    message: str
    column: str | None = None
    count: int = 0


@dataclass(frozen=True)
class Bad:
    """A row (`column` None) or a cell that could not be used: one line of `quarantine.jsonl`."""

    file: str
    row: int | str  # the row's number in the file counted from 1, or the name of its file
    column: str | None
    reason: str
    value: str = ""
    line: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


def shorten(value: object) -> str:
    """`value` as text short enough for a message.

    >>> shorten("a" * 200)[-5:]
    'aa...'
    """
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def plural(count: int, noun: str) -> str:
    """`1 row`, `2 rows`, `1,000 rows`.

    >>> plural(1000, "row")
    '1,000 rows'
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
