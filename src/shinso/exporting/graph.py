"""A network as one graph: from encoded columns to what `Column.decode` takes. B = rows, C = classes."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..calibration import SMALLEST, Calibration
from ..errors import MissingExtraError, RunError, SettingError, ShinsoError
from ..exported import EMBEDDING
from ..models.bags import Bags
from ..models.ngrams import NgramNet
from ..models.spelling import Spelling
from ..models.spiking import SpikingSeries
from ..network import Network, module_name
from ..schema import Schema
from .embedding import Embedding
from .parity import VECTORS

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

OPSET = 20
ONE_PASS = frozenset({"category", "labels", "number", "datetime", "series", "mask"})  # kinds that can leave
LEAST_LENGTH = 3  # steps of ragged examples: one would be taken for the only length there is
LAST = "last_output"  # what the embedding is called until all else has its name
LARGEST = 2_000_000_000  # bytes of weights that one file of ONNX can hold
NOISY = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "torch._export", "torch.fx")
Arrays = Mapping[str, NDArray[Any]]


class Deployed(nn.Module):
    """The given columns of a batch, one after another, to a tuple of what is said of each predicted one.

    A category comes as probabilities (B, C) at the temperature that validation rows taught. With an
    `embedding` the tuple ends with one vector a row.
    """

    def __init__(
        self, network: Network, schema: Schema, calibration: Mapping[str, Calibration],
        embedding: Embedding | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.network, self.embedding = network, embedding
        self.given = [c.name for c in schema.given]
        self.temperatures = {
            c.name: calibration[c.name].temperature
            for c in schema.predict
            if c.kind == "category" and c.name in calibration
        }

    def forward(self, *columns: Tensor) -> tuple[Tensor, ...]:
        batch = dict(zip(self.given, columns, strict=True))
        features = self.network.features(batch, columns[0].shape[0])
        said = [(name, head.predict(features)) for name, head in self.network.named_heads()]
        found = tuple(self._calibrated(name, value.float()) for name, value in said)
        return found if self.embedding is None else (*found, self.embedding(features))

    def _calibrated(self, name: str, value: Tensor) -> Tensor:
        """As `Calibration.apply` has it."""
        temperature = self.temperatures.get(name, 1.0)
        if temperature == 1.0:
            return value
        return (value.clamp(min=SMALLEST).log() / temperature).softmax(-1)

    def on(self, inputs: Arrays, module: nn.Module | None = None) -> dict[str, NDArray[Any]]:
        """What torch gives, by predicted column (and by `VECTORS`); `module` in the place of this one."""
        with torch.inference_mode():
            found = (module or self)(
                *(torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in self.given)
            )
        names = [*self.network.outputs, *([] if self.embedding is None else [VECTORS])]
        return {name: v.numpy() for name, v in zip(names, found, strict=True)}


@dataclass(frozen=True)
class Signature:
    """Names, types and shapes of what enters and leaves a graph, as `export.json` lists them."""

    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    width: int | None = None  # of the embedding, where there is one

    @classmethod
    def of(cls, schema: Schema, inputs: Arrays, outputs: Arrays) -> Signature:
        """From one batch that was computed; ragged inputs have a length of their own."""
        return cls(
            [
                _entry("given", i, c.name, inputs[c.name], f"length_{i}" if c.ragged else None)
                for i, c in enumerate(schema.given)
            ],
            [_entry("predict", i, c.name, outputs[c.name], None) for i, c in enumerate(schema.predict)],
            outputs[VECTORS].shape[1] if VECTORS in outputs else None,
        )

    @property
    def leaving(self) -> list[tuple[str, list[Any]]]:
        """Names, while it is made, and shapes of all that leaves the graph."""
        last = [] if self.width is None else [(LAST, ["batch", self.width])]
        return [*((one["name"], one["shape"]) for one in self.outputs), *last]


def _entry(side: str, number: int, column: str, array: NDArray[Any], length: str | None) -> dict[str, Any]:
    shape: list[Any] = ["batch", *array.shape[1:]]
    if length is not None:
        shape[1] = length
    name = f"{side}_{module_name(number, column)}"
    return {"column": column, "name": name, "dtype": str(array.dtype), "shape": shape}


def settled(network: Network, *, narrow: bool = False) -> Network:
    """A copy in which what depends on weights alone is computed once, not for every batch.

    `narrow` where the runtime has integers of 32 bits whatever a graph says.
    """
    copied = copy.deepcopy(network)
    for module in copied.modules():
        if isinstance(module, NgramNet | Spelling):
            module.settle()
        if isinstance(module, NgramNet | Bags):
            module.narrow = narrow
    return copied


def must_be_exportable(schema: Schema, network: Network) -> None:
    """Raise `SettingError` for a network that cannot be one graph of at most 2 GB."""
    for column in schema.predict:
        if column.kind not in ONE_PASS:
            raise SettingError(
                f"Column {column.name!r} ({column.kind}) is predicted step by step, which a graph cannot "
                f"hold yet. What can be exported: {', '.join(sorted(ONE_PASS))}. Use the run itself, with "
                f"`shinso predict`."
            )
    if any(isinstance(module, SpikingSeries) for module in network.modules()):
        raise SettingError(
            "The spiking network for series takes its steps one by one in Python, which a graph would hold "
            "for one length only. Use the run itself, or train with --model gru."
        )
    if not schema.given:
        raise SettingError("A network that is given nothing has no inputs to export. Use the run itself.")
    size = sum(p.numel() * p.element_size() for p in network.parameters())
    if size > LARGEST:
        raise SettingError(f"The weights take {size / 1e9:.1f} GB; one file of ONNX holds 2 GB at most.")


def long_enough(schema: Schema, inputs: Arrays) -> dict[str, NDArray[Any]]:
    """Example inputs of several rows and, where ragged, of several steps."""
    found = {}
    for c in schema.given:
        array = inputs[c.name]
        if len(array) < 2:
            array = np.concatenate([array] * 2)
        if c.ragged and array.shape[1] < LEAST_LENGTH:
            array = np.concatenate([array] * LEAST_LENGTH, 1)[:, :LEAST_LENGTH]
        found[c.name] = array
    return found


def to_torch(module: Deployed, schema: Schema, inputs: Arrays, path: Path) -> None:
    """Write the network as a graph of torch, for any number of rows and any length."""
    arguments, shapes = _example(schema, inputs)
    with _quietly(), _captured("torch"):
        program = torch.export.export(module, arguments, dynamic_shapes=(shapes,), strict=False)
        for graph in program.graph_module.modules():
            if isinstance(graph, torch.fx.GraphModule):
                for node in graph.graph.nodes:
                    node.meta.pop("stack_trace", None)
        torch.export.save(program, path)


def to_onnx(module: Deployed, schema: Schema, inputs: Arrays, signature: Signature) -> bytes:
    """The network as an ONNX file."""
    onnx = _onnx()
    arguments, shapes = _example(schema, inputs)
    with _quietly(), _captured("onnx"):
        program = torch.onnx.export(
            module, arguments, dynamo=True, dynamic_shapes=(shapes,), opset_version=OPSET, verbose=False,
            input_names=[one["name"] for one in signature.inputs],
            output_names=[name for name, _ in signature.leaving],
        )  # fmt: skip
        assert program is not None
        model = program.model_proto
    clean(model, signature)
    name_last(model)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def clean(model: ModelProto, signature: Signature) -> None:
    """Leave out what tells of the machine that wrote it (paths of source files); name the dynamic axes."""
    model.doc_string = model.graph.doc_string = ""
    del model.metadata_props[:]
    for graph in _graphs(model.graph):
        del graph.metadata_props[:], graph.value_info[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
        for value in (*graph.input, *graph.output, *graph.initializer):
            value.doc_string = ""
            del value.metadata_props[:]
    entering = [one["shape"] for one in signature.inputs]
    pairs = ((model.graph.input, entering), (model.graph.output, [shape for _, shape in signature.leaving]))
    for values, shapes in pairs:
        for value, shape in zip(values, shapes, strict=True):
            for place, side in zip(value.type.tensor_type.shape.dim, shape, strict=True):
                if isinstance(side, str):
                    place.dim_param = side
                else:
                    place.dim_value = side


def name_last(model: ModelProto) -> None:
    """Give the embedding its name, which the exporter gives to the vectors of tokens too, once for each."""
    names = {EMBEDDING: f"{EMBEDDING}_of_tokens", LAST: EMBEDDING}
    for graph in _graphs(model.graph):
        for node in graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        for value in (*graph.input, *graph.output, *graph.initializer):
            value.name = names.get(value.name, value.name)


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _graphs(inner)


def _example(schema: Schema, inputs: Arrays) -> tuple[tuple[Tensor, ...], tuple[dict[int, Any], ...]]:
    free = torch.export.Dim.AUTO  # what is taken for constant after all does not pass the proof
    shapes = tuple({0: free, 1: free} if c.ragged else {0: free} for c in schema.given)
    return tuple(torch.from_numpy(np.ascontiguousarray(inputs[c.name])) for c in schema.given), shapes


def _onnx() -> ModuleType:
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"{error.name} is not installed, which writes exports: pip install 'shinso[export]'"
        ) from None
    return onnx


@contextmanager
def _captured(target: str) -> Iterator[None]:
    """What the exporters raise, as an error that says what to do."""
    try:
        yield
    except ShinsoError:
        raise
    except Exception as error:  # torch raises half a dozen classes here, some of them private
        cause = error.__cause__ or error
        why = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
        raise RunError(
            f"This network cannot be captured for --to {target}, so nothing was written: {why[:300]} "
            f"Try another target: {', '.join(t for t in ('onnx', 'torch', 'openvino') if t != target)}."
        ) from error


@contextmanager
def _quietly() -> Iterator[None]:
    """What the exporter says of itself is not for users: what matters is whether its graph is equal."""
    loggers = [logging.getLogger(name) for name in _all_loggers(NOISY)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _all_loggers(prefixes: Sequence[str]) -> list[str]:
    known = [name for name in logging.root.manager.loggerDict if name.startswith(tuple(prefixes))]
    return [*prefixes, *known]
