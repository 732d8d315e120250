"""What one client may take, so that the others are served as if it were alone with them.

A client is who has a key, else an address (of IPv6 its /64, for a machine has all of that). Three things are
counted: requests a second, rows that wait, and the time that its mistakes took. For mistakes it waits: what
is refused is answered later, by four times what it took, so that a stream of malformed requests has at most
a fifth of the server.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

from .refusals import Refusal

MOST_CLIENTS = 10_000  # that are remembered
HELD = 4.0  # times what a mistake took, it is answered later
LONGEST = 1.0  # seconds that an answer is held back, at most
BURST = 2.0  # seconds of its rate that a client may send at once


@dataclass(eq=False, slots=True)
class Client:
    """What one client has taken."""

    rows: int = 0  # that wait or are computed
    left: float = math.inf  # requests that it may send now
    counted: float = 0.0  # when `left` was counted, on the loop's clock
    free: float = 0.0  # when its mistakes are made up for, on the loop's clock


class Shares:
    """All clients."""

    def __init__(self, share: float, rate: float, queue: int) -> None:
        self.rate = rate
        self.rows = queue if share >= 1 else max(1, int(share * queue))
        self._known: OrderedDict[str, Client] = OrderedDict()

    def of(self, name: str) -> Client:
        """A client by its name."""
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = Client()
            if len(self._known) > MOST_CLIENTS:
                self._forget()
        else:
            self._known.move_to_end(name)
        return found

    def admit(self, name: str, now: float) -> None:
        """Raise `Refusal` where a client has sent too much, before its body is read."""
        client = self.of(name)
        if client.free - now > LONGEST:
            raise too_many("Too many requests of this client could not be read.", client.free - now - LONGEST)
        if self.rate <= 0:
            return
        most = max(1.0, self.rate * BURST)
        client.left = min(most, client.left + (now - client.counted) * self.rate)
        client.counted = now
        if client.left < 1:
            wait = (1 - client.left) / self.rate
            raise too_many(f"This client may send {self.rate:g} requests a second.", wait)
        client.left -= 1

    def take(self, name: str, rows: int, wait: float) -> Client:
        """Count rows that a client wants answered; raise `Refusal` where it has its share of the queue."""
        client = self.of(name)
        if client.rows and client.rows + rows > self.rows:
            raise too_many(f"{client.rows} rows of this client wait, its share of the queue.", wait)
        client.rows += rows
        return client

    def blame(self, name: str, seconds: float, now: float) -> float:
        """Count the time that a mistake took; gives the seconds to wait before it is answered."""
        client = self.of(name)
        client.free = max(client.free, now) + HELD * seconds
        return min(LONGEST, client.free - now)

    def _forget(self) -> None:
        """The one that was silent longest and has nothing waiting."""
        idle = next((name for name, client in self._known.items() if not client.rows), None)
        if idle is not None:
            del self._known[idle]


def named(holder: str | None, address: str) -> str:
    """The name of a client.

    >>> named("anna", "10.0.0.1"), named(None, "10.0.0.1"), named(None, "2001:db8:1:2:aaaa::7")
    ('key anna', '10.0.0.1', '2001:db8:1:2')
    """
    if holder is not None:
        return f"key {holder}"
    return ":".join(address.split(":")[:4]) if ":" in address else address


def too_many(why: str, seconds: float) -> Refusal:
    """The refusal of a client that is over its share."""
    return Refusal(
        "too_many", why, "Send less at once, and again after the time that Retry-After gives.",
        retry_after=seconds,
    )  # fmt: skip
