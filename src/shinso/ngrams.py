"""Bags of hashed n-grams, weighted by TF-IDF: the features of a linear baseline on texts.

n = texts, F = features. Counts whole arrays of codes, not strings one by one, which is several times as fast.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .later import Later

sparse = Later("scipy.sparse")
Sparse = Any  # a scipy.sparse.csr_matrix

BUCKETS = 1 << 18
MOST_FEATURES = 50_000
MOST_LETTERS = 5_000  # of a text that are read
CHUNK = 2_000_000  # letters or words that are worked on at a time
SPACED = 0.08  # spaces per letter from which words are read; Japanese has next to none
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Bag:
    """What was learned from training texts: words or letters, which features, how much each weighs."""

    words: bool
    columns_F: NDArray[np.int64]  # bucket of each feature
    weights_F: NDArray[np.float32]  # log inverse document frequency

    @classmethod
    def fit(cls, texts: Sequence[str]) -> Self:
        """Learn from training texts: words and pairs of words, or 1 to 3 letters where spaces are rare."""
        letters = sum(map(len, texts[:1000]))
        words = sum(text.count(" ") for text in texts[:1000]) > SPACED * letters
        counts_nH = sparse.vstack(list(_counts(texts, words=words)), format="csr")
        seen_H = np.bincount(counts_nH.indices, minlength=BUCKETS)
        columns = np.argsort(-seen_H, kind="stable")[: min(MOST_FEATURES, int((seen_H > 0).sum()))]
        weights = np.log((1 + len(texts)) / (1 + seen_H[columns])) + 1
        return cls(words, np.sort(columns), weights[np.argsort(columns)].astype(np.float32))

    def transform(self, texts: Sequence[str]) -> Sparse:
        """(n, F) features of length 1 a row, as 1 + log of the counts times the weights."""
        parts = []
        for counts in _counts(texts, words=self.words):
            chosen = counts[:, self.columns_F]
            chosen.data = 1 + np.log(chosen.data)
            parts.append(chosen.multiply(self.weights_F[None, :]).tocsr())
        features: Any = sparse.vstack(parts, format="csr")
        lengths = np.sqrt(np.asarray(features.multiply(features).sum(1)).ravel())
        scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        return sparse.csr_matrix(sparse.diags(scale) @ features)


def _counts(texts: Sequence[str], *, words: bool) -> Iterator[Sparse]:
    """(n, BUCKETS) counts of n-grams, some texts at a time."""
    sequences: list[NDArray[np.uint32]] = []
    held = 0
    for text in texts:
        sequences.append(_words(text) if words else _letters(text))
        held += len(sequences[-1])
        if held > CHUNK:
            yield _hashed(sequences, orders=2 if words else 3)
            sequences, held = [], 0
    if sequences or not texts:
        yield _hashed(sequences, orders=2 if words else 3)


def _letters(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text[:MOST_LETTERS].lower().encode("utf-32-le", "replace"), np.uint32)


def _words(text: str) -> NDArray[np.uint32]:
    found = _WORD.findall(text[:MOST_LETTERS].lower())
    return np.fromiter(map(_code, found), np.uint32, len(found))


@lru_cache(50_000)
def _code(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "replace"))


def _hashed(sequences: Sequence[NDArray[np.uint32]], orders: int) -> Sparse:
    """Count n-grams of 1 to `orders` neighbours, by multiplying and adding their codes."""
    codes = np.concatenate([*sequences, np.empty(0, np.uint32)]).astype(np.uint64)
    row = np.repeat(np.arange(len(sequences)), [len(s) for s in sequences])
    rows, buckets, mixed = [], [], np.zeros(len(codes), np.uint64)
    for order in range(1, orders + 1):
        ahead = codes[order - 1 :]
        mixed = (mixed[: len(ahead)] + ahead + np.uint64(order)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
        inside = row[: len(ahead)] == row[order - 1 :]
        rows.append(row[: len(ahead)][inside])
        buckets.append((mixed[inside] >> np.uint64(46)).astype(np.int64))
    places = (np.concatenate(rows), np.concatenate(buckets))
    ones = np.ones(len(places[0]), np.float32)
    return sparse.csr_matrix((ones, places), shape=(len(sequences), BUCKETS))
