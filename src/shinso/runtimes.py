"""What runs the graphs of exports: onnxruntime, or OpenVINO of the extra `edge`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import MissingExtraError, RunError
from .graphfile import refuse_foreign

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

NOT_HERE = "This export is run by OpenVINO, which is not installed"


def openvino_runtime(lack: str, extras: str) -> Any:
    """The module, kept from reporting its use: else its import alone sends an event to its makers."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # then a stub takes its place
    try:
        import openvino
    except ImportError:
        raise MissingExtraError(f"{lack}: pip install 'shinso[{extras}]'") from None
    return openvino


def has_bf16() -> bool:
    """Whether OpenVINO finds instructions for bf16 in this processor; without them it would emulate them."""
    openvino = openvino_runtime(NOT_HERE, "edge")
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def compiled(graph: Path, threads: int | None = None, precision: str = "fp32") -> Any:
    """A graph of OpenVINO that is ready to run on the CPU, in `precision` whatever is the fastest there."""
    openvino = openvino_runtime(NOT_HERE, "edge")
    kind = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16}[precision]
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": kind, "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        made = openvino.Core().compile_model(graph, "CPU", settings)
        taken = made.get_property("INFERENCE_PRECISION_HINT")
    except RuntimeError as error:
        raise RunError(f"OpenVINO cannot run {graph}: {str(error)[:300]}. Export the run again.") from error
    if taken != kind:
        raise RunError(
            f"OpenVINO computes {graph} in {taken} here, not in {kind}. Export the run again here."
        )
    return made


def session(graph: Path, threads: int | None = None) -> InferenceSession:
    """A graph that is ready to run on the CPU."""
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError(
            "An export is run by onnxruntime, which is not installed: pip install 'shinso[export]'"
        ) from None
    refuse_foreign(graph)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no class of its own for a graph that it cannot take
        raise RunError(
            f"onnxruntime cannot run {graph}: {str(error)[:300]}. Export the run again."
        ) from error
