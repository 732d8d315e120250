"""Networks as outlines: their shapes, without memory and without drawn weights."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

INITS = {f for f in vars(nn.init).values() if isinstance(f, FunctionType) and f.__name__.endswith("_")}
DRAWS: frozenset[Any] = frozenset({Tensor.normal_, Tensor.uniform_, Tensor.bernoulli_, *INITS})


class Undrawn(TorchFunctionMode):
    """Inside the block weights stay as they were allocated: for networks whose weights are loaded next."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


class Outline(Undrawn):
    """Inside the block networks are made without memory too, to look at their shapes.

    On torch's "meta" device draws and writes to a place are worked out in Python by a part of torch that
    imports its compiler (1.5 s); what they would give is not there anyway.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__setitem__:
            return None
        found = torch.empty if func in (torch.randn, torch.rand) else func
        with torch.device("meta"):
            return super().__torch_function__(found, types, args, kwargs)
