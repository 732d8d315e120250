"""The Open Inference Protocol v2 over gRPC."""

from __future__ import annotations

import asyncio
import itertools
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote

import grpc
import numpy as np
import orjson

from ..version import VERSION
from .engine import Asked, Engine, coverage_of
from .keys import Keys
from .messages import METHODS, SERVICE, messages
from .options import Options
from .refusals import Fence, Refusal, Trouble
from .registry import Served
from .shares import named
from .tensors import TYPES, Tensor, bad_tensor, checked, from_bytes, output_tensors, to_bytes, to_columns
from .v2 import EXTENSIONS, known_outputs, metadata

STATUS = {
    401: grpc.StatusCode.UNAUTHENTICATED, 403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND, 408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED, 429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED, 500: grpc.StatusCode.INTERNAL, 503: grpc.StatusCode.UNAVAILABLE,
}  # fmt: skip
CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
Method = Callable[[Any, Any], Awaitable[Any]]


class Rpc:
    """The methods of the service."""

    def __init__(self, engine: Engine, keys: Keys) -> None:
        self.engine, self.keys = engine, keys
        self.made = messages()
        self._start, self._count = secrets.token_hex(4), itertools.count(1)

    def handlers(self) -> grpc.GenericRpcHandler:
        """What a grpc server takes."""
        methods: dict[str, Method] = {
            "ServerLive": self.live, "ServerReady": self.ready, "ModelReady": self.model_ready,
            "ServerMetadata": self.server, "ModelMetadata": self.model, "ModelInfer": self.infer,
        }  # fmt: skip
        table = {
            name: grpc.unary_unary_rpc_method_handler(
                self.guarded(name, methods[name]),
                request_deserializer=self.made[f"{name}Request"].FromString,
                response_serializer=self.made[f"{name}Response"].SerializeToString,
            )
            for name in METHODS
        }
        return grpc.method_handlers_generic_handler(SERVICE, table)

    def guarded(self, name: str, method: Method) -> Method:
        """A method behind the keys, whose refusals become gRPC statuses."""

        async def call(request: Any, context: Any) -> Any:
            started, client = time.perf_counter(), self.client_of(context)
            with Fence() as fence:
                if name not in ("ServerLive", "ServerReady"):
                    self.keys.check(headers_of(context))
                    self.engine.shares.admit(client, asyncio.get_running_loop().time())
                return await method(request, context)
            assert fence.error is not None
            trouble = self.engine.refusal("grpc", fence.error, None)
            await self.engine.held(client, trouble, time.perf_counter() - started)
            await abort(context, trouble)

        return call

    def client_of(self, context: Any) -> str:
        """Whose share a call counts in."""
        holder = self.keys.holder(headers_of(context)) if self.keys.digests else None
        address = unquote(context.peer()).partition(":")[2].rpartition(":")[0].strip("[]")
        return named(holder, address)

    async def live(self, request: Any, context: Any) -> Any:
        """Whether the server runs."""
        return self.made["ServerLiveResponse"](live=True)

    async def ready(self, request: Any, context: Any) -> Any:
        """Whether requests should be sent here."""
        return self.made["ServerReadyResponse"](ready=self.engine.ready)

    async def model_ready(self, request: Any, context: Any) -> Any:
        """Whether a model can answer."""
        self.served(request, context)
        return self.made["ModelReadyResponse"](ready=True)

    def served(self, request: Any, context: Any) -> Served:
        """The model that a request names, or the first."""
        route = self.engine.router.choose(request.name or None, request.version or None, headers_of(context))
        return self.engine.registry.get(route.name, route.version)

    async def server(self, request: Any, context: Any) -> Any:
        """What the server is."""
        return self.made["ServerMetadataResponse"](name="shinso", version=VERSION, extensions=EXTENSIONS)

    async def model(self, request: Any, context: Any) -> Any:
        """What a model takes and gives."""
        served = self.served(request, context)
        return self.made["ModelMetadataResponse"](**metadata(self.engine, served))

    async def infer(self, request: Any, context: Any) -> Any:
        """Tensors in, tensors out."""
        started, remaining = time.perf_counter(), context.time_remaining()
        until = asyncio.get_running_loop().time() + min(
            self.engine.options.deadline, remaining if remaining is not None else math.inf
        )
        name = request.id or f"{self._start}-{next(self._count):x}"
        client = self.client_of(context)
        asked = Asked("grpc", name, started, until, headers_of(context), context.cancelled, client)
        asked.began = started
        table, trouble, response = None, None, None
        with Fence() as fence:
            served = self.engine.choose(asked, request.model_name or None, request.model_version or None)
            asked.coverage = coverage_of(coverage_in(request.parameters))
            rows, count = to_columns(tensors_of(request), served.form)
            wanted = wanted_outputs(request, known_outputs(served, asked.coverage))
            table = await self.engine.answer(asked, rows, count)
            every = {t.name: t for output in served.form.outputs for t in output_tensors(output, table)}
            response = self.answered(request.id, asked, [every[name] for name in wanted])
        if fence.error is not None:
            trouble = self.engine.refusal(asked.id, fence.error, asked.served)
            await self.engine.held(client, trouble, asked.cost)
        self.engine.settled(asked, table, trouble)
        if trouble is not None:
            await abort(context, trouble)
        return response

    def answered(self, id: str, asked: Asked, tensors: list[Tensor]) -> Any:
        """The answer, with raw contents."""
        assert asked.served is not None
        described = [
            {"name": t.name, "datatype": t.datatype, "shape": list(t.shape), "parameters": labelled(t)}
            for t in tensors
        ]
        return self.made["ModelInferResponse"](
            model_name=asked.served.name, model_version=asked.served.version, id=id, outputs=described,
            raw_output_contents=[to_bytes(t) for t in tensors],
        )  # fmt: skip


def labelled(tensor: Tensor) -> dict[str, Any]:
    """The parameters of an output: the labels of its classes."""
    return {"labels": {"string_param": orjson.dumps(tensor.labels).decode()}} if tensor.labels else {}


def headers_of(context: Any) -> Mapping[str, str]:
    """The metadata of a call, as headers."""
    sent = context.invocation_metadata() or ()
    return {key: value for key, value in sent if isinstance(value, str)}


async def abort(context: Any, trouble: Trouble) -> None:
    """End a call with what its sender is told."""
    code = STATUS.get(trouble.status, grpc.StatusCode.INVALID_ARGUMENT)
    trailing = [("shinso-code", trouble.code)]
    if trouble.retry_after is not None:
        trailing.append(("retry-after", str(max(1, round(trouble.retry_after + 0.5)))))
    await context.abort(code, f"{trouble.message} {trouble.remedy}".strip(), tuple(trailing))


def coverage_in(parameters: Mapping[str, Any]) -> str | None:
    """The coverage that a request asks for."""
    if "coverage" not in parameters:
        return None
    found = parameters["coverage"]
    return str(getattr(found, found.WhichOneof("parameter_choice") or "string_param"))


def wanted_outputs(request: Any, known: list[str]) -> list[str]:
    """The names of the outputs that a request asks for, or all."""
    names = [one.name for one in request.outputs] or known
    for name in names:
        if name not in known:
            remedy = f"It has: {', '.join(known)}."
            raise Refusal("unknown_field", f"The model has no output {name[:80]!r}.", remedy, field=name)
    return names


def tensors_of(request: Any) -> list[Tensor]:
    """The tensors of a request, from raw or from typed contents."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise bad_tensor(None, f"is missing: {len(raw)} raw contents for {len(request.inputs)} inputs")
    found = []
    for position, one in enumerate(request.inputs):
        name, datatype, shape, count = checked(one.name, one.datatype, list(one.shape))
        if raw:
            found.append(from_bytes(name, datatype, shape, raw[position]))
            continue
        if datatype not in CONTENTS:
            raise bad_tensor(name, f"is {datatype}, which needs raw contents")
        values = list(getattr(one.contents, CONTENTS[datatype]))
        if len(values) != count:
            raise bad_tensor(name, f"has {len(values)} elements; its shape has {count}")
        found.append(Tensor(name, datatype, shape, typed(name, datatype, shape, values)))
    if not found:
        raise Refusal("bad_request", "The request has no inputs.", "Send a tensor for every column.")
    return found


def typed(name: str, datatype: str, shape: tuple[int, ...], values: list[Any]) -> Any:
    """Elements as an array, BYTES as they are."""
    if datatype == "BYTES":
        return values
    try:
        return np.array(values, TYPES[datatype]).reshape(shape)
    except (OverflowError, ValueError):
        raise bad_tensor(name, f"holds a number that no {datatype} can be") from None


async def start(rpc: Rpc, options: Options) -> tuple[grpc.aio.Server, int]:
    """A server that listens, and its port."""
    assert options.grpc_port is not None
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", options.bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ],
        maximum_concurrent_rpcs=options.connections,
    )
    server.add_generic_rpc_handlers((rpc.handlers(),))
    address = f"{options.host}:{options.grpc_port}"
    if options.tls_cert is not None and options.tls_key is not None:
        pair = (options.tls_key.read_bytes(), options.tls_cert.read_bytes())
        port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    else:
        port = server.add_insecure_port(address)
    await server.start()
    return server, port
