"""Attention rollout: what the tokens look at, layer after layer (Abnar and Zuidema, ACL 2020).

Every call of `scaled_dot_product_attention`, every `nn.MultiheadAttention`, and every softmax of tokens over
tokens is listened to; no model needs to know. B rows, N tokens, H heads, P players.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..columns.text import Text
from ..errors import SettingError
from .game import Game
from .scoring import Floats
from .seats import Seat
from .tokens import tokens_of_groups

SOFTMAX = (torch.softmax, F.softmax, Tensor.softmax)


class Listener(TorchFunctionMode):
    """Keeps the weights (B, N, N), averaged over heads, of every attention that is computed for one row."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        if func is F.scaled_dot_product_attention:
            names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale")
            bound = {**dict(zip(names, args, strict=False)), **given}
            self.keep(
                bound["query"], bound["key"], bound.get("attn_mask"),
                causal=bool(bound.get("is_causal")), scale=bound.get("scale"),
            )  # fmt: skip
        found = func(*args, **given)
        if func in SOFTMAX and found.ndim == 3 and found.shape[1] == found.shape[2]:
            self.weights.append(found.float().mean(0, keepdim=True))  # (H, N, N): attention by products
        return found

    def keep(
        self, query: Tensor, key: Tensor, mask: Tensor | None, *, causal: bool, scale: float | None = None
    ) -> None:
        """Work the weights out again, which the fused kernel does not give away."""
        scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = query.float() @ key.float().transpose(-1, -2) * scale
        if causal:
            scores = scores.masked_fill(~torch.ones_like(scores, dtype=torch.bool).tril(), -torch.inf)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        weights = scores.softmax(-1)
        self.weights.append(weights.flatten(1, -3).mean(1) if weights.ndim > 3 else weights)


def attention(game: Game, rng: np.random.Generator) -> Floats:
    """(P,): how much the tokens look at each part in the end; never negative, and no cause."""
    readers = [
        s for s in game.seats if isinstance(s.column, Text) or s.column.kind in ("image", "series", "audio")
    ]
    listener = Listener()
    with torch.no_grad(), listener, _own(game.network, listener):
        game.scorer.outputs(game.network, game.batch(game.all), 1)
    square = [w[0] for w in listener.weights if w.shape[-1] == w.shape[-2] and w.shape[-1] > 1]
    if not square or len(readers) != 1:
        raise SettingError(
            "Method attention needs a network with attention over the tokens of one column; this one has "
            f"{'none' if not square else f'{len(readers)} columns with tokens'}. "
            "Methods that suit every model: shap, occlusion, lime."
        )
    game.evaluations += 1
    looked_N = rollout([w for w in square if w.shape == square[0].shape]).double().cpu().numpy()
    return _to_players(game, readers[0], looked_N)


def rollout(layers: list[Tensor]) -> Tensor:
    """(N,): the product of all layers, each half attention and half the token itself; mean over tokens."""
    product = torch.eye(len(layers[0]), device=layers[0].device)
    for weights_NN in layers:
        product = (
            0.5 * weights_NN.float() + 0.5 * torch.eye(len(weights_NN), device=weights_NN.device)
        ) @ product
    return product.mean(0)


def _to_players(game: Game, reader: Seat, looked_N: Floats) -> Floats:
    found = []
    for seat in game.seats:
        if seat is not reader:
            found.append(np.zeros(len(seat.groups)))
        elif isinstance(seat.column, Text):
            value, ids_N = game.shown(seat.column.name)
            shares_Np = tokens_of_groups(seat.column, value, seat.groups, ids_N)
            extra = max(0, len(looked_N) - len(shares_Np))  # a token of its own in front, as in BERT
            found.append(looked_N[extra:][: len(shares_Np)] @ shares_Np)
        else:
            found.append(_spread(looked_N, seat))
    return np.concatenate(found)


def _spread(looked_N: Floats, seat: Seat) -> Floats:
    """Tokens on a grid or a line, brought to the parts of an image, a series or a sound."""
    parts = len(seat.groups)
    side = math.isqrt(len(looked_N))
    extra = 0 if seat.column.kind != "image" or side * side == len(looked_N) else 1
    tokens = torch.tensor(looked_N[extra:])
    if seat.column.kind != "image":
        return np.asarray(F.adaptive_avg_pool1d(tokens.view(1, 1, -1), parts).flatten().numpy())
    side, rows = math.isqrt(len(tokens)), math.isqrt(parts)
    grid = F.interpolate(
        tokens[: side * side].view(1, 1, side, side),
        (rows, parts // rows),
        mode="bilinear",
        align_corners=False,
    )
    return np.asarray(grid.flatten().numpy())


@contextmanager
def _own(network: nn.Module, listener: Listener) -> Iterator[None]:
    """`nn.MultiheadAttention` computes its attention inside: ask it for the weights."""
    handles = []

    def ask(module: nn.Module, args: Any, kwargs: Any) -> Any:
        return args, {**kwargs, "need_weights": True, "average_attn_weights": True}

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        listener.weights.append(output[1])

    for module in network.modules():
        if isinstance(module, nn.MultiheadAttention):
            handles += [
                module.register_forward_pre_hook(ask, with_kwargs=True),
                module.register_forward_hook(keep),
            ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
