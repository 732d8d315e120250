"""The server as a process sees it: sockets, gRPC, the client, an end without haste."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("orjson", reason="the extra `serve` is not installed")
pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
pytest.importorskip("grpc", reason="the extra `serve` is not installed")

import shinso
from served import Formula, png, row
from shinso.client import ServerError
from shinso.errors import DataError, SettingError
from shinso.serving.app import App
from shinso.serving.logs import Log
from shinso.serving.options import Options
from shinso.serving.start import assembled, listen, loop_factory, run

KEY = "0123456789abcdef"


@dataclass
class Running:
    """A server in a thread of the test, on free ports."""

    app: App
    port: int
    grpc_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def grpc(self) -> str:
        return f"grpc://127.0.0.1:{self.grpc_port}"


@contextmanager
def running(model: Formula | None = None, **more: Any) -> Iterator[Running]:
    options = Options(port=0, grpc_port=0, drain=0.0, **more)
    app = assembled([("houses", Path("0"))], options, log=Log(io.StringIO()))
    app.engine.registry.open = lambda path: model or Formula()
    listener = listen(options)
    ending: dict[str, Any] = {}

    async def whole() -> None:
        ending["loop"], ending["task"] = asyncio.get_running_loop(), asyncio.current_task()
        await run(app, options, listener)

    def work() -> None:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            try:
                runner.run(whole())
            except asyncio.CancelledError:
                pass

    thread = threading.Thread(target=work)
    thread.start()
    try:
        lines = wait_until_ready(app, thread)
        yield Running(app, lines["port"], lines["grpc_port"])
    finally:
        ending["loop"].call_soon_threadsafe(ending["task"].cancel)
        thread.join(20)
        assert not thread.is_alive()


def wait_until_ready(app: App, thread: threading.Thread) -> dict[str, Any]:
    while thread.is_alive():
        for line in app.engine.log.file.getvalue().splitlines():  # type: ignore[attr-defined]
            facts: dict[str, Any] = json.loads(line)
            if facts["event"] == "ready":
                return facts
        thread.join(0.01)
    raise AssertionError(app.engine.log.file.getvalue())  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def served() -> Iterator[Running]:
    with running() as found:
        yield found


def test_the_client_gets_the_same_over_http_and_grpc(served: Running) -> None:
    rows = [{**row(i), "photo": png(i)} for i in range(3)]
    with shinso.Client(served.url) as rest, shinso.Client(served.grpc) as call:
        assert rest.ready() and call.ready()
        plain = rest.predict(rows)
        assert call.predict(rows) == plain and len(plain) == 3
        assert rest.predict(rows[0]) == plain[0]
        assert call.predict(rows[0], coverage=0.5) == rest.predict(rows[0], coverage=0.5)
        missing = {**rows[0], "area": None, "photo": None}
        assert rest.predict(missing) == call.predict(missing)


def test_the_client_says_what_the_server_said(served: Running, tmp_path: Path) -> None:
    for url in (served.url, served.grpc):
        with shinso.Client(url, retries=0) as client:
            with pytest.raises(ShinsoErrors, match="area"):
                client.predict({**row(), "photo": png(), "area": "large"})
            with pytest.raises(ShinsoErrors, match="arae"):
                client.predict({**row(), "photo": png(), "arae": 1})
            with pytest.raises(ShinsoErrors, match="'area' is missing"):
                client.predict({"city": "Nara"})
            with pytest.raises(ServerError) as caught:
                client.predict({**row(), "photo": b"no picture"})
            assert caught.value.code == "bad_value"
    with pytest.raises(ServerError) as caught, shinso.Client(served.url, model="hous") as client:
        client.predict(row())
    assert caught.value.code == "unknown_model" and caught.value.status == 404
    with shinso.Client(served.url) as client, pytest.raises(DataError, match="cannot be read"):
        client.predict({**row(), "photo": tmp_path / "none.png"})
    with pytest.raises(SettingError, match="no address"):
        shinso.Client("localhost:8000")


ShinsoErrors = (ServerError, DataError)


def test_a_client_without_a_server_says_so() -> None:
    with shinso.Client("http://127.0.0.1:9", retries=1, deadline=2) as client:
        assert not client.ready()
        with pytest.raises(ServerError, match="not reached"):
            client.predict(row())


def test_the_client_comes_back_after_a_refusal() -> None:
    with running() as found, shinso.Client(found.url, deadline=20) as client:
        batcher = found.app.engine.registry.get("houses").batcher
        batcher.waiting = batcher.queue  # as if it were full
        threading.Timer(0.3, lambda: setattr(batcher, "waiting", 0)).start()
        assert client.predict(row())["dear"]["value"] in ("yes", "no")
        assert batcher.counts.refused >= 1


def test_keys_hold_over_http_and_grpc(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# clients\nanna:{KEY}\n")
    with running(keys=tmp_path / "keys") as found:
        for url in (found.url, found.grpc):
            with shinso.Client(url, key=KEY) as client:
                assert client.predict({**row(), "photo": png()})
            with shinso.Client(url, retries=0) as client, pytest.raises(ServerError, match="key"):
                client.predict({**row(), "photo": png()})


def test_a_body_that_is_never_sent_is_not_waited_for(served: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.putrequest("POST", "/predict")
    connection.putheader("content-type", "application/json")
    connection.putheader("content-length", str(2**30))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413 and json.loads(answer.read())["error"]["code"] == "too_large"
    connection.close()


def test_what_no_http_is_gets_an_answer_and_no_trace(served: Running) -> None:
    import socket

    for junk in (
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", served.port), 10) as plug:
            plug.sendall(junk)
            plug.shutdown(socket.SHUT_WR)
            assert b"Traceback" not in plug.recv(1000)
    with shinso.Client(served.url) as client:
        assert client.ready()


def test_an_occupied_port_is_a_mistake_of_the_user(served: Running) -> None:
    with pytest.raises(SettingError, match="Choose another --port"):
        listen(Options(port=served.port))


@pytest.mark.filterwarnings("ignore")
def test_a_triton_client_talks_to_it_unchanged(served: Running) -> None:
    utils = pytest.importorskip("tritonclient.utils", reason="tritonclient is not installed")
    for part in ("http", "grpc"):
        triton = pytest.importorskip(f"tritonclient.{part}", reason="tritonclient is not installed")
        port = served.port if part == "http" else served.grpc_port
        client = triton.InferenceServerClient(f"127.0.0.1:{port}")
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("houses")
        assert client.get_server_metadata() and client.get_model_metadata("houses")
        import numpy as np

        values = {
            "area": np.array([50.0, 90.0]), "city": np.array([b"Nara", b"Kyoto"], object),
            "note": np.array(["家".encode(), b""], object), "photo": np.array([png(0), png(1)], object),
        }  # fmt: skip
        inputs = []
        for name, value in values.items():
            inputs.append(triton.InferInput(name, [2], "FP64" if name == "area" else "BYTES"))
            inputs[-1].set_data_from_numpy(value)
        found = client.infer("houses", inputs, request_id="7")
        price = found.as_numpy("price")
        assert price.shape == (2,) and price.dtype == np.float64
        with shinso.Client(served.url) as plain:
            rows = [{"area": 50.0, "city": "Nara", "note": "家", "photo": png(0)},
                    {"area": 90.0, "city": "Kyoto", "note": "", "photo": png(1)}]  # fmt: skip
            natural = plain.predict(rows)
        assert price.tolist() == [a["price"]["value"] for a in natural]
        assert found.as_numpy("dear_probabilities").shape == (2, 2)
        assert [v.decode() for v in found.as_numpy("dear")] == [a["dear"]["value"] for a in natural]
        with pytest.raises(utils.InferenceServerException, match="nothing"):
            client.infer("nothing", inputs)
        client.close()
