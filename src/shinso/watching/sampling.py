"""Which rows of a day keep the vector that the network made of them: a fixed number, however many are served.

Every row has a rank that follows from its id, and the rows of the lowest ranks stay. So the choice is the
same whatever the order, after a restart, and with several servers that write one log.
"""

from __future__ import annotations

import hashlib
import heapq
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 256  # vectors of a day, of one graph
HELD = 16  # pairs of a day and a graph that are kept in mind
LARGEST = 60_000.0  # of a number, which float16 can hold


@dataclass(frozen=True)
class Vector:
    """What the network made of one row, as numbers of 16 bits."""

    space: str  # the graph that gave it
    request: str
    id: str  # of the row
    time: float  # seconds since 1970
    rank: float
    data: bytes


class Sample:
    """The ranks of the last days. For any thread."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._held: dict[
            tuple[int, str], list[float]
        ] = {}  # by day and space: a heap, its largest rank first
        self._lock = threading.Lock()

    def taken(self, day: int, space: str, request: str, rows: int) -> list[tuple[int, float]]:
        """Rows of a request that stay for now, with their ranks; no more than `most` of a day in the end.

        The first row of each request comes before the second one of any.
        """
        first = share_of(request, "vectors")
        with self._lock:
            held = self._held.get((day, space))
            if held is None:
                held = self._open(day, space)
            if len(held) >= self.most and first >= -held[0]:
                return []
            found = []
            for turn, row in enumerate(self._order(request, rows)):
                if len(held) >= self.most and turn + first >= -held[0]:
                    break
                if -(turn + first) in held:  # a request of this id was here: the log keeps one
                    continue
                push = heapq.heappush if len(held) < self.most else heapq.heapreplace
                push(held, -(turn + first))
                found.append((row, turn + first))
            return found

    def _open(self, day: int, space: str) -> list[float]:
        self._held[day, space] = []
        for old in sorted(self._held)[:-HELD]:
            del self._held[old]
        return self._held[day, space]

    def _order(self, request: str, rows: int) -> list[int]:
        if rows == 1:
            return [0]
        seed = hashlib.blake2b(request.encode("utf-8", "replace"), digest_size=8).digest()
        return np.random.default_rng(list(seed)).permutation(rows)[: self.most].tolist()


def share_of(text: str, salt: str) -> float:
    """A number in [0, 1) that a text always gives, evenly spread over texts."""
    found = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8, person=salt.encode()[:16])
    return int.from_bytes(found.digest(), "big") / 2.0**64


def halved(vectors: NDArray[Any]) -> NDArray[np.float16]:
    """Vectors as numbers of 16 bits."""
    return np.clip(vectors, -LARGEST, LARGEST).astype("<f2")


def numbers_of(data: bytes) -> NDArray[np.float16]:
    """The numbers of a stored vector."""
    return np.frombuffer(data, "<f2")
