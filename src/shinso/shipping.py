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
    run: Run | str | Path, *, to: str = "onnx", precision: str = "fp32", data: Data = None,
    out: str | Path | None = None, allow: Sequence[str] = (), quiet: bool = False,
) -> Path:  # fmt: skip
    """Write a run for other programs, and for shinso without torch, once it is proven to answer alike.

    Args:
        run: Run directory.
        to: onnx, torch (torch.export) or openvino.
        precision: fp32, or bf16 with --to openvino: faster where the processor has bf16, within wider bounds.
        data: Rows to compare on; the run's own validation rows when left out.
        out: Folder to write; exports/NAME in the run by default. It must not exist.
        allow: Model of your own to import, as in my_module:MyEncoder, when the run names it.
        quiet: Say nothing on stderr.
    """
    found: Path = work("exporting.write").export(
        path_of(run), to, data, precision=precision, out=out, allow=(*allowed_by(run), *allow), quiet=quiet
    )
    return found


def serve(
    models: Run | str | Path | Sequence[str | Path], *, host: str = "127.0.0.1", port: int = 8000,
    grpc_port: int | None = None, keys: str | Path | None = None, tls_cert: str | Path | None = None,
    tls_key: str | Path | None = None, deadline: float = 10.0, batch: int = 64, queue: int = 512,
    max_body: float = 16.0, share: float = 0.5, rate: float = 0.0, patience: float = 30.0,
    cors: str | Sequence[str] = (), folder: str | Path | None = None,
    drain: float = 1.0, threads: int | None = None, log_requests: bool = False, log: str | None = None,
    log_sample: float = 1.0, log_private: str = "", split: str | None = None, shadow: bool = False,
    allow: Sequence[str] = (), quiet: bool = False,
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
        share: Share of the queue and the connections that one client may have (by key, else by address).
        rate: Requests a second that one client may send; 0 for any number.
        patience: Seconds for the headers of a request to arrive, and for its body.
        cors: Origins whose pages may ask, with commas; none by default.
        folder: Folder from which versions may be loaded while running; those of the models by default.
        drain: Seconds between SIGTERM, when the server says that it is not ready, and the end of listening.
        threads: Threads of one batch of an export; all cores by default.
        log_requests: Log a line for each request.
        log: Keep rows for `shinso monitor`: a file, a PostgreSQL URL, or on (requests/ in the first model).
        log_sample: Share of the requests that are kept, as in 0.1.
        log_private: Columns that are hashed or left out there, as in name=hash,email=drop.
        split: Shares of the models, as in 90:10; the header X-Shinso-Key keeps a client with one of them.
        shadow: Let all models but the first answer along, into the log and never to a client.
        allow: Model of your own to import, as in my_module:MyEncoder, when a run names it.
        quiet: Log nothing on stderr.
    """
    start = _serving("start")
    options = _serving("options").Options(
        host=host, port=port, grpc_port=grpc_port, keys=_path(keys), tls_cert=_path(tls_cert),
        tls_key=_path(tls_key), deadline=deadline, batch=batch, queue=queue, max_body=max_body,
        share=share, rate=rate, patience=patience, cors=names_in(cors), folder=_path(folder), drain=drain,
        log_requests=log_requests,
    )  # fmt: skip
    several = [models] if isinstance(models, Run | str | Path) else list(models)
    allowed = tuple(name for one in several if isinstance(one, Run) for name in allowed_by(one))
    plugging = work("watching.plugging")
    wanted = plugging.Wanted(log, log_sample, log_private, split, shadow)
    watching = plugging.watching([str(path_of(one)) for one in several], wanted)
    start.serve(
        watching.models, options, allow=(*allowed, *allow), threads=threads,
        plugged=start.Plugged(watching.observers, watching.router, watching.labeller), quiet=quiet,
    )  # fmt: skip


def monitor(
    run: Run | str | Path, *, log: str | Path | None = None, since: str | None = None,
    until: str | None = None, over: bool = False, reference: Data = None, key: str | Path | None = None,
    prometheus: str | Path | None = None, out: str | Path | None = None, quiet: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Compare what was served with what was trained on, day by day; exit status 1 where something moved.

    Args:
        run: Run directory, or export of one.
        log: Request log: a file, or the URL of a PostgreSQL database; that in the run by default.
        since: First moment to look at: a date, a date and time (UTC), or a span back, as in 20d or 12h.
        until: Moment before which to look, written as since is.
        over: Leave out the day that is not over yet.
        reference: Data the run was trained on; for runs of releases that kept no sample of it.
        key: File with the key of hashed columns; that beside the log by default.
        prometheus: File to write gauges to, for the text file collector of Prometheus' node exporter.
        out: HTML file to write the findings to.
        quiet: Say nothing on stderr.

    Returns:
        passed, alarms, every check of every day, latency, quality where labels exist, versions compared.
    """
    console = work("console").Console(quiet=quiet)
    if reference is not None:
        work("watching.adding").add_reference(path_of(run), reference, allowed_by(run), console)
    watching = work("watching.monitor")
    asked = watching.Asked(
        None if log is None else str(log), since, until, over, None if key is None else Path(key)
    )
    found: dict[str, Any] = watching.monitor(
        path_of(run), asked, console, out=None if out is None else Path(out),
        prometheus=None if prometheus is None else Path(prometheus),
    )  # fmt: skip
    return found


def label(log: Run | str | Path, data: Data, *, id: str = "id", quiet: bool = False) -> dict[str, Any]:
    """Tell what was true of rows that were served: a table of ids and of the predicted columns.

    Args:
        log: Request log, or the run directory that holds it.
        data: Table with a column of ids and the predicted columns.
        id: Name of the column with the ids that the answers carried.
        quiet: Say nothing on stderr.
    """
    place = log.path if isinstance(log, Run) else log
    console = work("console").Console(quiet=quiet)
    found: dict[str, Any] = work("watching.labelling").label(place, data, id=id, console=console)
    return found


def promote(
    version: Run | str | Path, *, share: float | None = None, shadow: bool = False, note: str = "",
    force: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Let a version answer: servers of the folder that it stands in follow within a second.

    Args:
        version: Run directory or export, beside those it replaces.
        share: Percentage of the requests that it answers for now, as in 10; all by default.
        shadow: Let it answer along with the live version, into the log and never to a client.
        note: Why, for the history.
        force: Promote it although it reads or predicts other columns than the live version.
    """
    found: dict[str, Any] = work("watching.deployment").promote(
        path_of(version), share=share, shadow=shadow, note=note, force=force
    )
    return found


def rollback(folder: str | Path, *, note: str = "") -> dict[str, Any]:
    """Take back the last promotion: withdraw the version on trial, else return to what was live before.

    Args:
        folder: Folder with the versions.
        note: Why, for the history.
    """
    found: dict[str, Any] = work("watching.deployment").rollback(Path(folder), note=note)
    return found


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
