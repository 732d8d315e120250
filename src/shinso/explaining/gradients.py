"""Gradients on the way from a hidden row to the row itself: integrated gradients and gradient SHAP.

Integrated gradients: Sundararajan, Taly, Yan, ICML 2017. Gradient SHAP (expected gradients with noise): Erion
et al., 2021; Lundberg and Lee, 2017. Both work where values became tensors (`entrances.py`), so that words
and categories have gradients too. S points of the path, P players, N tokens, D size.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..columns.text import Text
from .entrances import Entrance, entrances, read, replaced
from .game import Game
from .scoring import Floats
from .tokens import tokens_of_groups

STEPS = 32
NOISE = 0.05  # deviation of the noise of gradient SHAP, in deviations of the difference
SAMPLES = 64


def integrated_gradients(game: Game, rng: np.random.Generator) -> Floats:
    """(P,): gradients averaged over the straight path, times what hiding the part changes."""
    share_S = (np.arange(STEPS) + 0.5) / STEPS
    return along(game, share_S, None)


def gradient_shap(game: Game, rng: np.random.Generator) -> Floats:
    """(P,): the same at random points of the path, with noise around them."""
    return along(game, rng.random(SAMPLES), rng)


def along(game: Game, share_S: Floats, rng: np.random.Generator | None) -> Floats:
    """(P,): mean gradient at points of the path, times the difference that each part makes."""
    kinds = {c.name: c.kind for c in game.schema.given}
    found = entrances(game.network, kinds)
    here = read(game.network, found, game.batch(game.all), 1)
    start = starts(game, found, here)
    points = {}
    for key, end in here.items():
        way = end - start[key]
        share = torch.tensor(share_S, dtype=end.dtype, device=end.device).view(-1, *[1] * (end.ndim - 1))
        points[key] = start[key] + share * way
        if rng is not None:
            noise = torch.tensor(rng.normal(size=points[key].shape), dtype=end.dtype, device=end.device)
            points[key] = points[key] + noise * (NOISE * float(way.std(correction=0)))
    slopes = gradients(game, found, points)
    return attributed(game, found, here, {key: slope.mean(0) for key, slope in slopes.items()})


def starts(game: Game, found: list[Entrance], here: dict[str, Tensor]) -> dict[str, Tensor]:
    """What stands at the entrances when everything is hidden; zeros where that has another shape (tokens)."""
    nothing = read(game.network, found, game.batch(game.none), 1)
    return {
        e.key: nothing[e.key] if not e.tokens and nothing[e.key].shape == here[e.key].shape
        else torch.zeros_like(here[e.key])
        for e in found
    }  # fmt: skip


def gradients(game: Game, found: list[Entrance], points: dict[str, Tensor]) -> dict[str, Tensor]:
    """(S, ...) gradients of the evidence at points of every entrance at once."""
    count = len(next(iter(points.values())))
    batch = game.batch(np.repeat(game.all, count, 0))
    leaves = {key: value.detach().requires_grad_() for key, value in points.items()}
    with torch.enable_grad(), replaced(found, batch, leaves) as changed:
        outputs = game.scorer.outputs(game.network, changed, count)
        target = torch.full((count,), game.target, device=outputs.device)
        total = game.scorer.evidence(outputs, target).sum()
    game.evaluations += 2 * count
    slopes = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    pairs = zip(leaves.items(), slopes, strict=True)
    return {key: torch.zeros_like(leaf) if slope is None else slope for (key, leaf), slope in pairs}


def attributed(
    game: Game, found: list[Entrance], here: dict[str, Tensor], slope: dict[str, Tensor]
) -> Floats:
    """(P,): for each player the slope times the difference that hiding it makes, over all entrances."""
    values_P = np.zeros(len(game.players))
    away = read(game.network, [e for e in found if not e.tokens], game.batch(game.without), len(values_P))
    for entrance in found:
        if entrance.tokens:
            token_N = (slope[entrance.key] * here[entrance.key][0]).sum(-1).double().cpu().numpy()
            (name,) = entrance.columns
            (place, seat), (value, ids_N) = game.place(name), game.shown(name)
            assert isinstance(seat.column, Text)
            shares_Np = tokens_of_groups(seat.column, value, seat.groups, ids_N)
            values_P[place : place + len(seat.groups)] += token_N[: len(shares_Np)] @ shares_Np
        else:
            change = here[entrance.key] - away[entrance.key]
            values_P += (change * slope[entrance.key]).flatten(1).sum(1).double().cpu().numpy()
    return values_P
