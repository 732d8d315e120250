"""Recurrent networks as single operators of ONNX, where a network is exported: a loop over steps would be far
slower, and torch's own way there fails for batches of other sizes.

B rows, N steps, D size of what is read, H size of a state, G gates of all states together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# The gates of each cell in the order in which ONNX has them, as places in torch's order.
ORDERS = {"rnn": (0,), "lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}
OPERATORS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}


def onnx_states(
    cell: str, x_BND: Tensor, weights: Sequence[Tensor], peepholes_3H: Tensor | None = None
) -> Tensor:
    """(B, N, H): the states of one layer in one direction, from zero on.

    `weights` are those of torch: (G, D), (G, H), (G,), (G,); `peepholes` those of input, forget and output.
    """
    matrix_GD, matrix_GH, bias_G, other_G = (_reordered(weight, cell) for weight in weights)
    size, count = matrix_GH.shape[1], x_BND.shape[1]
    inputs: list[Tensor | None] = [
        x_BND.transpose(0, 1), matrix_GD.unsqueeze(0), matrix_GH.unsqueeze(0),
        torch.cat([bias_G, other_G]).unsqueeze(0),
    ]  # fmt: skip
    if peepholes_3H is not None:
        inputs += [None, None, None, peepholes_3H[[0, 2, 1]].flatten().unsqueeze(0)]
    states_N1BH = torch.onnx.ops.symbolic(
        OPERATORS[cell], inputs,
        {"hidden_size": size, "linear_before_reset": 1} if cell == "gru" else {"hidden_size": size},
        dtype=x_BND.dtype, shape=(count, 1, x_BND.shape[0], size),
    )  # fmt: skip
    return states_N1BH.squeeze(1).transpose(0, 1)


def _reordered(weight: Tensor, cell: str) -> Tensor:
    gates = weight.chunk(len(ORDERS[cell]))
    return torch.cat([gates[place] for place in ORDERS[cell]])
