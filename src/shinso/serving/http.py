"""Requests and answers over ASGI: little more than the messages, for this is done for every row."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

import orjson

from .refusals import Refusal, Trouble

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
JSON = "application/json"
MOST_VALUES = 250_000  # of a body in JSON: they are read on the server's loop, in some 50 ms
SLICE = 1 << 16
BYTE = 2e-9  # seconds that receiving a byte takes


@dataclass(eq=False)
class Request:
    """One request as it came."""

    scope: Mapping[str, Any]
    receive: Receive
    id: str = ""
    arrived: float = 0.0  # by time.perf_counter
    fully_read: bool = False
    received: int = 0  # bytes of the body
    client: str = ""  # who sent it: a key, or an address
    read: float = 0.0  # when its body had come, by time.perf_counter

    @property
    def method(self) -> str:
        """GET, POST and so on."""
        return str(self.scope["method"])

    @property
    def path(self) -> str:
        """The decoded path."""
        return str(self.scope["path"])

    @cached_property
    def headers(self) -> dict[str, str]:
        """By lower-case name."""
        return {k.decode("latin-1"): v.decode("latin-1") for k, v in self.scope["headers"]}

    @cached_property
    def query(self) -> dict[str, str]:
        """The parameters after the question mark."""
        raw = self.scope.get("query_string", b"")
        return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True)) if raw else {}

    @property
    def peer(self) -> str:
        """The address of who sent it."""
        client = self.scope.get("client")
        return str(client[0]) if client else ""

    @cached_property
    def content_type(self) -> str:
        """Without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def body(self, most: int, patience: float) -> bytes:
        """The whole body; refused where it is too large (before it is read, if it says so) or too slow."""
        length = self.headers.get("content-length")
        if length is not None and not (length.isascii() and length.isdigit() and int(length) <= most):
            raise too_large(most)
        try:
            async with asyncio.timeout(patience):
                return await self._whole(most)
        except TimeoutError:
            raise Refusal(
                "deadline_expired", f"The body did not arrive within {patience:g} seconds.", "Send it faster."
            ) from None
        finally:
            self.read = time.perf_counter()

    @property
    def cost(self) -> float:
        """Seconds of the server's time since it was complete, and for receiving it."""
        return time.perf_counter() - max(self.arrived, self.read) + self.received * BYTE

    async def _whole(self, most: int) -> bytes:
        whole = bytearray()
        while True:
            message = await self.receive()
            if message["type"] != "http.request":
                raise Refusal("client_gone", "The client left before its request was complete.")
            part = message.get("body", b"")
            self.received += len(part)
            if self.received > most:
                raise too_large(most)
            if not message.get("more_body"):
                self.fully_read = True
                return bytes(whole + part) if whole else bytes(part)
            whole += part

    def gone(self) -> bool:
        """Whether the client has left, once its body is read: asks without waiting."""
        asked = self.receive()
        assert asyncio.iscoroutine(asked)
        try:
            asked.send(None)
        except StopIteration as stop:
            return bool(stop.value["type"] == "http.disconnect")
        asked.close()
        return False


@dataclass
class Response:
    """One answer."""

    body: bytes = b""
    status: int = 200
    type: str = JSON
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def send(self, send: Send, extra: list[tuple[bytes, bytes]]) -> None:
        """Write it."""
        headers = [
            (b"content-type", self.type.encode()),
            (b"content-length", b"%d" % len(self.body)),
            *self.headers,
            *extra,
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def json_response(value: Any, status: int = 200) -> Response:
    """Plain data as JSON; arrays and infinities have no place in it."""
    return Response(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY), status)


def refused(trouble: Trouble, *, flat: bool = False) -> Response:
    """What a client is told. `flat` as the inference protocol wants it, where "error" is a sentence."""
    facts = trouble.to_dict()
    if flat:
        sentence = f"{trouble.message} {trouble.remedy}".strip()
        found = json_response({"error": sentence, **facts}, trouble.status)
    else:
        found = json_response({"error": facts}, trouble.status)
    if trouble.retry_after is not None:
        found.headers.append((b"retry-after", b"%d" % max(1, round(trouble.retry_after + 0.5))))
    if trouble.status == 401:
        found.headers.append((b"www-authenticate", b"Bearer"))
    return found


def read_json(body: bytes) -> Any:
    """JSON, or a refusal. NaN and infinities are none; nesting is bounded by the parser, values here."""
    if len(body) > MOST_VALUES and values_in(body) > MOST_VALUES:
        raise Refusal(
            "too_large", f"The body holds more than {MOST_VALUES:,} values, which take too long to read.",
            "Send fewer rows in a request, or tensors in binary form.",
        )  # fmt: skip
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(
            "bad_json", f"The body is no JSON: {error}.", 'Send an object, as in {"age": 39}.'
        ) from None


def values_in(body: bytes) -> int:
    """About how many values JSON holds, counted by its commas no further than needed."""
    found = 0
    for at in range(0, len(body), SLICE):
        found += body.count(b",", at, at + SLICE)
        if found > MOST_VALUES:
            break
    return found


def too_large(most: int) -> Refusal:
    """The refusal of a body that is not read."""
    return Refusal(
        "too_large", f"The body is larger than {most / 2**20:g} MiB.",
        "Send fewer rows or smaller files, or start the server with a larger --max-body.",
    )  # fmt: skip
