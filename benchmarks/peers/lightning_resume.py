"""Peer: Lightning's checkpoints, and resuming with `ckpt_path` in the middle of an epoch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torchvision_operators  # noqa: F401  (before lightning, which imports torchvision)
import lightning
import side
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from resuming import BATCH, EPOCHS, EVERY, RATE, Network, Stopwatch, compare, die_at, finished, rows, size_of
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

warnings.simplefilter("ignore")


class Task(lightning.LightningModule):
    """AdamW on cross-entropy."""

    def __init__(self, phase: str) -> None:
        super().__init__()
        self.network, self.phase = Network(), phase

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        die_at(self.global_step, self.phase)
        x, y = batch
        return F.cross_entropy(self.network(x), y)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=RATE)


def phase(name: str, work: Path) -> None:
    lightning.seed_everything(0, workers=True, verbose=False)
    task, watch = Task(name), Stopwatch()
    folder = work / ("straight" if name == "straight" else "broken")
    keep = ModelCheckpoint(folder, every_n_train_steps=EVERY, save_top_k=-1, save_last=True)
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=EPOCHS, callbacks=[keep], logger=False, deterministic=True,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.save_checkpoint = watch.timed(trainer.save_checkpoint)
    loader = DataLoader(TensorDataset(*rows()), BATCH, shuffle=True)
    trainer.fit(task, loader, ckpt_path=str(folder / "last.ckpt") if name == "resumed" else None)
    finished(work / name, task.network, watch, size_of(folder / "last.ckpt"))


def main() -> None:
    asked = side.arguments()
    if asked.phase:
        phase(asked.phase, asked.work)
    else:
        compare(__file__, asked.work)


if __name__ == "__main__":
    main()
