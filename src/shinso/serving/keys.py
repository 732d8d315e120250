"""Who may ask: keys from a file or the environment, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from ..errors import SettingError
from .http import Request
from .refusals import Refusal

VARIABLE, ADMIN_VARIABLE = "SHINSO_API_KEYS", "SHINSO_ADMIN_KEY"
SHORTEST = 16  # characters of a key
NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})


@dataclass(frozen=True)
class Keys:
    """Digests of the keys by the name of their holder; `admin` names those that may exchange models."""

    digests: Mapping[str, bytes]
    admin: frozenset[str] = frozenset()

    @classmethod
    def read(cls, path: Path | None, environment: Mapping[str, str]) -> Keys:
        """Lines `name:key`, or `admin:key`, or a key alone; the environment has them with commas between."""
        lines = path.read_text("utf-8").splitlines() if path is not None else []
        lines += environment.get(VARIABLE, "").split(",")
        admin = environment.get(ADMIN_VARIABLE, "")
        lines += [f"admin:{admin}"] if admin else []
        found = {}
        for number, line in enumerate(line.strip() for line in lines):
            if line and not line.startswith("#"):
                name, colon, key = line.rpartition(":")
                name = name if colon else f"key-{number + 1}"
                if len(key) < SHORTEST:
                    raise SettingError(
                        f"The key of {name!r} is shorter than {SHORTEST} characters. "
                        f"Make a long one, as with `openssl rand -hex 24`."
                    )
                found[name] = digest(key)
        return cls(found, frozenset({"admin"} & found.keys()))

    def holder(self, headers: Mapping[str, str]) -> str | None:
        """The name of who sent a key, or None. Every key is compared, so that time tells nothing."""
        sent = headers.get("x-api-key", "")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if not sent and scheme.lower() == "bearer":
            sent = token.strip()
        mine, holder = digest(sent), None
        for name, known in self.digests.items():
            if hmac.compare_digest(mine, known):
                holder = name
        return holder if sent else None

    def check(self, headers: Mapping[str, str]) -> str | None:
        """The holder's name, or None where no key is asked for; raises `Refusal` without a key."""
        if not self.digests:
            return None
        holder = self.holder(headers)
        if holder is None:
            raise Refusal(
                "no_key", "The request has no key that is known here.",
                "Send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`.",
            )  # fmt: skip
        return holder

    def check_admin(self, request: Request) -> None:
        """Raise `Refusal` unless the request may exchange models: by the admin's key, or from this machine.

        Without an admin's key only programs of this machine may, not pages in its browser (their Host or
        Origin is another) and not through a proxy.
        """
        if self.admin:
            if self.holder(request.headers) not in self.admin:
                raise Refusal("forbidden", "Only the admin's key may do this.", "Send the key of 'admin'.")
        elif not is_own(request):
            raise Refusal(
                "forbidden", "Models are exchanged from the server's own machine only.",
                f"Set {ADMIN_VARIABLE}, and send it as `Authorization: Bearer KEY`.",
            )  # fmt: skip

    def check_writer(self, request: Request) -> None:
        """Raise `Refusal` unless the request may tell labels: by a key, or from this machine."""
        if not self.digests and not is_own(request):
            raise Refusal(
                "forbidden", "Without keys, labels are taken from the server's own machine only.",
                f"Start the server with --keys or {VARIABLE}, and send one.",
            )  # fmt: skip


def is_own(request: Request) -> bool:
    """Whether a program of this machine sent it, not a page in its browser and not a proxy."""
    host = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
    direct = not ({"forwarded", "x-forwarded-for", "origin"} & request.headers.keys())
    return is_loopback(request.peer) and host in NAMES and direct


def digest(key: str) -> bytes:
    """Of equal length for every key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
