"""Attention, layer after layer, where it raises the answer (Chefer, Gur, Wolf, ICCV 2021).

Each layer's weights count as far as the answer rises with them; by the weights alone (rollout: Abnar and
Zuidema, ACL 2020) what is looked at and what counts are hardly alike (docs/log.md). Every call of
`scaled_dot_product_attention`, every `nn.MultiheadAttention` (by its weights alone) and every softmax of
tokens over tokens is listened to; no model needs to know. B rows, N tokens, H heads, P players.
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
SDPA = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale")


class Listener(TorchFunctionMode):
    """Keeps the weights (..., N, N) of every attention of one row, each a step on the way to the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        if func is F.scaled_dot_product_attention:
            bound = {**dict(zip(SDPA, args, strict=False)), **given}
            query, key, value = bound["query"], bound["key"], bound["value"]
            if bound.get("enable_gqa"):
                key, value = (p.repeat_interleave(query.shape[-3] // p.shape[-3], -3) for p in (key, value))
            shares = shares_of(
                query,
                key,
                bound.get("attn_mask"),
                causal=bool(bound.get("is_causal")),
                scale=bound.get("scale"),
            )  # the fused kernel does not give them away
            return (self.kept(shares) @ value.float()).to(value.dtype)
        found = func(*args, **given)
        if func in SOFTMAX and found.ndim == 3 and found.shape[1] == found.shape[2]:
            return self.kept(found)  # attention by products, (H, N, N)
        return found

    def kept(self, shares: Tensor) -> Tensor:
        """The same weights, noted down, with a gradient where nothing before them has one."""
        shares = shares if shares.requires_grad else shares.detach().requires_grad_()
        self.weights.append(shares)
        return shares


def shares_of(
    query: Tensor, key: Tensor, mask: Tensor | None, *, causal: bool, scale: float | None = None
) -> Tensor:
    """(..., N, N): what each token takes from the others."""
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = query.float() @ key.float().transpose(-1, -2) * scale
    if causal:
        scores = scores.masked_fill(~torch.ones_like(scores, dtype=torch.bool).tril(), -torch.inf)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1)


def attention(game: Game, rng: np.random.Generator) -> Floats:
    """(P,): how much the tokens look at each part where that raises the answer; never negative."""
    readers = [
        s for s in game.seats if isinstance(s.column, Text) or s.column.kind in ("image", "series", "audio")
    ]
    listener = Listener()
    with torch.enable_grad(), listener, _own(game.network, listener):
        outputs = game.scorer.outputs(game.network, game.batch(game.all), 1)
        target = torch.tensor([game.target], device=outputs.device)
        evidence = game.scorer.evidence(outputs, target).sum()
    square = [w for w in listener.weights if w.shape[-1] == w.shape[-2] and w.shape[-1] > 1]
    if not square or len(readers) != 1:
        raise SettingError(
            "Method attention needs a network with attention over the tokens of one column; this one has "
            f"{'none' if not square else f'{len(readers)} columns with tokens'}. "
            "Methods that suit every model: shap, occlusion, lime."
        )
    game.evaluations += 2
    square = [w for w in square if w.shape[-1] == square[0].shape[-1]]
    slopes = torch.autograd.grad(evidence, square, allow_unused=True)
    looked_N = rollout([raising(w, s) for w, s in zip(square, slopes, strict=True)])
    return _to_players(game, readers[0], looked_N.double().cpu().numpy())


def raising(weights: Tensor, slope: Tensor | None) -> Tensor:
    """(N, N), mean over heads: the weights where more of them would raise the answer; all without slopes."""
    weights_HNN = weights.detach().float().flatten(0, -3)
    if slope is not None:
        weights_HNN = (weights_HNN * slope.float().flatten(0, -3)).clamp(min=0)
    return weights_HNN.mean(0)


def rollout(layers: list[Tensor]) -> Tensor:
    """(N,): what all tokens in the end have from each, by all layers, whose tokens keep what they had."""
    product = torch.eye(len(layers[0]), device=layers[0].device)
    for weights_NN in layers:
        product = product + weights_NN @ product
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
