"""The linear baseline equals scikit-learn's, and the test of independence scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats
from sklearn.linear_model import LogisticRegression

from shinso.intervals import chi_squared
from shinso.logistic import Logistic


def rows(classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    features_nF = random.normal(size=(300, 12))
    weights_FC = random.normal(size=(12, classes))
    noise_nC = random.gumbel(size=(300, classes))
    return features_nF, (features_nF @ weights_FC + noise_nC).argmax(1)


@pytest.mark.parametrize("sparsely", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_equals_scikit_learn(classes: int, sparsely: bool) -> None:
    features_nF, labels_n = rows(classes)
    given = (
        sparse.csr_matrix(np.where(np.abs(features_nF) > 0.5, features_nF, 0)) if sparsely else features_nF
    )
    ours = Logistic.fit(given, labels_n, classes).probabilities(given)
    theirs = LogisticRegression(max_iter=1000, tol=1e-8).fit(given, labels_n).predict_proba(given)
    assert ours == pytest.approx(theirs, abs=2e-3)
    assert ours.sum(1) == pytest.approx(1)


def test_a_class_without_rows_has_no_chance() -> None:
    features_nF, labels_n = rows(2)
    found = Logistic.fit(features_nF, np.where(labels_n, 3, 1), 5).probabilities(features_nF)
    assert found.shape == (300, 5)
    assert (found[:, [0, 2, 4]] == 0).all()
    assert found[:, [1, 3]].sum(1) == pytest.approx(1)


def test_large_features_do_not_overflow() -> None:
    features_nF, labels_n = rows(3)
    found = Logistic.fit(features_nF * 1e3, labels_n, 3).probabilities(features_nF * 1e6)
    assert np.isfinite(found).all()
    assert found.sum(1) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(2, 2), (3, 5)])
@pytest.mark.parametrize("corrected", [False, True])
def test_chi_squared_equals_scipy(shape: tuple[int, int], corrected: bool) -> None:
    counts = np.random.default_rng(1).integers(1, 40, shape)
    theirs = stats.chi2_contingency(counts, correction=corrected)
    assert chi_squared(counts, corrected=corrected) == pytest.approx((theirs.statistic, theirs.pvalue))
