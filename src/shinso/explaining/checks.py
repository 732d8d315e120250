"""Whether an explanation can be believed: three checks, and the words that follow from them.

Faithfulness: deletion and insertion curves (Petsiuk, Das, Saenko, BMVC 2018) against random orders. Sanity:
the same method on a network with random weights must say something else (Adebayo et al., NeurIPS 2018).
Stability: a nudge to the row must not turn the explanation over (Alvarez-Melis and Jaakkola, 2018).
P players, R random orders, k steps of a curve, n rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..intervals import LEVEL, RESAMPLES
from ..later import Later
from ..network import Network
from .game import Game
from .methods import METHODS
from .scoring import Floats

stats = Later("scipy.stats")

STEPS, ORDERS = 12, 16
FEWEST = 4  # players that a rank correlation needs
ALIKE, STEADY, LEAK = 0.5, 0.5, 0.1


@dataclass(frozen=True)
class Curves:
    """What becomes of the answer to one row as its parts go, or come, in the order of an explanation."""

    shares: Floats  # (k + 1,) of the parts
    deletion: Floats  # (k + 1,): the most important parts hidden first
    insertion: Floats  # (k + 1,): the most important parts shown first
    random: Floats  # (k + 1,): hidden at random, mean over the orders
    deletion_gain: float  # area between the random and the own deletion curve
    gain: float  # mean of that and of the like area of insertion
    p: float  # share of random orders that are as good

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        listed = {name: [round(float(v), 6) for v in getattr(self, name)] for name in CURVES}
        return {**listed, "deletion_gain": self.deletion_gain, "gain": self.gain, "p": self.p}


CURVES = ("shares", "deletion", "insertion", "random")


def curves(game: Game, values_P: Floats, rng: np.random.Generator) -> Curves:
    """Deletion and insertion by `values_P`, and by random orders, in units that people know."""
    players = len(values_P)
    counts = np.unique(np.linspace(0, players, min(players, STEPS) + 1).round().astype(int))
    own = np.argsort(-values_P, kind="stable")
    orders = [own, *(rng.permutation(players) for _ in range(ORDERS))]
    ranks_RP = np.stack([np.argsort(order) for order in orders])
    kept = np.stack([ranks_RP >= c for c in counts], 1), np.stack([ranks_RP < c for c in counts], 1)
    worth = game.natural(np.concatenate([k.reshape(-1, players) for k in kept])) / game.scorer.spread
    deleted_Rk, inserted_Rk = worth.reshape(2, len(orders), len(counts))
    area_R, area_insert_R = deleted_Rk.mean(1), inserted_Rk.mean(1)
    quality_R = area_insert_R - area_R
    return Curves(
        counts / players, deleted_Rk[0], inserted_Rk[0], deleted_Rk[1:].mean(0),
        float(area_R[1:].mean() - area_R[0]), float(quality_R[0] - quality_R[1:].mean()) / 2,
        float((1 + (quality_R[1:] >= quality_R[0]).sum()) / (1 + ORDERS)),
    )  # fmt: skip


def correlation(a_P: Floats, b_P: Floats, among: NDArray[np.bool_] | None = None) -> float | None:
    """Rank correlation of two explanations; None where there is too little to rank."""
    a, b = (a_P, b_P) if among is None else (a_P[among], b_P[among])
    if len(a) < FEWEST or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(stats.spearmanr(a, b).statistic)


def randomised(method: str, game: Game, values_P: Floats, fresh: Network, seed: int) -> float | None:
    """Rank correlation with what the method says of a network that has learned nothing."""
    other = METHODS[method].run(game.on(fresh), np.random.default_rng(seed))
    felt = (values_P != 0) | (other != 0)
    return correlation(values_P, other, felt)


def stability(method: str, game: Game, values_P: Floats, rng: np.random.Generator) -> float | None:
    """Rank correlation after a nudge of the row; where nothing can be nudged, after losing a small part."""
    felt = values_P != 0
    if game.continuous:
        return correlation(values_P, METHODS[method].run(game.nudged(rng), rng), felt)
    if len(values_P) <= FEWEST:
        return None
    small = np.argsort(np.abs(values_P))[: max(1, len(values_P) // 2)]
    gone = int(rng.choice(small))
    felt[gone] = False
    return correlation(values_P, METHODS[method].run(game.lacking(gone), rng), felt)


def estimate(values: list[float | None]) -> dict[str, Any]:
    """Mean over rows with its bootstrap interval; None where there is none."""
    known = np.array([v for v in values if v is not None])
    if not len(known):
        return {"value": None, "low": None, "high": None, "rows": 0}
    rng = np.random.default_rng(0)
    means = known[rng.integers(len(known), size=(RESAMPLES, len(known)))].mean(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    ends = {"low": float(low), "high": float(high)} if len(known) > 1 else {"low": None, "high": None}
    return {"value": float(known.mean()), **ends, "rows": len(known)}


def beats_chance(gains: list[float]) -> float | None:
    """p of the hypothesis that the explanations order parts no better than chance (signed ranks)."""
    gained = np.array([g for g in gains if g != 0])
    return float(stats.wilcoxon(gained, alternative="greater").pvalue) if len(gained) else None


def verdict(trust: dict[str, Any]) -> list[str]:
    """What speaks against believing the explanations, in words; empty where nothing does."""
    words = []
    faithful, sane, steady = (trust[name] for name in ("faithfulness", "randomised", "stability"))
    least = faithful["low"] if faithful["low"] is not None else faithful["value"]
    single = faithful["rows"] == 1 and (trust["p"] or 0) > 0.1
    if faithful["value"] is not None and (least <= 0 or single):
        words.append(
            "Hiding the parts that it marks changes the answer no more than hiding parts at random does."
        )
    if sane["value"] is not None and sane["value"] > ALIKE:
        words.append(
            f"It says much the same of a network with random weights (rank correlation {sane['value']:.2f}), "
            "so it shows the input more than what was learned."
        )
    if steady["value"] is not None and steady["value"] < STEADY:
        words.append(
            f"A change that nobody would notice turns it over (rank correlation {steady['value']:.2f})."
        )
    if trust["leftover"] is not None and trust["leftover"] > LEAK:
        words.append(
            f"Its parts do not add up to the answer: {trust['leftover']:.0%} of it is unaccounted for."
        )
    if trust["moved"] is not None and trust["moved"] < 0.02:
        words.append("The answers hardly change when everything is hidden: there is little to explain.")
    return words
