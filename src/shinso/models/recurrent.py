"""Recurrent networks that read a text or a series step by step, forwards and backwards.

| preset | what | year | paper |
|---|---|---|---|
| rnn | Elman network | 1990 | Elman, "Finding structure in time", Cognitive Science 14 |
| lstm | long short-term memory, with forget gates | 1997, 2000 | Hochreiter and Schmidhuber; Gers et al. |
| gru | gated recurrent unit | 2014 | Cho et al., arXiv 1406.1078 |

The state dict of `Recurrent.layers` is that of torch.nn.RNN, LSTM or GRU of the same sizes. Optional
attention weighs the states by how well they answer to the summary of the row: additive (Bahdanau et al. 2015,
arXiv 1409.0473) or dot product (Luong et al. 2015, arXiv 1508.04025).

Rows of a batch are padded, never packed: the backward direction reads each row reversed within its length, so
that both directions run as the one fused kernel that the machine has for whole batches (oneDNN for the LSTM,
bf16 under autocast), and padding stands behind what is real, where nothing that is kept depends on it.

Parameters without the table of tokens, width 128, both directions, one layer (FLOPs of one step of one row):

| preset | parameters | FLOPs |
|---|---|---|
| rnn | 24,832 | 49 K |
| lstm | 99,328 | 197 K |
| gru | 74,496 | 147 K |

B rows, N steps, D size of what is read, H size of a state, V vocabulary, M n-grams of a token, T readings.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..columns import Column
from ..columns.series import Series
from ..columns.text import Text
from ..config import ModelConfig
from ..errors import SettingError
from ..features import Features
from ..layers.steps import onnx_states
from .base import Encoder, Known
from .series import within
from .spelling import Spelling

Cell = Literal["rnn", "lstm", "gru"]
PRESETS: dict[str, dict[str, Any]] = {
    "rnn": {"cell": "rnn"},
    "lstm": {"cell": "lstm"},
    "gru": {"cell": "gru"},
}
KINDS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
WIDTH, DROPOUT = 128, 0.3
STEPS = 40  # a long series is brought to at least so many steps, fewer than twice as many
WORD_DROPOUT = 0.3  # share of the tokens of a text that are not seen in training


class Recurrent(nn.Module):
    """A deep recurrent network over padded rows: (B, N, D) and lengths (B,) to states (B, N, H * directions).

    >>> net = Recurrent("lstm", 8, 16, depth=2, bidirectional=True)
    >>> net(torch.randn(3, 5, 8), torch.tensor([5, 2, 1])).shape
    torch.Size([3, 5, 32])
    """

    def __init__(
        self, cell: Cell, inputs: int, hidden: int, *, depth: int = 1, bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.cell, self.depth, self.bidirectional = cell, depth, bidirectional
        self.layers = KINDS[cell](inputs, hidden, depth, batch_first=True, bidirectional=bidirectional)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BND: Tensor, lengths_B: Tensor) -> Tensor:
        for layer in range(self.depth):
            x_BND = self.dropout(x_BND) if layer else x_BND
            x_BND = both_ways(x_BND, lengths_B, self._reader(layer), bidirectional=self.bidirectional)
        return x_BND

    def _reader(self, layer: int) -> Callable[[Tensor, str], Tensor]:
        def read(x_BND: Tensor, suffix: str) -> Tensor:
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            weights: list[Tensor] = [self.layers.get_parameter(f"{name}_l{layer}{suffix}") for name in names]
            if torch.onnx.is_in_onnx_export():
                return onnx_states(self.cell, x_BND, weights)
            start_1BH = x_BND.new_zeros(1, x_BND.shape[0], self.layers.hidden_size)
            # biases, one layer, no dropout, in training, one direction, batch first
            how = (True, 1, 0.0, self.training, False, True)
            if self.cell == "lstm":
                return torch.lstm(x_BND, [start_1BH, start_1BH], weights, *how)[0]
            return (torch.gru if self.cell == "gru" else torch.rnn_tanh)(x_BND, start_1BH, weights, *how)[0]

        return read


def both_ways(
    x_BND: Tensor, lengths_B: Tensor, read: Callable[[Tensor, str], Tensor], *, bidirectional: bool
) -> Tensor:
    """What `read(rows, suffix)` makes of the rows, beside what it makes of them read from their ends."""
    forwards_BNH = read(x_BND, "")
    if not bidirectional:
        return forwards_BNH
    order_BN1 = backwards(lengths_B, x_BND.shape[1]).unsqueeze(-1)
    reversed_BNH = read(x_BND.gather(1, order_BN1.expand(-1, -1, x_BND.shape[2])), "_reverse")
    return torch.cat(
        [forwards_BNH, reversed_BNH.gather(1, order_BN1.expand(-1, -1, reversed_BNH.shape[2]))], -1
    )


def backwards(lengths_B: Tensor, steps: int) -> Tensor:
    """(B, N): the places that reverse each row within its length and leave its padding where it is.

    >>> backwards(torch.tensor([3, 2]), 4)
    tensor([[2, 1, 0, 3],
            [1, 0, 2, 3]])
    """
    place_1N = torch.arange(steps, device=lengths_B.device).unsqueeze(0)
    length_B1 = lengths_B.unsqueeze(1)
    return torch.where(place_1N < length_B1, length_B1 - 1 - place_1N, place_1N)


class Attention(nn.Module):
    """Weights (B, N) of the states of a row, which sum to 1 over what is real."""

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.kind = kind
        self.query = nn.Linear(width, width, bias=False)
        if kind == "additive":
            self.key, self.score = nn.Linear(width, width), nn.Linear(width, 1, bias=False)

    def forward(self, states_BND: Tensor, mask_BN: Tensor, summary_BD: Tensor) -> Tensor:
        query_B1D = self.query(summary_BD).unsqueeze(1)
        if self.kind == "additive":
            score_BN = self.score(torch.tanh(self.key(states_BND) + query_B1D)).squeeze(-1)
        else:
            score_BN = (states_BND * query_B1D).sum(-1) / states_BND.shape[-1] ** 0.5
        return torch.where(mask_BN, score_BN.float(), -1e9).softmax(-1)


class RecurrentNet(Encoder):
    """Reads a text (int32 ids (B, N)) or a series (float (B, T, V)) with a recurrent network.

    With attention the tokens are scaled so that their mean is the sum that attention weighs.
    """

    reader: nn.Module

    def __init__(self, column: Column, options: ModelConfig) -> None:
        super().__init__(column, options)
        bidirectional = options.bidirectional is not False
        self.width = options.width or WIDTH
        if bidirectional and self.width % 2:
            raise SettingError(
                f"model.width must be even for a network that reads both ways; received {self.width}."
            )
        dropout = DROPOUT if options.dropout is None else options.dropout
        self.embed = embedding(column, self.width)
        self.reader = self.make(
            self.width,
            self.width // (1 + bidirectional),
            options.depth or 1,
            dropout,
            bidirectional=bidirectional,
        )
        attention = options.attention or "none"
        self.attention = None if attention == "none" else Attention(attention, self.width)
        self.turn = self.width // 2 if bidirectional else 0  # where the backward states begin
        self.dropout = nn.Dropout(dropout)

    @abstractmethod
    def make(self, inputs: int, hidden: int, depth: int, dropout: float, *, bidirectional: bool) -> nn.Module:
        """The network that reads (B, N, D) and lengths."""

    def forward(self, column_B: Tensor) -> Features:
        x_BND, mask_BN = self.embed(column_B)
        lengths_B = mask_BN.sum(1)
        states_BND = self.reader(self.dropout(x_BND), lengths_B)
        states_BND = self.dropout(torch.where(mask_BN.unsqueeze(-1), states_BND, 0.0))
        if self.attention is not None:
            weights_BN = self.attention(states_BND, mask_BN, self._summary(states_BND, lengths_B))
            states_BND = states_BND * (weights_BN * lengths_B.unsqueeze(1)).unsqueeze(-1)
        return Features(states_BND, mask_BN)

    def _summary(self, states_BND: Tensor, lengths_B: Tensor) -> Tensor:
        """(B, D): what each direction knows after its last step."""
        last_B11 = (lengths_B - 1).clamp(min=0).view(-1, 1, 1)
        last_BD = states_BND.gather(1, last_B11.expand(-1, 1, states_BND.shape[2])).squeeze(1)
        if not self.turn:
            return last_BD
        return torch.cat([last_BD[:, : self.turn], states_BND[:, 0, self.turn :]], -1)


class Elman(RecurrentNet):
    """The simple recurrent network (Elman 1990)."""

    def make(self, inputs: int, hidden: int, depth: int, dropout: float, *, bidirectional: bool) -> nn.Module:
        """See `RecurrentNet`."""
        return Recurrent("rnn", inputs, hidden, depth=depth, bidirectional=bidirectional, dropout=dropout)


class Lstm(RecurrentNet):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000)."""

    def make(self, inputs: int, hidden: int, depth: int, dropout: float, *, bidirectional: bool) -> nn.Module:
        """See `RecurrentNet`."""
        return Recurrent("lstm", inputs, hidden, depth=depth, bidirectional=bidirectional, dropout=dropout)


class Gru(RecurrentNet):
    """The gated recurrent unit (Cho et al. 2014)."""

    def make(self, inputs: int, hidden: int, depth: int, dropout: float, *, bidirectional: bool) -> nn.Module:
        """See `RecurrentNet`."""
        return Recurrent("gru", inputs, hidden, depth=depth, bidirectional=bidirectional, dropout=dropout)


def embedding(column: Column, width: int) -> nn.Module:
    """What turns a column into steps (B, N, D) and a mask (B, N)."""
    if isinstance(column, Text):
        return SpelledTokens(column, width)
    assert isinstance(column, Series)
    return Readings(column, width)


class SpelledTokens(nn.Module):
    """A vector a token, and which are real; some are missed in training."""

    def __init__(self, column: Text, width: int) -> None:
        super().__init__()
        self.vectors = Spelling(column, width)
        self.seen = nn.Dropout(WORD_DROPOUT)

    def forward(self, ids_BN: Tensor) -> tuple[Tensor, Tensor]:
        mask_BN = ids_BN > 0
        return self.vectors(ids_BN.long()) * self.seen(mask_BN.float()).unsqueeze(-1), mask_BN


class Readings(nn.Module):
    """Readings and which of them are there; of a long series several readings are one step."""

    def __init__(self, column: Series, width: int) -> None:
        super().__init__()
        self.stride = max(1, column.length // STEPS)
        self.linear = nn.Linear(2 * column.variables * self.stride, width)

    def forward(self, series_BTV: Tensor) -> tuple[Tensor, Tensor]:
        read_BTV = ~torch.isnan(series_BTV)
        filled_BTV = torch.where(read_BTV, series_BTV, 0.0)
        x_BTC = torch.cat([filled_BTV, read_BTV.to(filled_BTV.dtype)], -1)
        x_BTC = F.pad(x_BTC, (0, 0, 0, -x_BTC.shape[1] % self.stride))
        x_BNC = x_BTC.unflatten(1, (-1, self.stride)).flatten(2)
        return self.linear(x_BNC), within(read_BTV.any(-1))[:, :: self.stride]


SETTINGS = frozenset({"width", "depth", "bidirectional", "attention"})
KNOWN: dict[str, Known] = {
    "rnn": Known(
        title="Elman network", paper="Elman 1990, Cognitive Science 14", year=1990,
        encoders={"text": Elman, "series": Elman}, parameters=0, settings=SETTINGS,
    ),
    "lstm": Known(
        title="LSTM", paper="Hochreiter and Schmidhuber 1997; Gers et al. 2000", year=1997,
        encoders={"text": Lstm, "series": Lstm}, parameters=0, settings=SETTINGS,
    ),
    "gru": Known(
        title="GRU", paper="Cho et al. 2014, arXiv 1406.1078", year=2014,
        encoders={"text": Gru, "series": Gru}, parameters=0, settings=SETTINGS,
    ),
}  # fmt: skip
