"""The verb `audit`: what is wrong with data before anything is trained on it, and a cleaned copy."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .columns.base import missing_mask
from .config import RunConfig
from .console import Console
from .data.audit import CHECKS, Audited, audit, described, mended, subject_from, unknown_check
from .data.clean import examine
from .data.sources import Source
from .data.split import split
from .data.subject import Finding, Rows, Subject
from .data.table import Table
from .errors import DataError, SettingError
from .files import write_atomic, write_json
from .preparing import default_target, spread
from .reporting.audit_page import audit_page
from .reporting.page import brand, head
from .schema import SAMPLE, choose_columns, infer_schema
from .writing import check_suffix, write_table


def audit_data(
    source: Source, *, predict: tuple[str, ...], given: tuple[str, ...] | None, test: Source | None,
    types: Mapping[str, str], settings: Mapping[str, Any], only: tuple[str, ...], fix: str | Path | None,
    report: str | Path | None, out: str | Path | None, quiet: bool,
) -> dict[str, Any]:  # fmt: skip
    """See `api.audit`."""
    console = Console(quiet=quiet)
    for name in only:
        if name not in CHECKS:
            raise SettingError(unknown_check(name))
    config = RunConfig().override(dict(settings))
    table = read(source, test, config)
    if fix is not None:
        check_copy(table, Path(fix))
    predict = predict or default_target(table)
    tested = "" if test is None else f" --test {named(test)}"
    subject = subject_of(table, predict, given, types, config, (named(source), tested))
    with console.progress("auditing"):
        found = audit(subject, only)
    result = described(subject, found)
    if fix is not None:
        result["fixed"] = write_copy(table, found, only, Path(fix))
    if report is not None:
        page_head = head(f"{result['data']}: audit", f"Audit of {result['data']}")
        write_atomic(Path(report), audit_page(result, page_head, brand("audit")))
    if out is not None:
        write_json(Path(out), result)
    return result


def read(source: Source, test: Source | None, config: RunConfig) -> Table:
    """The rows, and where a test set is named its rows after them, as the parts that they are."""
    table = Table.read(source, config.data)
    if test is None:
        return table
    paths = [source, test]
    if not all(isinstance(path, str | Path) and Path(path).is_file() for path in paths):
        raise SettingError(
            "--test takes a second file beside a first one, as in: audit train.csv --test test.csv."
        )
    both = Table.read([Path(path) for path in paths], config.data)
    parts = np.zeros(len(both), np.int8)
    parts[len(table) :] = 2
    return both.parted(parts)


def subject_of(
    table: Table, predict: tuple[str, ...], given: tuple[str, ...] | None, types: Mapping[str, str],
    config: RunConfig, source: tuple[str, str],
) -> Subject:  # fmt: skip
    """Rows, columns and parts as training would take them."""
    names, predict = choose_columns(table.names, predict, given)
    target = predict[0]
    looked = examine(table, predict, names)
    samples = {name: table.values(name, spread(looked.rows, SAMPLE)) for name in (*names, *predict)}
    empty = [name for name in names if missing_mask(samples[name]).all()]
    names = tuple(name for name in names if name not in empty)
    kinds = infer_schema(samples, names, predict, types)
    stratify = table.values(target, looked.rows) if kinds[target] == "category" else None
    parts = split(table, config.data, stratify, config.seed, looked.rows)
    return subject_from(
        table, parts, {n: kinds[n] for n in (*names, target)}, config, source[0], tested=source[1]
    )


def check_copy(table: Table, out: Path) -> None:
    """Refuse a place for a cleaned copy that is taken, or whose name does not say how it is written."""
    if out.exists():
        raise SettingError(
            f"{out} exists already. A cleaned copy never replaces anything: choose another name."
        )
    if table.key_name != "file":
        check_suffix(out)


def write_copy(table: Table, found: Audited, only: Sequence[str], out: Path) -> dict[str, Any]:
    """A copy without the rows and columns that findings named, and a log of each of them beside it."""
    rows, dropped = mended(found.findings, len(table), only)
    names = [name for name in table.names if name not in dropped]
    if table.key_name == "file":
        _copy_files(table, rows, out)
        dropped = ()
    else:
        for place, part in _parts(table, rows, out):
            write_table(place, {name: [_cell(v) for v in table.values(name, part)] for name in names})
    gone = np.setdiff1d(np.arange(len(table)), rows)
    log = out.with_name(f"{out.name}.log.jsonl")
    write_atomic(log, _log(table, found.findings, set(gone.tolist()), dropped))
    return {
        "out": str(out), "log": str(log), "rows": len(rows), "rows_left_out": len(gone),
        "columns_left_out": list(dropped),
    }  # fmt: skip


def _parts(table: Table, rows: Rows, out: Path) -> list[tuple[Path, Rows]]:
    """Where which rows are written: test rows from a second file stay in a file of their own."""
    if table.parts is None:
        return [(out, rows)]
    test = table.parts[rows] == 2
    return [(out, rows[~test]), (out.with_name(f"{out.stem}-test{out.suffix}"), rows[test])]


def _cell(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value


def _log(table: Table, findings: Sequence[Finding], gone: set[int], columns: Sequence[str]) -> str:
    """A line for each row and column that was left out, with the finding that named it."""
    entries: list[dict[str, Any]] = []
    for finding in findings:
        rows = [row for row in finding.drop_rows.tolist() if row in gone]
        gone = gone - set(rows)
        keys = table.keys(np.asarray(rows, np.int64)) if rows else []
        why = {"check": finding.check, "why": finding.message}
        entries += [{"left_out": "row", table.key_name: key, **why} for key in keys]
        mine = [name for name in finding.drop_columns if name in columns]
        entries += [{"left_out": "column", "column": name, **why} for name in mine]
    return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def _copy_files(table: Table, rows: Any, out: Path) -> None:
    """The files of the kept rows, below the same names."""
    (column,) = [name for name in table.names if name != "label"][:1]
    keys, files = table.keys(rows), table.values(column, rows)
    draft = out.with_name(f".{out.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    for key, file in zip(keys, files, strict=True):
        if not isinstance(file, Path):
            raise DataError("Only folders of files can be copied file by file. Unpack the archive first.")
        target = draft / str(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)
    draft.replace(out)


def named(source: Source) -> str:
    """The data as a command names it."""
    return shlex.quote(str(source)) if isinstance(source, str | Path) else "DATA"
