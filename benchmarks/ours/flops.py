"""Our side: training FLOP/s of `loop.fit` with its plan, on four modules."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import side
import torch
import torch.nn.functional as F
from workloads import WARM, WORKLOADS, Workload

from shinso.config import TrainConfig
from shinso.heads import Loss
from shinso.loop import fit
from shinso.plan import applied, make_plan


class Prepared:
    """Batches that were made beforehand; notes when each is asked for."""

    def __init__(self, workload: Workload, steps: int) -> None:
        self.batches = [{"x": x.numpy(), "y": y.numpy()} for x, y in workload.batches()]
        self.steps, self.asked = steps, []

    def __len__(self) -> int:
        return self.steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Any, dict[str, Any]]]:
        for i in range(start, self.steps):
            self.asked.append(time.perf_counter())
            batch = self.batches[i % len(self.batches)]
            yield np.arange(len(batch["y"])), batch


def rate(workload: Workload, steps: int) -> float:
    """FLOP/s over the steps after the first few."""
    torch.manual_seed(0)
    module = workload.make()
    if len(workload.shape) == 4:
        module = module.to(memory_format=torch.channels_last)
    config = TrainConfig(
        optimizer="adamw", learning_rate=1e-3, weight_decay=0.01, batch_size=workload.shape[0], epochs=1,
        schedule="constant", warmup=0.0, clip=0.0, ema=0.0, patience=0, keep="last",
    )  # fmt: skip
    plan = make_plan(config)

    def objective(batch: dict[str, torch.Tensor], rows: int) -> dict[str, Loss]:
        loss = F.cross_entropy(module(batch["x"]), batch["y"], reduction="sum")
        return {"y": Loss(loss, torch.tensor(float(rows)))}

    batches = Prepared(workload, WARM + steps)
    with applied(plan):
        fit(module, batches, objective, config, plan)
    return workload.operations() / side.spans(batches.asked, WARM)


def main() -> None:
    asked = side.arguments()
    share = 6 if asked.short else 1
    side.answer(
        **{name: rate(workload, max(3, workload.steps // share)) for name, workload in WORKLOADS.items()}
    )


if __name__ == "__main__":
    main()
