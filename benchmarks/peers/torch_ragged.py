"""Peers: useful tokens a second of nn.LSTM over packed or padded sequences, as in PyTorch's tutorials."""

from __future__ import annotations

import time

import side
import torch
import torch.nn.functional as F
from ragged_task import BATCH, CLASSES, STATE, STEPS, VOCABULARY, WARM, WIDTH, sequences
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader


class Reader(nn.Module):
    """Embedding, one LSTM, its last real state, a linear layer."""

    def __init__(self, *, packed: bool) -> None:
        super().__init__()
        self.packed = packed
        self.embed = nn.Embedding(VOCABULARY, WIDTH, padding_idx=0)
        self.lstm, self.head = nn.LSTM(WIDTH, STATE, batch_first=True), nn.Linear(STATE, CLASSES)

    def forward(self, ids_BN: Tensor, lengths_B: Tensor) -> Tensor:
        embedded_BND = self.embed(ids_BN)
        if self.packed:
            packed = pack_padded_sequence(embedded_BND, lengths_B, batch_first=True, enforce_sorted=False)
            return self.head(self.lstm(packed)[1][0][-1])
        states_BNH = self.lstm(embedded_BND)[0]
        last_B11 = (lengths_B - 1)[:, None, None].expand(-1, 1, STATE)
        return self.head(states_BNH.gather(1, last_B11).squeeze(1))


def collate(rows: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor, Tensor]:
    ids, labels = zip(*rows, strict=True)
    lengths = torch.tensor([len(one) for one in ids])
    return pad_sequence(list(ids), batch_first=True), lengths, torch.tensor(labels)


def main() -> None:
    asked = side.arguments("packed", "padded")
    torch.manual_seed(0)
    ids, labels = sequences()
    rows = [(torch.from_numpy(one), int(label)) for one, label in zip(ids, labels, strict=True)]
    module = Reader(packed=asked.which == "packed")
    optimizer = torch.optim.AdamW(module.parameters(), 1e-3)
    steps, times, tokens = WARM + (STEPS // 3 if asked.short else STEPS) + 1, [], []
    for _, (ids_BN, lengths_B, labels_B) in zip(
        range(steps), DataLoader(rows, BATCH, shuffle=True, collate_fn=collate), strict=False
    ):
        times.append(time.perf_counter())
        tokens.append(int(lengths_B.sum()))
        with torch.autocast("cpu", torch.bfloat16, enabled=asked.knob):
            loss = F.cross_entropy(module(ids_BN, lengths_B), labels_B)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    side.answer(tokens_per_second=sum(tokens[WARM:-1]) / (times[-1] - times[WARM]))


if __name__ == "__main__":
    main()
