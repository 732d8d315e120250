"""The messages of the Open Inference Protocol's gRPC service, built from this table on first use.

The table is `open_inference_grpc.proto` of the public specification: message, then field = number, type.
"repeated" is `*`, a map `{}`, a choice of one `?`. Messages inside others have dotted names.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = "inference.GRPCInferenceService"
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")
TENSOR = {
    "name": (1, "string"), "datatype": (2, "string"), "shape": (3, "*int64"),
    "parameters": (4, "{}InferParameter"), "contents": (5, "InferTensorContents"),
}  # fmt: skip
MODEL = {"name": (1, "string"), "version": (2, "string")}
MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": (1, "bool")},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": (1, "bool")},
    "ModelReadyRequest": MODEL,
    "ModelReadyResponse": {"ready": (1, "bool")},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {**MODEL, "extensions": (3, "*string")},
    "ModelMetadataRequest": MODEL,
    "ModelMetadataResponse": {
        "name": (1, "string"), "versions": (2, "*string"), "platform": (3, "string"),
        "inputs": (4, "*ModelMetadataResponse.TensorMetadata"),
        "outputs": (5, "*ModelMetadataResponse.TensorMetadata"),
    },
    "ModelMetadataResponse.TensorMetadata": {
        "name": (1, "string"), "datatype": (2, "string"), "shape": (3, "*int64"),
    },
    "ModelInferRequest": {
        "model_name": (1, "string"), "model_version": (2, "string"), "id": (3, "string"),
        "parameters": (4, "{}InferParameter"), "inputs": (5, "*ModelInferRequest.InferInputTensor"),
        "outputs": (6, "*ModelInferRequest.InferRequestedOutputTensor"), "raw_input_contents": (7, "*bytes"),
    },
    "ModelInferRequest.InferInputTensor": TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": {
        "name": (1, "string"), "parameters": (2, "{}InferParameter"),
    },
    "ModelInferResponse": {
        "model_name": (1, "string"), "model_version": (2, "string"), "id": (3, "string"),
        "parameters": (4, "{}InferParameter"), "outputs": (5, "*ModelInferResponse.InferOutputTensor"),
        "raw_output_contents": (6, "*bytes"),
    },
    "ModelInferResponse.InferOutputTensor": TENSOR,
    "InferParameter": {
        "bool_param": (1, "?bool"), "int64_param": (2, "?int64"), "string_param": (3, "?string"),
        "double_param": (4, "?double"), "uint64_param": (5, "?uint64"),
    },
    "InferTensorContents": {
        "bool_contents": (1, "*bool"), "int_contents": (2, "*int32"), "int64_contents": (3, "*int64"),
        "uint_contents": (4, "*uint32"), "uint64_contents": (5, "*uint64"), "fp32_contents": (6, "*float"),
        "fp64_contents": (7, "*double"), "bytes_contents": (8, "*bytes"),
    },
}  # fmt: skip
Field = descriptor_pb2.FieldDescriptorProto


@cache
def messages() -> dict[str, Any]:
    """The message classes by name, from a pool of their own."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(described())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in MESSAGES
    }


def described() -> descriptor_pb2.FileDescriptorProto:
    """The table as a file descriptor."""
    file = descriptor_pb2.FileDescriptorProto(
        name="open_inference_grpc.proto", package=PACKAGE, syntax="proto3"
    )
    made: dict[str, descriptor_pb2.DescriptorProto] = {}
    for name, fields in MESSAGES.items():
        outer, _, short = name.rpartition(".")
        made[name] = (made[outer].nested_type if outer else file.message_type).add(name=short)
        for field, (number, kind) in fields.items():
            add_field(made[name], name, field, number, kind)
    return file


def add_field(message: descriptor_pb2.DescriptorProto, owner: str, name: str, number: int, kind: str) -> None:
    """One field; a map is a repeated message of key and value, as the wire has it."""
    field = message.field.add(name=name, number=number, label=Field.LABEL_OPTIONAL)
    if kind.startswith(("*", "{}")):
        field.label = Field.LABEL_REPEATED
    if kind.startswith("?"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if kind.startswith("{}"):
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        add_field(entry, owner, "key", 1, "string")
        add_field(entry, owner, "value", 2, kind[2:])
        field.type, field.type_name = Field.TYPE_MESSAGE, f".{PACKAGE}.{owner}.{entry.name}"
        return
    plain = kind.lstrip("*?")
    if plain[0].islower():
        field.type = getattr(Field, f"TYPE_{plain.upper()}")
    else:
        field.type, field.type_name = Field.TYPE_MESSAGE, f".{PACKAGE}.{plain}"
