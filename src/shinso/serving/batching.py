"""Requests that arrive together are answered together. No delay where nothing waits.

A batch is what came while the batch before was computed: alone on an idle server, many under load, so the
delay follows the load without a setting. Batches that are known to be short are computed on the server's own
loop, where they cost no change of thread; long ones, and rows with large files, in threads. Where much waits,
the middling ones are computed on the loop too: requests that cannot be answered then stay in their sockets
until the batch is done, and are refused together, while beside a thread each would interrupt it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .refusals import Fence, Refusal, refusal_of
from .servable import Arrays, Columns, Embedding, Servable

Table = dict[str, list[Any]]
Vectors = NDArray[np.float32]

SHORT = 0.008  # seconds: a batch that is known to take less is computed on the loop
LONG = 0.020  # seconds that a batch may take, where it has more than one row
TURNS = 24  # of the loop between two such batches where much waits: libuv accepts one connection a turn
CROWDED = 0.5  # of the queue, or of the time until the deadline: the loop is better held up than interrupted
SURE = 0.5  # of its time that a request may have to wait as measured; the rest is for what nobody knew before
MEMORY = 0.9  # weight of the past in what is measured


@dataclass(eq=False)
class Job:
    """The rows of one request."""

    rows: Columns
    count: int
    coverage: float | None
    until: float  # on the loop's clock: nobody waits for the answer any more
    gone: Callable[[], bool]  # whether the client has left
    done: asyncio.Future[Table]
    heavy: bool = False
    queued: float = 0.0  # when, by time.monotonic, which is the clock of the loop
    begun: bool = False  # whether it was taken for a batch
    seconds: float = 0.0  # that it took of its batch
    vectors: Vectors | None = None  # (count, E), where they are wanted

    @property
    def settled(self) -> bool:
        """Whether nobody waits for it."""
        return self.done.done()


@dataclass
class Counts:
    """What the batching of one model did, for /metrics."""

    batches: int = 0
    rows: int = 0
    expired: int = 0
    left: int = 0
    refused: int = 0
    seconds: float = 0.0


class Batcher:
    """Collects the requests of one model, bounded, and answers them in batches."""

    def __init__(
        self,
        model: Servable,
        pool: ThreadPoolExecutor,
        *,
        most: int = 64,
        queue: int = 512,
        retry: float = 1.0,
        slow: ThreadPoolExecutor | None = None,
        watched: bool = False,
    ) -> None:
        self.model, self.pool, self.most, self.queue, self.retry = model, pool, most, queue, retry
        self.slow = slow or pool
        self.embedding = model if watched and isinstance(model, Embedding) and model.space else None
        self.waiting = 0  # rows
        self.running = 0  # batches
        self.per_row = 0.0  # seconds, measured
        self.usual = 1.0  # rows of a request, measured
        self.counts = Counts()
        self._jobs: deque[Job] = deque()
        self._heavy: deque[Job] = deque()
        self._heavies = 0
        self._besides = 0  # explanations, which compute between the batches
        self._turns = 0  # of the loop to let pass
        self._scheduled = self._busy = False
        self._lock = threading.Lock()  # one forward at a time

    @property
    def idle(self) -> bool:
        """Whether nothing waits or runs."""
        return not (self.waiting or self.running)

    @property
    def wait(self) -> float:
        """Seconds until what waits is computed, as far as one can know."""
        return self.waiting * self.per_row

    def busy(self, deadline: float, coming: int = 0) -> float | None:
        """Seconds until what waits is computed, where that is too much; else None.

        `coming` requests were let in and are about to be queued.
        """
        rows = self.waiting + coming * self.usual
        full = self.waiting > 0 and rows + self.usual > self.queue
        return rows * self.per_row if full or rows * self.per_row > SURE * deadline else None

    def check(self, until: float, count: int = 1) -> None:
        """Raise `Refusal` where the queue is full or the answer would come too late."""
        wait, left = self.wait, until - time.monotonic()
        full = self.waiting + count > max(self.queue, count)
        if full or left < 0 or wait > SURE * left:
            self.counts.refused += 1
            raise overloaded(self.waiting, max(self.retry, wait)) if self.waiting else expired()

    def submit(self, job: Job) -> None:
        """Queue a request."""
        self.usual = MEMORY * self.usual + (1 - MEMORY) * job.count
        self.check(job.until, job.count)
        self.waiting += job.count
        job.queued = time.monotonic()
        (self._heavy if job.heavy else self._jobs).append(job)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Start what can be started."""
        if self._turns:
            self._turns -= 1
            asyncio.get_running_loop().call_soon(self._flush)
            return
        self._scheduled = False
        if self._heavy and not self._heavies:
            heavy = self._take(self._heavy, 1)
            if heavy:
                self._heavies += 1
                self._in_thread(heavy, heavy=True)
        if self._busy or not self._jobs:
            return
        jobs = self._take(self._jobs, self._room())
        if not jobs:
            return
        rows = sum(job.count for job in jobs)
        limit = self._here(jobs[-1])
        if not (self._heavies or self._besides) and 0 < self.per_row * rows <= limit:
            self._deliver(jobs, self._work(jobs))
            self._turns = TURNS if limit > SHORT else 0
            self._again()
        else:
            self._busy = True
            self._in_thread(jobs, heavy=False)

    def _here(self, last: Job) -> float:
        """Seconds that a batch may take on the loop."""
        left = last.until - asyncio.get_running_loop().time()
        crowded = self.waiting > CROWDED * self.queue or self.wait > CROWDED * SURE * left > 0
        return LONG if crowded else SHORT

    def _room(self) -> int:
        """Rows that the next batch may have."""
        if self.per_row <= 0:
            return self.most
        return max(1, min(self.most, int(LONG / self.per_row)))

    def _take(self, jobs: deque[Job], room: int) -> list[Job]:
        """Requests for the next batch: those whose clients still wait, and which it answers in time."""
        taken: list[Job] = []
        begin = time.monotonic()
        while jobs and (not taken or jobs[0].count <= room):
            job = jobs.popleft()
            self.waiting -= job.count
            if job.settled:
                continue
            needed = self._needed(job)
            if job.until <= begin or job.queued + needed < job.until <= begin + needed:
                self.late(job)
            elif job.gone():
                self.counts.left += 1
                job.done.set_exception(Refusal("client_gone", "The client left before it was answered."))
            else:
                job.begun = True
                taken.append(job)
                room -= job.count
                begin += needed
        return taken

    def late(self, job: Job) -> None:
        """Refuse a request that is not answered in time: as overloaded, where alone it would have been."""
        if job.settled:
            return
        self.counts.expired += 1
        waited = not job.begun and job.queued + self._needed(job) < job.until
        job.done.set_exception(overloaded(self.waiting, max(self.retry, self.wait)) if waited else expired())

    def _needed(self, job: Job) -> float:
        """Seconds that its answer takes alone, as measured. (Of large files nothing is measured.)"""
        return 0.0 if job.heavy else self.per_row * job.count

    def _in_thread(self, jobs: list[Job], *, heavy: bool) -> None:
        self.running += 1
        loop = asyncio.get_running_loop()
        loop.run_in_executor(self.slow if heavy else self.pool, self._work, jobs).add_done_callback(
            lambda done: self._finished(jobs, done.result(), heavy=heavy)
        )

    def _finished(self, jobs: list[Job], found: list[Table | Exception], *, heavy: bool) -> None:
        self.running -= 1
        if heavy:
            self._heavies -= 1
        else:
            self._busy = False
        self._deliver(jobs, found)
        self._again()

    def _again(self) -> None:
        if (self._jobs or self._heavy) and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _deliver(self, jobs: list[Job], found: list[Table | Exception]) -> None:
        now = time.monotonic()
        for job, one in zip(jobs, found, strict=True):
            if job.settled:
                continue
            if job.until < now:
                self.late(job)
                continue
            if isinstance(one, Exception):
                job.done.set_exception(one)
            else:
                job.done.set_result(one)

    def _work(self, jobs: list[Job]) -> list[Table | Exception]:
        """The answers of a batch, or what went wrong, one for each request."""
        started = time.perf_counter()
        found = self._isolated(jobs)
        seconds = time.perf_counter() - started
        rows = sum(job.count for job in jobs)
        self.counts.batches += 1
        self.counts.rows += rows
        self.counts.seconds += seconds
        for job in jobs:
            job.seconds = seconds * job.count / rows
        if not jobs[0].heavy:
            row = seconds / rows
            self.per_row = MEMORY * self.per_row + (1 - MEMORY) * row if self.per_row else row
        return found

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Inside the block something else computes too, so batches are computed in threads."""
        self._besides += 1
        try:
            yield
        finally:
            self._besides -= 1

    def forward_beside(self, inputs: Arrays, stop: threading.Event) -> Arrays:
        """A large batch in pieces between the others: as long as each took, others go first. In a thread."""
        found: list[Arrays] = []
        for piece in pieces(inputs, self._room()):
            if stop.is_set():
                raise expired()
            started = time.perf_counter()
            with self._lock:
                found.append(self.model.forward(piece))
            if not self.idle:
                stop.wait(time.perf_counter() - started)
        return {name: np.concatenate([one[name] for one in found]) for name in found[0]}

    def _isolated(self, jobs: list[Job]) -> list[Table | Exception]:
        """A batch that fails is halved until only those requests fail that have to."""
        with Fence() as fence:
            return [*self._together(jobs)]
        assert fence.error is not None
        if len(jobs) == 1:
            return [fence.error]
        half = len(jobs) // 2
        return self._isolated(jobs[:half]) + self._isolated(jobs[half:])

    def _together(self, jobs: list[Job]) -> list[Table]:
        if len(jobs) == 1:
            return [self._alone(jobs[0])]
        outputs, vectors = self._forward(merged([job.rows for job in jobs]))
        counts = [job.count for job in jobs]
        ends = np.cumsum(counts).tolist()
        for job, end in zip(jobs, ends, strict=True):
            job.vectors = None if vectors is None else vectors[end - job.count : end]
        if len({job.coverage for job in jobs}) == 1:
            return split(self.model.decode(outputs, coverage=jobs[0].coverage), counts)
        return [
            self.model.decode(
                {n: a[end - job.count : end] for n, a in outputs.items()}, coverage=job.coverage
            )
            for end, job in zip(ends, jobs, strict=True)
        ]

    def _alone(self, job: Job) -> Table:
        """One request, in pieces where it brings more rows than a batch may have."""
        if job.count <= self.most:
            outputs, job.vectors = self._forward(job.rows)
            return self.model.decode(outputs, coverage=job.coverage)
        starts = range(0, job.count, self.most)
        parts = [{n: values[at : at + self.most] for n, values in job.rows.items()} for at in starts]
        tables, vectors = [], []
        for part in parts:
            outputs, made = self._forward(part)
            tables.append(self.model.decode(outputs, coverage=job.coverage))
            vectors += [] if made is None else [made]
        job.vectors = np.concatenate(vectors) if vectors else None
        return merged(tables)

    def _forward(self, rows: Columns) -> tuple[Arrays, Vectors | None]:
        """Through the network; a row without a finite answer is refused."""
        inputs, vectors = self.model.encode(rows), None
        with self._lock:
            if self.embedding is None:
                found = self.model.forward(inputs)
            else:
                found, vectors = self.embedding.embedded(inputs)
        for array in found.values():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise Refusal(
                    "no_finite_answer", "The model gave no finite number for a row.",
                    "Check the values of the row: some are far from what the model was trained on.",
                )  # fmt: skip
        return found, vectors


def merged(parts: Sequence[Columns]) -> dict[str, list[Any]]:
    """The rows of several requests, one after the other."""
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


def pieces(inputs: Arrays, size: int) -> list[Arrays]:
    """A batch in smaller ones."""
    count = len(next(iter(inputs.values())))
    return [{name: array[at : at + size] for name, array in inputs.items()} for at in range(0, count, size)]


def split(table: Mapping[str, list[Any]], counts: Sequence[int]) -> list[Table]:
    """A table to those of the requests that it was made of."""
    if len(counts) == 1:
        return [dict(table)]
    ends = np.cumsum(counts).tolist()
    return [
        {name: values[end - count : end] for name, values in table.items()}
        for end, count in zip(ends, counts, strict=True)
    ]


def overloaded(rows: int, seconds: float) -> Refusal:
    """The refusal where more waits than can be answered in time."""
    return Refusal(
        "overloaded", f"The server has more to do than it can ({rows} rows wait).",
        "Try again after the time that Retry-After gives, or send less at once.", retry_after=seconds,
    )  # fmt: skip


def expired() -> Refusal:
    """The refusal of a request whose deadline passed."""
    return Refusal(
        "deadline_expired", "The deadline passed before the request was answered.",
        "Allow more time with X-Deadline-Ms, or send fewer rows.",
    )  # fmt: skip


def told(error: Exception, model: Servable) -> Refusal:
    """What a client is told about what went wrong in a batch."""
    return refusal_of(error, [c.name for c in model.schema.given])
