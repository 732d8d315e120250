"""The maximum mean discrepancy: unbiased, uniform p where nothing differs, and a cautious effect."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shinso.watching.discrepancy import discrepancy, gaussians, squared, together


def between(live: Any, reference: Any, level: float | None = 0.01, seed: int = 0) -> Any:
    kernel = gaussians(np.concatenate([live, reference]))
    return discrepancy(kernel, len(live), level, np.random.default_rng(seed))


def by_hand(kernel: Any, n: int) -> float:
    """The estimate of lemma 6 of Gretton et al. (2012), pair by pair."""
    size = len(kernel)
    live = [kernel[i, j] for i in range(n) for j in range(n) if i != j]
    reference = [kernel[i, j] for i in range(n, size) for j in range(n, size) if i != j]
    across = [kernel[i, j] for i in range(n) for j in range(n, size)]
    return float(np.mean(live) + np.mean(reference) - 2 * np.mean(across))


@pytest.mark.parametrize(("n", "m", "width"), [(2, 2, 1), (5, 9, 3), (30, 12, 16)])
def test_the_estimate_is_that_of_the_paper(n: int, m: int, width: int) -> None:
    rng = np.random.default_rng(n)
    live, reference = rng.normal(0.5, 1, (n, width)), rng.normal(size=(m, width))
    kernel = gaussians(np.concatenate([live, reference]))
    assert kernel.min() >= 0 and np.allclose(np.diag(kernel), 1) and np.allclose(kernel, kernel.T, atol=1e-6)
    assert between(live, reference).squared == pytest.approx(by_hand(kernel, n), abs=1e-5)
    hollow = kernel - np.diag(np.diag(kernel))
    chosen = np.array([[1.0] * n + [0.0] * m, [0.0] * m + [1.0] * n])
    assert squared(hollow, chosen)[0] == pytest.approx(by_hand(kernel, n), abs=1e-5)


def test_it_is_unbiased_and_p_is_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(1)
    found = [between(rng.normal(size=(40, 6)), rng.normal(size=(80, 6)), seed=i) for i in range(300)]
    apart = np.array([one.squared for one in found])
    assert abs(apart.mean()) < 4 * apart.std() / np.sqrt(300), "about 0, on both sides"
    assert (apart < 0).mean() > 0.4
    p = np.sort([one.p for one in found])
    assert np.abs(p - (np.arange(300) + 0.5) / 300).max() < 0.08 + 0.02, "within a Kolmogorov band"
    assert (p <= 0.05).mean() < 0.09


def test_equal_samples_are_not_apart() -> None:
    rng = np.random.default_rng(2)
    one = rng.normal(size=(50, 4))
    same = between(one, one)
    assert same.squared < 0.01 and same.p > 0.5 and same.effect < 0.1
    flat = between(np.zeros((20, 4)), np.zeros((30, 4)))
    assert flat.squared == pytest.approx(0, abs=1e-6) and flat.p == 1 and flat.effect < 1e-3


@pytest.mark.parametrize("share", [0.1, 0.3, 1.0])
def test_the_effect_is_a_share_that_has_moved_at_least(share: float) -> None:
    rng = np.random.default_rng(3)
    live, reference = rng.normal(size=(200, 8)), rng.normal(size=(400, 8))
    moved = rng.random(200) < share
    live[moved] += 6
    found = between(live, reference, level=1e-3)
    assert found.p < 1e-3 and share / 4 < found.effect <= moved.mean() + 0.05
    assert moved[found.strangest]


def test_what_no_single_number_shows_is_found() -> None:
    rng = np.random.default_rng(4)
    live, reference = rng.normal(size=(250, 3)), rng.normal(size=(500, 3))
    live[:, 1] = 0.95 * live[:, 0] + np.sqrt(1 - 0.95**2) * live[:, 1]
    assert between(live, reference, level=1e-3).p < 1e-3


def test_sets_that_came_together_count_as_one() -> None:
    rng = np.random.default_rng(5)
    wrong = {"rows": 0, "sets": 0}
    for i in range(100):
        centres = rng.normal(size=(25, 4))
        live = np.repeat(centres, 8, 0) + 0.1 * rng.normal(size=(200, 4))
        kernel = gaussians(np.concatenate([live, rng.normal(size=(150, 4))]))
        generator = np.random.default_rng(i)
        wrong["rows"] += discrepancy(kernel, 200, 0.01, generator).p <= 0.05
        units = np.concatenate([np.repeat(np.arange(25), 8), np.arange(150) + 25])
        joined = together(kernel, units)
        wrong["sets"] += discrepancy(joined, 25, 0.01, generator).p <= 0.05
    assert wrong["rows"] > 50 and wrong["sets"] <= 12


def test_extreme_numbers_do_not_hide_the_others() -> None:
    rng = np.random.default_rng(6)
    live, reference = rng.normal(1.5, 1, (100, 4)), rng.normal(size=(200, 4))
    live[0], reference[0] = 6e4, -6e4
    assert between(live, reference, level=1e-3).p < 1e-3
