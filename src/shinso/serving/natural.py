"""`POST /predict`: rows as people write them, and answers as they read them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from ..columns import Column
from ..columns.category import Category
from ..columns.labels import Labels
from ..schema import Schema
from .http import JSON, Request, read_json
from .refusals import Refusal, missing_field, unknown_field

FILES = frozenset({"image", "mask", "audio"})  # kinds whose raw value is a file
MOST_ROWS = 10_000  # of one request
MOST_PARTS = 100_000


class Form:
    """How one model is asked, and how its answers are told."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.names = [c.name for c in schema.given]
        self.known = frozenset(self.names)
        self.kinds = {c.name: c.kind for c in schema.given}
        self.files = [c.name for c in schema.given if c.kind in FILES]
        self.outputs = [Output(c) for c in schema.predict]

    @cached_property
    def lone_file(self) -> str | None:
        """The one given column, where it is a file: then a body may be the file itself."""
        return self.names[0] if len(self.names) == 1 and self.kinds[self.names[0]] in FILES else None

    def columns(self, rows: Sequence[Any]) -> dict[str, list[Any]]:
        """Rows to columns; every row has to have every field, and no other."""
        if not 0 < len(rows) <= MOST_ROWS:
            raise Refusal(
                "no_rows", f"{len(rows)} rows were sent; a request takes 1 to {MOST_ROWS:,}.",
                "Send at least one row, and many in several requests.", field="rows",
            )  # fmt: skip
        for row in rows:
            if not isinstance(row, dict):
                raise Refusal(
                    "bad_request", f"A row is an object of fields; received {type(row).__name__}.",
                    'Send {"rows": [{"field": value}]}.', field="rows",
                )  # fmt: skip
            if row.keys() != self.known:
                self._refuse(row)
        return {name: [row[name] for row in rows] for name in self.names}

    def _refuse(self, row: Mapping[str, Any]) -> None:
        strange = [name for name in row if name not in self.known]
        if strange:
            raise unknown_field(strange[0], self.names)
        raise missing_field(next(name for name in self.names if name not in row))

    def answers(self, table: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
        """The table of `shinso predict` as an object a row: by predicted column, what it is and how sure."""
        told = [output.told(table) for output in self.outputs]
        names = [output.name for output in self.outputs]
        return [dict(zip(names, row, strict=True)) for row in zip(*told, strict=True)]


class Output:
    """One predicted column, as it is told."""

    def __init__(self, column: Column) -> None:
        self.name, self.kind = column.name, column.kind
        self.labels = tuple(map(str, column.labels)) if isinstance(column, Category | Labels) else ()
        self.shares = [f"{column.name}: {label}" for label in self.labels]

    def told(self, table: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
        """An object a row: value, and probabilities, set or interval where there are."""
        found: list[dict[str, Any]] = [{"value": plain(v)} for v in table[self.name]]
        if self.shares:
            columns = [table[key] for key in self.shares]
            for one, row in zip(found, zip(*columns, strict=True), strict=True):
                one["probabilities"] = dict(zip(self.labels, row, strict=True))
        if f"{self.name} set" in table:
            for one, possible in zip(found, table[f"{self.name} set"], strict=True):
                one["set"] = possible
        if f"{self.name} low" in table:
            ends = zip(table[f"{self.name} low"], table[f"{self.name} high"], strict=True)
            for one, (low, high) in zip(found, ends, strict=True):
                one["interval"] = [low, high]
        return found


def plain(value: Any) -> Any:
    """A raw value as JSON takes it."""
    if isinstance(value, str | float | int | bool | list | dict) or value is None:
        return value
    return value.tolist() if callable(getattr(value, "tolist", None)) else str(value)


def read_rows(request: Request, body: bytes, form: Form) -> dict[str, list[Any]]:
    """The columns of a request: JSON, multipart, or the file itself."""
    kind = request.content_type
    if kind in (JSON, ""):
        return form.columns(json_rows(read_json(body), form))
    if kind == "multipart/form-data":
        return form.columns(multipart_rows(body, request.headers["content-type"], form))
    lone = form.lone_file
    if kind == "application/octet-stream" or (lone is not None and kind.startswith(("image/", "audio/"))):
        if lone is None:
            raise wrong_type(kind)
        return {lone: [body]}
    raise wrong_type(kind)


def json_rows(sent: Any, form: Form) -> Sequence[Any]:
    """The rows of a JSON body: one natural row, or {"rows": [...]}."""
    if not isinstance(sent, dict):
        raise Refusal(
            "bad_request", f"The body is an object; received {type(sent).__name__}.",
            'Send one row as {"field": value}, or {"rows": [...]}.',
        )  # fmt: skip
    rows = sent.get("rows")
    if len(sent) == 1 and isinstance(rows, list) and ("rows" not in form.known or rows_of_objects(rows)):
        return rows
    return [sent]


def label_columns(sent: Any) -> dict[str, list[Any]]:
    """The columns of {"rows": [{"id": ..., "income": ...}]}: ids, and what was true of them."""
    rows = sent.get("rows") if isinstance(sent, dict) else None
    if not isinstance(rows, list) or not 0 < len(rows) <= MOST_ROWS or not rows_of_objects(rows):
        raise Refusal(
            "no_rows", f"Labels are 1 to {MOST_ROWS:,} objects under 'rows'.",
            'Send {"rows": [{"id": "...", "column": "what was true"}]}.', field="rows",
        )  # fmt: skip
    names = rows[0].keys()
    if "id" not in names or any(row.keys() != names for row in rows):
        raise Refusal(
            "bad_request", "Every row of labels has an id and the same columns.",
            'Send {"rows": [{"id": "...", "column": "what was true"}]}.', field="rows",
        )  # fmt: skip
    return {name: [row[name] for row in rows] for name in names}


def rows_of_objects(rows: Sequence[Any]) -> bool:
    """Whether a list can only be rows."""
    return bool(rows) and all(isinstance(row, dict) for row in rows)


def wrong_type(kind: str) -> Refusal:
    """The refusal of a body of an unknown type."""
    return Refusal(
        "wrong_type", f"A body of type {kind!r:.60} cannot be read.",
        "Send application/json, multipart/form-data, or the file itself where the model reads one file.",
    )  # fmt: skip


BOUNDARY = re.compile(r'boundary="?([^";,]{1,70})"?', re.IGNORECASE)
FIELD = re.compile(rb'(?:^|;)\s*name="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
FILENAME = re.compile(rb"(?:^|;)\s*filename\*?=", re.IGNORECASE)


def multipart_rows(body: bytes, content_type: str, form: Form) -> list[dict[str, Any]]:
    """The rows of a form with files: a field that stands k times makes k rows."""
    found: dict[str, list[Any]] = {}
    for name, value in parts_of(body, content_type):
        found.setdefault(name, []).append(value)
    counts = {len(values) for values in found.values()}
    if len(counts) != 1:
        raise Refusal(
            "bad_request", "The fields of the form do not stand equally often.",
            "Send every field once for each row.",
        )  # fmt: skip
    return [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]


def parts_of(body: bytes, content_type: str) -> list[tuple[str, str | bytes | None]]:
    """(name, value) of the parts of a form (RFC 7578): text, or the bytes of a file."""
    boundary = BOUNDARY.search(content_type)
    if boundary is None:
        raise broken_form("it names no boundary")
    mark = b"--" + boundary[1].encode("latin-1")
    if body.count(mark) > MOST_PARTS:
        raise broken_form(f"it has more than {MOST_PARTS:,} parts")
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)
    if len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        raise broken_form("it is cut off")
    return [part_of(piece) for piece in pieces[1:-1]]


def part_of(piece: bytes) -> tuple[str, str | bytes | None]:
    """One part: an empty text is a missing value."""
    head, found, content = piece.partition(b"\r\n\r\n")
    disposition = next((h for h in head.split(b"\r\n") if h.lower().startswith(b"content-disposition:")), b"")
    disposition = disposition.partition(b":")[2]
    name = FIELD.search(disposition)
    if not found or name is None:
        raise broken_form("a part has no name")
    key = name[1].replace(b'\\"', b'"').replace(b"%22", b'"').decode("utf-8", "replace")
    if FILENAME.search(disposition):
        return key, content or None
    return key, content.decode("utf-8", "replace") or None


def broken_form(why: str) -> Refusal:
    """The refusal of a form that is none."""
    return Refusal("bad_request", f"The form cannot be read: {why}.", "Send it as a browser or curl -F does.")
