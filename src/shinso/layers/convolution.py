"""Convolutions around what processors are bad at: 3 x 3 on tiny grids, strided 1 x 1 of few channels.

B rows, C, O channels, H, W cells.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TINY = 4  # cells of the output, up to which a matrix product is faster on a CPU (docs/log.md)
# Channels below which oneDNN's fp32 gradient of the weights of a strided 1 x 1 convolution, channels last,
# writes past its workspace: the process ends, or the gradient is wrong (uxlfoundation/oneDNN issue 6035).
UNSAFE = 16


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


class Conv1x1(nn.Conv2d):
    """`nn.Conv2d` of 1 x 1 without bias: (B, C, H, W) -> (B, O, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, 1, stride, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        if not unsafe(self):
            return super().forward(input)
        down, across = self.stride  # the same cells, taken before the product instead of by it
        return F.conv2d(input[:, :, ::down, ::across], self.weight)


def unsafe(layer: nn.Conv2d) -> bool:
    """Whether a layer is a strided 1 x 1 convolution of few channels, see `UNSAFE`.

    >>> unsafe(nn.Conv2d(4, 8, 1, 2)), unsafe(nn.Conv2d(4, 8, 1)), unsafe(nn.Conv2d(16, 8, 1, 2))
    (True, False, False)
    """
    few = layer.groups == 1 and layer.in_channels < UNSAFE
    return few and set(layer.kernel_size) == {1} and max(layer.stride) > 1


def guard(module: nn.Module) -> None:
    """Let the unsafe convolutions of a module that is not ours see channels first, where all is well."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and unsafe(layer):
            layer.register_forward_pre_hook(_channels_first)


def _channels_first(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0].contiguous(memory_format=torch.contiguous_format), *inputs[1:])
