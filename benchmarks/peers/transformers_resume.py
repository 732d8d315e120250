"""Peer: the checkpoints of transformers' Trainer, and `resume_from_checkpoint` in the middle of an epoch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torchvision_operators  # noqa: F401  (before transformers, which imports torchvision)
import side
import torch.nn.functional as F
from resuming import BATCH, EPOCHS, EVERY, RATE, Network, Stopwatch, compare, die_at, finished, rows, size_of
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

warnings.simplefilter("ignore")


class Task(nn.Module):
    """What Trainer expects of a module: a loss first."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Network()

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.network(x)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


class Rows(Dataset[dict[str, Tensor]]):
    """Inputs and label of each row."""

    def __init__(self) -> None:
        self.x, self.y = rows()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self.x[index], "labels": self.y[index]}


class Dying(TrainerCallback):
    """Leaves the process at its step."""

    def __init__(self, phase: str) -> None:
        self.phase = phase

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        die_at(state.global_step, self.phase)


def phase(name: str, work: Path) -> None:
    set_seed(0)
    folder, watch, task = work / ("straight" if name == "straight" else "broken"), Stopwatch(), Task()
    settings = TrainingArguments(
        output_dir=str(folder), num_train_epochs=EPOCHS, per_device_train_batch_size=BATCH,
        learning_rate=RATE, save_steps=EVERY, report_to="none", disable_tqdm=True, use_cpu=True, seed=0,
        dataloader_pin_memory=False, save_strategy="steps",
    )  # fmt: skip
    trainer = Trainer(model=task, args=settings, train_dataset=Rows(), callbacks=[Dying(name)])
    trainer._save_checkpoint = watch.timed(trainer._save_checkpoint)
    trainer.train(resume_from_checkpoint=name == "resumed")
    newest = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    finished(work / name, task, watch, size_of(newest))


def main() -> None:
    asked = side.arguments()
    if asked.phase:
        phase(asked.phase, asked.work)
    else:
        compare(__file__, asked.work)


if __name__ == "__main__":
    main()
