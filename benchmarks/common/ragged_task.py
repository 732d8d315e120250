"""Sequences of unequal length, and the LSTM that reads them: what both sides of the measurement share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROWS, VOCABULARY, WIDTH, STATE, CLASSES = 8192, 8000, 64, 128, 2
SHORTEST, LONGEST, BATCH = 8, 64, 64
STEPS, WARM = 60, 5  # within one pass over the rows

Sequences = list[NDArray[np.int64]]


def sequences() -> tuple[Sequences, NDArray[np.int64]]:
    """Token ids (0 is left for padding) and a label for each row. Lengths are uniform, mean 36."""
    random = np.random.default_rng(0)
    lengths = random.integers(SHORTEST, LONGEST + 1, ROWS)
    ids = [random.integers(1, VOCABULARY, length) for length in lengths.tolist()]
    return ids, random.integers(0, CLASSES, ROWS)
