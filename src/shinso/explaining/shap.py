"""Kernel SHAP: Shapley values by least squares (Lundberg and Lee, NeurIPS 2017). P players, M coalitions.

Coalitions are drawn from the kernel in pairs with their complements (Covert and Lee, AISTATS 2021); few
players are enumerated, so that the values are exact. What they add up to is a constraint, not a hope.
"""

from __future__ import annotations

import math

import numpy as np

from .seats import Board, Coalitions
from .units import Floats

ENUMERATED = 10  # players up to which every coalition is asked
SAMPLES = 512


def shap(game: Board, rng: np.random.Generator) -> Floats:
    """(P,): Shapley values; they add up to evidence of the whole row minus evidence of nothing."""
    players = len(game.players)
    empty, whole = game(np.concatenate([game.none, game.all]))
    if players == 1:
        return np.array([whole - empty])
    kept_MP, weight_M = enumerated(players) if players <= ENUMERATED else sampled(players, rng)
    return constrained(kept_MP, weight_M, game(kept_MP) - empty, float(whole - empty))


def enumerated(players: int) -> tuple[Coalitions, Floats]:
    """All coalitions but the empty and the whole one, and their weights."""
    numbers = np.arange(1, 2**players - 1)
    kept_MP = (numbers[:, None] >> np.arange(players) & 1).astype(bool)
    sizes = kept_MP.sum(1)
    weights = [(players - 1) / (math.comb(players, int(s)) * s * (players - s)) for s in sizes]
    return kept_MP, np.array(weights)


def sampled(players: int, rng: np.random.Generator) -> tuple[Coalitions, Floats]:
    """Coalitions drawn with the probability of their weight, each with its complement."""
    sizes = np.arange(1, players)
    odds = 1 / (sizes * (players - sizes))
    pairs = (SAMPLES + 2 * players) // 2
    drawn = rng.choice(sizes, pairs, p=odds / odds.sum())
    order_MP = rng.random((pairs, players)).argsort(1)
    kept_MP = order_MP < drawn[:, None]
    return np.concatenate([kept_MP, ~kept_MP]), np.ones(2 * pairs)


def constrained(kept_MP: Coalitions, weight_M: Floats, gain_M: Floats, total: float) -> Floats:
    """(P,): the weighted least squares fit whose values add up to `total`."""
    design_MP = kept_MP.astype(np.float64)
    last_M1 = design_MP[:, -1:]
    root_M1 = np.sqrt(weight_M)[:, None]
    left = (design_MP[:, :-1] - last_M1) * root_M1
    right = (gain_M - last_M1[:, 0] * total) * root_M1[:, 0]
    most, *_ = np.linalg.lstsq(left, right, rcond=1e-10)
    return np.append(most, total - most.sum())
