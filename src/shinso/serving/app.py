"""The ASGI application: addresses to handlers, and every error to an answer that a client can use."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ..version import VERSION
from .admin import Admin
from .engine import Asked, Engine, coverage_of
from .explaining import check, how_of
from .http import BYTE, Receive, Request, Response, Send, json_response, read_json, refused
from .keys import Keys
from .meters import TYPE
from .natural import label_columns, read_rows
from .observers import Labeller
from .openapi import document
from .page import form_of, page_file
from .refusals import Fence, Refusal, Trouble
from .registry import Served
from .shares import named
from .v2 import V2

Handler = Callable[[Request, Mapping[str, str]], Awaitable[Response]]
OPEN = frozenset({"/v2/health/live", "/v2/health/ready", "/", "/page.js", "/page.css"})  # without a key
NAME = re.compile(rb"^[\x21-\x7e]{1,128}$")
SAFE = [(b"x-content-type-options", b"nosniff")]


class App:
    """Everything that is served over HTTP."""

    def __init__(self, engine: Engine, keys: Keys, admin: Admin, labeller: Labeller | None = None) -> None:
        self.engine, self.keys, self.admin, self.labeller = engine, keys, admin, labeller
        v2 = V2(engine)
        self.exact: dict[str, dict[str, Handler]] = {
            "/predict": {"POST": self.predict},
            "/labels": {"POST": self.labels},
            "/": {"GET": self.page},
            "/page.js": {"GET": self.page},
            "/page.css": {"GET": self.page},
            "/form": {"GET": self.form},
            "/metrics": {"GET": self.metrics},
            "/openapi.json": {"GET": self.openapi},
            "/models": {"GET": self.models},
            **v2.exact,
            **admin.exact,
        }
        version = r"/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?"
        self.patterns: list[tuple[re.Pattern[str], dict[str, Handler]]] = [
            (re.compile(f"{version}/predict"), {"POST": self.predict}),
            (re.compile(f"{version}/form"), {"GET": self.form}),
            *((re.compile(f"/v2{version}{end}"), methods) for end, methods in v2.by_model.items()),
            *((re.compile(pattern), methods) for pattern, methods in admin.patterns.items()),
        ]
        self._start, self._count = secrets.token_hex(4), itertools.count(1)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        assert scope["type"] == "http", "the server is run without lifespan and web sockets"
        request = Request(scope, receive, arrived=time.perf_counter())
        request.id = self.id_of(request)
        with Fence() as fence:
            response = await self.respond(request)
        if fence.error is not None:
            trouble = self.engine.refusal(request.id, fence.error, None)
            await self.engine.held(request.client, trouble, request.cost)
            response = self.told(request, trouble)
        extra = [(b"x-request-id", request.id.encode("latin-1")), *SAFE, *self.cors(request)]
        if self.engine.draining or not (request.fully_read or request.method in ("GET", "HEAD")):
            extra.append((b"connection", b"close"))
        await response.send(send, extra)

    def id_of(self, request: Request) -> str:
        """What the client calls the request, where that is a plain word; else a new name."""
        sent = request.headers.get("x-request-id", "").encode("latin-1")
        return sent.decode() if NAME.match(sent) else f"{self._start}-{next(self._count):x}"

    async def respond(self, request: Request) -> Response:
        """The answer, or a raised refusal."""
        methods, parts = self.found(request.path)
        if request.method == "OPTIONS" and self.engine.options.cors:
            return Response(status=204)
        request.client = named(None, request.peer)
        if request.path not in OPEN:
            holder = self.keys.check(request.headers)
            request.client = named(holder, request.peer)
            self.engine.shares.admit(request.client, asyncio.get_running_loop().time())
        method = "GET" if request.method == "HEAD" else request.method
        handler = methods.get(method)
        if handler is None:
            allowed = ", ".join(methods)
            refusal = Refusal(
                "wrong_method", f"{request.method} is not for {request.path}.", f"Use {allowed}."
            )
            response = self.told(request, refusal.trouble)
            response.headers.append((b"allow", allowed.encode()))
            return response
        return await handler(request, parts)

    def found(self, path: str) -> tuple[dict[str, Handler], Mapping[str, str]]:
        """Handlers by method, and what stands in the address."""
        exact = self.exact.get(path)
        if exact is not None:
            return exact, {}
        for pattern, methods in self.patterns:
            match = pattern.fullmatch(path)
            if match is not None:
                return methods, {k: v for k, v in match.groupdict().items() if v is not None}
        raise Refusal(
            "not_found", "There is nothing at this address.", "GET /openapi.json lists all addresses."
        )

    def told(self, request: Request, trouble: Trouble) -> Response:
        """A refusal in the way of the protocol that was used."""
        return refused(trouble, flat=request.path.startswith("/v2"))

    def cors(self, request: Request) -> list[tuple[bytes, bytes]]:
        """What lets pages of other origins ask, where that was allowed."""
        allowed, origin = self.engine.options.cors, request.headers.get("origin")
        if not allowed or origin is None or not ("*" in allowed or origin in allowed):
            return []
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-methods", b"GET, POST"),
            (b"access-control-allow-headers", b"authorization, content-type, x-api-key, x-deadline-ms"),
            (b"vary", b"origin"),
        ]

    async def predict(self, request: Request, parts: Mapping[str, str]) -> Response:
        """`POST /predict`: natural rows to natural answers."""
        engine, headers = self.engine, request.headers
        until = engine.until(headers.get("x-deadline-ms"))
        asked = Asked("predict", request.id, request.arrived, until, headers, request.gone, request.client)
        table, trouble, response = None, None, Response()
        with Fence() as fence:
            body = await request.body(engine.options.bytes, engine.options.patience)
            asked.began, asked.spent = request.read, request.received * BYTE
            served = engine.choose(asked, parts.get("name"), parts.get("version"))
            asked.coverage = coverage_of(request.query.get("coverage"))
            how = how_of(request.query.get("explain"), request.query.get("explain_column"))
            rows = read_rows(request, body, served.form)
            count = len(next(iter(rows.values())))
            if how is not None:
                check(served.model, how, count)
            table = await engine.answer(asked, rows, count)
            facts: dict[str, Any] = {"id": request.id, "model": served.name, "version": served.version}
            facts["answers"] = served.form.answers(table)
            if how is not None:
                facts["explanations"] = await engine.explained(asked, rows, how)
            response = json_response(facts)
        if fence.error is not None:
            trouble = engine.refusal(request.id, fence.error, asked.served)
            await engine.held(request.client, trouble, asked.cost if asked.began else request.cost)
            response = self.told(request, trouble)
        engine.settled(asked, table, trouble)
        return response

    async def labels(self, request: Request, parts: Mapping[str, str]) -> Response:
        """`POST /labels`: what was true of rows that were served, by the ids of their answers."""
        engine = self.engine
        self.keys.check_writer(request)
        if self.labeller is None:
            raise Refusal("no_log", "The server keeps no log of what it serves.", "Start it with --log on.")
        sent = read_json(await request.body(engine.options.bytes, engine.options.patience))
        told = label_columns(sent)
        found = await asyncio.get_running_loop().run_in_executor(None, self.labeller.label, told)
        engine.log.say("labelled", dict(found))
        return json_response(found)

    async def page(self, request: Request, parts: Mapping[str, str]) -> Response:
        """The page at `/`, its script and its style."""
        return page_file(request.path)

    async def form(self, request: Request, parts: Mapping[str, str]) -> Response:
        """What the page needs to know of a model."""
        served = self.model_of(request, parts)
        return json_response(form_of(served, list(self.engine.registry.models)))

    async def metrics(self, request: Request, parts: Mapping[str, str]) -> Response:
        """`GET /metrics`, for Prometheus."""
        text = self.engine.meters.text(self.engine.registry, self.engine.watchers)
        return Response(text.encode(), type=TYPE)

    async def openapi(self, request: Request, parts: Mapping[str, str]) -> Response:
        """`GET /openapi.json`."""
        registry = self.engine.registry
        live = [registry.get(name) for name in registry.models]
        return json_response(document(live, VERSION, keyed=bool(self.keys.digests)))

    async def models(self, request: Request, parts: Mapping[str, str]) -> Response:
        """`GET /models`: what is served."""
        return json_response({"models": self.admin.listed()})

    def model_of(self, request: Request, parts: Mapping[str, str]) -> Served:
        """The model that an address names, or the first."""
        route = self.engine.router.choose(parts.get("name"), parts.get("version"), request.headers)
        return self.engine.registry.get(route.name, route.version)
