"""What this machine can do: measured once, in well under a second, and kept in the cache.

Rates are FLOP/s of the arithmetic alone: the roofs that a run's own rate is held against. Errors are relative
to float64, so that a fast way of multiplying is chosen for what it was measured to do, not for its name.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import ShinsoError
from .files import cache_folder, read_json, write_json
from .memory import give_back

FORMAT = 1
SMALL, SIZE, LARGE = 256, 1024, 2048  # of the matrices
WORTH = 0.1  # of the rate of fp32: where small products in bf16 are slower than this, large ones are left out
IMAGES, CHANNELS, CELLS = 16, 64, 32  # of the convolution
COPIED = 24 << 20  # bytes: more would stay in the memory of every first training
CONVOLUTION_KINDS = (
    ("fp32", torch.float32, torch.contiguous_format),
    ("fp32_channels_last", torch.float32, torch.channels_last),
    ("bf16", torch.bfloat16, torch.channels_last),
)


@dataclass(frozen=True)
class Machine:
    """One machine as measured: `matmul` by fp32, onednn, bf16; `convolution` by precision and layout."""

    processor: str
    accelerator: str  # name of the GPU, or ''
    cores: int
    threads: int  # that it was measured with
    memory: int  # bytes
    matmul: dict[str, float]  # FLOP/s
    errors: dict[str, float]  # relative to float64
    convolution: dict[str, float]  # FLOP/s
    bandwidth: float  # bytes a second, read and written

    @property
    def exact_onednn(self) -> bool:
        """True where products in fp32 through oneDNN are faster and no less exact (AMD's are, by 2)."""
        return (
            self.matmul.get("onednn", 0.0) > 1.15 * self.matmul["fp32"]
            and self.errors.get("onednn", 1.0) < 4 * self.errors["fp32"]
        )

    @property
    def fast_bf16(self) -> bool:
        """True where bf16 is worth its lesser precision."""
        return self.matmul.get("bf16", 0.0) > 1.3 * self.matmul["fp32"]

    def roof(self, precision: str, *, onednn: bool = False) -> float:
        """FLOP/s that a training in this precision is held against."""
        kind = "onednn" if onednn and precision == "fp32" else precision
        return self.matmul.get(kind, self.matmul["fp32"])


def cores() -> int:
    """Cores that this process may really use: affinity and the quota of its control group."""
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(count, _quota(Path("/sys/fs/cgroup"))))


def _quota(group: Path) -> int:
    """Whole cores that the control group allows (a part of one counts as one); very many without a limit."""
    for name in ("cpu.max", "cpu/cpu.cfs_quota_us"):
        path = group / name
        if path.exists():
            words = path.read_text("ascii").split()
            period = words[1] if len(words) > 1 else (group / "cpu/cpu.cfs_period_us").read_text("ascii")
            if words[0] not in ("max", "-1"):
                return max(1, -(-int(words[0]) // int(period)))
    return 1 << 16


def this_machine(threads: int | None = None) -> Machine:
    """What was measured of this machine with so many threads, now or in an earlier process."""
    count = threads or cores()
    known = (
        FORMAT, torch.__version__, platform.node(), _processor(), _accelerator(), count, cores(),
        os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
    )  # fmt: skip
    key = hashlib.blake2b(repr(known).encode(), digest_size=8).hexdigest()
    path = cache_folder() / f"machine-{key}.json"
    stored = _stored(path)
    if stored is not None:
        return stored
    found = probe(count)
    give_back()
    with suppress(OSError, ShinsoError):  # a cache that may not be written: measured again next time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, asdict(found))
    return found


def _stored(path: Path) -> Machine | None:
    """What an earlier process measured; None where the file is not there, damaged, or of another form."""
    try:
        found = Machine(**read_json(path))
    except (OSError, TypeError, AttributeError, ShinsoError):
        return None
    return found if found.matmul.get("fp32", 0.0) > 0 and "fp32" in found.errors else None


def probe(threads: int) -> Machine:
    """Measure this machine."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with using(threads):
        matmul, errors = _products(device)
        convolution = _convolutions(device, bf16="bf16" in matmul)
        give_back()  # what was measured with is no part of the training
        return Machine(
            processor=_processor(), accelerator=_accelerator(), cores=cores(), threads=threads,
            memory=total_memory(), matmul=matmul, errors=errors,
            convolution=convolution, bandwidth=_bandwidth(device),
        )  # fmt: skip


@contextmanager
def using(threads: int, *, onednn: bool = False) -> Iterator[None]:
    """Inside the block torch computes on so many threads, with fp32 products through oneDNN or not."""
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    if threads != before[0]:
        torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("medium" if onednn else "highest")
    try:
        yield
    finally:
        if threads != before[0]:
            torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])


def _products(device: str) -> tuple[dict[str, float], dict[str, float]]:
    """(FLOP/s, relative errors) of matrix products. A kind without instructions of its own is left out."""
    rates: dict[str, float] = {}
    errors: dict[str, float] = {}
    for name, kind in (("fp32", torch.float32), ("onednn", torch.float32), ("bf16", torch.bfloat16)):
        if name == "onednn" and device != "cpu":
            continue
        with using(torch.get_num_threads(), onednn=name == "onednn"):
            slow = WORTH * rates.get("fp32", 0.0)
            if name == "bf16" and _rate(SMALL, kind, device) < slow:
                continue  # without instructions of its own bf16 is a hundred times slower
            errors[name] = _error(_square(SMALL, kind, device))
            sizes = (SIZE, LARGE) if name == "bf16" else (SIZE,)
            rates[name] = max(_rate(size, kind, device) for size in sizes)
    return rates, errors


def _rate(size: int, kind: torch.dtype, device: str) -> float:
    matrix = _square(size, kind, device)
    return 2 * size**3 / _fastest(lambda: matrix @ matrix, device)


def _square(size: int, kind: torch.dtype, device: str) -> Tensor:
    return torch.randn(size, size, generator=torch.Generator().manual_seed(size), dtype=kind).to(device)


def _error(matrix: Tensor) -> float:
    """Of the product with itself, relative to float64."""
    exact = matrix.double() @ matrix.double()
    return float(((matrix @ matrix).double() - exact).norm() / exact.norm())


def _convolutions(device: str, *, bf16: bool) -> dict[str, float]:
    rates = {}
    flops = 2 * IMAGES * CHANNELS**2 * 9 * CELLS**2
    for name, kind, layout in CONVOLUTION_KINDS:
        if kind is torch.bfloat16 and not bf16:
            continue
        images = torch.ones(IMAGES, CHANNELS, CELLS, CELLS, dtype=kind, device=device)
        filters = torch.ones(CHANNELS, CHANNELS, 3, 3, dtype=kind, device=device)
        images, filters = images.to(memory_format=layout), filters.to(memory_format=layout)
        rates[name] = flops / _fastest(lambda: F.conv2d(images, filters, padding=1), device)  # noqa: B023
    return rates


def _bandwidth(device: str) -> float:
    # Mapped where it can be, so that it goes back to the system and is no part of a training's memory.
    source, target = (
        torch.frombuffer(mmap.mmap(-1, COPIED), dtype=torch.uint8)
        if device == "cpu"
        else torch.zeros(COPIED, dtype=torch.uint8, device=device)
        for _ in range(2)
    )
    source.fill_(1)
    return 2 * COPIED / _fastest(lambda: target.copy_(source), device, times=3)


def _fastest(step: Callable[[], Any], device: str, times: int = 4) -> float:
    """Seconds of the fastest of some calls, after one that is not counted."""
    found = []
    for _ in range(times + 1):
        start = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return max(min(found[1:]), 1e-9)


def total_memory() -> int:
    """Bytes of memory that this process may use."""
    if sys.platform == "win32":
        return 0
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text("ascii").strip() if limit.exists() else "max"
    return have if text == "max" else min(have, int(text))


def peak_memory() -> int:
    """Most memory that this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def versions() -> dict[str, Any]:
    """What a run was made with: versions and machine."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": platform.platform(),
        "processor": _processor(),
        "accelerator": _accelerator(),
        "cores": cores(),
    }


def _accelerator() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
