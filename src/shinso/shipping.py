"""The verbs that bring a model to its users and keep an eye on it, without torch. See `api.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .handle import Data, Run, allowed_by, path_of, work


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
