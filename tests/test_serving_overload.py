"""What a server does that is asked for more than it can: who is refused, when, in which order."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any

import pytest

pytest.importorskip("orjson", reason="the extra `serve` is not installed")
pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
pytest.importorskip("grpc", reason="the extra `serve` is not installed")

from served import Answer, Formula, ask, once, row, server
from shinso.serving.batching import SHORT, TURNS, Job
from shinso.serving.connections import Connection
from shinso.serving.refusals import Refusal
from shinso.serving.unread import MOST_HEAD, quick
from test_serving_network import running

BODY = json.dumps(row()).encode()


def post(path: str = "/predict", more: str = "", body: bytes = BODY) -> bytes:
    """The bytes of a request."""
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("data", "flat"),
    [
        (post(), False),
        (post("/predict?coverage=0.8"), False),
        (post("/v2/models/a/versions/1/infer"), True),
        (post("/models/a/predict", "Connection: keep-alive\r\n"), False),
        (post(body=b""), False),
        (post() + b" ", None),  # more than one request, or less
        (post()[:-1], None),
        (post(more="Content-Length: 3\r\n"), None),
        (post(more="Transfer-Encoding: chunked\r\n"), None),
        (post(more="Connection: close\r\n"), None),
        (post(more="Connection: keep-alive, close\r\n"), None),
        (post(more="Expect: 100-continue\r\n"), None),
        (post(more="Upgrade: websocket\r\n"), None),
        (post(more="X-Deadline-Ms: 5\r\n"), None),
        (post(more="A: b\n"), None),  # which some take for the end of a line
        (post(more="A: b\r\n c\r\n"), None),
        (post(more="A: " + "b" * MOST_HEAD + "\r\n"), None),
        (post("/predictions"), None),
        (post("/labels"), None),
        (post().replace(b"POST", b"PUT "), None),
        (post().replace(b"/1.1", b"/1.0"), None),
        (b"", None),
    ],
)
def test_only_a_request_whose_end_is_beyond_doubt_is_refused_by_its_head(
    data: bytes, flat: bool | None
) -> None:
    assert quick(data) is flat


def answers(plug: socket.socket, count: int) -> list[tuple[int, dict[str, str], bytes]]:
    """So many answers of a connection: status, headers, body."""
    found = []
    with plug.makefile("rb") as file:
        for _ in range(count):
            status = int(file.readline().split()[1])
            headers = {}
            while (line := file.readline().decode().strip()) != "":
                name, _, value = line.partition(": ")
                headers[name] = value
            found.append((status, headers, file.read(int(headers["content-length"]))))
    return found


def test_what_follows_a_request_that_is_refused_is_answered_behind_it() -> None:
    with running(queue=4) as served, socket.create_connection(("127.0.0.1", served.port), 20) as plug:
        engine = served.app.engine
        batcher = engine.registry.get("houses").batcher
        batcher.waiting = 4  # as if it were full
        engine._next_refusal = time.monotonic() + 0.3  # so that it is held back
        plug.sendall(post())
        while batcher.counts.refused == 0:
            time.sleep(0)
        batcher.waiting = 0
        plug.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
        first, second = answers(plug, 2)
        assert first[0] == 503 and int(first[1]["retry-after"]) >= 1
        assert json.loads(first[2])["error"]["code"] == "overloaded" and second[0] == 200
        plug.sendall(post())
        assert answers(plug, 1)[0][0] == 200


def test_requests_that_come_in_one_piece_are_refused_in_their_order() -> None:
    with running(queue=4) as served, socket.create_connection(("127.0.0.1", served.port), 20) as plug:
        batcher = served.app.engine.registry.get("houses").batcher
        batcher.waiting = 4
        plug.sendall(post() + post("/v2/models/houses/infer") + b"GET /v2/health/live HTTP/1.1\r\n\r\n")
        found = answers(plug, 3)
        assert [status for status, _, _ in found] == [503] * 3
        assert isinstance(json.loads(found[1][2])["error"], str)
        batcher.waiting = 0
        plug.sendall(post())
        assert answers(plug, 1)[0][0] == 200


def test_a_connection_that_was_refused_a_moment_ago_is_not_silent() -> None:
    class Loop:
        def time(self) -> float:
            return 100.0

        def call_later(self, seconds: float, what: object) -> float:
            return seconds

    one: Any = Connection.__new__(Connection)
    one.loop, one.timeout_keep_alive, one._refused = Loop(), 75, 90.0
    one.timeout_keep_alive_handler()
    assert one.timeout_keep_alive_task == pytest.approx(65.0), "it may be silent for as long as any other"


def test_what_was_let_in_counts_before_it_is_queued() -> None:
    app = server(queue=4)

    async def counted() -> tuple[float | None, float | None, float | None]:
        engine = app.engine
        engine.registry.get("houses").batcher.waiting = 2
        before = engine.busy()
        engine.coming()
        engine.coming()
        full = engine.busy()
        await asyncio.sleep(0)
        return before, full, engine.busy()

    before, full, after = asyncio.run(counted())
    assert before is None and full is not None and after is None


def test_where_much_waits_batches_are_computed_on_the_loop_and_the_loop_turns_between() -> None:
    app = server(queue=16, batch=2, share=1.0)

    async def crowd() -> tuple[list[Answer], int]:
        batcher = app.engine.registry.get("houses").batcher
        batcher.per_row = 1.2 * SHORT / 2
        threads: list[int] = []
        batcher._in_thread = lambda jobs, *, heavy: threads.append(len(jobs))  # type: ignore[method-assign]
        asked = [asyncio.create_task(ask(app, "POST", "/predict", row(i))) for i in range(12)]
        while not (batcher._turns or threads):
            await asyncio.sleep(0)
        assert batcher._turns == TURNS and not threads
        batcher.per_row = 1e-6
        return list(await asyncio.gather(*asked)), len(threads)

    found, threads = asyncio.run(crowd())
    assert [one.status for one in found] == [200] * 12 and not threads
    assert app.engine.registry.get("houses").batcher.idle


def test_a_quiet_server_computes_what_takes_long_in_a_thread() -> None:
    app = server(Formula())

    async def one() -> tuple[Answer, int]:
        batcher = app.engine.registry.get("houses").batcher
        batcher.per_row = 1.2 * SHORT
        told = await ask(app, "POST", "/predict", row())
        return told, batcher._turns

    answer, turns = asyncio.run(one())
    assert answer.status == 200 and turns == 0


def test_what_cannot_be_answered_in_time_is_refused_before_it_is_computed() -> None:
    model = Formula()
    app = server(model, queue=16, share=1.0)

    async def crowd() -> list[Answer]:
        batcher = app.engine.registry.get("houses").batcher
        batcher._busy = True  # nothing is taken
        asked = [asyncio.create_task(ask(app, "POST", "/predict", row(i))) for i in range(3)]
        while len(batcher._jobs) < 3:
            await asyncio.sleep(0)
        batcher.per_row = 0.5
        for job in list(batcher._jobs)[1:]:  # they have waited long
            job.queued, job.until = job.queued - 20, time.monotonic() + 0.4
        batcher._busy, model.calls = False, 0
        batcher._again()
        return list(await asyncio.gather(*asked))

    found = asyncio.run(crowd())
    assert [one.status for one in found] == [200, 503, 503] and model.calls == 1
    assert found[1].error["code"] == "overloaded" and int(found[1].headers["retry-after"]) >= 1
    batcher = app.engine.registry.get("houses").batcher
    assert batcher.counts.expired == 2 and batcher.idle


def test_a_wrong_measure_does_not_keep_a_request_from_being_computed() -> None:
    app = server(Formula())
    batcher = app.engine.registry.get("houses").batcher
    batcher.per_row = 50.0
    assert once(app, "POST", "/predict", row(), {"x-deadline-ms": "20000"}).status == 200
    assert batcher.per_row < 46, "what is computed is measured"


def test_an_answer_behind_its_deadline_is_none() -> None:
    app = server(Formula())

    async def late() -> tuple[str, int]:
        batcher = app.engine.registry.get("houses").batcher
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        job = Job({}, 1, None, time.monotonic() - 0.01, lambda: False, done, begun=True)
        batcher._deliver([job], [{"dear": ["yes"]}])
        error = done.exception()
        assert isinstance(error, Refusal)
        return error.trouble.code, batcher.counts.expired

    assert asyncio.run(late()) == ("deadline_expired", 1)


def test_half_of_the_time_until_a_deadline_is_kept_for_what_nobody_knows() -> None:
    batcher = server(Formula()).engine.registry.get("houses").batcher
    batcher.waiting, batcher.per_row = 10, 0.1
    batcher.check(time.monotonic() + 3.0)
    with pytest.raises(Refusal) as refused:
        batcher.check(time.monotonic() + 1.9)
    assert refused.value.trouble.code == "overloaded"
    assert batcher.busy(1.9) == pytest.approx(1.0) and batcher.busy(2.1) is None
