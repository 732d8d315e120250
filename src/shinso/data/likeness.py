"""Which texts, images or rows of numbers are nearly alike, without comparing each with each.

n = values, m = pairs, H = hashes of a signature, B = bands, T = shingles (runs of letters) of all texts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..columns import Values
from ..columns.base import is_missing
from ..columns.image import Image
from ..errors import DataError
from ..later import Later

fft = Later("scipy.fft")

Pairs = NDArray[np.int64]  # (m, 2): places of two values, the smaller first
Words = NDArray[np.uint64]
Array = NDArray[np.float32]
HASHES, BAND = 64, 4  # 16 bands of 4 hashes find texts that share half of their shingles or more
WINDOW = 32  # neighbours with one key that are compared; a larger group is chained together
LETTERS = 20_000  # of a text that are read
SPACED = 0.08  # spaces a letter from which a shingle has five letters; Japanese has next to none, and three
SHINGLES = (3, 5)
SIDE, LOW = 32, 8  # an image is looked at in 32 x 32 grey levels, its hash is made of 8 x 8 frequencies
ALIKE_TEXTS = 0.8  # Jaccard similarity of shingles from which texts are nearly the same
ALIKE_IMAGES = 0.995  # correlation of grey levels from which images are nearly the same
FLAT = 2.0  # standard deviation of grey levels below which an image shows nothing
MOST_BITS = 10  # of 64 in which the hashes of images that look the same may differ
PIECE = 4_096  # images or pairs of them worked on at a time
CHUNK = 4_000_000  # shingles worked on at a time
_ONES = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2), axis=1).sum(1)
_MIX = np.uint64(0x9E3779B97F4A7C15)


def near_texts(texts: Sequence[str | None], alike: float = ALIKE_TEXTS) -> tuple[Pairs, NDArray[np.float64]]:
    """Pairs of texts that share most of their runs of letters, and how much: MinHash (Broder, 1997).

    Texts are compared after NFKC, in lower case and without differences in white space, by the letter, so
    that languages without spaces work alike. Candidates come from bands of signatures (Leskovec et al.,
    2014, chapter 3); each is then measured exactly.

    >>> pairs, alike = near_texts(["今日はとても天気が良いので散歩に行きました。", "猫", None,
    ...                            "今日はとても天気が良いので散歩に行きました!"])
    >>> pairs.tolist(), alike.round(2).tolist()
    ([[0, 3]], [0.9])
    """
    plain = [normal_text(text) for text in texts]
    shingles, starts = _shingles(plain)
    filled = np.flatnonzero(np.diff(starts) > 0)
    signatures_nH = _signatures(shingles, starts[:-1][filled])
    pairs = filled[pairs_sharing(_bands(signatures_nH), signatures_nH[:, 0])]
    similarity = np.array([_jaccard(shingles, starts, a, b) for a, b in pairs.tolist()], np.float64)
    kept = similarity >= alike
    return pairs[kept], similarity[kept]


def normal_text(text: str | None) -> str:
    """A text without differences of width, case and white space.

    >>> normal_text(" Ｈｅｌｌｏ  World ")
    'hello world'
    """
    return "" if text is None else " ".join(unicodedata.normalize("NFKC", text[:LETTERS]).lower().split())


def _shingles(texts: Sequence[str]) -> tuple[Words, NDArray[np.int64]]:
    """Hashes (T,) of all runs of letters of all texts, and where each text starts, (n + 1,)."""
    letters = sum(map(len, texts))
    size = SHINGLES[int(sum(text.count(" ") for text in texts) > SPACED * letters)]
    codes = [np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32) for text in texts]
    counts = np.array([max(min(len(c), 1), len(c) - size + 1) for c in codes], np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])
    out = np.empty(int(starts[-1]), np.uint64)
    for code, start, count in zip(codes, starts[:-1].tolist(), counts.tolist(), strict=True):
        mixed = np.zeros(count, np.uint64)
        for shift in range(min(size, len(code))):
            mixed = (mixed + code[shift : shift + count]) * _MIX
            mixed ^= mixed >> np.uint64(29)
        out[start : start + count] = mixed
    return out, starts


def _signatures(shingles: Words, starts: NDArray[np.int64]) -> Words:
    """(n, H): of H random orders of all shingles, the first one that stands in each text."""
    rng = np.random.default_rng(0)
    odd = rng.integers(1, 2**63, HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    out = np.empty((len(starts), HASHES), np.uint64)
    if not len(starts):
        return out
    ends = np.append(starts[1:], len(shingles))
    first = 0
    while first < len(starts):
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + CHUNK, side="right")))
        part = shingles[starts[first] : ends[last - 1]]
        for i, factor in enumerate(odd):
            mixed = (part ^ (factor >> np.uint64(7))) * factor
            mixed ^= mixed >> np.uint64(32)
            out[first:last, i] = np.minimum.reduceat(mixed, starts[first:last] - starts[first])
        first = last
    return out


def _bands(signatures_nH: Words) -> Words:
    """(n, B): every few hashes of a signature as one key."""
    keys = np.zeros((len(signatures_nH), HASHES // BAND), np.uint64)
    for i in range(BAND):
        keys = (keys + signatures_nH[:, i::BAND]) * _MIX
        keys ^= keys >> np.uint64(31)
    return keys


def _jaccard(shingles: Words, starts: NDArray[np.int64], a: int, b: int) -> float:
    one, two = (np.unique(shingles[starts[i] : starts[i + 1]]) for i in (a, b))
    both = len(np.intersect1d(one, two, assume_unique=True))
    return both / (len(one) + len(two) - both)


def near_images(values: Values, alike: float = ALIKE_IMAGES) -> tuple[Pairs, NDArray[np.float64]]:
    """Pairs of images that show nearly the same, and the correlation of their grey levels.

    Candidates come from a perceptual hash: the signs of the low frequencies of the cosine transform (Zauner,
    2010). Size, compression and brightness may differ; pictures that are empty are left out.
    """
    grey_nHW, usable = grey_levels(values)
    spread = np.array([grey.std() for grey in grey_nHW])
    shown = np.flatnonzero(usable & (spread > FLAT))
    keys = perceptual_keys(grey_nHW[shown])
    pairs = pairs_sharing(keys, grey_nHW[shown].reshape(len(shown), SIDE**2)[:, :: SIDE + 1].sum(1))
    apart = _ONES[(keys[pairs[:, 0]] ^ keys[pairs[:, 1]]).astype(np.uint16)].sum(1)
    pairs = shown[pairs[apart <= MOST_BITS]]
    similarity = np.empty(len(pairs))
    for start in range(0, len(pairs), PIECE):
        part = pairs[start : start + PIECE]
        similarity[start : start + PIECE] = _correlations(grey_nHW[part[:, 0]], grey_nHW[part[:, 1]])
    kept = similarity >= alike
    return pairs[kept], similarity[kept]


def _correlations(a_mHW: NDArray[np.uint8], b_mHW: NDArray[np.uint8]) -> NDArray[np.float64]:
    a, b = (x.reshape(len(x), SIDE**2).astype(np.float32) for x in (a_mHW, b_mHW))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    return np.asarray((a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1)), np.float64)


def grey_levels(values: Values) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """(n, 32, 32) grey levels of images, and (n,) which of them could be read."""
    column = Image(name="image", height=SIDE, width=SIDE, channels=1, mean=(0.5,), std=(0.5,))
    out, usable = np.zeros((len(values), SIDE, SIDE), np.uint8), np.zeros(len(values), bool)
    for i, value in enumerate(values):
        if not is_missing(value):
            try:
                out[i] = column.encode(value)[..., 0]
                usable[i] = True
            except DataError:
                continue  # a damaged picture is said where rows are read
    return out, usable


def perceptual_keys(grey_nHW: NDArray[np.uint8]) -> Words:
    """(n, 4): 64 signs of low frequencies, as four keys of 16 bits; pairs that differ in 3 bits share one."""
    keys = np.zeros((len(grey_nHW), 4), np.uint64)
    for start in range(0, len(grey_nHW), PIECE):
        part = grey_nHW[start : start + PIECE].astype(np.float32)
        low = fft.dctn(part, axes=(1, 2), norm="ortho")[:, :LOW, :LOW].reshape(len(part), -1)
        bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
        keys[start : start + PIECE] = np.packbits(bits, axis=1).view(np.uint16).reshape(-1, 4)
    return keys


def near_numbers(groups_n: NDArray[np.int64], numbers_nK: Array, close: float) -> Pairs:
    """Pairs of one group whose standardised numbers all differ by at most `close`, and somewhere differ."""
    if len(groups_n) < 2 or not numbers_nK.shape[1]:
        return np.empty((0, 2), np.int64)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(2):
        line = numbers_nK @ rng.uniform(0.5, 1.5, numbers_nK.shape[1])
        order = np.lexsort((line, groups_n))
        for step in range(1, 4):
            a, b = order[:-step], order[step:]
            apart = np.abs(numbers_nK[a] - numbers_nK[b]).max(1)
            near = (groups_n[a] == groups_n[b]) & (apart <= close) & (apart > 0)
            found.append(np.stack([a[near], b[near]], axis=1))
    return _unique(np.concatenate(found))


def pairs_sharing(keys_nB: Words, second_n: NDArray[np.generic]) -> Pairs:
    """Pairs with one key in common; of the many that share one, those that are next in `second_n`."""
    found = [np.empty((0, 2), np.int64)]
    for keys in keys_nB.T:
        order = np.lexsort((second_n, keys))
        ordered = keys[order]
        for step in range(1, min(WINDOW, len(order) - 1) + 1):
            same = np.flatnonzero(ordered[:-step] == ordered[step:])
            if not len(same):
                break
            found.append(np.stack([order[same], order[same + step]], axis=1))
    return _unique(np.concatenate(found))


def _unique(pairs: Pairs) -> Pairs:
    return np.unique(np.sort(pairs, axis=1), axis=0).reshape(-1, 2)


def groups_of(pairs: Pairs, n: int) -> NDArray[np.int64]:
    """(n,): the smallest place among those that pairs connect with each value."""
    group = np.arange(n)
    while len(pairs):
        least = np.minimum(group[pairs[:, 0]], group[pairs[:, 1]])
        new = group.copy()
        np.minimum.at(new, pairs[:, 0], least)
        np.minimum.at(new, pairs[:, 1], least)
        new = new[new]
        if (new == group).all():
            break
        group = new
    return group
