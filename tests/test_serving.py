"""The server's contract: what it answers, what it refuses and how, in one process without a network."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import numpy as np
import pytest

pytest.importorskip("orjson", reason="the extra `serve` is not installed")
pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

from served import Answer, Formula, ask, base64_of, once, png, row, server, together
from shinso.errors import RunError
from shinso.serving.observers import Route, Seen
from shinso.serving.openapi import document
from shinso.serving.refusals import CODES
from shinso.serving.tensors import Tensor, to_bytes

JSON = {"content-type": "application/json"}


def test_a_natural_row_is_answered() -> None:
    app = server()
    found = once(app, "POST", "/predict", row())
    assert found.status == 200
    (answer,) = found.json["answers"]
    assert answer["dear"]["value"] in ("yes", "no")
    assert set(answer["dear"]["probabilities"]) == {"yes", "no"}
    assert abs(sum(answer["dear"]["probabilities"].values()) - 1) < 1e-5
    low, high = answer["price"]["interval"]
    assert low < answer["price"]["value"] < high
    assert found.json["model"] == "houses" and found.json["version"] == "1"
    assert found.headers["x-request-id"] == found.json["id"]


def test_a_coverage_brings_sets_and_wider_intervals() -> None:
    app = server()
    wide = once(app, "POST", "/predict?coverage=0.99", row()).json["answers"][0]
    narrow = once(app, "POST", "/predict?coverage=0.5", row()).json["answers"][0]
    assert wide["dear"]["value"] in wide["dear"]["set"]
    assert wide["price"]["interval"][0] < narrow["price"]["interval"][0]


def multipart(parts: list[tuple[str, str | None, bytes]]) -> tuple[bytes, dict[str, str]]:
    body = b""
    for name, file, content in parts:
        more = f'; filename="{file}"' if file else ""
        body += (
            f'--b1\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode()
            + content
            + b"\r\n"
        )
    return body + b"--b1--\r\n", {"content-type": "multipart/form-data; boundary=b1"}


def test_every_way_of_sending_rows_gives_the_same_answer() -> None:
    app, one = server(), row(3)
    plain = once(app, "POST", "/predict", one).json["answers"]
    assert once(app, "POST", "/predict", {"rows": [one]}).json["answers"] == plain
    assert once(app, "POST", "/models/houses/predict", one).json["answers"] == plain
    assert once(app, "POST", "/models/houses/versions/1/predict", one).json["answers"] == plain
    body, headers = multipart(
        [("area", None, str(one["area"]).encode()), ("city", None, one["city"].encode()),
         ("note", None, one["note"].encode()), ("photo", "a.png", png(3))]
    )  # fmt: skip
    assert once(app, "POST", "/predict", body, headers).json["answers"] == plain


def test_answers_in_a_batch_equal_those_alone() -> None:
    """Bit for bit with a model that computes row by row; `test_serving_real` states the bound of networks."""
    app = server()
    rows = [row(i) for i in range(40)]
    alone = [once(app, "POST", "/predict", one).json["answers"][0] for one in rows]
    model = app.engine.registry.get("houses").model
    assert isinstance(model, Formula)
    before = model.calls
    found = asyncio.run(together(*(ask(app, "POST", "/predict", one) for one in rows)))
    assert [f.json["answers"][0] for f in found] == alone
    assert model.calls - before <= 12, "requests that come together are computed together"
    many = once(app, "POST", "/predict", {"rows": rows}).json["answers"]
    assert many == alone


def test_requests_of_different_coverages_share_a_batch() -> None:
    app = server()
    paths = ["/predict", "/predict?coverage=0.5", "/predict?coverage=0.95"]
    alone = [once(app, "POST", p, row()).json["answers"] for p in paths]
    found = asyncio.run(together(*(ask(app, "POST", p, row()) for p in paths)))
    assert [f.json["answers"] for f in found] == alone


BAD: list[tuple[str, Any, dict[str, str], str, str | None]] = [
    ("/predict", b"{", JSON, "bad_json", None),
    ("/predict", b'{"area": NaN}', JSON, "bad_json", None),
    ("/predict", b"[" * 100_000, JSON, "bad_json", None),
    ("/predict", b"\xff\xfe", JSON, "bad_json", None),
    ("/predict", [1, 2], {}, "bad_request", None),
    ("/predict", {"rows": [1]}, {}, "bad_request", "rows"),
    ("/predict", {"rows": []}, {}, "no_rows", "rows"),
    ("/predict", {}, {}, "missing_field", "area"),
    ("/predict", {**row(), "arae": 3}, {}, "unknown_field", "arae"),
    ("/predict", {**row(), "area": "large"}, {}, "bad_value", "area"),
    ("/predict", {**row(), "area": {"a": 1}}, {}, "bad_value", "area"),
    ("/predict", {**row(), "area": "inf"}, {}, "bad_value", "area"),
    ("/predict", {**row(), "city": ["Kyoto"]}, {}, "bad_value", "city"),
    ("/predict", {**row(), "note": 3}, {}, "bad_value", "note"),
    ("/predict", {**row(), "photo": "cat.png"}, {}, "bad_value", "photo"),
    ("/predict", {**row(), "photo": "/etc/passwd"}, {}, "bad_value", "photo"),
    ("/predict", {**row(), "photo": base64_of(png()[:40])}, {}, "bad_value", "photo"),
    ("/predict", {**row(), "photo": 7}, {}, "bad_value", "photo"),
    ("/predict", b"x", {"content-type": "text/html"}, "wrong_type", None),
    ("/predict", b"x", {"content-type": "application/octet-stream"}, "wrong_type", None),
    ("/predict", b"x", {"content-type": "multipart/form-data"}, "bad_request", None),
    ("/predict", b"x", {"content-type": "multipart/form-data; boundary=b"}, "bad_request", None),
    ("/predict?coverage=2", row(), {}, "no_coverage", "coverage"),
    ("/predict?coverage=x", row(), {}, "no_coverage", "coverage"),
    ("/predict?coverage=0.99999", row(), {}, "no_coverage", "coverage"),
    ("/predict?explain=maybe", row(), {}, "not_explained", "explain"),
    ("/predict?explain=gradcam", row(), {}, "not_explained", "explain"),
    ("/predict?explain=1&explain_column=size", row(), {}, "not_explained", "explain_column"),
    ("/predict?explain=1", {"rows": [row()] * 9}, {}, "not_explained", "explain"),
    ("/labels", {"rows": [{"id": "a", "price": 3}]}, {}, "no_log", None),
    ("/predict", row(), {"x-deadline-ms": "soon"}, "bad_request", "X-Deadline-Ms"),
    ("/predict", row(), {"x-deadline-ms": "0.000001"}, "deadline_expired", None),
    ("/models/house/predict", row(), {}, "unknown_model", None),
    ("/models/houses/versions/9/predict", row(), {}, "unknown_version", None),
    ("/models/..%2f..%2fetc/predict", row(), {}, "unknown_model", None),
    ("/nowhere", row(), {}, "not_found", None),
    ("/metrics", row(), {}, "wrong_method", None),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "headers", "code", "field"), BAD)
def test_bad_requests_get_a_code_the_field_and_a_remedy(
    path: str, body: Any, headers: dict[str, str], code: str, field: str | None
) -> None:
    found = once(server(), "POST", path, body, headers)
    refused(found, code, field)


def refused(found: Answer, code: str, field: str | None = None) -> None:
    assert found.error["code"] == code, found.body
    assert found.status == CODES[code] and 400 <= found.status < 500
    assert found.error["field"] == field
    assert found.error["message"] and (found.error["remedy"] or code == "client_gone")
    assert "Traceback" not in str(found.body) and "site-packages" not in str(found.body)


def bomb() -> str:
    """A PNG whose header claims 60,000 x 60,000 pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return base64_of(
        b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"0" * 99)) + chunk(b"IEND", b"")
    )


def test_an_image_bomb_is_refused_before_it_is_decoded() -> None:
    found = once(server(), "POST", "/predict", {**row(), "photo": bomb()})
    refused(found, "bad_value", "photo")
    assert "million" in found.error["message"]


def test_a_large_body_is_refused_before_it_is_read() -> None:
    app = server(max_body=0.001)
    found = once(app, "POST", "/predict", b"", {**JSON, "content-length": str(2**30)})
    refused(found, "too_large")
    assert found.headers["connection"] == "close"
    refused(once(app, "POST", "/predict", b" " * 2000, {**JSON, "content-length": "10"}), "too_large")


def v2(*inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"inputs": list(inputs), **more}


def tensors(seeds: range = range(2)) -> list[dict[str, Any]]:
    rows = [row(i) for i in seeds]
    kinds = {"area": "FP64", "city": "BYTES", "note": "BYTES", "photo": "BYTES"}
    return [
        {"name": n, "datatype": k, "shape": [len(rows)], "data": [r[n] for r in rows]}
        for n, k in kinds.items()
    ]


def test_v2_answers_as_predict_does() -> None:
    app = server()
    natural = once(app, "POST", "/predict", {"rows": [row(0), row(1)]}).json["answers"]
    found = once(app, "POST", "/v2/models/houses/infer", v2(*tensors(), id="x7")).json
    outputs = {o["name"]: o for o in found["outputs"]}
    assert found["id"] == "x7" and found["model_version"] == "1"
    assert outputs["dear"]["data"] == [a["dear"]["value"] for a in natural]
    assert outputs["price"]["data"] == [a["price"]["value"] for a in natural]
    assert outputs["dear_probabilities"]["shape"] == [2, 2]
    assert outputs["dear_probabilities"]["data"] == [
        a["dear"]["probabilities"][label] for a in natural for label in ("no", "yes")
    ]
    assert json.loads(outputs["dear_probabilities"]["parameters"]["labels"]) == ["no", "yes"]
    wanted = v2(*tensors(), outputs=[{"name": "price"}], parameters={"coverage": 0.5})
    (only,) = once(app, "POST", "/v2/models/houses/infer", wanted).json["outputs"]
    assert only["name"] == "price"


def test_v2_binary_tensors_there_and_back() -> None:
    app, listed, pieces = server(), [], b""
    for one in tensors():
        data = [png(0), png(1)] if one["name"] == "photo" else one["data"]
        del one["data"]
        flat = (
            np.array(data)
            if one["datatype"] == "FP64"
            else [d if isinstance(d, bytes) else d.encode() for d in data]
        )
        piece = to_bytes(Tensor(one["name"], one["datatype"], (2,), flat))
        listed.append({**one, "parameters": {"binary_data_size": len(piece)}})
        pieces += piece
    head = json.dumps(v2(*listed, parameters={"binary_data_output": True})).encode()
    headers = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
    found = once(app, "POST", "/v2/models/houses/infer", head + pieces, headers)
    length = int(found.headers["inference-header-content-length"])
    outputs = json.loads(found.body[:length])["outputs"]
    sizes = {o["name"]: o["parameters"]["binary_data_size"] for o in outputs}
    assert sum(sizes.values()) == len(found.body) - length
    at = length + sizes["dear"] + sizes["dear_probabilities"]
    price = np.frombuffer(found.body[at : at + sizes["price"]], "<f8")
    natural = once(app, "POST", "/predict", {"rows": [row(0), row(1)]}).json["answers"]
    assert price.tolist() == [a["price"]["value"] for a in natural]
    refused_flat(once(app, "POST", "/v2/models/houses/infer", head + pieces[:-1], headers), "bad_tensor")
    refused_flat(once(app, "POST", "/v2/models/houses/infer", head + pieces + b"0", headers), "bad_request")
    refused_flat(
        once(
            app, "POST", "/v2/models/houses/infer", head, {**headers, "inference-header-content-length": "-1"}
        ),
        "bad_request",
    )


def refused_flat(found: Answer, code: str) -> None:
    """As the protocol wants it, "error" is a sentence; the code stands beside it."""
    assert found.json["code"] == code, found.body
    assert found.status == CODES[code] and isinstance(found.json["error"], str)


AREA, CITY, NOTE, PHOTO = tensors(range(1))
BAD_TENSORS = [
    (v2(), "bad_request"),
    ({"inputs": {}}, "bad_request"),
    (v2(AREA), "missing_field"),
    (v2(AREA, AREA, CITY, NOTE, PHOTO), "bad_tensor"),
    (v2({**AREA, "name": "arae"}, CITY, NOTE, PHOTO), "unknown_field"),
    (v2({**AREA, "name": 3}, CITY, NOTE, PHOTO), "bad_tensor"),
    (v2({**AREA, "datatype": "FP128"}, CITY, NOTE, PHOTO), "bad_tensor"),
    (v2({**AREA, "datatype": "INT64"}, CITY, NOTE, PHOTO), "bad_tensor"),
    (v2({**AREA, "datatype": "UINT8", "data": [300]}, CITY, NOTE, PHOTO), "bad_tensor"),
    (v2({**AREA, "shape": [2]}, CITY, NOTE, PHOTO), "bad_tensor"),
    (v2({**AREA, "shape": [-1]}, CITY, NOTE, PHOTO), "bad_tensor"),
    (v2({**AREA, "shape": [1.0]}, CITY, NOTE, PHOTO), "bad_tensor"),
    (v2({**AREA, "shape": []}, CITY, NOTE, PHOTO), "bad_tensor"),
    (v2({**AREA, "shape": [2**40, 2**40]}, CITY, NOTE, PHOTO), "bad_tensor"),
    (v2({**AREA, "data": "1"}, CITY, NOTE, PHOTO), "bad_tensor"),
    (v2({**AREA, "data": [[[[[[[[[[1]]]]]]]]]]}, CITY, NOTE, PHOTO), "bad_tensor"),
    (v2({**AREA, "data": [True]}, CITY, NOTE, PHOTO), "bad_tensor"),
    (v2({**AREA, "shape": [0], "data": []}, CITY, NOTE, PHOTO), "bad_tensor"),
    (v2({**CITY, "data": [3]}, AREA, NOTE, PHOTO), "bad_tensor"),
    (v2({**AREA, "parameters": 3}, CITY, NOTE, PHOTO), "bad_request"),
    (v2({**AREA, "parameters": {"binary_data_size": 99}}, CITY, NOTE, PHOTO), "bad_tensor"),
    (v2(AREA, CITY, NOTE, PHOTO, outputs=[{"name": "cost"}]), "unknown_field"),
    (v2(AREA, CITY, NOTE, PHOTO, outputs=3), "bad_request"),
    (v2(AREA, CITY, NOTE, PHOTO, parameters={"coverage": 7}), "no_coverage"),
    (v2(AREA, CITY, NOTE, PHOTO, id=3), "bad_request"),
    (v2(AREA, CITY, NOTE, {**PHOTO, "data": ["!"]}), "bad_value"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code"), BAD_TENSORS)
def test_malformed_tensors_are_refused(body: Any, code: str) -> None:
    refused_flat(once(server(), "POST", "/v2/models/houses/infer", body), code)


def test_v2_says_what_the_model_takes_and_gives() -> None:
    app = server()
    found = once(app, "GET", "/v2/models/houses").json
    assert {i["name"]: i["datatype"] for i in found["inputs"]} == {
        "area": "FP64", "city": "BYTES", "note": "BYTES", "photo": "BYTES",
    }  # fmt: skip
    assert [o["name"] for o in found["outputs"]] == [
        "dear", "dear_probabilities", "price", "price_low", "price_high",
    ]  # fmt: skip
    assert once(app, "GET", "/v2/models/houses/ready").json["ready"] is True
    assert once(app, "GET", "/v2").json["extensions"] == ["binary_tensor_data"]
    assert once(app, "GET", "/v2/models/nothing").status == 404


def test_numbers_and_pictures_may_be_other_tensors() -> None:
    app, one = server(), row(1)
    pixels = np.random.default_rng(1).integers(0, 256, (1, 8, 8), np.uint8)
    listed = tensors(range(1, 2))
    listed[3] = {"name": "photo", "datatype": "UINT8", "shape": [1, 8, 8], "data": pixels.tolist()}
    listed[0] = {**listed[0], "shape": [1, 1]}
    found = once(app, "POST", "/v2/models/houses/infer", v2(*listed)).json["outputs"]
    assert found[2]["data"] == [once(app, "POST", "/predict", one).json["answers"][0]["price"]["value"]]


def test_one_bad_row_does_not_spoil_its_batch() -> None:
    app = server()
    rows = [row(i) for i in range(8)]
    alone = [once(app, "POST", "/predict", one).json["answers"] for one in rows]
    rows[3]["area"] = "huge"
    found = asyncio.run(together(*(ask(app, "POST", "/predict", one) for one in rows)))
    refused(found[3], "bad_value", "area")
    assert [f.json["answers"] for i, f in enumerate(found) if i != 3] == [
        a for i, a in enumerate(alone) if i != 3
    ]


def poisoned(inputs: Any) -> None:
    if (inputs["city"] == 2).any():
        raise ZeroDivisionError("the model breaks on a label that it never saw, in /home/secret")


def test_a_model_that_breaks_on_a_row_fails_that_row_alone() -> None:
    app = server(model := Formula())
    model.breaks = poisoned
    bodies = [row(i) for i in range(5)]
    bodies[2]["city"] = "Sapporo"
    found = asyncio.run(together(*(ask(app, "POST", "/predict", one) for one in bodies)))
    assert [f.status for f in found] == [200, 200, 500, 200, 200]
    assert found[2].error["code"] == "internal" and "secret" not in str(found[2].body)
    assert "secret" in app.engine.log.file.getvalue()  # type: ignore[attr-defined]


def to_nan(inputs: Any) -> None:
    inputs["area"][inputs["city"] == 2] = np.inf


def test_a_row_without_a_finite_answer_is_refused_alone() -> None:
    app = server(model := Formula())
    model.breaks = to_nan
    bodies = [row(i) for i in range(3)]
    bodies[1]["city"] = "Sapporo"
    found = asyncio.run(together(*(ask(app, "POST", "/predict", one) for one in bodies)))
    assert [f.status for f in found] == [200, 422, 200]


def test_a_request_whose_client_left_is_never_computed() -> None:
    app = server()
    model = app.engine.registry.get("houses").model
    assert isinstance(model, Formula)
    before = model.calls
    found = asyncio.run(ask(app, "POST", "/predict", row(), leaves=True))
    assert found.status == 499 and model.calls == before
    assert app.engine.registry.get("houses").batcher.counts.left == 1


class Gate:
    """Holds the model until it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()

    def __call__(self, inputs: Any) -> None:
        assert self.open.wait(20)


def test_a_full_queue_refuses_and_recovers() -> None:
    gate = Gate()
    app = server(Formula(breaks=gate), queue=4, batch=2, share=1)

    async def storm() -> list[Answer]:
        app.engine.registry.get("houses").batcher.per_row = 0.1  # so that it is computed in a thread
        gate.open.clear()
        asked = [asyncio.create_task(ask(app, "POST", "/predict", row(i))) for i in range(20)]
        for _ in range(2_000):
            await asyncio.sleep(0)
        refused = app.engine.registry.get("houses").batcher.counts.refused
        gate.open.set()
        assert refused
        return list(await asyncio.gather(*asked))

    found = asyncio.run(storm())
    refusals = [f for f in found if f.status == 503]
    assert refusals and len(refusals) + sum(f.status == 200 for f in found) == 20
    assert all(f.error["code"] == "overloaded" and int(f.headers["retry-after"]) >= 1 for f in refusals)
    assert once(app, "POST", "/predict", row()).status == 200
    assert app.engine.registry.get("houses").batcher.idle


def test_a_deadline_that_passes_while_the_model_works_is_answered_in_time() -> None:
    gate = Gate()
    app = server(Formula(breaks=gate))

    async def late() -> Answer:
        app.engine.registry.get("houses").batcher.per_row = 0.1
        gate.open.clear()
        found = await ask(app, "POST", "/predict", row(), {"x-deadline-ms": "150"})
        gate.open.set()
        assert (await ask(app, "POST", "/predict", row())).status == 200
        return found

    refused(asyncio.run(late()), "deadline_expired")


def test_keys_are_asked_for() -> None:
    import os
    from unittest.mock import patch

    with patch.dict(os.environ, {"SHINSO_API_KEYS": "anna:0123456789abcdef"}):
        app = server()
    assert once(app, "POST", "/predict", row()).status == 401
    assert once(app, "POST", "/predict", row(), {"x-api-key": "0123456789abcdeF"}).status == 401
    assert once(app, "POST", "/predict", row(), {"authorization": "Bearer 0123456789abcdef"}).status == 200
    assert once(app, "POST", "/predict", row(), {"x-api-key": "0123456789abcdef"}).status == 200
    assert once(app, "GET", "/metrics").status == 401
    assert once(app, "GET", "/v2/health/ready").status == 200
    assert once(app, "GET", "/").status == 200


def test_models_are_exchanged_and_rolled_back() -> None:
    app = server()
    app.engine.registry.open = lambda path: Formula("2", 5.0)
    price = once(app, "POST", "/predict", row()).json["answers"][0]["price"]["value"]
    loaded = once(app, "POST", "/admin/models/houses/load", {})
    assert loaded.json["version"] == "2"
    found = once(app, "POST", "/predict", row()).json
    assert found["version"] == "2" and found["answers"][0]["price"]["value"] > price + 1
    old = once(app, "POST", "/models/houses/versions/1/predict", row()).json
    assert old["answers"][0]["price"]["value"] == price
    assert once(app, "DELETE", "/admin/models/houses/versions/2").error["code"] == "conflict"
    assert once(app, "POST", "/admin/models/houses/rollback").json["version"] == "1"
    assert once(app, "POST", "/predict", row()).json["version"] == "1"
    assert once(app, "POST", "/admin/models/houses/rollback").status == 409
    assert once(app, "POST", "/admin/models/houses/versions/2/live").json["version"] == "2"
    assert once(app, "DELETE", "/admin/models/houses/versions/1").status == 200
    assert once(app, "POST", "/models/houses/versions/1/predict", row()).error["code"] == "unknown_version"


def test_no_request_is_lost_over_fifty_exchanges() -> None:
    app = server()
    versions = iter(range(1000))
    app.engine.registry.open = lambda path: Formula(str(next(versions) % 2 + 1), 3.0)

    found: list[Answer] = []

    async def stream(stop: asyncio.Event) -> None:
        while not stop.is_set():
            found.extend(await together(*(ask(app, "POST", "/predict", row(i)) for i in range(4))))

    async def exchange() -> None:
        stop = asyncio.Event()
        streaming = asyncio.create_task(stream(stop))
        for i in range(50):
            if i < 2:
                await app.engine.registry.load(app.engine.registry.expected[0][1], "houses")
            else:
                app.engine.registry.make_live("houses", str(i % 2 + 1))
            answered = len(found)
            while len(found) < answered + 8:  # the four in flight, and four that were asked since
                await asyncio.sleep(0)
        stop.set()
        await streaming

    asyncio.run(exchange())
    assert len(found) > 20 and {f.status for f in found} == {200}
    assert {f.json["version"] for f in found} == {"1", "2"}


class Wrong(Formula):
    def check(self) -> None:
        raise RunError("It answers otherwise. Export it again.")


@pytest.mark.parametrize("wrong", [Wrong("2"), Formula("2", breaks=poisoned)])
def test_a_version_that_fails_its_check_is_never_live(wrong: Formula) -> None:
    app = server()
    app.engine.registry.open = lambda path: wrong
    found = once(app, "POST", "/admin/models/houses/load", {})
    assert found.status == 409 and found.error["code"] == "model_refused"
    assert once(app, "POST", "/predict", row()).json["version"] == "1"


@pytest.mark.parametrize(
    ("headers", "peer"),
    [
        ({}, "10.0.0.7"),
        ({"host": "evil.example:8000"}, "127.0.0.1"),
        ({"origin": "https://evil.example"}, "127.0.0.1"),
        ({"x-forwarded-for": "10.0.0.7"}, "127.0.0.1"),
    ],
)
def test_strangers_exchange_no_models(headers: dict[str, str], peer: str) -> None:
    app = server()
    found = asyncio.run(ask(app, "POST", "/admin/models/houses/load", {}, headers, peer=peer))
    refused(found, "forbidden")


@pytest.mark.parametrize("path", ["/etc", "../..", "..", "a\0b", 3, ""])
def test_models_are_loaded_from_their_folder_only(path: Any) -> None:
    found = once(server(), "POST", "/admin/models/houses/load", {"path": path})
    assert found.error["code"] == "model_refused" and found.error["field"] == "path"


def test_ready_means_loaded_and_not_about_to_end() -> None:
    app = server(loaded=False)
    assert once(app, "GET", "/v2/health/live").status == 200
    assert once(app, "GET", "/v2/health/ready").status == 503
    waiting = once(app, "POST", "/predict", row())
    assert waiting.status == 503 and waiting.headers["retry-after"] == "2"
    asyncio.run(app.engine.registry.load_expected())
    assert once(app, "GET", "/v2/health/ready").status == 200
    app.engine.draining = True
    assert once(app, "GET", "/v2/health/ready").status == 503
    found = once(app, "POST", "/predict", row())
    assert found.status == 200 and found.headers["connection"] == "close"


class Notes:
    """An observer that keeps what it sees, and breaks when it is told to."""

    def __init__(self) -> None:
        self.found: list[Seen] = []
        self.closed = False

    def seen(self, found: Seen) -> None:
        if found.request_id == "break":
            raise KeyError("an observer of the user's own")
        self.found.append(found)

    def close(self) -> None:
        self.closed = True


class Shadowed:
    """Everything goes to the first model, and to the second unheard."""

    def choose(self, name: str | None, version: str | None, headers: Any) -> Route:
        return Route("houses", None, (("houses2", None),), headers.get("x-shinso-key"))


def test_observers_see_answers_refusals_and_shadows() -> None:
    notes = Notes()
    app = server(Formula(), Formula("2", 5.0), observers=(notes,), router=Shadowed())

    async def asked() -> list[Answer]:
        found = [await ask(app, "POST", "/predict", row(), {"x-shinso-key": "anna", "x-request-id": "r1"})]
        await asyncio.sleep(0.05)
        found.append(await ask(app, "POST", "/predict", {**row(), "area": "x"}, {"x-request-id": "r2"}))
        found.append(await ask(app, "POST", "/predict", row(), {"x-request-id": "break"}))
        return found

    found = asyncio.run(asked())
    app.engine.watchers.close()
    assert [f.status for f in found] == [200, 400, 200], "an observer that breaks breaks nothing"
    assert notes.closed and app.engine.watchers.failed >= 1
    first = next(s for s in notes.found if s.request_id == "r1" and s.route == "answer")
    assert (first.model, first.version, first.status, first.key) == ("houses", "1", 200, "anna")
    assert first.rows["area"] == [row()["area"]] and first.seconds > 0
    assert first.answers["price"] == [found[0].json["answers"][0]["price"]["value"]]
    shadow = next(s for s in notes.found if s.request_id == "r1" and s.route == "shadow")
    assert shadow.version == "2" and shadow.answers["price"] != first.answers["price"]
    assert next(s for s in notes.found if s.request_id == "r2").status == 400


def test_metrics_and_headers() -> None:
    app = server(log_requests=True)
    once(app, "POST", "/predict", row(), {"x-request-id": 'a\n{"forged": 1}'})
    once(app, "POST", "/predict", {}, {})
    text = once(app, "GET", "/metrics").body.decode()
    assert 'shinso_requests_total{way="predict",model="houses",version="1",code="ok"} 1' in text
    assert 'code="missing_field"} 1' in text and 'shinso_live{model="houses",version="1"} 1' in text
    app.engine.log.flush()
    lines = app.engine.log.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert all("time" in json.loads(line) and "forged" not in json.loads(line) for line in lines)


def test_the_page_loads_nothing_from_elsewhere() -> None:
    app = server()
    for path in ("/", "/page.js", "/page.css"):
        found = once(app, "GET", path)
        assert found.status == 200 and b"https://" not in found.body
        assert found.headers["content-security-policy"].startswith("default-src 'none'")
        assert "unsafe" not in found.headers["content-security-policy"]
    form = once(app, "GET", "/form").json
    assert [f["name"] for f in form["fields"]] == ["area", "city", "note", "photo"]


def test_cors_is_off_unless_asked_for() -> None:
    origin = {"origin": "https://shop.example"}
    assert "access-control-allow-origin" not in once(server(), "POST", "/predict", row(), origin).headers
    app = server(cors=("https://shop.example",))
    found = once(app, "POST", "/predict", row(), origin)
    assert found.headers["access-control-allow-origin"] == "https://shop.example"
    other = once(app, "POST", "/predict", row(), {"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def test_the_openapi_document_names_every_address_of_the_models() -> None:
    app = server()
    found = once(app, "GET", "/openapi.json").json
    assert {"/predict", "/models/houses/predict", "/v2/models/houses/infer"} <= set(found["paths"])
    assert found == document([app.engine.registry.get("houses")], found["info"]["version"], keyed=False)
