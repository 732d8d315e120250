"""Our side: useful tokens a second of an LSTM in `loop.fit`, rows bucketed by length and padded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import side
import torch
import torch.nn.functional as F
from ragged_task import BATCH, CLASSES, STATE, STEPS, VOCABULARY, WARM, WIDTH, sequences
from torch import Tensor, nn

from shinso.config import TrainConfig
from shinso.data.loader import BUCKET_BATCHES
from shinso.heads import Loss
from shinso.loop import fit
from shinso.plan import applied, make_plan

try:
    from shinso.models.recurrent import Recurrent
except ImportError:  # an older shinso: the fused LSTM over padded rows, which is what `Recurrent` calls
    Recurrent = None


class Reader(nn.Module):
    """Embedding, one LSTM, its last real state, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH, padding_idx=0)
        if Recurrent is None:
            self.read = nn.LSTM(WIDTH, STATE, batch_first=True)
        else:
            self.read = Recurrent("lstm", WIDTH, STATE)
        self.head = nn.Linear(STATE, CLASSES)

    def forward(self, ids_BN: Tensor, lengths_B: Tensor) -> Tensor:
        embedded_BND = self.embed(ids_BN)
        states_BNH = self.read(embedded_BND)[0] if Recurrent is None else self.read(embedded_BND, lengths_B)
        last_B11 = (lengths_B - 1)[:, None, None].expand(-1, 1, STATE)
        return self.head(states_BNH.gather(1, last_B11).squeeze(1))


class Bucketed:
    """Rows of like length in one batch, as `shinso.data.loader.Loader` puts them; notes the times."""

    def __init__(self, steps: int) -> None:
        self.ids, self.labels = sequences()
        self.steps, self.asked, self.tokens = steps, [], []

    def __len__(self) -> int:
        return self.steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Any, dict[str, Any]]]:
        for rows in self.order(epoch)[start : self.steps]:
            self.asked.append(time.perf_counter())
            lengths = np.array([len(self.ids[i]) for i in rows])
            self.tokens.append(int(lengths.sum()))
            padded = np.zeros((len(rows), lengths.max()), np.int64)
            for place, row in enumerate(rows):
                padded[place, : lengths[place]] = self.ids[row]
            yield rows, {"ids": padded, "lengths": lengths, "y": self.labels[rows]}

    def order(self, epoch: int) -> list[Any]:
        """The loader's order: shuffled, sorted by length within chunks, batches shuffled."""
        random = np.random.default_rng(epoch)
        rows = random.permutation(len(self.ids))
        lengths, chunk = np.array([len(self.ids[i]) for i in rows]), BATCH * BUCKET_BATCHES
        placed = [
            at + np.argsort(lengths[at : at + chunk], kind="stable") for at in range(0, len(rows), chunk)
        ]
        batches = np.array_split(rows[np.concatenate(placed)], len(rows) // BATCH)
        return [batches[i] for i in random.permutation(len(batches))]


def main() -> None:
    asked = side.arguments()
    torch.manual_seed(0)
    module = Reader()
    config = TrainConfig(
        optimizer="adamw", learning_rate=1e-3, weight_decay=0.01, batch_size=BATCH, epochs=1,
        schedule="constant", warmup=0.0, clip=0.0, ema=0.0, patience=0, keep="last",
    )  # fmt: skip
    plan = make_plan(config)

    def objective(batch: dict[str, Tensor], rows: int) -> dict[str, Loss]:
        loss = F.cross_entropy(module(batch["ids"], batch["lengths"]), batch["y"], reduction="sum")
        return {"y": Loss(loss, torch.tensor(float(rows)))}

    batches = Bucketed(WARM + (STEPS // 3 if asked.short else STEPS) + 1)
    with applied(plan):
        fit(module, batches, objective, config, plan)
    seconds = batches.asked[-1] - batches.asked[WARM]
    side.answer(tokens_per_second=sum(batches.tokens[WARM:-1]) / seconds)


if __name__ == "__main__":
    main()
