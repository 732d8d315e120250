"""The page at `/`: a form made from the schema of a model. It loads nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ..columns import Column
from .http import Response
from .natural import FILES
from .registry import Served

FILE_TYPES = {
    "page.html": "text/html; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
}
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src blob: data:; "
    b"media-src blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
MOST_CHOICES = 200  # labels that are offered in a list


def page_file(path: str) -> Response:
    """The page, its script or its style."""
    name = "page.html" if path == "/" else path[1:]
    headers = [(b"content-security-policy", POLICY), (b"cache-control", b"no-cache"),
               (b"referrer-policy", b"no-referrer"), (b"x-frame-options", b"DENY")]  # fmt: skip
    return Response(_read(name), type=FILE_TYPES[name], headers=headers)


@cache
def _read(name: str) -> bytes:
    return (Path(__file__).parent / name).read_bytes()


def form_of(served: Served, models: list[str]) -> dict[str, Any]:
    """What the page's form is made of."""
    return {
        "model": served.name,
        "version": served.version,
        "models": models,
        "fields": [field_of(c) for c in served.form.schema.given],
        "outputs": [{"name": o.name, "kind": o.kind} for o in served.form.outputs],
        "covers": served.covers,
    }


def field_of(column: Column) -> dict[str, Any]:
    """One field of the form: what kind of input, what may be chosen, an example."""
    schema = column.json_schema()
    found: dict[str, Any] = {"name": column.name, "kind": column.kind, "file": column.kind in FILES}
    found["help"] = str(schema.get("description", ""))
    if column.kind == "category":
        found["choices"] = list(map(str, column.to_dict().get("labels", ())))[:MOST_CHOICES]
    examples = schema.get("examples", [])
    found["example"] = examples[0] if examples and column.kind != "category" else None
    return found
