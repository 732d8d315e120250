"""From the rows of a request to its answers, whichever protocol brought them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .batching import Job, Table, Vectors, expired, overloaded, told
from .explaining import How, explanations
from .logs import Log
from .meters import Meters
from .observers import Route, Router, Rows, Seen, Watchers
from .options import Options
from .pools import giving_way
from .refusals import Fence, Refusal, Trouble, refusal_of
from .registry import Registry, Served
from .shares import Shares
from .weighing import is_heavy

REJECTING = 0.05  # share of its time that the server spends on refusing, at most
REFUSED = 0.0002  # seconds that a refusal takes
UNREAD = 0.00005  # seconds that the refusal of an unread request takes
LONGEST_WAIT = 1.0  # seconds that a refusal is held back, at most
BLAMELESS = frozenset({"client_gone", "deadline_expired", "no_finite_answer"})  # no mistake of the client
MOST_EXPLAINED = 4  # requests for an explanation at once
LOOKED = 0.1  # seconds between two looks whether a client has left


@dataclass(eq=False)
class Asked:
    """What every protocol knows of a request."""

    way: str  # predict, infer, grpc
    id: str
    arrived: float  # by time.perf_counter, since the loop's clock is coarse
    until: float  # on the loop's clock
    headers: Mapping[str, str]
    gone: Callable[[], bool]
    client: str = ""  # whose share it counts in
    coverage: float | None = None
    route: Route | None = None
    served: Served | None = None
    rows: Rows | None = None
    began: float = 0.0  # when its own time was last counted, by time.perf_counter
    spent: float = 0.0  # seconds that it cost the server, without waiting
    vectors: Vectors | None = None  # what the network made of the rows, where they are watched

    @property
    def cost(self) -> float:
        """Seconds of the server's time, until now."""
        return self.spent + (time.perf_counter() - self.began if self.began else 0.0)


class Engine:
    """Everything that the server's protocols share."""

    def __init__(
        self, registry: Registry, router: Router, watchers: Watchers, log: Log, options: Options
    ) -> None:
        self.registry, self.router, self.watchers, self.log, self.options = (
            registry, router, watchers, log, options,
        )  # fmt: skip
        self.meters = Meters()
        self.shares = Shares(options.share, options.rate, options.queue)
        self._explaining = 0  # requests, that are computed or wait
        self._explainer = asyncio.Semaphore(1)
        self._apart = giving_way("explain")
        self.draining = False
        self._rejecting = self._coming = 0
        self._next_refusal = 0.0  # on the loop's clock

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here."""
        return self.registry.ready and not self.draining

    def busy(self) -> float | None:
        """Seconds to wait where every live model has more waiting than it can answer in time, else None."""
        models = self.registry.models
        if not models or self.draining:
            return None
        deadline, coming = self.options.deadline, self._coming
        waits = [versions.all[versions.live].batcher.busy(deadline, coming) for versions in models.values()]
        known = [wait for wait in waits if wait is not None]
        return min(known) if len(known) == len(waits) else None

    def coming(self) -> None:
        """Count a request that is let in until it is queued: it runs in the loop's next turn.

        What arrives in one turn would find the queue as it was before all of them.
        """
        self._coming += 1
        asyncio.get_running_loop().call_soon(self._came)

    def _came(self) -> None:
        self._coming -= 1

    def rejected(self) -> float:
        """Count a request that is refused unread; gives the seconds to hold the refusal back."""
        self.meters.count("refused", "", "", "overloaded", 0.0)
        now = asyncio.get_running_loop().time()
        for versions in self.registry.models.values():
            versions.all[versions.live].batcher.counts.refused += 1
        self._next_refusal = min(max(self._next_refusal, now) + UNREAD / REJECTING, now + LONGEST_WAIT)
        return self._next_refusal - now

    def choose(self, asked: Asked, name: str | None, version: str | None) -> Served:
        """Who answers a request; refused early where too much waits already."""
        asked.route = self.router.choose(name, version, asked.headers)
        asked.served = self.registry.get(asked.route.name, asked.route.version)
        asked.served.batcher.check(asked.until)
        return asked.served

    async def answer(self, asked: Asked, rows: dict[str, list[Any]], count: int) -> Table:
        """The answers to the rows of a request, as a table."""
        assert asked.served is not None
        asked.rows = rows
        served, loop = asked.served, asyncio.get_running_loop()
        done: asyncio.Future[Table] = loop.create_future()
        heavy = count > self.options.batch or is_heavy(rows, served.form)
        job = Job(rows, count, asked.coverage, asked.until, asked.gone, done, heavy)
        client = self.shares.take(asked.client, count, served.batcher.wait)
        timer = loop.call_at(asked.until, served.batcher.late, job)
        try:
            served.batcher.submit(job)
            asked.spent += time.perf_counter() - asked.began
            table = await done
            asked.vectors = job.vectors
            return table
        finally:
            asked.began = time.perf_counter()
            asked.spent += job.seconds
            client.rows -= count
            timer.cancel()

    async def explained(self, asked: Asked, rows: dict[str, list[Any]], how: How) -> list[dict[str, Any]]:
        """Why the rows are answered as they are. One request at a time, beside the batches of the others."""
        assert asked.served is not None
        batcher, model = asked.served.batcher, asked.served.model
        if self._explaining >= MOST_EXPLAINED:
            raise overloaded(self._explaining, 1.0)
        self._explaining += 1
        stop, loop = threading.Event(), asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(asked.until), self._explainer:
                work = loop.run_in_executor(
                    self._apart,
                    explanations,
                    model,
                    rows,
                    how,
                    lambda inputs: batcher.forward_beside(inputs, stop),
                )
                work.add_done_callback(
                    lambda done: done.cancelled() or done.exception()
                )  # though nobody waits
                with batcher.beside():
                    while not (await asyncio.wait([work], timeout=LOOKED))[0]:
                        if asked.gone():
                            raise Refusal("client_gone", "The client left before it was answered.")
                return await work
        except TimeoutError:
            raise expired() from None
        finally:
            stop.set()
            self._explaining -= 1

    async def held(self, client: str, trouble: Trouble, seconds: float) -> None:
        """Answer a mistake later the more it cost, and refusals so that refusing takes little of the time."""
        now = asyncio.get_running_loop().time()
        if trouble.code in ("overloaded", "too_many"):
            self._rejecting += 1
            await asyncio.sleep(min(LONGEST_WAIT, self._rejecting * REFUSED / REJECTING))
            self._rejecting -= 1
        elif trouble.status < 500 and trouble.code not in BLAMELESS:
            await asyncio.sleep(self.shares.blame(client, seconds, now))

    def settled(self, asked: Asked, table: Table | None, trouble: Trouble | None) -> None:
        """Count, log and show a request that was answered or refused."""
        seconds = time.perf_counter() - asked.arrived
        name, version = (asked.served.name, asked.served.version) if asked.served else ("", "")
        code = "ok" if trouble is None else trouble.code
        self.meters.count(asked.way, name, version, code, seconds)
        if self.options.log_requests:
            facts = {"request": asked.id, "way": asked.way, "model": name, "version": version}
            self.log.note("request", {**facts, "code": code, "seconds": round(seconds, 6)})
        if self.watchers.observers and asked.rows is not None:
            status = 200 if trouble is None else trouble.status
            self._show(asked, table or {}, seconds, status)

    def _show(self, asked: Asked, table: Table, seconds: float, status: int) -> None:
        assert asked.served is not None and asked.rows is not None and asked.route is not None
        served, key = asked.served, asked.route.key
        self.watchers.seen(
            Seen(asked.id, served.name, served.version, asked.rows, table, seconds, status, "answer", key,
                 asked.vectors, served.space)
        )  # fmt: skip
        for name, version in asked.route.shadows:
            with Fence() as fence:
                self._shadow(asked, self.registry.get(name, version))
            if fence.error is not None:
                self.meters.count("shadow", name, "", refusal_of(fence.error).trouble.code, 0.0)

    def _shadow(self, asked: Asked, served: Served) -> None:
        """Let another version answer the same rows, for the observers only, where it has nothing to do."""
        assert asked.rows is not None and asked.route is not None
        if not served.batcher.idle or served.form.known != asked.rows.keys():
            raise Refusal("overloaded", "The shadow is busy.")
        loop, rows, key = asyncio.get_running_loop(), asked.rows, asked.route.key
        done: asyncio.Future[Table] = loop.create_future()
        started, count = loop.time(), len(next(iter(rows.values())))

        def seen(answered: asyncio.Future[Table]) -> None:
            error, seconds = answered.exception(), loop.time() - started
            table = {} if error is not None else answered.result()
            status = 200 if error is None else 500
            self.meters.count(
                "shadow", served.name, served.version, "ok" if error is None else "internal", seconds
            )
            self.watchers.seen(
                Seen(asked.id, served.name, served.version, rows, table, seconds, status, "shadow", key)
            )

        done.add_done_callback(seen)
        until = started + self.options.deadline
        served.batcher.submit(Job(rows, count, None, until, lambda: False, done, is_heavy(rows, served.form)))

    def refusal(self, asked_id: str, error: Exception, served: Served | None) -> Trouble:
        """What a client is told about an error; ours are logged."""
        refusal = told(error, served.model) if served is not None else refusal_of(error)
        if refusal.trouble.code == "internal":
            self.log.failed(asked_id, error)
        return refusal.trouble

    def until(self, milliseconds: str | None) -> float:
        """When the answer is too late, on the loop's clock."""
        now = asyncio.get_running_loop().time()
        if milliseconds is None:
            return now + self.options.deadline
        try:
            wanted = float(milliseconds)
        except ValueError:
            wanted = -1.0
        if not 0 < wanted <= 86_400_000:
            raise Refusal(
                "bad_request", f"X-Deadline-Ms is {milliseconds[:40]!r}.", "Give milliseconds, as in 250.",
                field="X-Deadline-Ms",
            )  # fmt: skip
        return now + wanted / 1000


def seen(done: asyncio.Future[Any]) -> None:
    """Look at what became of work that perhaps nobody waits for any more, so that it is not said again."""
    if not done.cancelled():
        done.exception()


def coverage_of(text: str | None) -> float | None:
    """A coverage that a client asks for."""
    if text is None:
        return None
    try:
        coverage = float(text)
    except ValueError:
        coverage = -1.0
    if not 0 < coverage < 1:
        raise Refusal(
            "no_coverage", f"The coverage is {text[:40]!r}.", "Give a number between 0 and 1, as in 0.9.",
            field="coverage",
        )  # fmt: skip
    return coverage
