"""Answers to files: CSV, Parquet or JSON lines, whole or not at all."""

from __future__ import annotations

import csv
import datetime
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from .errors import SettingError
from .files import write_atomic

SUFFIXES = (".csv", ".parquet", ".jsonl")


def write_table(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write columns as `path` says by its suffix."""
    check_suffix(path)
    plain = {name: [_plain(v) for v in values] for name, values in columns.items()}
    if path.suffix == ".parquet":
        sink = io.BytesIO()
        pyarrow.parquet.write_table(pa.table(plain), sink)
        write_atomic(path, sink.getvalue())
    elif path.suffix == ".jsonl":
        rows = zip(*plain.values(), strict=True)
        write_atomic(
            path,
            "".join(json.dumps(dict(zip(plain, r, strict=True)), ensure_ascii=False) + "\n" for r in rows),
        )
    else:
        write_atomic(path, to_csv(plain))


def check_suffix(path: Path) -> None:
    """Raise `SettingError` where a file name does not say how answers are written."""
    if path.suffix not in SUFFIXES:
        raise SettingError(f"{path} has to end in {', '.join(SUFFIXES)}, which says how answers are written.")


def to_csv(columns: Mapping[str, Sequence[Any]]) -> str:
    """Columns as CSV text with a header.

    >>> to_csv({"row": [1], "price": [2.5]})
    'row,price\\n1,2.5\\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(map(_cell, values) for values in columns.values()), strict=True))
    return text.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.datetime64):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    return value.isoformat() if isinstance(value, datetime.datetime) else value


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
