"""Which tokens of a text belong to which words. N tokens, p groups of words."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Sequence

import numpy as np

from ..columns.base import Array, Value
from ..columns.text import Text
from .scoring import Floats


def tokens_of_groups(
    column: Text, value: Value, groups: Sequence[tuple[Hashable, ...]], ids_N: Array
) -> Floats:
    """(N, p): the share of each token's bytes that stand in each group of words; spaces count nowhere.

    >>> text = Text(name="t").fit(np.array(["good film"] * 2, object))
    >>> spans = [((0, 4),), ((5, 9),)]
    >>> tokens_of_groups(text, "good film", spans, text.encode("good film")).sum(0) > 0
    array([ True,  True])
    """
    owners = [owner for owner, group in enumerate(groups) for _ in _bytes(value, group)]
    shares_Np = np.zeros((len(ids_N), len(groups)))
    at = 0
    for n, token in enumerate(ids_N):
        size = len(column.tokens[int(token)].replace(b" ", b""))
        for owner in owners[at : at + size]:
            shares_Np[n, owner] += 1 / size
        at += size
    return shares_Np


def _bytes(value: Value, group: tuple[Hashable, ...]) -> bytes:
    if not isinstance(value, str):
        return b""
    words = "".join(value[part[0] : part[1]] for part in group if isinstance(part, tuple))
    plain = unicodedata.normalize("NFKC", words.encode("utf-8", "replace").decode("utf-8"))
    return "".join(plain.split()).encode("utf-8")
