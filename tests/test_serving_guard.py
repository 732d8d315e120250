"""What one client may do to the server and to the others: shares, slow senders, labels, explanations, TLS."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import json
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

pytest.importorskip("orjson", reason="the extra `serve` is not installed")
pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
pytest.importorskip("grpc", reason="the extra `serve` is not installed")

import shinso
from served import Answer, Formula, ask, once, png, row, server, together
from shinso.client import ServerError
from shinso.errors import DataError, SettingError
from shinso.serving.connections import MOST_HEAD
from shinso.serving.explaining import GRADIENTS, HIDING
from shinso.serving.shares import Shares
from shinso.serving.weighing import weighs
from test_serving_network import running

KEYS = "anna:0123456789abcdef,ben:abcdef0123456789"
ANNA, BEN = {"x-api-key": "0123456789abcdef"}, {"x-api-key": "abcdef0123456789"}


def test_a_rate_is_held_for_each_client_alone() -> None:
    with patch.dict("os.environ", {"SHINSO_API_KEYS": KEYS}):
        app = server(rate=1.0)

    async def many() -> list[Answer]:
        return [await ask(app, "POST", "/predict", row(), who) for who in (ANNA, ANNA, ANNA, BEN)]

    found = asyncio.run(many())
    assert [f.status for f in found] == [200, 200, 429, 200]
    assert found[2].error["code"] == "too_many" and int(found[2].headers["retry-after"]) >= 1
    assert once(app, "GET", "/v2/health/ready").status == 200, "health is asked without a limit"


def test_one_client_fills_its_share_of_the_queue_and_no_more() -> None:
    with patch.dict("os.environ", {"SHINSO_API_KEYS": KEYS}):
        app = server(queue=8, share=0.5)

    async def storm() -> list[Answer]:
        batcher = app.engine.registry.get("houses").batcher
        batcher._busy = True  # nothing is taken from the queue
        asked = [asyncio.create_task(ask(app, "POST", "/predict", row(i), ANNA)) for i in range(6)]
        while batcher.waiting < 4:
            await asyncio.sleep(0)
        asked.append(asyncio.create_task(ask(app, "POST", "/predict", row(7), BEN)))
        await asyncio.sleep(0)
        batcher._busy = False
        batcher._again()
        return list(await asyncio.gather(*asked))

    found = asyncio.run(storm())
    assert [f.status for f in found] == [200] * 4 + [429] * 2 + [200]
    assert not app.engine.shares.of("key anna").rows, "what was answered is given back"


def test_time_spent_on_mistakes_is_paid_by_who_makes_them() -> None:
    shares = Shares(0.5, 0.0, 100)
    assert shares.blame("anna", 0.1, 10.0) == pytest.approx(0.4)
    assert shares.blame("anna", 0.3, 10.0) == 1.0, "an answer is not held back for longer"
    with pytest.raises(Exception, match="could not be read"):
        shares.admit("anna", 10.0)
    shares.admit("ben", 10.0)
    shares.admit("anna", 12.0)


def test_clients_are_remembered_within_bounds() -> None:
    shares = Shares(0.5, 1.0, 100)
    held = shares.take("first", 1, 0.0)
    for i in range(10_100):
        shares.of(str(i))
    assert len(shares._known) <= 10_001 and shares.of("first") is held


@pytest.mark.parametrize(
    ("side", "mode", "heavy"), [(8, "L", False), (900, "L", False), (4000, "L", True), (4000, "1", True)]
)
def test_small_files_of_large_pictures_are_heavy(side: int, mode: str, heavy: bool) -> None:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, "PNG")
    assert weighs(file.getvalue(), "image") is heavy
    assert len(file.getvalue()) < 65_536


class Held:
    """A labeller that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Mapping[str, Sequence[Any]]] = []

    def label(self, told: Mapping[str, Sequence[Any]]) -> dict[str, int]:
        if "dear" not in told:
            raise DataError("Labels need a column 'dear'. Add it.")
        self.told.append(told)
        return {"labels": len(told["id"]), "unknown": 0}


LABELS = {"rows": [{"id": "a-1", "dear": "yes"}, {"id": "a-2", "dear": "no"}]}


def test_labels_are_told_over_the_network() -> None:
    app = server()
    app.labeller = held = Held()
    assert once(app, "POST", "/labels", LABELS).json == {"labels": 2, "unknown": 0}
    assert held.told == [{"id": ["a-1", "a-2"], "dear": ["yes", "no"]}]
    for body, code in (
        ({"rows": []}, "no_rows"), ({"rows": 3}, "no_rows"), ([], "no_rows"), ({"rows": [3]}, "no_rows"),
        ({"rows": [{"dear": "yes"}]}, "bad_request"),
        ({"rows": [{"id": "a"}, {"id": "b", "x": 1}]}, "bad_request"),
        ({"rows": [{"id": "a", "cheap": 1}]}, "bad_value"), (b"{", "bad_json"),
    ):  # fmt: skip
        found = once(app, "POST", "/labels", body, {"content-type": "application/json"})
        assert (found.error["code"], found.status) == (code, 400)
    stranger = asyncio.run(ask(app, "POST", "/labels", LABELS, peer="10.0.0.9"))
    assert stranger.status == 403 and stranger.error["code"] == "forbidden"
    with patch.dict("os.environ", {"SHINSO_API_KEYS": KEYS}):
        keyed = server(max_body=0.001)
    keyed.labeller = held
    assert once(keyed, "POST", "/labels", LABELS).status == 401
    assert asyncio.run(ask(keyed, "POST", "/labels", LABELS, ANNA, peer="10.0.0.9")).status == 200
    assert once(keyed, "POST", "/labels", b" " * 2000, ANNA).status == 413


@pytest.mark.parametrize("method", ["1", *HIDING])
def test_an_explanation_says_what_the_answer_rests_on(method: str) -> None:
    app = server()
    found = once(app, "POST", f"/predict?explain={method}&explain_column=price", row(2)).json
    (told,) = found["explanations"]
    assert told["column"] == "price" and told["unit"] == "unit of price"
    assert told["method"] == ("shap" if method == "1" else method)
    assert told["value"] == pytest.approx(found["answers"][0]["price"]["value"], rel=1e-4)
    assert told["parts"][0]["column"] == "area", "the price is three times the area"
    if method in ("1", "shap"):
        total = sum(part["value"] for part in told["parts"])
        assert total == pytest.approx(told["value"] - told["hidden"], rel=1e-3)


def test_a_class_is_explained_in_log_odds() -> None:
    app = server()
    one = {**row(0), "area": 3.0, "photo": None}
    found = once(app, "POST", "/predict?explain=occlusion", {"rows": [one, {**one, "area": 2.0}]}).json
    for told, answer in zip(found["explanations"], found["answers"], strict=True):
        assert told["unit"] == "log-odds" and told["answer"] == answer["dear"]["value"]
        assert told["value"] == pytest.approx(answer["dear"]["probabilities"][told["answer"]], abs=1e-4)


def test_the_names_of_methods_are_those_of_explain() -> None:
    from shinso.explaining.methods import METHODS

    assert {*HIDING, *GRADIENTS} == set(METHODS)


def test_an_explanation_ends_at_its_deadline() -> None:
    app = server()
    model = app.engine.registry.get("houses").model
    assert isinstance(model, Formula)

    async def late() -> Answer:
        batcher = app.engine.registry.get("houses").batcher
        forward = batcher.forward_beside

        def slow(inputs: Any, stop: Any) -> Any:
            stop.wait(20)
            return forward(inputs, stop)

        with patch.object(batcher, "forward_beside", slow):
            return await ask(app, "POST", "/predict?explain=1", row(), {"x-deadline-ms": "250"})

    found = asyncio.run(late())
    assert found.status == 408 and found.error["code"] == "deadline_expired"


def talk(port: int, *pieces: bytes) -> bytes:
    """What a server says to pieces of a request, until it ends the connection."""
    with socket.create_connection(("127.0.0.1", port), 20) as plug:
        with suppress(BrokenPipeError, ConnectionResetError):  # it may end before all was said
            for piece in pieces:
                plug.sendall(piece)
        found = b""
        while True:
            try:
                more = plug.recv(65_536)
            except ConnectionResetError:
                return found
            if not more:
                return found
            found += more


def test_who_sends_slowly_loses_the_connection() -> None:
    with running(patience=0.2) as served:
        for pieces in ((), (b"POST /pre",), (b"GET / HTTP/1.1\r\n", b"x: y\r\n")):
            found = talk(served.port, *pieces)
            assert found.startswith(b"HTTP/1.1 408"), pieces
            assert json.loads(found.partition(b"\r\n\r\n")[2])["error"]["code"] == "deadline_expired"
        head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n"
        for pieces in ((head,), (head, b'{"area"')):
            found = talk(served.port, *pieces)
            assert found.startswith(b"HTTP/1.1 408") and b"did not arrive within 0.2" in found
        again = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"
        found = talk(served.port, again + b"GET /v2")
        assert b"200 OK" in found and b"HTTP/1.1 408" in found, "a second request may not be slow either"
        with shinso.Client(served.url) as client:
            assert client.predict({**row(), "photo": png()})["price"]


def test_headers_are_bounded() -> None:
    with running() as served:
        lines = [b"GET / HTTP/1.1\r\nhost: x\r\n", *(b"x-%d: %s\r\n" % (i, b"y" * 4000) for i in range(40))]
        found = talk(served.port, *lines)
        assert sum(map(len, lines)) > 2 * MOST_HEAD
        assert not found or b"431" in found.splitlines()[0]
        with shinso.Client(served.url) as client:
            assert client.ready()


def test_one_address_has_its_share_of_the_connections() -> None:
    with running(connections=8, share=0.5) as served:
        plugs = [socket.create_connection(("127.0.0.1", served.port), 20) for _ in range(4)]
        found = talk(served.port)
        assert found.startswith(b"HTTP/1.1 429") and b"too many connections" in found
        for plug in plugs:
            plug.close()
        with shinso.Client(served.url) as client:
            assert client.predict({**row(), "photo": png()})["price"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for this machine, signed by itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def test_requests_travel_encrypted_over_http_and_grpc(certificate: Path) -> None:
    files = {"tls_cert": certificate / "cert.pem", "tls_key": certificate / "key.pem"}
    asked = {**row(), "photo": png()}
    with running(**files) as served:
        urls = (f"https://127.0.0.1:{served.port}", f"grpcs://127.0.0.1:{served.grpc_port}")
        found = []
        for url in urls:
            with shinso.Client(url, ca=files["tls_cert"]) as client:
                assert client.ready()
                found.append(client.predict(asked))
        assert found[0] == found[1]
        with shinso.Client(urls[0], retries=0) as client, pytest.raises(ServerError, match="not reached"):
            client.predict(asked)
        plain = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        with pytest.raises((OSError, http.client.HTTPException)):
            plain.request("GET", "/v2/health/live")
            plain.getresponse()
        plain.close()
    with pytest.raises(SettingError, match="no certificate"):
        shinso.Client("https://localhost", ca=certificate / "none.pem")


def test_answers_go_on_while_something_is_explained() -> None:
    app = server()
    paths = ["/predict?explain=shap", *["/predict"] * 8]
    found = asyncio.run(together(*(ask(app, "POST", p, row(i)) for i, p in enumerate(paths))))
    assert [f.status for f in found] == [200] * 9
    assert app.engine.registry.get("houses").batcher.idle and app.engine._explaining == 0
    assert np.isfinite([part["value"] for part in found[0].json["explanations"][0]["parts"]]).all()


def test_json_of_very_many_values_is_refused_unread() -> None:
    app = server()
    tensor = b'{"inputs": [{"name": "area", "shape": [300000], "datatype": "INT8", "data": [%s0]}]}'
    found = once(app, "POST", "/v2/models/houses/infer", tensor % (b"0," * 300_000))
    assert found.status == 413 and found.json["code"] == "too_large"
    picture = {**row(), "note": "x" * 400_000}
    assert once(app, "POST", "/predict", picture).status == 200, "long text is one value"


def test_an_overloaded_server_refuses_unread_and_keeps_the_connection() -> None:
    with running(queue=4) as served:
        batcher = served.app.engine.registry.get("houses").batcher
        body = json.dumps(row()).encode()
        batcher.waiting = 4  # as if it were full
        plain = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        for path in ("/predict", "/v2/models/houses/infer"):
            plain.request("POST", path, body, {"content-type": "application/json"})
            answer = plain.getresponse()
            said = json.loads(answer.read())
            assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1
            assert (said if path[:3] == "/v2" else said["error"])["code"] == "overloaded"
        assert batcher.counts.refused == 2
        plain.request("GET", "/metrics")
        assert b'shinso_requests_total{way="refused",code="overloaded"} 2' in plain.getresponse().read()
        batcher.waiting = 0
        plain.request("POST", "/predict", body, {"content-type": "application/json"})
        assert plain.getresponse().status == 200, "on the same connection"
        plain.close()
        batcher.waiting = 4
        head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1073741824\r\n\r\n"
        assert talk(served.port, head).startswith(b"HTTP/1.1 503"), "a large body is not waited for"
        batcher.waiting = 0


def test_nothing_that_is_sent_breaks_a_parser() -> None:
    """A few seconds of `benchmarks/fuzz.py`, always the same inputs."""
    place = Path(__file__).parent.parent / "benchmarks" / "fuzz.py"
    found = importlib.util.spec_from_file_location("fuzz", place)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    said: list[str] = []
    counts, findings = module.fuzz(inputs=1200, seed=7, say=said.append)
    assert not findings, said
    assert counts.total() == 1200 and counts["http 200"] > 50 and counts["grpc ok"] > 5
