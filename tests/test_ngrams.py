"""Hashed n-grams weigh as scikit-learn's TF-IDF does, for words and for letters."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from shinso import ngrams
from shinso.ngrams import Bag

ENGLISH = [
    "the cat sat on the mat",
    "the dog sat",
    "a cat and a dog and a cat",
    "no word here",
    "the the the",
]
JAPANESE = ["猫が好きです", "犬が好きです。犬!", "鳥は飛ぶ", "猫と犬", "魚"]


@pytest.mark.parametrize("texts", [ENGLISH, JAPANESE])
def test_inner_products_equal_scikit_learns(texts: list[str]) -> None:
    bag = Bag.fit(texts)
    words = texts is ENGLISH
    assert bag.words == words
    reference = TfidfVectorizer(
        analyzer="word" if words else "char",
        ngram_range=(1, 2) if words else (1, 3),
        sublinear_tf=True,
        token_pattern=r"(?u)\b\w+\b" if words else r"(?u)\b\w\w+\b",
    ).fit_transform(texts)
    found = bag.transform(texts)
    np.testing.assert_allclose((found @ found.T).toarray(), (reference @ reference.T).toarray(), atol=1e-6)


def test_new_and_empty_texts() -> None:
    bag = Bag.fit(ENGLISH)
    found = bag.transform(["", "quite other things", "the cat"])
    assert found.shape == (3, len(bag.columns_F))
    assert found[0].nnz == 0
    assert abs(found[2]).sum() > 0
    assert Bag.fit(["", ""]).transform(["x"]).shape == (1, 0)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Bag.fit(JAPANESE).transform(JAPANESE)
    monkeypatch.setattr(ngrams, "CHUNK", 7)
    parts = Bag.fit(JAPANESE).transform(JAPANESE)
    assert abs(whole - parts).max() == 0
