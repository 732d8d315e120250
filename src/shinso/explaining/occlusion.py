"""Occlusion: what is lost when one part is hidden (Zeiler and Fergus, ECCV 2014). P players."""

from __future__ import annotations

import numpy as np

from .seats import Board
from .units import Floats


def occlusion(game: Board, rng: np.random.Generator) -> Floats:
    """(P,): evidence of the whole row minus evidence without the part."""
    return np.asarray(game(game.all) - game(game.without))
