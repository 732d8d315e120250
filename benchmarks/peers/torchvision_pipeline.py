"""Peer: images a second from torchvision's ImageFolder and a DataLoader with two workers."""

from __future__ import annotations

import time

import torchvision_operators  # noqa: F401  (before torchvision)
import side
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

BATCH, LATER = 128, 2


def one_epoch(loader: DataLoader[object]) -> int:
    count = 0
    for images, _ in loader:
        count += len(images)
    return count


def main() -> None:
    asked = side.arguments()
    change = transforms.Compose(
        [
            transforms.Grayscale(), transforms.RandomCrop(28, padding=2, padding_mode="reflect"),
            transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(0.5, 0.5),
        ]
    )  # fmt: skip
    start = time.perf_counter()
    found = datasets.ImageFolder(asked.data / "train", change)
    loader = DataLoader(found, BATCH, shuffle=True, num_workers=2)
    first = one_epoch(loader) / (time.perf_counter() - start)
    rates = []
    for _ in range(1 if asked.short else LATER):
        start = time.perf_counter()
        rates.append(one_epoch(loader) / (time.perf_counter() - start))
    side.answer(first=first, later=max(rates), images=len(found))


if __name__ == "__main__":
    main()
