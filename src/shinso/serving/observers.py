"""What others may add to the server: watchers of the answers, and a router that chooses who answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Rows = Mapping[str, Sequence[Any]]  # a list for each column


@dataclass(frozen=True)
class Seen:
    """One request that was answered, or refused."""

    request_id: str
    model: str
    version: str
    rows: Rows  # as they came: text, numbers, None; files as bytes or base64 text
    answers: Rows  # as `predict` gives them; empty where the request failed
    seconds: float  # from the request's arrival to its answer
    status: int  # HTTP status
    route: str  # what the router said: "answer", or "shadow" for an answer that no client got
    key: str | None = None  # what the request was routed by, where it was
    vectors: NDArray[np.float32] | None = (
        None  # (rows, E) what the network made of the rows, where it says so
    )
    space: str = ""  # the graph that gave them


class Observer(Protocol):
    """Watches what is served, in a thread of its own: never in the way of an answer."""

    def seen(self, found: Seen) -> None:
        """One request. What it raises is logged and counted, nothing more."""

    def close(self) -> None:
        """The server ends: write what is left."""


class Labeller(Protocol):
    """Takes what was true of rows that were served, told later."""

    def label(self, told: Mapping[str, Sequence[Any]]) -> Mapping[str, int]:
        """Store a table of ids (column `id`) and predicted columns; raises `ShinsoError`. In any thread."""


@dataclass(frozen=True)
class Route:
    """Who answers a request, and who answers it too without being heard (shadow)."""

    name: str
    version: str | None = None  # None: the version that is live
    shadows: tuple[tuple[str, str | None], ...] = ()
    key: str | None = None


class Router(Protocol):
    """Chooses who answers. Called for each request on the server's loop: it must not wait for anything."""

    def choose(self, name: str | None, version: str | None, headers: Mapping[str, str]) -> Route:
        """The route of a request; `name` and `version` are what its address asks for, or None.

        `headers` have lower-case names; `x-shinso-key` says who is served, so that they stay with one model.
        """


@runtime_checkable
class Follower(Protocol):
    """A router that follows what is promoted while the server runs."""

    def missing(self, loaded: Collection[str]) -> list[tuple[str, Path]]:
        """Names and paths of models that it wants and that are not among those loaded."""


@dataclass(frozen=True)
class Straight:
    """The router without a plan: what was asked for, else the first model."""

    first: str

    def choose(self, name: str | None, version: str | None, headers: Mapping[str, str]) -> Route:
        """As asked."""
        return Route(name or self.first, version, key=headers.get("x-shinso-key"))


class Watchers:
    """Hands what was served to the observers in one thread; what comes too fast is dropped and counted."""

    def __init__(self, observers: Sequence[Observer], most: int = 10_000) -> None:
        self.observers, self.most = tuple(observers), most
        self.dropped = self.failed = 0
        self.last_failure = ""
        self._given = self._done = 0  # each is written by one thread only
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="observers")

    def seen(self, found: Seen) -> None:
        """Queue one request; never waits."""
        for observer in self.observers:
            if self._given - self._done >= self.most:
                self.dropped += 1
                continue
            self._given += 1
            self._thread.submit(self._tell, observer, found).add_done_callback(self._note)

    def close(self) -> None:
        """Hand over what is queued, then close the observers."""
        self._thread.shutdown()
        for observer in self.observers:
            observer.close()

    def _tell(self, observer: Observer, found: Seen) -> None:
        try:
            observer.seen(found)
        finally:
            self._done += 1

    def _note(self, told: Future[None]) -> None:
        error = told.exception()
        if error is not None:
            self.failed += 1
            self.last_failure = f"{type(error).__name__}: {error}"
