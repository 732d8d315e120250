"""Where values that have no gradient become tensors that have one: pixels, readings, embeddings.

An entrance is a tensor on the way of one or more columns into the network. It can be read, and it can be
replaced by hooks while the rest of the network runs as it is.
B rows, N tokens, D size, K members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SettingError
from ..models import Encoder, Scalars
from ..models.bags import Bags
from ..models.ngrams import NgramNet
from ..network import Batch, Network

DENSE = ("image", "series", "audio", "mask", "boxes")  # kinds that enter as numbers already


@dataclass(frozen=True)
class Entrance:
    """One tensor (B, ...) on the way in. `module` None: the column's own array, as floats."""

    columns: tuple[str, ...]
    module: nn.Module | None = None
    before: bool = False  # what goes into the module, not what comes out of it
    members: bool = False  # (K, B, D), alike for all members
    tokens: bool = False  # (B, N, D), a token each

    @property
    def key(self) -> str:
        return f"{'+'.join(self.columns)}/{id(self.module)}"


def entrances(network: Network, kinds: Mapping[str, str]) -> list[Entrance]:
    """The entrances of all columns of a network; `kinds` by column."""
    encoders = list(network.encoders.values())
    found: list[Entrance] = []
    if network.reads_scalars:
        scalars = encoders.pop(0)
        assert isinstance(scalars, Scalars)
        names = tuple(name for name, kind in kinds.items() if name not in network.sources)
        found.append(Entrance(names, scalars.layers[0], before=True, members=True))
    for name, encoder in zip(network.sources, encoders, strict=True):
        assert isinstance(encoder, Encoder)
        found += [Entrance((name,))] if kinds[name] in DENSE else of_text(name, encoder)
    return found


def of_text(name: str, encoder: Encoder) -> list[Entrance]:
    """Where tokens of a text become vectors."""
    if isinstance(encoder, NgramNet):
        tokens = Entrance((name,), encoder.embedding_dropout, before=True, tokens=True)
        return [tokens, Entrance((name,), encoder.bag)]
    if isinstance(encoder, Bags):
        return [Entrance((name,), table) for table in (encoder.words, encoder.letters)]
    tables = [m for m in encoder.modules() if isinstance(m, nn.Embedding) and m.padding_idx is not None]
    tables = tables or [m for m in encoder.modules() if isinstance(m, nn.Embedding)][:1]
    if not tables:
        raise SettingError(
            f"The model that reads {name!r} has no embedding of tokens, so it has no gradient to look at. "
            f"Methods that suit every model: shap, occlusion, lime."
        )
    return [Entrance((name,), table, tokens=True) for table in tables]


def read(network: Network, found: list[Entrance], batch: Batch, rows: int) -> dict[str, Tensor]:
    """What stands at each entrance, (B, ...), without a gradient; NaN as 0."""
    seen: dict[str, Tensor] = {}

    def keep(entrance: Entrance, value: Tensor) -> Tensor:
        seen[entrance.key] = value[0] if entrance.members else value
        return value

    with torch.no_grad(), _hooked(found, keep):
        network.features(batch, rows)
    for entrance in found:
        if entrance.module is None:
            seen[entrance.key] = batch[entrance.columns[0]]
    return {e.key: seen[e.key].detach().float().nan_to_num().clone() for e in found}


@contextmanager
def replaced(found: list[Entrance], batch: Batch, values: Mapping[str, Tensor]) -> Iterator[Batch]:
    """Inside the block the network reads `values` at its entrances; gives the batch to run."""

    def change(entrance: Entrance, value: Tensor) -> Tensor:
        new = values[entrance.key].to(value.dtype)
        return new.unsqueeze(0).expand(value.shape) if entrance.members else new

    changed = dict(batch)
    for entrance in found:
        if entrance.module is None:
            (name,) = entrance.columns
            new = values[entrance.key]
            gap = batch[name].isnan() if batch[name].is_floating_point() else None
            changed[name] = new if gap is None else torch.where(gap, batch[name], new)
    with _hooked(found, change):
        yield changed


@contextmanager
def _hooked(found: list[Entrance], act: Callable[[Entrance, Tensor], Tensor]) -> Iterator[None]:
    handles: list[Any] = []
    for entrance in found:
        if entrance.module is None:
            continue
        if entrance.before:

            def pre(module: nn.Module, inputs: Any, entrance: Entrance = entrance) -> Any:
                return (act(entrance, inputs[0]), *inputs[1:])

            handles.append(entrance.module.register_forward_pre_hook(pre))
        else:

            def post(module: nn.Module, inputs: Any, output: Any, entrance: Entrance = entrance) -> Any:
                return act(entrance, output)

            handles.append(entrance.module.register_forward_hook(post))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
