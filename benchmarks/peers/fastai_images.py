"""Peer: fastai trains a small network on a folder of images, as its tutorial does, to a target accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torchvision_operators  # noqa: F401  (before fastai, which imports torchvision)
import side
import torch
from fastai.vision.all import (
    Callback, CrossEntropyLossFlat, ImageBlock, ImageDataLoaders, Learner, Normalize, PILImageBW, accuracy,
    get_image_files, DataBlock, CategoryBlock, RandomSplitter, parent_label, IntToFloatTensor,
)  # fmt: skip
from small_cnn import BATCH, EPOCHS, RATE, small_cnn

TARGET = 0.92


class Lap(Callback):
    """Looks at the test rows after each epoch, with the clock stopped."""

    order = 100

    def __init__(self, race: side.Race, test: Any) -> None:
        self.race, self.test = race, test

    def after_epoch(self) -> None:
        model = self.learn.model
        self.race.lap(lambda: measured(model, self.test))
        model.train()


def measured(model: Any, batches: Any) -> float:
    """Accuracy over the test rows."""
    model.eval()
    right = count = 0
    with torch.no_grad():
        for x, y in batches:
            right += int((model(x.float()).argmax(1) == y).sum())
            count += len(y)
    return right / count


def loaders(folder: Path, batch: int) -> ImageDataLoaders:
    """A tenth of the training rows for validation, as ours has it; one channel."""
    block = DataBlock(
        (ImageBlock(PILImageBW), CategoryBlock), get_items=get_image_files, get_y=parent_label,
        splitter=RandomSplitter(0.1, seed=0),
        batch_tfms=[IntToFloatTensor(), Normalize.from_stats([0.5], [0.5])],
    )  # fmt: skip
    return block.dataloaders(folder, bs=batch, num_workers=2)


def main() -> None:
    asked = side.arguments()
    race = side.Race(TARGET)
    data = loaders(asked.data / "train", BATCH)
    with race.clock.stopped():
        test = data.test_dl(get_image_files(asked.data / "test"), with_labels=True, bs=512)
    learner = Learner(
        data, small_cnn(), loss_func=CrossEntropyLossFlat(), metrics=accuracy,
        path=asked.work,
    )  # fmt: skip
    if asked.knob:
        learner = learner.to_channelslast()
    # Not learner.to_bf16(): fastai 2.8 asks for autocast on "cuda" there, which does nothing on a CPU.
    # Without the cache of cast weights, which is emptied only where autocast ends: here, after all epochs.
    precision = torch.autocast("cpu", torch.bfloat16, enabled=asked.knob, cache_enabled=False)
    with learner.no_bar(), learner.no_logging(), precision:
        learner.fit_one_cycle(1 if asked.short else EPOCHS, RATE, cbs=Lap(race, test))
    race.answer()


if __name__ == "__main__":
    main()
