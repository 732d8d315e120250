"""A 3 x 3 convolution that is one matrix product where the grid is tiny. B rows, C, O channels, H, W
cells."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TINY = 4  # cells of the output, up to which a matrix product is faster on a CPU (docs/log.md)


class Conv3x3(nn.Conv2d):
    """`nn.Conv2d` of 3 x 3 with padding 1: (B, C, H, W) -> (B, O, H / stride, W / stride).

    On a CPU the gradients of a convolution with hundreds of channels on 2 x 2 cells take 5 times as long as
    those of the same product of matrices.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, bias: bool = False) -> None:
        super().__init__(inputs, outputs, 3, stride, 1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        stride = self.stride[0]
        height, width = ((side - 1) // stride + 1 for side in input.shape[2:])
        if height * width > TINY or input.device.type != "cpu":
            return super().forward(input)
        padded_BHWC = F.pad(input.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        rows = [slice(i, i + stride * (height - 1) + 1, stride) for i in range(3)]
        columns = [slice(j, j + stride * (width - 1) + 1, stride) for j in range(3)]
        seen = torch.cat([padded_BHWC[:, row, column] for row in rows for column in columns], -1)
        out_BHWO = F.linear(seen, self.weight.permute(0, 2, 3, 1).flatten(1), self.bias)
        return out_BHWO.permute(0, 3, 1, 2)
