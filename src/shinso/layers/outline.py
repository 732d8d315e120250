"""Networks as outlines: their shapes, without memory and without drawn weights."""

from __future__ import annotations

from types import FunctionType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

INITS = {f for f in vars(nn.init).values() if isinstance(f, FunctionType) and f.__name__.endswith("_")}
DRAWS: frozenset[Any] = frozenset({Tensor.normal_, Tensor.uniform_, Tensor.bernoulli_, *INITS})


class Undrawn(TorchFunctionMode):
    """Inside the block drawn weights are 0: for networks whose weights are loaded next.

    Not left as they were allocated: `nn.init.trunc_normal_` draws again until the values are within bounds.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in DRAWS:
            tensor: Tensor = args[0] if args else kwargs["tensor"]
            if tensor.device.type != "meta":
                tensor.detach().zero_()
            return tensor
        return func(*args, **(kwargs or {}))


class Outline(Undrawn):
    """Inside the block networks are made without memory too, to look at their shapes.

    On torch's "meta" device draws and writes to a place are worked out in Python by a part of torch that
    imports its compiler (1.5 s); what they would give is not there anyway.
    """

    def __init__(self) -> None:
        super().__init__()
        self.device = torch.device("meta")

    def __enter__(self) -> Self:
        self.device.__enter__()
        return super().__enter__()

    def __exit__(self, *why: Any) -> None:
        super().__exit__(*why)
        self.device.__exit__(*why)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__setitem__:
            return None
        found = torch.empty if func in (torch.randn, torch.rand) else func
        return super().__torch_function__(found, types, args, kwargs)
