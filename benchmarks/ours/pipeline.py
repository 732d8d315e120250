"""Our side: images a second from a folder, augmented and normalised, the first time and later."""

from __future__ import annotations

import time

import side
import torch

from shinso.augment import augment
from shinso.config import RunConfig
from shinso.console import Console
from shinso.data.table import Table
from shinso.loop import to_tensors
from shinso.preparing import Prepared, Question, prepare

BATCH, LATER = 128, 5


def one_epoch(prepared: Prepared, epoch: int) -> int:
    """Every batch of an epoch, as the first layer takes it; how many images they were."""
    loader = prepared.loader(prepared.split.train, BATCH)
    image, change = prepared.schema.given[0].name, augment("flip+shift")
    generator = torch.Generator().manual_seed(epoch)
    count = 0
    for rows, arrays in loader.epoch(epoch):
        images = change(to_tensors(arrays, "cpu")[image], generator)
        _ = ((images.float() / 255 - 0.5) / 0.5).permute(0, 3, 1, 2)
        count += len(rows)
    return count


def main() -> None:
    asked = side.arguments()
    torch.set_num_threads(side.cores())
    config = RunConfig.build({"data": {"split": "98:1:1"}})
    start = time.perf_counter()
    table = Table.read(str(asked.data / "train"), config.data)
    prepared = prepare(table, Question(("label",)), config, Console(quiet=True))
    one_epoch(prepared, 0)
    first = len(table) / (time.perf_counter() - start)
    rates = []
    for epoch in range(1, 1 + LATER):
        start = time.perf_counter()
        rates.append(one_epoch(prepared, epoch) / (time.perf_counter() - start))
    side.answer(first=first, later=sorted(rates)[len(rates) // 2], images=len(table))


if __name__ == "__main__":
    main()
