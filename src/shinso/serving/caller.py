"""The client's way over gRPC: rows to tensors of the Open Inference Protocol, and answers back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import numpy as np
import orjson

from ..client import Asked, Later, Row, ServerError, sendable
from ..errors import DataError
from .messages import SERVICE, messages
from .tensors import Tensor, from_bytes, to_bytes

LATER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
ENDS = ("probabilities", "low", "high", "set")  # of the names of tensors that say how sure an answer is


class Caller:
    """One channel to a server, whose model's columns are asked for once."""

    def __init__(self, asked: Asked) -> None:
        self.asked, self.made = asked, messages()
        address = f"{asked.host}:{asked.port or 8001}"
        limits = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        if asked.secure:
            trusted = None if asked.ca is None else asked.ca.read_bytes()
            credentials = grpc.ssl_channel_credentials(trusted)
            self.channel = grpc.secure_channel(address, credentials, options=limits)
        else:
            self.channel = grpc.insecure_channel(address, options=limits)
        self._known: Any = None

    def predict(self, rows: Sequence[Row], coverage: float | None, seconds: float) -> list[dict[str, Any]]:
        """The answers."""
        tensors = [self._tensor(one, rows) for one in self._about(seconds).inputs]
        strange = {name for row in rows for name in row} - {t.name for t in tensors}
        if strange:
            raise DataError(f"The model reads no field {min(strange)!r}. Leave it out, or correct its name.")
        request = self.made["ModelInferRequest"](
            model_name=self.asked.model or "", model_version=self.asked.version or "",
            inputs=[{"name": t.name, "datatype": t.datatype, "shape": t.shape} for t in tensors],
            raw_input_contents=[to_bytes(t) for t in tensors],
        )  # fmt: skip
        if coverage is not None:
            request.parameters["coverage"].double_param = coverage
        return answers(self._call("ModelInfer", request, seconds))

    def ready(self, seconds: float) -> bool:
        """Whether the server says that it is ready."""
        try:
            return bool(self._call("ServerReady", self.made["ServerReadyRequest"](), seconds).ready)
        except Later:
            return False

    def close(self) -> None:
        """End the connection."""
        self.channel.close()

    def _about(self, seconds: float) -> Any:
        if self._known is None:
            request = self.made["ModelMetadataRequest"](
                name=self.asked.model or "", version=self.asked.version
            )
            self._known = self._call("ModelMetadata", request, seconds)
        return self._known

    def _tensor(self, about: Any, rows: Sequence[Row]) -> Tensor:
        """One column as the tensor that the model takes."""
        try:
            values = [row[about.name] for row in rows]
        except KeyError:
            raise DataError(
                f"The field {about.name!r} is missing. Give None where it is not known."
            ) from None
        if about.datatype == "BYTES":
            return Tensor(about.name, "BYTES", (len(rows),), [as_bytes(value) for value in values])
        try:
            array = np.array(values, np.float64)
        except (TypeError, ValueError):
            raise DataError(f"The field {about.name!r} holds numbers, in rows of equal length.") from None
        return Tensor(about.name, "FP64", array.shape, array)

    def _call(self, method: str, request: Any, seconds: float) -> Any:
        call = self.channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=self.made[f"{method}Request"].SerializeToString,
            response_deserializer=self.made[f"{method}Response"].FromString,
        )
        key = self.asked.key
        metadata = () if key is None else (("authorization", f"Bearer {key}"),)
        try:
            return call(request, timeout=seconds, metadata=metadata)
        except grpc.RpcError as error:
            trailing = {k: v for k, v in error.trailing_metadata() or ()}
            told = ServerError(str(error.details()), code=str(trailing.get("shinso-code", "")))
            if error.code() in LATER:
                raise Later(told, float(trailing.get("retry-after", 0))) from None
            raise told from None


def as_bytes(value: Any) -> bytes:
    """A value of a row as one BYTES element; nothing where it is missing."""
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    plain = sendable(value)
    if plain is None:
        return b""
    return plain.encode() if isinstance(plain, str) else orjson.dumps(plain)


def answers(response: Any) -> list[dict[str, Any]]:
    """The tensors of an answer as an object a row, as `/predict` tells them."""
    tensors: dict[str, Any] = {}
    labels: dict[str, list[str]] = {}
    for one, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        tensors[one.name] = from_bytes(one.name, one.datatype, tuple(one.shape), raw).data
        if "labels" in one.parameters:
            labels[one.name] = orjson.loads(one.parameters["labels"].string_param)
    names = [name for name in tensors if not is_end(name, tensors)]
    count = len(tensors[names[0]])
    return [{name: told(name, row, tensors, labels) for name in names} for row in range(count)]


def is_end(name: str, tensors: Mapping[str, Any]) -> bool:
    """Whether a tensor says how sure another one is."""
    head, _, end = name.rpartition("_")
    return end in ENDS and head in tensors


def told(name: str, row: int, tensors: Mapping[str, Any], labels: Mapping[str, list[str]]) -> dict[str, Any]:
    """One answer about one predicted column."""
    value = tensors[name][row]
    found: dict[str, Any] = {"value": value.decode() if isinstance(value, bytes) else value.item()}
    shares = f"{name}_probabilities"
    if shares in tensors:
        found["probabilities"] = dict(zip(labels[shares], tensors[shares][row].tolist(), strict=True))
    if f"{name}_set" in tensors:
        found["set"] = orjson.loads(tensors[f"{name}_set"][row])
    if f"{name}_low" in tensors:
        found["interval"] = [float(tensors[f"{name}_{end}"][row]) for end in ("low", "high")]
    return found
