"""Counting floating-point operations, and the seconds of the phases that they fall in.

Counted are matrix products, convolutions, attention and fused recurrent layers, forward and backward; what is
added or normalised beside them is not: a share of the roof says how much of the time went into products.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, shape_wrapper

MOST_COUNTED = 6  # shapes of batches that are counted; others by their size

aten = torch.ops.aten


def _recurrent(input_shape: Any, weight_shape: Any, hidden_shape: Any, *_: Any, out_shape: Any = None) -> int:
    """One direction of one layer: weights (gates * H, I) and (gates * H, H) meet every reading."""
    times, rows = input_shape[:2]
    return int(2 * times * rows * (weight_shape[0] * weight_shape[1] + hidden_shape[0] * hidden_shape[1]))


def _recurrent_backward(*shapes: Any, out_shape: Any = None) -> int:
    return 2 * _recurrent(*shapes)


FORMULAS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    aten.mkldnn_rnn_layer: shape_wrapper(_recurrent),
    aten.mkldnn_rnn_layer_backward: shape_wrapper(_recurrent_backward),
}


class Counter(TorchDispatchMode):
    """Counts inside the block, by torch's own formulas.

    torch's FlopCounterMode does the same and imports the compiler with its first operation (1.5 s, 70 MB).
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        formula, named = FORMULAS.get(func.overloadpacket), kwargs or {}
        if formula is None and func is not torch.ops.prim.device.default:
            with self:
                parts = func.decompose(*args, **named)
            if parts is not NotImplemented:
                return parts
        found = func(*args, **named)
        if formula is not None:
            self.total += int(formula(*args, **named, out_val=found))
        return found


def operations(step: Callable[[], Any]) -> int:
    """Floating-point operations in one call of `step`.

    >>> operations(lambda: torch.ones(2, 3) @ torch.ones(3, 4))
    48
    """
    with Counter() as counter:
        step()
    return int(counter.total)


@dataclass
class Work:
    """How long the phases of a loop took, and how many operations its products were."""

    seconds: dict[str, float] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)  # how often each phase came
    operations: float = 0.0
    known: dict[tuple[Any, ...], int] = field(default_factory=dict)  # shapes of a batch -> operations
    sizes: int = 0  # numbers in the batches that were counted

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            self.times[name] = self.times.get(name, 0) + 1

    @contextmanager
    def counting(self, batch: Mapping[str, Tensor]) -> Iterator[None]:
        """Count the block's operations, or know them from an earlier batch of such shapes."""
        shapes = tuple(tuple(t.shape) for t in batch.values())
        counted = shapes not in self.known and len(self.known) < MOST_COUNTED
        counter: Any = Counter() if counted else nullcontext()
        size = sum(t.numel() for t in batch.values())
        with counter:
            yield
        if counted:
            self.known[shapes] = counter.total
            self.sizes += size
        known = self.known.get(shapes)
        self.operations += sum(self.known.values()) * size / max(1, self.sizes) if known is None else known
