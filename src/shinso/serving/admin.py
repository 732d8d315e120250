"""Exchange models while the server runs: load, make live, roll back, unload, read all again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from .engine import Engine
from .http import Request, Response, json_response, read_json
from .keys import Keys
from .opening import checked_name
from .refusals import Refusal

Handler = Callable[[Request, Mapping[str, str]], Awaitable[Response]]
MOST = 65_536  # bytes of a body


class Admin:
    """The addresses under /admin."""

    def __init__(self, engine: Engine, keys: Keys, folders: tuple[Path, ...]) -> None:
        self.engine, self.keys = engine, keys
        self.folders = tuple(folder.resolve() for folder in folders)
        model = "/admin/models/(?P<name>[^/]+)"
        self.exact: dict[str, dict[str, Handler]] = {"/admin/reload": {"POST": self.reload}}
        self.patterns: dict[str, dict[str, Handler]] = {
            f"{model}/load": {"POST": self.load},
            f"{model}/rollback": {"POST": self.roll_back},
            f"{model}/versions/(?P<version>[^/]+)/live": {"POST": self.make_live},
            f"{model}/versions/(?P<version>[^/]+)": {"DELETE": self.unload},
        }

    def listed(self) -> list[dict[str, Any]]:
        """What is served."""
        return [
            {
                "name": name,
                "live": versions.live,
                "before": versions.before[-1:],
                "versions": list(versions.all),
            }
            for name, versions in self.engine.registry.models.items()
        ]

    async def load(self, request: Request, parts: Mapping[str, str]) -> Response:
        """Load {"path": ...} as a version of a model, and let it answer unless {"live": false}."""
        self.keys.check_admin(request)
        sent = read_json(await request.body(MOST, self.engine.options.patience) or b"{}")
        known = isinstance(sent, dict) and sent.keys() <= {"path", "live"}
        if not known or not isinstance(sent.get("live", True), bool):
            raise Refusal(
                "bad_request", "The body is not as expected.", 'Send {"path": "...", "live": true}.'
            )
        name = checked_name(parts["name"])
        path = self.allowed(sent["path"]) if "path" in sent else self.engine.registry.get(name).path
        served = await self.engine.registry.load(path, name, live=sent.get("live", True))
        return self.told("loaded", served.name, served.version)

    async def make_live(self, request: Request, parts: Mapping[str, str]) -> Response:
        """Let a loaded version answer."""
        self.keys.check_admin(request)
        served = self.engine.registry.make_live(parts["name"], parts["version"])
        return self.told("live", served.name, served.version)

    async def roll_back(self, request: Request, parts: Mapping[str, str]) -> Response:
        """Let the version before answer."""
        self.keys.check_admin(request)
        served = self.engine.registry.roll_back(parts["name"])
        return self.told("rolled back", served.name, served.version)

    async def unload(self, request: Request, parts: Mapping[str, str]) -> Response:
        """Forget a version."""
        self.keys.check_admin(request)
        self.engine.registry.unload(parts["name"], parts["version"])
        return self.told("unloaded", parts["name"], parts["version"])

    async def reload(self, request: Request, parts: Mapping[str, str]) -> Response:
        """Read every path again that the server was started with; what changed there answers from now on."""
        self.keys.check_admin(request)
        await self.read_again()
        return json_response({"models": self.listed()})

    async def read_again(self) -> None:
        """As `reload`; on SIGHUP too."""
        seen: set[str] = set()
        for name, path in self.engine.registry.expected:
            served = await self.engine.registry.load(path, name, live=name not in seen)
            self.engine.log.say("loaded", {"model": served.name, "version": served.version})
            seen.add(name)

    def told(self, event: str, name: str, version: str) -> Response:
        """Log what was done, and say what is served now."""
        self.engine.log.say(event, {"model": name, "version": version})
        return json_response({"name": name, "version": version, "models": self.listed()})

    def allowed(self, path: Any) -> Path:
        """A path inside one of the folders from which models may be loaded."""
        if isinstance(path, str) and path and "\0" not in path:
            for folder in self.folders:
                found = (folder / path).resolve()
                if found.is_relative_to(folder) and found.is_dir():
                    return found
        raise Refusal(
            "model_refused", "There is no such folder where models may be loaded from.",
            "Put it beside the models that are served, or start the server with --folder.", field="path",
        )  # fmt: skip
