"""LIME: a linear model of the network around one row (Ribeiro, Singh, Guestrin, KDD 2016).

M coalitions, P players.
"""

from __future__ import annotations

import numpy as np

from .seats import Board
from .units import Floats

SAMPLES = 512
WIDTH = 0.25  # of the kernel, over the cosine distance to the whole row
RIDGE = 1.0


def lime(game: Board, rng: np.random.Generator) -> Floats:
    """(P,): the slopes of a ridge regression on coalitions, those near the whole row counting most."""
    players = len(game.players)
    shown_M1 = rng.integers(1, players + 1, (SAMPLES + 2 * players, 1))
    kept_MP = rng.random((len(shown_M1), players)).argsort(1) < shown_M1
    kept_MP = np.concatenate([game.all, kept_MP])
    distance_M = 1 - np.sqrt(kept_MP.mean(1))
    weight_M1 = np.exp(-((distance_M / WIDTH) ** 2))[:, None]
    design_MP, worth_M = kept_MP.astype(np.float64), game(kept_MP)
    design_MP = design_MP - (weight_M1 * design_MP).sum(0) / weight_M1.sum()
    worth_M = worth_M - (weight_M1[:, 0] * worth_M).sum() / weight_M1.sum()
    gram = design_MP.T @ (weight_M1 * design_MP) + RIDGE * np.eye(players)
    return np.asarray(np.linalg.solve(gram, design_MP.T @ (weight_M1[:, 0] * worth_M)))
