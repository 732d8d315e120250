"""Connections as uvicorn makes them, with an end to those that hold a place and say little.

A request's head has to arrive within `patience` seconds and 64 KiB; no address may hold more than its share
of the connections. (Bodies are timed where they are read, answers by the deadline, silence by keep-alive.)

While the server has more to do than it can, requests are refused here, before anything is made of them; and
they are refused a little later, for who is refused asks again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .options import Options
from .shares import named
from .unread import LATER, MORE, Refusals, quick, refusal

MOST_HEAD = 65_536  # bytes of a request's line and headers


class Places:
    """How many connections each address has."""

    def __init__(self, options: Options) -> None:
        self.most = options.connections
        self.each = self.most if options.share >= 1 else max(1, int(self.most * options.share))
        self.taken: Counter[str] = Counter()

    def take(self, address: str) -> str | None:
        """The code of the refusal, None where there is a place."""
        self.taken[address] += 1
        if self.taken.total() > self.most:
            return "overloaded"
        return "too_many" if self.taken[address] > self.each else None

    def leave(self, address: str) -> None:
        """A connection ended."""
        self.taken[address] -= 1
        if self.taken[address] <= 0:
            del self.taken[address]


class Busy(Protocol):
    """Says for how many seconds the server has more to do than it can, None where it has not."""

    def busy(self) -> float | None:
        """The seconds."""

    def coming(self) -> None:
        """Count a request that is let in."""

    def rejected(self) -> float:
        """Count a request that is refused for it; gives the seconds to hold the refusal back."""


class Connection(HttpToolsProtocol):
    """One connection."""

    places: Places
    patience: float
    engine: Busy
    held: Refusals
    _between = True  # no request is being read
    _waits = False  # a refused request waits for its refusal
    _early = b""  # what came before that
    _refused = 0.0  # when one was refused last, on the loop's clock
    _refusing = 0.0  # seconds to ask to wait, while a request is read that is refused
    _address = ""
    _head: int | None = None  # bytes of the head so far, None behind it
    _clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, and start to wait for its first request."""
        super().connection_made(transport)
        self._address = named(None, self.client[0] if self.client else "")
        self._head = 0
        code = self.places.take(self._address)
        if code is not None:
            self._refuse(code, "There are too many connections.", "Try again a little later.")
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it out."""
        self._heard()
        self.places.leave(self._address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes; of a head no more than fit."""
        if self._waits:
            self._early += data
            self.flow.pause_reading()
            return
        if self._between and self._unread(data):
            return
        if self._head is not None:
            self._head += len(data)
        super().data_received(data)
        if self._head is not None and self._head > MOST_HEAD:
            self._refuse("head_too_large", "The headers are larger than 64 KiB.", "Send less in them.")

    def _unread(self, data: bytes) -> bool:
        """Whether this is a request that is refused unread."""
        seconds = self.engine.busy()
        if seconds is None or not self._first:
            return False
        flat = quick(data)
        if flat is None:
            return False
        self._heard()
        self._head = None
        self._hold(max(0.1, seconds), flat=flat)
        return True

    @property
    def _first(self) -> bool:
        """Whether no request before is still to be answered."""
        return self.cycle is None or self.cycle.response_complete

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._between = False
        if self._head is None:
            self._head = 0
        if self._clock is None:
            self._wait()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head = None
        self._heard()
        seconds = self.engine.busy()
        if self._waits and seconds is None:
            seconds = 0.0  # it came right behind one that is refused, and shall not be answered before that
        asks = self._waits or self.url.partition(b"?")[0].endswith((b"/predict", b"/infer"))
        sent = dict(self.headers)
        odd = b"x-deadline-ms" in sent and not self._waits
        if seconds is None or not (asks and self._first) or odd:
            super().on_headers_complete()
            if asks:
                self.engine.coming()
            return
        self._refusing = max(0.1, seconds)
        length = sent.get(b"content-length", b"none" if b"transfer-encoding" in sent else b"0")
        if not length.isdigit() or int(length) > MOST_HEAD or not self.parser.should_keep_alive():
            self.engine.rejected()
            self._refuse("overloaded", MORE, LATER)

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        if not self._refusing:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request is there; one that is refused waits a little."""
        self._between = True
        if not self._refusing:
            super().on_message_complete()
            return
        self._hold(self._refusing, flat=self.url[:3] == b"/v2")
        self._refusing = 0.0

    def _hold(self, seconds: float, *, flat: bool) -> None:
        self._waits = True
        self._refused = self.loop.time()
        self.held.hold(self._refused + self.engine.rejected(), self, seconds, flat=flat)

    def told(self, seconds: float, flat: bool) -> None:  # noqa: FBT001
        """Refuse, and go on with the connection."""
        self._waits = False
        early, self._early = self._early, b""
        if self.transport.is_closing():
            return
        self.transport.write(refusal(("overloaded", MORE, LATER), round(seconds + 0.5), end=False, flat=flat))
        if self.timeout_keep_alive_task is None:
            self._keep(self.timeout_keep_alive)
        if early:
            self.flow.resume_reading()
            self.data_received(early)

    def _keep(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """End a silent connection; one that was refused since was not silent."""
        left = self._refused + self.timeout_keep_alive - self.loop.time()
        if self._waits or (self._refused and left > 0):
            self._keep(max(1.0, left))
        else:
            super().timeout_keep_alive_handler()

    def _wait(self) -> None:
        self._clock = self.loop.call_later(self.patience, self._late)

    def _heard(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _late(self) -> None:
        self._clock = None
        seconds = f"{self.patience:g} seconds"
        self._refuse("deadline_expired", f"No request arrived within {seconds}.", "Send it faster.")

    def _refuse(self, code: str, message: str, remedy: str) -> None:
        """Say why, unless an answer is on its way, and end."""
        self._heard()
        self._head = None
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            seconds = round(self._refusing + 0.5)
            self.transport.write(refusal((code, message, remedy), seconds, end=True))
        self.transport.close()


def protocol(options: Options, engine: Busy) -> type[Connection]:
    """The class of the connections of one server."""
    settings: dict[str, Any] = {
        "places": Places(options), "patience": options.patience, "engine": engine,
        "held": Refusals(),
    }  # fmt: skip
    return type("Connection", (Connection,), settings)
