"""Refusals of requests that nobody has time to read: found by their heads alone, written together.

A request that arrived whole, and of which two readers could not think differently where it ends, is refused
without a parser: no scope, no task, no body. Everything else takes the usual way. Refusals that are due at
about the same time are written in one turn of the loop, by one timer.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from functools import lru_cache
from typing import Protocol

import orjson

from .refusals import CODES

Facts = tuple[str, str, str]  # code, message, remedy
MORE = "The server has more to do than it can."
LATER = "Try again after the time that Retry-After gives, or send less at once."
WORDS = {408: b"Request Timeout", 429: b"Too Many Requests", 431: b"Request Header Fields Too Large",
         503: b"Service Unavailable"}  # fmt: skip
MOST_HEAD = 4096  # bytes of a head that is looked through
TOGETHER = 0.02  # seconds: what is due within them is written at once
ASKS = re.compile(rb"post (/v2)?[^ ?\r\n]*/(?:predict|infer)(?:\?[^ \r\n]*)? http/1\.1\r\n")
LENGTH = re.compile(rb"\r\ncontent-length: ?([0-9]{1,9})\r\n")
# Headers that say where a request ends, what happens before or after it, or how long its sender waits.
ODD = re.compile(
    rb"transfer-encoding|expect|upgrade|\r\nconnection:(?! ?keep-alive\r\n)|x-deadline-ms|\r\n[ \t]"
)


class Held(Protocol):
    """A connection whose request is refused in a while."""

    def told(self, seconds: float, flat: bool) -> None:  # noqa: FBT001
        """Write the refusal, and go on."""


class Refusals:
    """Those that are held back, first due first."""

    def __init__(self) -> None:
        self._held: deque[tuple[float, Held, float, bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def hold(self, due: float, one: Held, seconds: float, *, flat: bool) -> None:
        """Refuse one at `due`, on the loop's clock, no earlier than those before it."""
        self._held.append((due, one, seconds, flat))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(due, self._release)

    def _release(self) -> None:
        loop = asyncio.get_running_loop()
        until, held = loop.time() + TOGETHER, self._held
        while held and held[0][0] <= until:
            _, one, seconds, flat = held.popleft()
            one.told(seconds, flat)
        self._timer = loop.call_at(held[0][0], self._release) if held else None


def quick(data: bytes) -> bool | None:
    """Whether a request that may be refused unread asks by the inference protocol; None where it may not be.

    `data` is what came where a request begins.

    >>> quick(b"POST /predict HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: 2\\r\\n\\r\\n{}")
    False
    >>> quick(b"GET / HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n") is None
    True
    """
    end = data.find(b"\r\n\r\n", 0, MOST_HEAD)
    if end < 0 or data[:5] != b"POST ":
        return None
    head = data[: end + 2].lower()
    asks, length = ASKS.match(head), LENGTH.search(head)
    if asks is None or length is None or len(data) != end + 4 + int(length[1]):
        return None
    clear = head.count(b"content-length") == 1 and head.count(b"\n") == head.count(b"\r\n")
    return None if not clear or ODD.search(head) else asks[1] is not None


@lru_cache(maxsize=256)
def refusal(facts: Facts, seconds: int, *, end: bool, flat: bool = False) -> bytes:
    """An answer that is written without more ado; `flat` as the inference protocol wants it."""
    code, message, remedy = facts
    more = {"code": code, "field": None, "message": message, "remedy": remedy}
    body = orjson.dumps({"error": f"{message} {remedy}", **more} if flat else {"error": more})
    status = CODES[code]
    lines = [
        b"HTTP/1.1 %d %s" % (status, WORDS[status]), b"content-type: application/json",
        b"content-length: %d" % len(body), b"retry-after: %d" % max(1, seconds),
        *([b"connection: close"] if end else []), b"", body,
    ]  # fmt: skip
    return b"\r\n".join(lines)
