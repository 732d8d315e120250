"""Peer: training FLOP/s of Lightning's Trainer, on four modules. No logger, checkpoint or bar is on."""

from __future__ import annotations

import time
import warnings
from typing import Any

import torchvision_operators  # noqa: F401  (before lightning, which imports torchvision)
import lightning
import side
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from workloads import WARM, WORKLOADS, Workload

warnings.simplefilter("ignore")


class Task(lightning.LightningModule):
    """A module with Lightning's usual step."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module, self.times = module, []

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        self.times.append(time.perf_counter())
        x, y = batch
        return F.cross_entropy(self.module(x), y)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def rate(workload: Workload, steps: int, *, knob: bool) -> float:
    """FLOP/s over the steps after the first few."""
    lightning.seed_everything(0, verbose=False)
    module = workload.make()
    if knob and len(workload.shape) == 4:
        module = module.to(memory_format=torch.channels_last)
    batches = workload.batches()
    task = Task(module)
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, precision="bf16-mixed" if knob else None,
    )  # fmt: skip
    ready = [batches[i % len(batches)] for i in range(WARM + steps)]
    trainer.fit(task, DataLoader(ready, batch_size=None))
    return workload.operations() / side.spans(task.times, WARM)


def main() -> None:
    asked = side.arguments()
    share = 6 if asked.short else 1
    side.answer(
        **{name: rate(work, max(3, work.steps // share), knob=asked.knob) for name, work in WORKLOADS.items()}
    )


if __name__ == "__main__":
    main()
