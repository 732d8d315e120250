"""The Open Inference Protocol v2 over HTTP, with tensors in JSON or binary behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson

from ..version import VERSION
from .engine import Asked, Engine, coverage_of
from .http import BYTE, Request, Response, json_response, read_json, refused
from .refusals import Fence, Refusal
from .registry import Served
from .tensors import (
    About,
    Tensor,
    about_input,
    about_outputs,
    bad_tensor,
    checked,
    from_bytes,
    from_json,
    output_tensors,
    to_bytes,
    to_columns,
    to_json,
)

Handler = Callable[[Request, Mapping[str, str]], Awaitable[Response]]
LENGTH = "inference-header-content-length"
BINARY = "application/octet-stream"
EXTENSIONS = ["binary_tensor_data"]
MOST_TENSORS = 10_000


class V2:
    """The addresses under /v2."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.exact: dict[str, dict[str, Handler]] = {
            "/v2": {"GET": self.server},
            "/v2/health/live": {"GET": self.live},
            "/v2/health/ready": {"GET": self.ready},
        }
        self.by_model: dict[str, dict[str, Handler]] = {
            "": {"GET": self.model},
            "/ready": {"GET": self.model_ready},
            "/infer": {"POST": self.infer},
        }

    async def live(self, request: Request, parts: Mapping[str, str]) -> Response:
        """Whether the server runs at all."""
        return json_response({"live": True})

    async def ready(self, request: Request, parts: Mapping[str, str]) -> Response:
        """Whether every model has been loaded, warmed up and checked, and the server is not about to end."""
        ready = self.engine.ready
        return json_response({"ready": ready}, 200 if ready else 503)

    async def server(self, request: Request, parts: Mapping[str, str]) -> Response:
        """What the server is."""
        return json_response({"name": "shinso", "version": VERSION, "extensions": EXTENSIONS})

    async def model(self, request: Request, parts: Mapping[str, str]) -> Response:
        """What a model takes and gives."""
        return json_response(
            metadata(self.engine, self.engine.registry.get(parts["name"], parts.get("version")))
        )

    async def model_ready(self, request: Request, parts: Mapping[str, str]) -> Response:
        """Whether a model can answer."""
        served = self.engine.registry.get(parts["name"], parts.get("version"))
        return json_response({"name": served.name, "ready": True})

    async def infer(self, request: Request, parts: Mapping[str, str]) -> Response:
        """Tensors in, tensors out."""
        engine, headers = self.engine, request.headers
        until = engine.until(headers.get("x-deadline-ms"))
        asked = Asked("infer", request.id, request.arrived, until, headers, request.gone, request.client)
        table, trouble, response = None, None, Response()
        with Fence() as fence:
            body = await request.body(engine.options.bytes, engine.options.patience)
            asked.began, asked.spent = request.read, request.received * BYTE
            served = engine.choose(asked, parts["name"], parts.get("version"))
            described, binary = split_body(body, headers.get(LENGTH))
            tensors = input_tensors(described, binary)
            parameters = object_in(described, "parameters")
            asked.coverage = coverage_of(text_or_none(parameters.get("coverage")))
            wanted = Wanted(described, parameters, known_outputs(served, asked.coverage))
            rows, count = to_columns(tensors, served.form)
            table = await engine.answer(asked, rows, count)
            response = answered(served, described.get("id", ""), wanted, table)
        if fence.error is not None:
            trouble = engine.refusal(request.id, fence.error, asked.served)
            await engine.held(request.client, trouble, asked.cost if asked.began else request.cost)
            response = refused(trouble, flat=True)
        engine.settled(asked, table, trouble)
        return response


class Wanted:
    """The outputs that a request asks for, and whether each goes behind the JSON."""

    def __init__(
        self, described: Mapping[str, Any], parameters: Mapping[str, Any], known: Sequence[str]
    ) -> None:
        listed = described.get("outputs", [])
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise Refusal("bad_request", "'outputs' is no list of objects.", 'Write [{"name": "..."}].')
        self.all_binary = parameters.get("binary_data_output") is True
        self.names = [str(one.get("name")) for one in listed] or list(known)
        for name in self.names:
            if name not in known:
                raise Refusal(
                    "unknown_field", f"The model has no output {name[:80]!r}.",
                    f"It has: {', '.join(known)}.", field=name,
                )  # fmt: skip
        asked = {str(one.get("name")): object_in(one, "parameters").get("binary_data") for one in listed}
        self.binary = {name: asked.get(name, self.all_binary) is True for name in self.names}


def known_outputs(served: Served, coverage: float | None) -> list[str]:
    """The names of the tensors that a model answers with."""
    names = [about.name for output in served.form.outputs for about in about_outputs(output, served.keys)]
    sets = [f"{o.name}_set" for o in served.form.outputs if o.kind == "category"]
    return names + (sets if coverage is not None else [])


def metadata(engine: Engine, served: Served) -> dict[str, Any]:
    """A model as the protocol describes it."""
    inputs = [about_input(column) for column in served.model.schema.given]
    outputs: list[About] = [a for o in served.form.outputs for a in about_outputs(o, served.keys)]
    return {
        "name": served.name,
        "versions": list(engine.registry.models[served.name].all),
        "platform": "shinso",
        "inputs": [about.to_dict() for about in inputs],
        "outputs": [about.to_dict() for about in outputs],
    }


def split_body(body: bytes, length: str | None) -> tuple[dict[str, Any], bytes]:
    """The JSON of a request, and the binary tensors behind it."""
    size = len(body)
    if length is not None:
        if not (length.isascii() and length.isdigit()) or int(length) > len(body):
            raise Refusal(
                "bad_request", f"Inference-Header-Content-Length is {length[:20]!r} of {size} bytes.",
                "Give the length of the JSON part in bytes.", field="Inference-Header-Content-Length",
            )  # fmt: skip
        size = int(length)
    described = read_json(body[:size])
    if not isinstance(described, dict):
        raise Refusal("bad_request", "The body is no object.", 'Send {"inputs": [...]}.')
    if not isinstance(described.get("id", ""), str):
        raise Refusal("bad_request", "'id' is no string.", "Send a string, or none.", field="id")
    return described, body[size:]


def input_tensors(described: Mapping[str, Any], binary: bytes) -> list[Tensor]:
    """The tensors of a request."""
    listed = described.get("inputs")
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_TENSORS:
        raise Refusal(
            "bad_request", "'inputs' is no list of tensors.",
            'Send {"inputs": [{"name": ..., "shape": [1], "datatype": ..., "data": [...]}]}.', field="inputs",
        )  # fmt: skip
    found, at = [], 0
    for one in listed:
        if not isinstance(one, dict):
            raise bad_tensor(None, "is no object")
        name, datatype, shape, _ = checked(one.get("name"), one.get("datatype"), one.get("shape"))
        size = object_in(one, "parameters").get("binary_data_size")
        if size is None:
            found.append(from_json(name, datatype, shape, one.get("data")))
            continue
        if type(size) is not int or not 0 <= size <= len(binary) - at:
            raise bad_tensor(name, f"has the binary_data_size {str(size)[:20]}, which the body does not hold")
        found.append(from_bytes(name, datatype, shape, binary[at : at + size]))
        at += size
    if at != len(binary):
        raise Refusal(
            "bad_request", f"The body has {len(binary) - at} bytes more than its tensors say.",
            "Give every binary tensor its binary_data_size.",
        )  # fmt: skip
    return found


def answered(served: Served, id: str, wanted: Wanted, table: Mapping[str, list[Any]]) -> Response:
    """The answer, with the tensors that were asked for."""
    every = {t.name: t for output in served.form.outputs for t in output_tensors(output, table)}
    told, pieces = [], []
    for name in wanted.names:
        tensor = every[name]
        one: dict[str, Any] = {"name": name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if wanted.binary[name]:
            pieces.append(to_bytes(tensor))
            one["parameters"] = {"binary_data_size": len(pieces[-1])}
        else:
            one["data"] = to_json(tensor)
        if tensor.labels:
            one.setdefault("parameters", {})["labels"] = orjson.dumps(tensor.labels).decode()
        told.append(one)
    facts = {"model_name": served.name, "model_version": served.version, "outputs": told}
    head = orjson.dumps({**facts, "id": id} if id else facts)
    if not pieces:
        return Response(head)
    length = (LENGTH.encode(), b"%d" % len(head))
    return Response(head + b"".join(pieces), type=BINARY, headers=[length])


def object_in(described: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object inside another, {} where there is none."""
    found = described.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Refusal(
            "bad_request", f"{name!r} is no object.", "Send an object, or leave it out.", field=name
        )
    return found


def text_or_none(value: Any) -> str | None:
    """A parameter as text."""
    return None if value is None else str(value)
