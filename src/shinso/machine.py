"""What this machine can do, and the plan that follows from it: precision, threads, roofs."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from torch.utils.flop_counter import FlopCounterMode

from .config import TrainConfig
from .files import cache_folder, read_json, write_json

ROOF_SIZE = 1024


@dataclass(frozen=True)
class Plan:
    """How a run computes on this machine."""

    device: str
    precision: str  # "fp32" or "bf16"; master weights, losses and normalisation are fp32 in both
    threads: int


def cores() -> int:
    """Cores that this process may use (cgroup-aware affinity, not what the machine has)."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def has_fast_bf16() -> bool:
    """True where the processor (or the GPU) has bf16 instructions, so that bf16 is worth it."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in (
        "SSE41",
        "AVX",
        "AVX2",
        "AVX2_VNNI",
        "AVX512_CORE",
    ):
        return False
    return bool(torch.cpu._is_avx512_bf16_supported())


def make_plan(config: TrainConfig) -> Plan:
    """The plan for a run: what the user set, else what the machine is good at."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if has_fast_bf16() else "fp32"
    return Plan(device, precision, config.threads or cores())


def roofs() -> dict[str, float]:
    """FLOP/s of a matrix product at each precision, measured once a machine and kept in the cache."""
    path = cache_folder() / f"machine-{torch.__version__}-{platform.node()}-{torch.get_num_threads()}.json"
    if path.exists():
        stored: dict[str, float] = read_json(path)
        return stored
    found = {"fp32": _matmul_rate(torch.float32)}
    if has_fast_bf16():
        found["bf16"] = _matmul_rate(torch.bfloat16)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
    return found


def _matmul_rate(kind: torch.dtype) -> float:
    left = torch.ones(ROOF_SIZE, ROOF_SIZE, dtype=kind)
    _ = left @ left
    times = []
    for _ in range(5):
        start = time.perf_counter()
        _ = left @ left
        times.append(time.perf_counter() - start)
    return 2 * ROOF_SIZE**3 / min(times)


def peak_memory() -> int:
    """Most memory that this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def flops_of(step: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products and convolutions in one call of `step`."""
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def environment(plan: Plan) -> dict[str, Any]:
    """What a run was made with: versions, machine, plan."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": platform.platform(),
        "processor": _processor(),
        "cores": cores(),
        "plan": asdict(plan),
    }


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
