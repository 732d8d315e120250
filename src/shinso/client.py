"""Ask a server of shinso: `shinso.Client(url).predict(rows)`. Neither torch nor the model is needed."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import secrets
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

from .errors import DataError, MissingExtraError, SettingError, ShinsoError

Row = Mapping[str, Any]
AGAIN = frozenset({429, 502, 503, 504})  # statuses after which the same request may be sent again
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0  # seconds


class ServerError(ShinsoError):
    """The server gave no answer; `code` and `field` are the ones it names, `status` is that of HTTP."""

    def __init__(self, message: str, *, code: str = "", field: str | None = None, status: int = 0) -> None:
        super().__init__(message)
        self.code, self.field, self.status = code, field, status


@dataclass(frozen=True)
class Reply:
    """What came back over the network."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Way(Protocol):
    """HTTP or gRPC."""

    def predict(self, rows: Sequence[Row], coverage: float | None, seconds: float) -> list[dict[str, Any]]:
        """The answers; raises `ServerError`, or OSError where the server is not reached."""

    def ready(self, seconds: float) -> bool:
        """Whether the server says that it is ready."""

    def close(self) -> None:
        """End the connections."""


class Client:
    """A served model, by its address.

    `http://host:8000` and `https://` speak HTTP, `grpc://host:8001` and `grpcs://` the Open Inference
    Protocol over gRPC. `key` is sent along, `deadline` (seconds) holds for a call with all its retries,
    `retries` is how often a request is sent again that was refused as too much, or lost before it was
    answered. `ca` is a file with the certificate to trust, where the server signed its own. May be used from
    several threads.

    >>> client = shinso.Client("http://localhost:8000")  # doctest: +SKIP
    >>> client.predict({"age": 39, "job": "clerk"})  # doctest: +SKIP
    {'income': {'value': '<=50K', 'probabilities': {'<=50K': 0.91, '>50K': 0.09}}}
    """

    def __init__(
        self, url: str, *, model: str | None = None, version: str | None = None, key: str | None = None,
        deadline: float = 10.0, retries: int = 4, ca: str | Path | None = None,
    ) -> None:  # fmt: skip
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https", "grpc", "grpcs") or not parts.hostname:
            raise SettingError(f"{url!r} is no address. Write http://HOST:8000 or grpc://HOST:8001.")
        if deadline <= 0 or retries < 0:
            raise SettingError("A deadline is above 0 seconds, and retries are 0 or more.")
        self.deadline, self.retries = deadline, retries
        if ca is not None and not Path(ca).is_file():
            raise SettingError(f"There is no certificate {ca}. Check the path.")
        secure = parts.scheme in ("https", "grpcs")
        asked = Asked(
            parts.hostname, parts.port, secure, model, version, key, None if ca is None else Path(ca)
        )
        self._way: Way = Rest(asked, parts.path) if parts.scheme.startswith("http") else over_grpc(asked)

    def predict(
        self, rows: Row | Sequence[Row], *, coverage: float | None = None, deadline: float | None = None
    ) -> Any:
        """The answer to one row (an object of fields), or a list of the answers to several.

        Files are `pathlib.Path` or bytes. Raises `ServerError` with the server's code and remedy.
        """
        one = isinstance(rows, Mapping)
        several = [rows] if isinstance(rows, Mapping) else list(rows)
        found = self._again(several, coverage, deadline or self.deadline)
        return found[0] if one else found

    def ready(self) -> bool:
        """Whether the server says that it is ready to answer."""
        try:
            return self._way.ready(self.deadline)
        except OSError:
            return False

    def close(self) -> None:
        """End the connections."""
        self._way.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _again(self, rows: Sequence[Row], coverage: float | None, seconds: float) -> list[dict[str, Any]]:
        """Ask until there is an answer, or no time or patience left."""
        end = time.monotonic() + seconds
        for attempt in itertools.count():
            try:
                return self._way.predict(rows, coverage, max(0.001, end - time.monotonic()))
            except Later as later:
                wait, error = later.seconds, later.error
            except OSError as lost:
                wait, error = 0.0, ServerError(f"The server was not reached: {lost}. Is it running?")
            longest = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt)
            wait = max(
                wait, longest * (50 + secrets.randbelow(51)) / 100
            )  # many clients shall not come at once
            if attempt >= self.retries or time.monotonic() + wait >= end:
                raise error
            time.sleep(wait)
        raise AssertionError("the loop has no other end")


class Later(Exception):
    """The server asks to come back."""

    def __init__(self, error: ServerError, seconds: float) -> None:
        super().__init__(str(error))
        self.error, self.seconds = error, seconds


@dataclass(frozen=True)
class Asked:
    """Where, and for what."""

    host: str
    port: int | None
    secure: bool
    model: str | None
    version: str | None
    key: str | None
    ca: Path | None = None


class Rest:
    """`POST /predict` over connections that are kept, one a thread."""

    def __init__(self, asked: Asked, prefix: str) -> None:
        self.asked, self.prefix = asked, prefix.rstrip("/")
        self._local = threading.local()

    def predict(self, rows: Sequence[Row], coverage: float | None, seconds: float) -> list[dict[str, Any]]:
        """The answers."""
        body = json.dumps({"rows": [{k: sendable(v) for k, v in row.items()} for row in rows]}).encode()
        reply = self._send("POST", self._path(coverage), body, seconds)
        if reply.status == 200:
            found: list[dict[str, Any]] = json.loads(reply.body)["answers"]
            return found
        error = error_of(reply)
        if reply.status in AGAIN:
            raise Later(error, seconds_in(reply.headers.get("retry-after", "")))
        raise error

    def ready(self, seconds: float) -> bool:
        """Whether the server says that it is ready."""
        return self._send("GET", f"{self.prefix}/v2/health/ready", b"", seconds).status == 200

    def close(self) -> None:
        """End this thread's connection."""
        kept = getattr(self._local, "connection", None)
        if kept is not None:
            kept.close()
            self._local.connection = None

    def _path(self, coverage: float | None) -> str:
        path = self.prefix
        if self.asked.model is not None:
            path += f"/models/{quote(self.asked.model, safe='')}"
            if self.asked.version is not None:
                path += f"/versions/{quote(self.asked.version, safe='')}"
        return f"{path}/predict" + ("" if coverage is None else "?" + urlencode({"coverage": coverage}))

    def _send(self, method: str, path: str, body: bytes, seconds: float) -> Reply:
        headers = {"content-type": "application/json", "x-deadline-ms": f"{seconds * 1000:.0f}"}
        if self.asked.key is not None:
            headers["authorization"] = f"Bearer {self.asked.key}"
        connection = self._connection(seconds)
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, answer.read())
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise OSError(str(error) or type(error).__name__) from error

    def _connection(self, seconds: float) -> http.client.HTTPConnection:
        kept: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if kept is None:
            if self.asked.secure:
                context = ssl.create_default_context(cafile=self.asked.ca)
                kept = http.client.HTTPSConnection(self.asked.host, self.asked.port, context=context)
            else:
                kept = http.client.HTTPConnection(self.asked.host, self.asked.port)
            self._local.connection = kept
        kept.timeout = seconds
        if kept.sock is not None:
            kept.sock.settimeout(seconds)
        return kept


def over_grpc(asked: Asked) -> Way:
    """The way over gRPC, whose library is an extra."""
    try:
        found: Way = import_module(".serving.caller", __package__).Caller(asked)
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"gRPC needs {error.name}: pip install 'shinso[serve]'") from None
    return found


def sendable(value: Any) -> Any:
    """A value as JSON takes it: files in base64, arrays as lists."""
    if isinstance(value, Path):
        try:
            value = value.read_bytes()
        except OSError as error:
            raise DataError(f"{value} cannot be read ({error.strerror}). Check the path.") from None
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and value != value:
        return None
    plain = getattr(value, "tolist", None)
    return plain() if plain is not None else value


def error_of(reply: Reply) -> ServerError:
    """What the server said."""
    try:
        said = json.loads(reply.body)["error"]
        text = f"{said['message']} {said['remedy']}".strip()
        return ServerError(text, code=said["code"], field=said["field"], status=reply.status)
    except (ValueError, KeyError, TypeError):
        return ServerError(f"The server answered with status {reply.status}.", status=reply.status)


def seconds_in(text: str) -> float:
    """Retry-After in seconds, 0 where it says nothing plain."""
    return min(LONGEST_WAIT, float(text)) if text.isascii() and text.isdigit() else 0.0
