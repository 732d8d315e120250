"""Long short-term memory whose gates see the cell ("peepholes").

Gers and Schmidhuber, "Recurrent nets that time and count", IJCNN 2000. With i, f, o the input, forget and
output gate, c the cell, y the output, s the logistic function:

    i = s(W_i x + R_i y' + p_i c' + b_i)     f = s(W_f x + R_f y' + p_f c' + b_f)
    c = f c' + i tanh(W_c x + R_c y' + b_c)  o = s(W_o x + R_o y' + p_o c + b_o)    y = o tanh(c)

where a dash marks the step before. The paper leaves the last tanh out (`squash=False`); with it and peepholes
of zero the network is torch.nn.LSTM, whose state dict it has beside `peephole_l*`. No library has a fused
kernel for it: it runs step by step, at about a quarter of the LSTM's speed. Parameters: those of the LSTM and
3 H a layer and direction.

B rows, N steps, D size of what is read, H size of the state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.steps import onnx_states
from .base import Known
from .recurrent import SETTINGS, RecurrentNet, both_ways

PRESETS: dict[str, dict[str, Any]] = {"peephole": {"squash": True}}


class PeepholeRecurrent(nn.Module):
    """As `Recurrent`, with peepholes: (B, N, D) and lengths (B,) to states (B, N, H * directions).

    >>> PeepholeRecurrent(8, 16, bidirectional=True)(torch.randn(2, 5, 8), torch.tensor([5, 3])).shape
    torch.Size([2, 5, 32])
    """

    def __init__(
        self, inputs: int, hidden: int, *, depth: int = 1, bidirectional: bool = False, dropout: float = 0.0,
        squash: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.depth, self.bidirectional, self.squash = depth, bidirectional, squash
        self.layers = nn.LSTM(inputs, hidden, depth, batch_first=True, bidirectional=bidirectional)
        self.peepholes = nn.ParameterDict(
            {f"peephole_l{i}{end}": nn.Parameter(torch.randn(3, hidden) * hidden**-0.5)
             for i in range(depth) for end in ("", "_reverse")[: 1 + bidirectional]}
        )  # fmt: skip
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BND: Tensor, lengths_B: Tensor) -> Tensor:
        for layer in range(self.depth):
            x_BND = self.dropout(x_BND) if layer else x_BND
            x_BND = both_ways(x_BND, lengths_B, self._reader(layer), bidirectional=self.bidirectional)
        return x_BND

    def _reader(self, layer: int) -> Callable[[Tensor, str], Tensor]:
        def read(x_BND: Tensor, suffix: str) -> Tensor:
            end = f"_l{layer}{suffix}"
            if self.squash and torch.onnx.is_in_onnx_export():
                names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                weights = [self.layers.get_parameter(name + end) for name in names]
                return onnx_states("lstm", x_BND, weights, self.peepholes[f"peephole{end}"])
            bias_G = self.layers.get_parameter(f"bias_ih{end}") + self.layers.get_parameter(f"bias_hh{end}")
            given_BNG = F.linear(x_BND, self.layers.get_parameter(f"weight_ih{end}"), bias_G)
            weight_GH = self.layers.get_parameter(f"weight_hh{end}")
            return peephole(given_BNG, weight_GH, self.peepholes[f"peephole{end}"], squash=self.squash)

        return read


def peephole(given_BNG: Tensor, weight_GH: Tensor, peepholes_3H: Tensor, *, squash: bool = True) -> Tensor:
    """(B, N, H): the outputs, from what the input gives to the four gates (input, forget, cell, output)."""
    out_BH = cell_BH = torch.zeros_like(given_BNG[:, 0, : weight_GH.shape[1]])
    outputs = []
    for given_BG in given_BNG.unbind(1):
        input_BH, forget_BH, new_BH, output_BH = (given_BG + F.linear(out_BH, weight_GH)).chunk(4, 1)
        input_BH = torch.sigmoid(input_BH + peepholes_3H[0] * cell_BH)
        forget_BH = torch.sigmoid(forget_BH + peepholes_3H[1] * cell_BH)
        cell_BH = forget_BH * cell_BH + input_BH * new_BH.tanh()
        output_BH = torch.sigmoid(output_BH + peepholes_3H[2] * cell_BH)
        out_BH = output_BH * (cell_BH.tanh() if squash else cell_BH)
        outputs.append(out_BH)
    return torch.stack(outputs, 1)


class PeepholeLstm(RecurrentNet):
    """Long short-term memory with peepholes (Gers and Schmidhuber 2000)."""

    def make(self, inputs: int, hidden: int, depth: int, dropout: float, *, bidirectional: bool) -> nn.Module:
        """See `RecurrentNet`."""
        return PeepholeRecurrent(inputs, hidden, depth=depth, bidirectional=bidirectional, dropout=dropout)


KNOWN: dict[str, Known] = {
    "peephole": Known(
        title="LSTM with peepholes", paper="Gers and Schmidhuber, IJCNN 2000", year=2000,
        encoders={"text": PeepholeLstm, "series": PeepholeLstm}, parameters=0, settings=SETTINGS,
    )
}  # fmt: skip
