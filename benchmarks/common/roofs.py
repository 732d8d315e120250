"""What the machine can do, measured before anything else: FLOP/s of products and convolutions; versions."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy
import side
import torch
import torch.nn.functional as F

SIZE = 1536
IMAGES, CHANNELS, PIXELS = 64, 64, 32
TIMES = 8


def fastest(step: Callable[[], object]) -> float:
    """Seconds of the fastest of a few calls."""
    step()
    found = []
    for _ in range(TIMES):
        start = time.perf_counter()
        step()
        found.append(time.perf_counter() - start)
    return min(found)


def matmul(kind: torch.dtype, *, onednn: bool = False) -> float:
    left = torch.randn(SIZE, SIZE).to(kind)
    if onednn:
        linear = torch.ops.mkldnn._linear_pointwise
        return 2 * SIZE**3 / fastest(lambda: linear(left, left, None, "none", [], ""))
    return 2 * SIZE**3 / fastest(lambda: left @ left)


def convolution(kind: torch.dtype, layout: torch.memory_format) -> float:
    images = torch.randn(IMAGES, CHANNELS, PIXELS, PIXELS).to(kind).contiguous(memory_format=layout)
    filters = torch.randn(CHANNELS, CHANNELS, 3, 3).to(kind).contiguous(memory_format=layout)
    operations = 2 * IMAGES * CHANNELS * CHANNELS * 9 * PIXELS * PIXELS
    return operations / fastest(lambda: F.conv2d(images, filters, padding=1))


def processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def extensions() -> str:
    """The instructions for products that this processor has."""
    found = torch.cpu.get_capabilities() if "get_capabilities" in dir(torch.cpu) else {}
    wanted = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "amx_tile")
    return " ".join(name for name in wanted if found.get(name)) or torch.backends.cpu.get_cpu_capability()


def main() -> None:
    side.arguments()
    torch.set_num_threads(side.cores())
    torch.set_grad_enabled(False)
    rates = {"fp32_matmul": matmul(torch.float32)}
    if "_linear_pointwise" in dir(torch.ops.mkldnn):
        rates["fp32_matmul_onednn"] = matmul(torch.float32, onednn=True)
    rates["bf16_matmul"] = matmul(torch.bfloat16)
    rates["fp32_convolution"] = convolution(torch.float32, torch.contiguous_format)
    rates["bf16_convolution"] = convolution(torch.bfloat16, torch.channels_last)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    side.answer(
        roofs=rates,
        machine={
            "processor": f"{processor()} ({extensions()})", "cores": side.cores(), "accelerator": gpu,
            "system": f"{platform.system()} {platform.machine()}",
        },
        versions={
            "python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__,
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
