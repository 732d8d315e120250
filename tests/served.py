"""A model that answers by a formula, and a server of it inside the test, without a network."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import fromarray

from shinso.answers import answers, covering, decoded
from shinso.calibration import Calibration, calibrate
from shinso.columns.category import Category
from shinso.columns.image import Image
from shinso.columns.number import Number
from shinso.columns.text import Text
from shinso.exported import encoded
from shinso.schema import Schema
from shinso.serving.app import App
from shinso.serving.logs import Log
from shinso.serving.observers import Observer, Router
from shinso.serving.options import Options
from shinso.serving.start import Plugged, assembled

ROWS = 400


def pictures(rng: np.random.Generator, n: int) -> Any:
    found = np.empty(n, object)
    for i in range(n):
        found[i] = rng.integers(0, 256, (8, 8), np.uint8)
    return found


@cache
def learned() -> tuple[Schema, dict[str, Calibration]]:
    rng = np.random.default_rng(0)
    area, city = rng.uniform(20, 120, ROWS), rng.choice(np.array(["Kyoto", "Nara"], object), ROWS)
    price, dear = area * 3, np.where(area > 70, "yes", "no").astype(object)
    notes = np.array([f"{a:.0f} 平米の家" for a in area], object)
    given = (
        Number(name="area").fit(area), Category(name="city").fit(city), Text(name="note").fit(notes),
        Image(name="photo", height=8, width=8).fit(pictures(rng, 20)),
    )  # fmt: skip
    predict = (Category(name="dear").fit(dear), Number(name="price").fit(price))
    shares = np.column_stack([1 - (area > 70) * 0.8, (area > 70) * 0.8])
    noisy = price + rng.normal(0, 5, ROWS)
    found = {
        "dear": calibrate("category", (area > 60).astype(int), shares / shares.sum(1, keepdims=True)),
        "price": calibrate("number", noisy, price),
    }
    return Schema(given, predict), found


@dataclass(eq=False)
class Formula:
    """Answers follow from the encoded columns, row by row. `version` scales the price."""

    version: str = "1"
    scale: float = 3.0
    breaks: Callable[[Mapping[str, Any]], None] | None = None
    calls: int = 0

    @cached_property
    def _learned(self) -> tuple[Schema, dict[str, Calibration]]:
        return learned()

    @property
    def schema(self) -> Schema:
        return self._learned[0]

    @property
    def calibration(self) -> Mapping[str, Calibration]:
        return self._learned[1]

    @property
    def manifest(self) -> Mapping[str, Any]:
        return {}

    def check(self) -> None:
        pass

    def encode(self, rows: Mapping[str, Any]) -> dict[str, Any]:
        return {c.name: encoded(c, rows[c.name]) for c in self.schema.given}

    def forward(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        self.calls += 1
        if self.breaks is not None:
            self.breaks(inputs)
        area = np.nan_to_num(inputs["area"].astype(np.float64), posinf=np.inf)
        x = (
            area
            + 0.1 * inputs["city"]
            + 0.01 * (inputs["note"] > 0).sum(1)
            + inputs["photo"].mean((1, 2, 3)) / 255
        )
        yes = 1 / (1 + np.exp(-np.clip(x, -60, 60)))
        return {"dear": np.column_stack([1 - yes, yes]).astype(np.float32), "price": self.scale * x}

    def decode(self, outputs: Mapping[str, Any], *, coverage: float | None = None) -> dict[str, list[Any]]:
        calibration = self._learned[1]
        if coverage is not None:
            calibration = covering(self.schema, calibration, coverage, abstain=False, of="it")
        raw = {c.name: decoded(c, outputs[c.name]) for c in self.schema.predict}
        return answers(self.schema, raw, calibration, sets=coverage is not None)


def png(seed: int = 0, side: int = 8) -> bytes:
    file = io.BytesIO()
    fromarray(np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)).save(file, "PNG")
    return file.getvalue()


def row(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "area": float(rng.uniform(20, 120)), "city": ["Kyoto", "Nara"][seed % 2],
        "note": "家 " * (1 + seed % 5), "photo": "data:image/png;base64," + base64_of(png(seed)),
    }  # fmt: skip


def base64_of(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json["error"]
        return found


def server(
    *models: Formula, observers: tuple[Observer, ...] = (), router: Router | None = None,
    loaded: bool = True, **options: Any,
) -> App:  # fmt: skip
    """An application with models named `houses`, `houses2`, ..., loaded unless told otherwise."""
    named = [("houses" if i == 0 else f"houses{i + 1}", Path(f"{i}")) for i in range(len(models) or 1)]
    log = Log(io.StringIO())
    app = assembled(
        named, Options(**{"deadline": 600.0, **options}), log=log, plugged=Plugged(observers, router)
    )
    waiting = list(models or (Formula(),))
    app.engine.registry.open = lambda path: waiting[int(path.name)]
    if loaded:
        asyncio.run(app.engine.registry.load_expected())
    return app


async def ask(
    app: App, method: str, path: str, body: bytes | Any = b"", headers: Mapping[str, str] | None = None,
    *, leaves: bool = False, peer: str = "127.0.0.1",
) -> Answer:  # fmt: skip
    """One request over ASGI. With `leaves` the client goes once its body was read."""
    path, _, query = path.partition("?")
    sent = {"host": "localhost:8000", **(headers or {})}
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
        sent.setdefault("content-type", "application/json")
    sent.setdefault("content-length", str(len(body)))
    scope = {
        "type": "http", "method": method, "path": path, "query_string": query.encode(), "client": (peer, 1),
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in sent.items()],
    }  # fmt: skip
    incoming = [{"type": "http.request", "body": body, "more_body": False}]
    outgoing: list[Any] = []

    async def receive() -> Any:
        if incoming:
            return incoming.pop(0)
        if leaves:
            return {"type": "http.disconnect"}
        await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        outgoing.append(message)

    await app(scope, receive, send)
    found = {k.decode().lower(): v.decode() for k, v in outgoing[0]["headers"]}
    return Answer(outgoing[0]["status"], found, b"".join(m.get("body", b"") for m in outgoing[1:]))


def once(
    app: App, method: str, path: str, body: bytes | Any = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    """One request in a loop of its own."""
    return asyncio.run(ask(app, method, path, body, headers))


async def together(*asked: Coroutine[Any, Any, Answer]) -> list[Answer]:
    return list(await asyncio.gather(*asked))
