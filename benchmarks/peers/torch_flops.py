"""Peer: training FLOP/s of the loop of PyTorch's tutorials, on four modules."""

from __future__ import annotations

import time

import side
import torch
import torch.nn.functional as F
from workloads import WARM, WORKLOADS, Workload


def rate(workload: Workload, steps: int, *, knob: bool) -> float:
    """FLOP/s over the steps after the first few."""
    torch.manual_seed(0)
    module = workload.make()
    if knob and len(workload.shape) == 4:
        module = module.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(module.parameters(), 1e-3)
    batches, times = workload.batches(), []
    for i in range(WARM + steps):
        times.append(time.perf_counter())
        x, y = batches[i % len(batches)]
        with torch.autocast("cpu", torch.bfloat16, enabled=knob):
            loss = F.cross_entropy(module(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return workload.operations() / side.spans(times, WARM)


def main() -> None:
    asked = side.arguments()
    share = 6 if asked.short else 1
    side.answer(
        **{name: rate(work, max(3, work.steps // share), knob=asked.knob) for name, work in WORKLOADS.items()}
    )


if __name__ == "__main__":
    main()
