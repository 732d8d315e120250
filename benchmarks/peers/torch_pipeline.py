"""Peer: images a second from the Dataset of PyTorch's tutorials and a DataLoader with two workers."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import side
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

BATCH, LATER, MOST = 128, 3, 2


class Folder(Dataset[tuple[Tensor, int]]):
    """One folder a class; an image is read, mirrored and moved when it is asked for."""

    def __init__(self, root: Path) -> None:
        classes = sorted(path for path in root.iterdir() if path.is_dir())
        self.files = [(file, i) for i, folder in enumerate(classes) for file in sorted(folder.iterdir())]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        file, label = self.files[index]
        with Image.open(file) as opened:
            image = np.asarray(opened.convert("L"), np.float32) / 255
        if torch.rand(()) < 0.5:
            image = image[:, ::-1]
        down, right = torch.randint(0, 2 * MOST + 1, (2,)).tolist()
        height, width = image.shape
        image = np.pad(image, MOST, mode="reflect")[down : down + height, right : right + width]
        return torch.from_numpy((image.copy() - 0.5) / 0.5)[None], label


def main() -> None:
    asked = side.arguments()
    start = time.perf_counter()
    found = Folder(asked.data / "train")
    loader = DataLoader(found, BATCH, shuffle=True, num_workers=2)
    rates = []
    for _ in range(1 + LATER):
        count = sum(len(images) for images, _ in loader)
        rates.append(count / (time.perf_counter() - start))
        start = time.perf_counter()
    side.answer(first=rates[0], later=sorted(rates[1:])[LATER // 2], images=len(found))


if __name__ == "__main__":
    main()
