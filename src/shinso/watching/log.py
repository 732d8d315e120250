"""The request log: rows come in from the server, a thread of its own writes them in groups.

A group of rows is one transaction, so that the cost of the disk is shared by all that came while the one
before was written (group commit). `append` never waits; `wait` gives True once a row is on the disk, and only
then is it acknowledged. Where the disk cannot follow, rows are dropped and counted, and answers go on.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..columns import Column
from ..errors import DataError, RunError, SettingError
from ..schema import Schema
from ..serving.observers import Seen
from .condensing import Privacy, condensed_answer, condensed_row, privacy
from .sampling import Sample, Vector, halved, share_of
from .store import DAY, URLS, Entry, Label, Limits, Store

MOST_WAITING = 20_000  # rows in memory before they are dropped
GROUP = 2_000  # rows of one transaction
TRIES = 3
MOST_FAILED = 1_000  # groups that could not be written, remembered one by one
PRUNED_EVERY = 20_000  # rows between two looks at the size


@dataclass(frozen=True)
class LogOptions:
    """What is kept, of how many requests, and how much of it."""

    sample: float = 1.0  # share of the requests
    private: str = ""  # as in email=drop,name=hash
    key: Path | None = None  # of the hashes; beside a local log by default
    limits: Limits = field(default_factory=Limits)


class RequestLog:
    """An append-only log of what was served, and an observer of the server.

    >>> log = RequestLog("requests.db", schema)  # doctest: +SKIP
    >>> log.wait(log.append([entry]))  # doctest: +SKIP
    True
    """

    def __init__(self, place: str | Path, schema: Schema, options: LogOptions | None = None) -> None:
        options = options or LogOptions()
        if not 0.0 < options.sample <= 1.0:
            raise SettingError(
                f"The share of requests to log is above 0 and at most 1; received {options.sample}."
            )
        self.place, self.schema, self.options = str(place), schema, options
        self.given, self.predict = tuple(schema.given), tuple(schema.predict)
        store = Store(place, create=True)  # what is wrong with the place is said now, not in the thread
        try:
            self.private = privacy(
                options.private, [c.name for c in schema], options.key or key_beside(place)
            )
            store.describe({"schema": schema.to_dict(), "private": options.private})
        finally:
            store.close()
        self.dropped = self.lost = self.written = 0
        secret = self.private.hashed | self.private.dropped
        self._open = frozenset(c.name for c in self.given) - secret  # columns that vectors may be made of
        self._sample = Sample()
        self._pending: deque[Entry | Label] = deque()
        self._accepted = self._done = 0
        self._failed: deque[range] = deque()
        self._doubted = 0  # rows before this are not vouched for any more
        self._ready = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="request log", daemon=True)
        self._thread.start()

    def seen(self, found: Seen) -> None:
        """Keep the rows of one request that the server answered."""
        if sampled(found.request_id, self.options.sample):
            self.append(self.entries(found, time.time()))

    def entries(self, found: Seen, now: float) -> list[Entry]:
        """The rows of a request; a refused one without rows is kept as one, for the share of errors."""
        count = max((len(v) for v in found.rows.values()), default=0)
        answered = max((len(v) for v in found.answers.values()), default=0)
        ids = row_ids(found.request_id, count)
        routed = None if found.key is None else key_digest(found.key)
        vectors = self._vectors(found, ids, now)
        kept = []
        for i in range(count):
            row = {name: values[i] for name, values in found.rows.items() if i < len(values)}
            answer = condensed_answer(self.predict, found.answers, i, self.private) if i < answered else {}
            kept.append(
                Entry(ids[i], now, found.model, found.version, found.route, found.status, found.seconds,
                      condensed_row(self.given, row, self.private), answer, routed, vectors.get(i))
            )  # fmt: skip
        if not kept:
            kept = [Entry(found.request_id, now, found.model, found.version, found.route, found.status,
                          found.seconds, {}, {}, routed)]  # fmt: skip
        return kept

    def _vectors(self, found: Seen, ids: Sequence[str], now: float) -> dict[int, Vector]:
        """By row: the vectors that are kept; none where a column they are made of is private or unknown."""
        if found.vectors is None or not found.rows.keys() <= self._open:
            return {}
        taken = self._sample.taken(int(now // DAY), found.space, found.request_id, len(ids))
        kept = {}
        for row, rank in taken:
            data = halved(found.vectors[row])
            if np.isfinite(data).all():
                kept[row] = Vector(found.space, found.request_id, ids[row], now, rank, data.tobytes())
        return kept

    def label(self, values: Mapping[str, Mapping[str, Any]]) -> range:
        """Tell what was true: by row id, by predicted column. Gives what `wait` takes."""
        now = time.time()
        checked = [Label(id, now, labels_of(self.predict, told, self.private)) for id, told in values.items()]
        return self.append(checked)

    def append(self, found: Sequence[Entry | Label]) -> range:
        """Queue rows for the disk without waiting; gives what `wait` takes, empty where they were dropped."""
        with self._ready:
            if self._closing or len(self._pending) + len(found) > MOST_WAITING:
                self.dropped += len(found)
                return range(0)
            first = self._accepted
            self._pending.extend(found)
            self._accepted += len(found)
            self._ready.notify_all()
            return range(first, self._accepted)

    def wait(self, ticket: range, seconds: float | None = 30.0) -> bool:
        """True once all rows of a ticket are on the disk; False where one was dropped, lost or late."""
        with self._ready:
            if not ticket or not self._ready.wait_for(lambda: self._done >= ticket.stop, seconds):
                return False
            return ticket.start >= self._doubted and not any(
                lost.start < ticket.stop and ticket.start < lost.stop for lost in self._failed
            )

    def flush(self, seconds: float | None = 30.0) -> bool:
        """Wait for everything that was appended so far."""
        with self._ready:
            ticket = range(self._done, self._accepted)
        return not ticket or self.wait(ticket, seconds)

    def facts(self) -> dict[str, int]:
        """Rows written, dropped for lack of room, lost to errors of the disk, and waiting."""
        with self._ready:
            return {"written": self.written, "dropped": self.dropped, "lost": self.lost,
                    "waiting": len(self._pending)}  # fmt: skip

    def close(self) -> None:
        """Write what waits, then end."""
        with self._ready:
            self._closing = True
            self._ready.notify_all()
        self._thread.join(30.0)

    def _work(self) -> None:
        store: Store | None = None
        since_pruned = 0
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._pending or self._closing)
                group = [self._pending.popleft() for _ in range(min(GROUP, len(self._pending)))]
            if not group:
                break
            store, stored = self._write(store, group)
            since_pruned += len(group)
            if store is not None and since_pruned >= PRUNED_EVERY:
                since_pruned = 0
                self._prune(store)
            with self._ready:
                self._finish(len(group), stored=stored)
        if store is not None:
            self._prune(store)
            store.close()

    def _write(self, store: Store | None, group: Sequence[Entry | Label]) -> tuple[Store | None, bool]:
        entries = [x for x in group if isinstance(x, Entry)]
        labels = [x for x in group if isinstance(x, Label)]
        for attempt in range(TRIES):
            try:
                store = store or Store(self.place, create=True)
                store.add(entries, labels)
                return store, True
            except RunError:  # a full disk, a database that restarts: with a fresh connection, a little later
                if store is not None:
                    _close_quietly(store)
                    store = None
                with self._ready:
                    self._ready.wait_for(lambda: self._closing, 0.1 * 4**attempt)
        return None, False

    def _finish(self, count: int, *, stored: bool) -> None:
        if stored:
            self.written += count
        else:
            self.lost += count
            self._failed.append(range(self._done, self._done + count))
            if len(self._failed) > MOST_FAILED:
                self._doubted = self._failed.popleft().stop
        self._done += count
        self._ready.notify_all()

    def _prune(self, store: Store) -> None:
        try:
            store.prune(self.options.limits, time.time())
        except RunError:
            return  # another process has the log; the next look will do


def row_ids(request: str, rows: int) -> list[str]:
    """The ids by which rows are labelled: that of the request, with the place where it has several rows.

    >>> row_ids("a", 1), row_ids("a", 2)
    (['a'], ['a/0', 'a/1'])
    """
    return [request] if rows == 1 else [f"{request}/{i}" for i in range(rows)]


def sampled(request: str, share: float) -> bool:
    """Whether a request is kept: always the same of an id, so that a shadow is kept with its answer."""
    return share >= 1.0 or share_of(request, "sample") < share


def key_digest(key: str) -> str:
    """What is kept of the key that a request was routed by: enough to count who is served, not who it is."""
    return hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=8, person=b"shinso routed").hexdigest()


def labels_of(predict: Sequence[Column], told: Mapping[str, Any], private: Privacy) -> dict[str, Any]:
    """What was true of a row, checked through its columns and kept as answers are."""
    known = {c.name: c for c in predict}
    unknown = [name for name in told if name not in known]
    if unknown or not told:
        raise DataError(
            f"A label is given by predicted column ({', '.join(map(repr, known))}); "
            f"received {sorted(told)[:5]}."
        )
    found = condensed_row(tuple(known.values()), told, private)
    for name, value in found.items():
        if value == {"unreadable": True}:
            raise DataError(
                f"The label {str(told[name])[:60]!r} cannot be read as {name!r} ({known[name].kind})."
            )
    return found


def key_beside(place: str | Path) -> Path | None:
    """Where the key of the hashes of a local log stands."""
    text = str(place)
    return None if text.startswith(URLS) else Path(text).with_suffix(".key")


def _close_quietly(store: Store) -> None:
    try:
        store.close()
    except store.dialect.errors:
        return
