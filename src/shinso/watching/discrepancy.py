"""The maximum mean discrepancy of two sets of vectors (Gretton et al., JMLR 2012), by Gaussian kernels.

N = n + m: vectors of a day, then vectors of the reference. E size of a vector, P permutations, U units:
vectors, or sets of vectors that came together and of which each counts as one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Places = NDArray[np.int64]
NARROWER = 2  # times that the widest kernel is squared twice: widths of 4, 2 and 1 median distances
SOME = 500  # vectors that the median distance is taken of
FAR = 30.0  # deviations beyond which a number is cut off
MOST_PERMUTATIONS = 20_000
AT_ONCE = 500  # permutations
EXCEEDED = 20  # permutations beyond the discrepancy after which no more are made


@dataclass(frozen=True)
class Discrepancy:
    """How far two sets of vectors are apart."""

    squared: float  # the unbiased estimate: about 0, or below it, where nothing differs
    effect: float  # at least that share of the first set is not as the second, 0 to 1
    p: float
    strangest: int  # the unit of the first set that is least like the second


def gaussians(points_NE: Floats) -> NDArray[np.float32]:
    """(N, N): the mean of Gaussian kernels of 4, 2 and 1 median distances, so that none has to be chosen.

    >>> gaussians(np.zeros((2, 3))).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    near_NE: NDArray[np.float32] = np.clip(points_NE, -FAR, FAR).astype(np.float32)
    squares_N = (near_NE**2).sum(1)
    squared_NN = squares_N[:, None] + squares_N[None] - 2 * (near_NE @ near_NE.T)
    np.maximum(squared_NN, 0, out=squared_NN)
    np.fill_diagonal(squared_NN, 0)
    some = np.linspace(0, len(near_NE) - 1, min(len(near_NE), SOME)).astype(np.int64)
    apart = squared_NN[np.ix_(some, some)]
    median = float(np.median(apart[apart > 0])) if (apart > 0).any() else 1.0
    widest = np.float32(-32 * median)  # four times as wide as the median distance
    kernel_NN: NDArray[np.float32] = np.exp(squared_NN / widest)
    found_NN = kernel_NN.copy()
    for _ in range(NARROWER):
        kernel_NN **= 4  # half as wide
        found_NN += kernel_NN
    found_NN /= NARROWER + 1
    return found_NN


def together(kernel_NN: NDArray[np.float32], unit_N: Places) -> NDArray[np.float32]:
    """(U, U): the kernel of sets of vectors, the mean over all pairs. `unit_N` are numbers from 0 on."""
    share_UN = np.zeros((int(unit_N.max()) + 1, len(unit_N)), np.float32)
    share_UN[unit_N, np.arange(len(unit_N))] = 1 / np.bincount(unit_N)[unit_N]
    found: NDArray[np.float32] = (share_UN @ kernel_NN @ share_UN.T).astype(np.float32, copy=False)
    return found


def squared(kernel_NN: Floats, chosen_PN: Floats) -> NDArray[np.float64]:
    """(P,): the unbiased estimate of the squared discrepancy of those that are chosen (1) and the others (0).

    `kernel_NN` has a diagonal of zeros: no vector is compared with itself, which is what would bias it.
    """
    n = float(chosen_PN[0].sum())
    m = chosen_PN.shape[1] - n
    row_N = kernel_NN.sum(1, dtype=np.float64)
    inside_P = np.einsum("pn,pn->p", chosen_PN @ kernel_NN, chosen_PN, dtype=np.float64)
    across_P = chosen_PN @ row_N - inside_P
    outside_P = row_N.sum() - 2 * across_P - inside_P
    found: NDArray[np.float64] = inside_P / (n * (n - 1)) + outside_P / (m * (m - 1)) - 2 * across_P / (n * m)
    return found


def discrepancy(
    kernel_UU: NDArray[np.float32], n: int, level: float | None, rng: np.random.Generator
) -> Discrepancy:
    """Compare the first `n` units with the others; p by permutations, fine enough to fall below `level`.

    Permutations end early where nothing shows (Besag and Clifford, 1991). Without a level p is 1: none are
    made. Of a kernel that is 1 at most no two sets are further apart than the root of 1 + the mean kernel of
    the reference, so a smaller discrepancy tells what share has moved at least.
    """
    size, m = len(kernel_UU), len(kernel_UU) - n
    kernel_UU = kernel_UU.copy()
    np.fill_diagonal(kernel_UU, 0)
    alike = float(kernel_UU[n:, n:].sum(dtype=np.float64)) / (m * (m - 1))
    kernel_UU -= np.float32(
        kernel_UU.sum(dtype=np.float64) / (size * (size - 1))
    )  # of no effect but on rounding
    np.fill_diagonal(kernel_UU, 0)
    first_1U = (np.arange(size) < n).astype(np.float32)[None]
    found = float(squared(kernel_UU, first_1U)[0])
    witness_n = kernel_UU[:n, :n].sum(1) / (n - 1) - kernel_UU[:n, n:].mean(1)
    p = 1.0 if level is None else _permuted(kernel_UU, n, found, level, rng)
    effect = float(np.sqrt(max(0.0, found) / (1 + alike)))
    return Discrepancy(found, min(1.0, effect), p, int(witness_n.argmax()))


def _permuted(
    kernel_UU: NDArray[np.float32], n: int, observed: float, level: float, rng: np.random.Generator
) -> float:
    size = len(kernel_UU)
    most = min(MOST_PERMUTATIONS, int(np.ceil(2 / max(level, 1e-9))))
    beyond = made = 0
    while made < most and beyond < EXCEEDED:
        count = min(AT_ONCE if made else 100, most - made)
        chosen_PU = np.zeros((count, size), np.float32)
        places_Pn = np.argpartition(rng.random((count, size), np.float32), n - 1, axis=1)[:, :n]
        np.put_along_axis(chosen_PU, places_Pn, 1.0, 1)
        beyond += int((squared(kernel_UU, chosen_PU) >= observed - 1e-9).sum())
        made += count
    return (beyond + 1) / (made + 1)
