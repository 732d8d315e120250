"""What a user calls to bring a model to its users, from Python and from the command line, without torch.

As in `api.py`, each verb hands over to the module that does the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import MissingExtraError
from .handle import Data, Run, allowed_by, names_in, path_of, work


def export(
    run: Run | str | Path, *, to: str = "onnx", data: Data = None, out: str | Path | None = None,
    allow: Sequence[str] = (), quiet: bool = False,
) -> Path:  # fmt: skip
    """Write a run for other programs, and for shinso without torch, once it is proven to answer alike.

    Args:
        run: Run directory.
        to: onnx, torch (torch.export) or openvino.
        data: Rows to compare on; the run's own validation rows when left out.
        out: Folder to write; exports/NAME in the run by default. It must not exist.
        allow: Model of your own to import, as in my_module:MyEncoder, when the run names it.
        quiet: Say nothing on stderr.
    """
    found: Path = work("exporting.write").export(
        path_of(run), to, data, out=out, allow=(*allowed_by(run), *allow), quiet=quiet
    )
    return found


def serve(
    models: Run | str | Path | Sequence[str | Path], *, host: str = "127.0.0.1", port: int = 8000,
    grpc_port: int | None = None, keys: str | Path | None = None, tls_cert: str | Path | None = None,
    tls_key: str | Path | None = None, deadline: float = 10.0, batch: int = 64, queue: int = 512,
    max_body: float = 16.0, cors: str | Sequence[str] = (), folder: str | Path | None = None,
    drain: float = 1.0, threads: int | None = None, log_requests: bool = False, allow: Sequence[str] = (),
    quiet: bool = False,
) -> None:  # fmt: skip
    """Serve runs or exports over HTTP and gRPC, with a page to try them on, until SIGTERM.

    Args:
        models: Runs or exports, as PATH or NAME=PATH; several of one name are its versions.
        host: Address to listen on; 0.0.0.0 for other machines too (set a key then).
        port: Port of HTTP: /predict, /v2, /metrics, /openapi.json, and the page at /.
        grpc_port: Port of gRPC; none by default.
        keys: File with a line name:key for each client; the environment's SHINSO_API_KEYS counts too.
        tls_cert: Certificate file, for HTTPS.
        tls_key: Key file of the certificate.
        deadline: Seconds after which an answer is too late, where the request names none.
        batch: Most rows that are computed together.
        queue: Most rows that wait for a model; more are refused with 503 and Retry-After.
        max_body: Largest body that is read, in MiB.
        cors: Origins whose pages may ask, with commas; none by default.
        folder: Folder from which versions may be loaded while running; those of the models by default.
        drain: Seconds between SIGTERM, when the server says that it is not ready, and the end of listening.
        threads: Threads of one batch of an export; all cores by default.
        log_requests: Log a line for each request.
        allow: Model of your own to import, as in my_module:MyEncoder, when a run names it.
        quiet: Log nothing on stderr.
    """
    start = _serving("start")
    options = _serving("options").Options(
        host=host, port=port, grpc_port=grpc_port, keys=_path(keys), tls_cert=_path(tls_cert),
        tls_key=_path(tls_key), deadline=deadline, batch=batch, queue=queue, max_body=max_body,
        cors=names_in(cors), folder=_path(folder), drain=drain, log_requests=log_requests,
    )  # fmt: skip
    several = [models] if isinstance(models, Run | str | Path) else list(models)
    allowed = tuple(name for one in several if isinstance(one, Run) for name in allowed_by(one))
    start.serve(
        [str(path_of(one)) for one in several],
        options,
        allow=(*allowed, *allow),
        threads=threads,
        quiet=quiet,
    )


def _serving(module: str) -> Any:
    """A module of the server, whose libraries are an extra."""
    try:
        return work(f"serving.{module}")
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"Serving needs {error.name}, which is not installed: pip install 'shinso[serve]'"
        ) from None


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)
