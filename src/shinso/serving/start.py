"""Run the server: sockets first, so that it can say that it lives; then the models; no haste at the end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import FrameType

import uvicorn

from ..errors import SettingError
from ..exported import Export
from .admin import Admin
from .app import App
from .connections import protocol
from .engine import Engine
from .keys import Keys
from .logs import Log, Passing
from .observers import Follower, Labeller, Observer, Router, Straight, Watchers
from .opening import named_path, open_model
from .options import Options
from .refusals import Refusal
from .registry import Registry
from .servable import Servable

FOLLOW = 0.5  # seconds between two looks at what was promoted


@dataclass(frozen=True)
class Plugged:
    """What others add to the server."""

    observers: tuple[Observer, ...] = ()
    router: Router | None = None
    labeller: Labeller | None = None


class Server(uvicorn.Server):
    """Ends in two steps: it says that it is not ready, then stops listening and answers what it has."""

    ending: Callable[[], object] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal asks for the end, the second forces it."""
        if self.ending is not None:
            asked, self.ending = self.ending, None
            asked()
        else:
            super().handle_exit(sig, frame)


def serve(
    models: Sequence[str], options: Options, *, allow: tuple[str, ...] = (), threads: int | None = None,
    plugged: Plugged | None = None, quiet: bool = False,
) -> None:  # fmt: skip
    """Serve until SIGTERM or SIGINT."""
    named = [named_path(one) for one in models]
    if not named:
        raise SettingError("Say what to serve: shinso serve RUN, or an export of one.")
    for _, path in named:
        if not path.is_dir():
            raise SettingError(f"There is no run or export {path}. `shinso train` makes runs.")
    app = assembled(named, options, allow=allow, threads=threads, plugged=plugged, log=Log(quiet=quiet))
    listener = listen(options)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(run(app, options, listener))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def assembled(
    named: Sequence[tuple[str, Path]], options: Options, *, log: Log, allow: tuple[str, ...] = (),
    threads: int | None = None, plugged: Plugged | None = None,
) -> App:  # fmt: skip
    """The application with nothing loaded yet."""
    plugged = plugged or Plugged()

    def open_one(path: Path) -> Servable:
        model = open_model(path, allow=allow, threads=threads)
        if isinstance(model, Export) and model.notice:
            log.say("precision", {"message": model.notice}, "warning")
        return model

    pool = ThreadPoolExecutor(1, thread_name_prefix="compute")
    watched = bool(plugged.observers)
    registry = Registry(open_one, pool, most=options.batch, queue=options.queue, watched=watched)
    registry.expected = tuple(named)
    watchers = Watchers(plugged.observers)
    engine = Engine(registry, plugged.router or Straight(named[0][0]), watchers, log, options)
    folders = (
        (options.folder,) if options.folder is not None else tuple(p.absolute().parent for _, p in named)
    )
    keys = Keys.read(options.keys, os.environ)
    return App(engine, keys, Admin(engine, keys, folders), plugged.labeller)


def listen(options: Options) -> socket.socket:
    """A socket that listens."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host, options.port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise SettingError(
            f"Cannot listen on {options.host}:{options.port}: {error}. Choose another --port or --host."
        ) from None
    listener.set_inheritable(True)
    return listener


async def run(app: App, options: Options, listener: socket.socket, started: float | None = None) -> None:
    """Listen, load, serve, end."""
    engine, log, loop = app.engine, app.engine.log, asyncio.get_running_loop()
    started = time.monotonic() if started is None else started
    server = configured(app, options)
    warn(app, options)
    server.ending = lambda: loop.call_soon_threadsafe(lambda: held.append(loop.create_task(end(app, server))))
    held: list[asyncio.Task[None]] = []
    serving = loop.create_task(server.serve([listener]))
    called, grpc_port = None, None
    try:
        if options.grpc_port is not None:
            rpc = import_module(".rpc", __package__)  # which costs time and memory, where it is wanted only
            called, grpc_port = await rpc.start(rpc.Rpc(engine, app.keys), options)
        await engine.registry.load_expected()
        host, port = listener.getsockname()[:2]
        facts = {"models": app.admin.listed(), "host": host, "port": port, "grpc_port": grpc_port}
        log.say("ready", {**facts, "seconds": round(time.monotonic() - started, 3)})
        reload_on_hangup(app, held)
        if isinstance(engine.router, Follower):
            held.append(loop.create_task(follow(app, engine.router)))
        await asyncio.shield(serving)  # so that who ends this task ends the server in order
    except Refusal as refusal:
        raise SettingError(f"{refusal.trouble.message} {refusal.trouble.remedy}") from None
    finally:
        server.should_exit = True
        if called is not None:
            await called.stop(options.deadline)
        await serving
        await loop.run_in_executor(None, engine.watchers.close)
        log.say("ended")


async def follow(app: App, router: Follower) -> None:
    """Load what is promoted while the server runs; what cannot be loaded is said once and left."""
    registry, refused = app.engine.registry, set[Path]()
    while not app.engine.draining:
        for name, path in router.missing(registry.models):
            if path in refused:
                continue
            try:
                served = await registry.load(path, name)
                app.engine.log.say("promoted", {"model": name, "version": served.version})
            except Refusal as refusal:
                refused.add(path)
                app.engine.log.say("refused", refusal.trouble.to_dict(), "error")
        await asyncio.sleep(FOLLOW)


def configured(app: App, options: Options) -> Server:
    """uvicorn with its own lines off and ours on."""
    handler = Passing(app.engine.log)
    for name in ("uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING)
    config = uvicorn.Config(
        app, loop="none", http=protocol(options, app.engine), ws="none", lifespan="off", log_config=None,
        access_log=False, server_header=False, date_header=False, proxy_headers=False, backlog=2048,
        timeout_keep_alive=75, timeout_graceful_shutdown=round(options.deadline + 1),
        ssl_certfile=options.tls_cert, ssl_keyfile=options.tls_key,
    )  # fmt: skip
    return Server(config)


def warn(app: App, options: Options) -> None:
    """Say where the server is open to others without a key, or without encryption."""
    if options.local:
        return
    if not app.keys.digests:
        text = (
            f"Anyone who reaches {options.host} may ask: no key is set. Set SHINSO_API_KEYS, or --keys FILE."
        )
        app.engine.log.say("open", {"message": text}, "warning")
    if options.tls_cert is None:
        text = "Requests and keys travel unencrypted. Use --tls-cert and --tls-key, or a proxy that does."
        app.engine.log.say("unencrypted", {"message": text}, "warning")


async def end(app: App, server: Server) -> None:
    """Say that the server is not ready, wait until that was heard, then stop listening."""
    app.engine.draining = True
    app.engine.log.say("draining", {"seconds": app.engine.options.drain})
    await asyncio.sleep(app.engine.options.drain)
    server.should_exit = True


def reload_on_hangup(app: App, held: list[asyncio.Task[None]]) -> None:
    """Read models again on SIGHUP; what cannot be read leaves things as they are."""
    loop = asyncio.get_running_loop()

    async def again() -> None:
        try:
            await app.admin.read_again()
        except Refusal as refusal:
            app.engine.log.say("refused", refusal.trouble.to_dict(), "error")

    try:
        loop.add_signal_handler(signal.SIGHUP, lambda: held.append(loop.create_task(again())))
    except (RuntimeError, ValueError, AttributeError):  # not the main thread, or a system without it
        app.engine.log.say("no hangup", level="debug")
