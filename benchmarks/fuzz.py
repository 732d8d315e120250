"""Everything that parses what strangers send, fed with what nobody should: REST v2 in JSON and binary,
natural rows, forms, queries, headers, labels, gRPC messages, and bytes that are no HTTP.

    python benchmarks/fuzz.py --seconds 60 --seed 0

Inputs are made from valid requests by changes of bytes, of values and of structure. A status of 500 or above
(503 for overload apart), an exception out of the application, or a message that is parsed to something that
breaks the server is a finding: it is printed with its seed, and the exit status is 1. The model answers by a
formula (tests/served.py), so that all of the time goes into parsing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from shinso.serving.app import App
from shinso.serving.messages import messages
from shinso.serving.refusals import CODES, Fence, Refusal, refusal_of
from shinso.serving.rpc import coverage_in, tensors_of, wanted_outputs
from shinso.serving.tensors import to_columns

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from served import Answer, ask, png, row, server

Rng = np.random.Generator
STRANGE: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 1e308, 5e-324, "", "0", "a" * 500, "\0",
    "\ud7ff",
    "NaN", "\u202e", [], {}, [[]], [None], {"": None}, "data:image/png;base64,", "data:image/png;base64,AAAA",
    "BYTES", "FP64",
    [1], [0], [-1], [2**40, 2**40], [1] * 9, [2, 0],
]  # fmt: skip
HEADERS = ("content-type", "content-length", "x-deadline-ms", "x-request-id",
           "inference-header-content-length",
           "authorization", "x-api-key", "x-shinso-key", "origin", "host", "forwarded")  # fmt: skip
PATHS = (
    "/predict", "/models/houses/predict", "/models/houses/versions/1/predict", "/v2/models/houses/infer",
    "/labels", "/admin/models/houses/load", "/v2/models/houses", "/", "/form", "/metrics",
    "/models/%00/predict", "/models/" + "x" * 3000 + "/predict", "/admin/models/houses/versions/%2e%2e/live",
)  # fmt: skip


class Finding(Exception):
    """Something that should not happen."""


def tensors() -> dict[str, Any]:
    """A valid request of the inference protocol."""
    one = row(0)
    kinds = {"area": "FP64", "city": "BYTES", "note": "BYTES", "photo": "BYTES"}
    listed = [{"name": n, "datatype": k, "shape": [1], "data": [one[n]]} for n, k in kinds.items()]
    return {"id": "1", "inputs": listed, "outputs": [{"name": "price"}], "parameters": {"coverage": 0.9}}


def changed(value: Any, rng: Rng) -> Any:
    """A value with something of it replaced, left out, doubled or added."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = str(rng.choice(list(value)))
        act = rng.integers(6)
        found = dict(value)
        if act == 0:
            del found[key]
        elif act == 1:
            found[str(rng.choice(["x", "", key + " ", "rows", "id", "inputs", "parameters"]))] = found.pop(
                key
            )
        elif act == 2:
            found[key] = strange(rng)
        else:
            found[key] = changed(value[key], rng)
        return found
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = int(rng.integers(len(value)))
        act = rng.integers(4)
        if act == 0:
            return value[:at] + value[at + 1 :]
        if act == 1:
            return value + [value[at]] * int(rng.integers(1, 4))
        return [*value[:at], changed(value[at], rng), *value[at + 1 :]]
    if isinstance(value, str) and value and rng.random() < 0.5:
        return mutated(value.encode(), rng).decode("utf-8", "replace")
    return strange(rng)


def strange(rng: Rng) -> Any:
    """One of the values that break programs."""
    return STRANGE[int(rng.integers(len(STRANGE)))]


def mutated(data: bytes, rng: Rng) -> bytes:
    """Bytes with some changed, cut, doubled, or put in."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(found) + 1))
        act = rng.integers(5)
        if act == 0:
            found[at : at + int(rng.integers(1, 9))] = b""
        elif act == 1:
            found[at:at] = rng.bytes(int(rng.integers(1, 9)))
        elif act == 2:
            found[at:at] = found[at : at + 20]
        elif act == 3 and at < len(found):
            found[at] ^= 1 << int(rng.integers(8))
        else:
            found[at : at + 4] = int(rng.integers(2**32)).to_bytes(4, "little")
    return bytes(found)


def binary() -> tuple[bytes, dict[str, str]]:
    """A valid request with binary tensors."""
    described, pieces = tensors(), b""
    for one in described["inputs"]:
        value = png(0) if one["name"] == "photo" else one.pop("data", [0])[0]
        piece = (
            np.float64(value).tobytes()
            if one["datatype"] == "FP64"
            else value
            if isinstance(value, bytes)
            else value.encode()
        )
        if one["datatype"] == "BYTES":
            piece = len(piece).to_bytes(4, "little") + piece
        one.pop("data", None)
        one["parameters"] = {"binary_data_size": len(piece)}
        pieces += piece
    head = json.dumps(described).encode()
    return head + pieces, {"inference-header-content-length": str(len(head))}


def form() -> tuple[bytes, dict[str, str]]:
    """A valid form with a file."""
    one = {**row(0), "photo": png(0)}
    body = b""
    for name, value in one.items():
        more = b'; filename="a.png"' if isinstance(value, bytes) else b""
        content = value if isinstance(value, bytes) else str(value).encode()
        body += b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (
            name.encode(),
            more,
            content,
        )
    return body + b"--b--\r\n", {"content-type": "multipart/form-data; boundary=b"}


def request(rng: Rng) -> tuple[str, str, bytes, dict[str, str]]:
    """Method, path, body and headers of one request."""
    path, headers = (
        str(rng.choice(PATHS[:5] if rng.random() < 0.85 else PATHS)),
        {"content-type": "application/json"},
    )
    kind = rng.integers(5)
    if kind == 0 or path == "/labels":
        sent: Any = {"rows": [row(0), row(1)]} if rng.random() < 0.5 else row(0)
        sent = {"rows": [{"id": "a", "price": 3}]} if path == "/labels" else sent
    else:
        sent = tensors()
    for _ in range(int(rng.integers(3))):
        sent = changed(sent, rng)
    body = json.dumps(sent).encode()
    if kind == 3:
        body, more = binary()
        headers |= more
        path = "/v2/models/houses/infer"
    elif kind == 4:
        body, headers = form()
        path = "/predict"
    if rng.random() < 0.5:
        body = mutated(body, rng)
    if rng.random() < 0.3:
        name = str(rng.choice(HEADERS))
        headers[name] = mutated(headers.get(name, "1").encode(), rng).decode("latin-1")
    if rng.random() < 0.3:
        query = mutated(b"coverage=0.9&explain=occlusion&explain_column=price", rng).decode("latin-1")
        path += "?" + query.replace("?", "")
    method = (
        "POST" if rng.random() < 0.9 else str(rng.choice(["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "X"]))
    )
    return method, path, body, headers


async def over_http(app: App, rng: Rng) -> str:
    """One request; gives what became of it."""
    method, path, body, headers = request(rng)
    found: Answer = await ask(app, method, path, body, headers)
    if found.status >= 500 and found.status != 503:
        raise Finding(
            f"{found.status} for {method} {path!r:.200} {headers} {body[:2000]!r}: {found.body[:300]!r}"
        )
    if found.status >= 400:
        said = found.json
        code = said["code"] if path.startswith("/v2") else said["error"]["code"]
        if CODES.get(code) != found.status or "Traceback" in str(found.body):
            raise Finding(f"{found.status} with {code}: {found.body[:300]!r}")
    return f"http {found.status}"


def bent(message: Any, rng: Rng) -> None:
    """A message that is still one, with a tensor that is not what it says."""
    tensor = message.inputs[int(rng.integers(len(message.inputs)))]
    act = rng.integers(6)
    if act == 0:
        tensor.shape.append(int(rng.choice([0, 1, 2, -1, 2**40])))
    elif act == 1:
        tensor.datatype = str(rng.choice(["INT64", "BYTES", "FP16", "BOOL", "", "FP128"]))
    elif act == 2:
        tensor.name = str(rng.choice(["area", "price", ""]))
    elif act == 3:
        del message.raw_input_contents[:]
        tensor.contents.fp64_contents.extend([1.0, float("nan")])
    elif act == 4:
        message.raw_input_contents[0] = rng.bytes(int(rng.integers(12)))
    else:
        message.parameters["coverage"].int64_param = int(rng.integers(-3, 3))


def over_grpc(app: App, rng: Rng) -> str:
    """One message of the inference protocol, parsed as the server does."""
    one, made = row(0), messages()
    valid = made["ModelInferRequest"](
        model_name="houses", id="1",
        inputs=[{"name": n, "datatype": "FP64" if n == "area" else "BYTES", "shape": [1]} for n in one],
        raw_input_contents=[np.float64(one["area"]).tobytes(), element(one["city"].encode()),
                            element(one["note"].encode()), element(png(0))],
    )  # fmt: skip
    if rng.random() < 0.6:
        bent(valid, rng)
    data = valid.SerializeToString()
    data = mutated(data, rng) if rng.random() < 0.4 else data
    served = app.engine.registry.get("houses")
    try:
        asked = made["ModelInferRequest"].FromString(data)
    except DecodeError:
        return "grpc no message"
    with Fence() as fence:
        coverage_in(asked.parameters)
        wanted_outputs(asked, ["price"])
        rows, _ = to_columns(tensors_of(asked), served.form)
        served.model.decode(served.model.forward(served.model.encode(rows)))
    if fence.error is None:
        return "grpc ok"
    told = refusal_of(fence.error, served.form.names).trouble
    if told.status >= 500 and not isinstance(fence.error, Refusal):
        raise Finding(f"gRPC {fence.error!r} for {data!r:.2000}")
    return f"grpc {told.status}"


def element(data: bytes) -> bytes:
    """One element of a BYTES tensor."""
    return len(data).to_bytes(4, "little") + data


def fuzz(
    *, seconds: float = 3600.0, inputs: int = 10**9, seed: int = 0, say: Callable[[str], None] = print
) -> tuple[Counter[str], int]:
    """What became of how many inputs, and the number of findings."""
    app, counts, findings = server(deadline=600.0), Counter[str](), 0
    app.engine.shares.blame = lambda name, spent, now: 0.0  # type: ignore[method-assign]  # do not wait
    until = time.perf_counter() + seconds

    async def several(first: int) -> int:
        found = 0
        for i in range(first, min(inputs, first + 200)):
            rng = np.random.default_rng([seed, i])
            try:
                counts[over_grpc(app, rng) if i % 5 == 0 else await over_http(app, rng)] += 1
            except Finding as finding:
                found += 1
                say(f"seed {seed}, input {i}: {finding}")
        return found

    for first in range(0, inputs, 200):
        findings += asyncio.run(several(first))
        if time.perf_counter() > until:
            break
    return counts, findings


def main() -> int:
    """Fuzz, and say what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    counts, findings = fuzz(seconds=asked.seconds, seed=asked.seed)
    print(json.dumps({"inputs": counts.total(), "findings": findings, "became": dict(counts.most_common())}))
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
