"""The OpenAPI document of what is served: made from the schemas of the models, so that it is true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .explaining import GRADIENTS, HIDING
from .natural import Form, Output
from .refusals import CODES
from .registry import Served

Document = dict[str, Any]
ERROR: Document = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "field", "message", "remedy"],
            "properties": {
                "code": {"type": "string", "enum": sorted(CODES)},
                "field": {"type": ["string", "null"]},
                "message": {"type": "string"},
                "remedy": {"type": "string"},
            },
        }
    },
}
FLAT_ERROR: Document = {
    "type": "object",
    "required": ["error", "code"],
    "properties": {
        "error": {"type": "string"},
        "code": {"type": "string", "enum": sorted(CODES)},
        "field": {"type": ["string", "null"]},
    },
}
EXPLANATION: Document = {
    "type": "object",
    "required": ["method", "column", "unit", "answer", "value", "hidden", "parts"],
    "properties": {
        "method": {"type": "string"},
        "column": {"type": "string"},
        "unit": {"type": "string"},
        "answer": {"type": "string"},
        "value": {"type": "number"},
        "hidden": {"type": "number"},
        "parts": {"type": "array", "items": {"type": "object", "required": ["column", "name", "value"]}},
    },
}
TENSOR_TYPES = ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16",
                "FP32", "FP64", "BYTES"]  # fmt: skip


def document(models: Sequence[Served], version: str, *, keyed: bool) -> Document:
    """OpenAPI 3.1 of the live version of every model."""
    paths: Document = {
        "/v2/health/live": {"get": _get("Whether the server runs.", {"type": "object"})},
        "/v2/health/ready": {"get": _ready()},
        "/v2": {"get": _get("What the server is.", {"type": "object", "required": ["name", "version"]})},
        "/models": {"get": _get("What is served.", {"type": "object", "required": ["models"]})},
        "/labels": {"post": _labels()},
        "/metrics": {"get": _get("Metrics for Prometheus.", {"type": "string"}, "text/plain")},
    }
    for position, served in enumerate(models):
        paths |= _model_paths(served, first=position == 0)
    found: Document = {
        "openapi": "3.1.0",
        "info": {"title": "shinso", "version": version},
        "paths": paths,
    }
    if keyed:
        scheme = {"type": "http", "scheme": "bearer"}
        found |= {"components": {"securitySchemes": {"key": scheme}}, "security": [{"key": []}]}
    return found


def _model_paths(served: Served, *, first: bool) -> Document:
    name = served.name
    predict, infer = _predict(served), _infer(served)
    described = {"type": "object", "required": ["name", "versions", "platform", "inputs", "outputs"]}
    found: Document = {
        f"/models/{name}/predict": {"post": predict},
        f"/v2/models/{name}": {"get": _get("What the model takes and gives.", described)},
        f"/v2/models/{name}/ready": {"get": _get("Whether the model can answer.", {"type": "object"})},
        f"/v2/models/{name}/infer": {"post": infer},
    }
    return {"/predict": {"post": predict}, **found} if first else found


def _get(summary: str, schema: Document, kind: str = "application/json") -> Document:
    return {
        "summary": summary,
        "responses": {"200": _response("Done.", schema, kind), "4XX": _response("Refused.", {})},
    }


def _ready() -> Document:
    found = _get("Whether requests should be sent here.", {"type": "object", "required": ["ready"]})
    found["responses"]["503"] = _response("Not yet, or not any more.", {"type": "object"})
    return found


def _response(description: str, schema: Document, kind: str = "application/json") -> Document:
    return {"description": description, "content": {kind: {"schema": schema}}}


def _refusals(schema: Document) -> Document:
    later = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return {
        "4XX": _response("The request cannot be answered; the error says why.", schema),
        "503": {**_response("Too much to do, or not ready.", schema), "headers": later},
    }


def _predict(served: Served) -> Document:
    row = row_schema(served.form)
    rows = {"type": "object", "required": ["rows"], "additionalProperties": False,
            "properties": {"rows": {"type": "array", "items": row, "minItems": 1}}}  # fmt: skip
    coverage = {"name": "coverage", "in": "query", "required": False,
                "description": "How often the set or interval shall hold the truth.",
                "schema": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}}  # fmt: skip
    deadline = {"name": "X-Deadline-Ms", "in": "header", "required": False,
                "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": 86_400_000}}  # fmt: skip
    explain = {"name": "explain", "in": "query", "required": False,
               "description": "Say what the answers rest on, by this method (1: shap); up to 8 rows.",
               "schema": {"type": "string", "enum": ["0", "1", *HIDING, *GRADIENTS]}}  # fmt: skip
    column = {"name": "explain_column", "in": "query", "required": False,
              "schema": {"type": "string", "enum": [o.name for o in served.form.outputs]}}  # fmt: skip
    return {
        "summary": f"Answer rows with {served.name}.",
        "parameters": [coverage, explain, column, deadline],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"anyOf": [row, rows]}}},
        },
        "responses": {"200": _response("The answers.", answer_schema(served.form)), **_refusals(ERROR)},
    }


def _labels() -> Document:
    row = {"type": "object", "required": ["id"], "minProperties": 2, "properties": {"id": {"type": "string"}}}
    rows = {"type": "object", "required": ["rows"], "additionalProperties": False,
            "properties": {"rows": {"type": "array", "items": row, "minItems": 1}}}  # fmt: skip
    counts = {"labels": {"type": "integer"}, "unknown": {"type": "integer"}}
    told = {"type": "object", "required": list(counts), "properties": counts}
    return {
        "summary": "Tell what was true of rows that were served, by the ids of their answers.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": rows}}},
        "responses": {"200": _response("Stored.", told), **_refusals(ERROR)},
    }


def row_schema(form: Form) -> Document:
    """The JSON Schema of a natural row."""
    properties = {c.name: c.json_schema() for c in form.schema.given}
    return {"type": "object", "required": form.names, "properties": properties, "additionalProperties": False}


def answer_schema(form: Form) -> Document:
    """The JSON Schema of the answer to natural rows."""
    answer = {
        "type": "object",
        "required": [o.name for o in form.outputs],
        "properties": {o.name: _told(o) for o in form.outputs},
    }
    return {
        "type": "object",
        "required": ["id", "model", "version", "answers"],
        "properties": {
            "id": {"type": "string"},
            "model": {"type": "string"},
            "version": {"type": "string"},
            "answers": {"type": "array", "items": answer},
            "explanations": {"type": "array", "items": EXPLANATION},
        },
    }


def _told(output: Output) -> Document:
    properties: Document = {"value": {}}
    if output.labels:
        shares = {"type": "number", "minimum": 0, "maximum": 1}
        properties["probabilities"] = {"type": "object", "additionalProperties": shares}
    if output.kind == "category":
        properties["value"] = {"type": "string"}
        properties["set"] = {"type": "array", "items": {"type": "string"}}
    if output.kind == "number":
        properties["value"] = {"type": "number"}
        properties["interval"] = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    return {"type": "object", "required": ["value"], "properties": properties}


def _infer(served: Served) -> Document:
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"type": "string", "enum": served.form.names},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
            "datatype": {"type": "string", "enum": TENSOR_TYPES},
            "data": {"type": "array"},
        },
    }
    properties = {"id": {"type": "string"}, "inputs": {"type": "array", "items": tensor}}
    request = {"type": "object", "required": ["inputs"], "properties": properties}
    answer = {"type": "object", "required": ["model_name", "outputs"]}
    return {
        "summary": f"Answer tensors with {served.name} (Open Inference Protocol v2).",
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {"200": _response("The answers.", answer), **_refusals(FLAT_ERROR)},
    }
