"""Peer: Lightning with torchvision's ImageFolder and a DataLoader trains a small network to a target."""

from __future__ import annotations

import warnings
from typing import Any

import torchvision_operators  # noqa: F401  (before lightning, which imports torchvision)
import lightning
import side
import torch
import torch.nn.functional as F
from small_cnn import BATCH, EPOCHS, RATE, small_cnn
from torch import Tensor
from torch.utils.data import DataLoader, random_split
from torchvision import datasets, transforms

TARGET = 0.92
warnings.simplefilter("ignore")


class Task(lightning.LightningModule):
    """AdamW and a one-cycle schedule, as Lightning's examples have them."""

    def __init__(self, race: side.Race, test: DataLoader[Any], epochs: int, *, knob: bool) -> None:
        super().__init__()
        self.race, self.test, self.epochs, self.knob = race, test, epochs, knob
        self.model = small_cnn().to(memory_format=torch.channels_last) if knob else small_cnn()

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images.to(memory_format=torch.channels_last) if self.knob else images)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, labels = batch
        return F.cross_entropy(self(images), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        images, labels = batch
        self.log("accuracy", (self(images).argmax(1) == labels).float().mean())

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.race.lap(self.measured)

    def measured(self) -> float:
        """Accuracy over the test rows."""
        right = count = 0
        for images, labels in self.test:
            right += int((self.model(images).argmax(1) == labels).sum())
            count += len(labels)
        return right / count

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=RATE)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def main() -> None:
    asked = side.arguments()
    race = side.Race(TARGET)
    lightning.seed_everything(0, verbose=False)
    change = transforms.Compose(
        [transforms.Grayscale(), transforms.ToTensor(), transforms.Normalize(0.5, 0.5)]
    )
    found = datasets.ImageFolder(asked.data / "train", change)
    train, validation = random_split(found, [0.9, 0.1])
    with race.clock.stopped():
        test = DataLoader(datasets.ImageFolder(asked.data / "test", change), 512)
    epochs = 1 if asked.short else EPOCHS
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=epochs, default_root_dir=asked.work, enable_progress_bar=False,
        enable_model_summary=False, logger=False, precision="bf16-mixed" if asked.knob else None,
    )  # fmt: skip
    trainer.fit(
        Task(race, test, epochs, knob=asked.knob),
        DataLoader(train, BATCH, shuffle=True, num_workers=2), DataLoader(validation, 512, num_workers=2),
    )  # fmt: skip
    race.answer()


if __name__ == "__main__":
    main()
