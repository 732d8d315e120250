"""Text as byte-pair tokens, learned from the training rows alone: right for Japanese, and nothing is unknown."""

from __future__ import annotations

import html
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from ..errors import DataError
from .base import Array, Column, Value, Values, count_missing, is_missing, object_array

# Without a word on the matter, tokenizers starts threads and then warns in every forked loader.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

PADDING, BEGIN, END = 0, 1, 2
_BYTES = 3  # ids 3 to 258: the 256 bytes, for characters that the training rows did not hold
_ALPHABET = _BYTES + 256
_LONGEST_TOKEN = 16  # characters
_LARGEST = 1 << 20  # tokens that a column from a file may hold
_SAMPLE = 20_000_000  # characters that a vocabulary is learned from

# One piece: a run of one script with the space before it. Merges never cross pieces.
_CJK = r"\p{Han}\p{Hiragana}\p{Katakana}ー"
_PIECES = (
    rf" ?(?:\p{{Han}}+|\p{{Hiragana}}+|[\p{{Katakana}}ー]+|\p{{N}}{{1,4}}|[\p{{L}}\p{{M}}&&[^{_CJK}]]+|[^\s\p{{L}}\p{{M}}\p{{N}}]+)"
)
# What an explanation calls a word: a Japanese run of one script, or what stands between spaces.
_KANJI, _HIRAGANA, _KATAKANA = "\u3400-\u9fff\uf900-\ufaff々", "\u3041-\u309f", "\u30a0-\u30ff\uff66-\uff9f"
_WORDS = re.compile(
    rf"[{_KANJI}]+|[{_HIRAGANA}]+|[{_KATAKANA}]+|[、。，．！？「」『』（）・]|[^\s{_KANJI}{_HIRAGANA}{_KATAKANA}、。，．！？「」『』（）・]+"
)


@dataclass(frozen=True, kw_only=True)
class Text(Column):
    """Free text in any language; encodes to int32 token ids (N,), decodes to NFKC text with single spaces.

    Ids: 0 padding, 1 begin, 2 end (both for heads that write), then 256 bytes, the characters, the merges.
    A missing text is an empty array.

    >>> column = Text(name="review").fit(np.array(["good film", "bad film"] * 4, object))
    >>> column.decode(column.encode("a good   ｆｉｌｍ☃"))
    'a good film☃'
    """

    kind: ClassVar[str] = "text"
    ragged: ClassVar[bool] = True
    vocabulary_size: int = 16_384  # most tokens to learn
    max_length: int = 512  # most tokens that are read
    lowercase: bool = False
    alphabet: tuple[str, ...] = ()
    merges: tuple[tuple[int, int], ...] = ()  # pairs of ids; the i-th makes id 259 + len(alphabet) + i

    def __post_init__(self) -> None:
        if len(self.alphabet) + len(self.merges) > _LARGEST or not 1 <= self.max_length <= _LARGEST:
            raise DataError(f"Text column {self.name!r}: more than {_LARGEST} tokens; the schema file is damaged.")
        if not all(isinstance(c, str) and len(c) == 1 for c in self.alphabet):
            raise DataError(f"Text column {self.name!r}: 'alphabet' must hold single characters.")
        first = _ALPHABET + len(self.alphabet)
        for i, pair in enumerate(self.merges):
            if len(pair) != 2 or not all(isinstance(p, int) and _ALPHABET <= p < first + i for p in pair):
                raise DataError(f"Text column {self.name!r}: merge {i} names tokens that stand before no merge.")

    @classmethod
    def matches(cls, values: Values) -> float:
        present = [v for v in values if not is_missing(v)]
        if not present or not all(isinstance(v, str) for v in present):
            return 0.0
        length = float(np.mean([len(v) for v in present]))
        distinct = len(set(present)) / len(present)
        spaced = float(np.mean([" " in v.strip() or len(v) > 20 for v in present]))
        return round(min(0.95, distinct * (0.2 + 0.5 * spaced + 0.3 * min(1.0, length / 50))), 3)

    @classmethod
    def examples(cls, rng: np.random.Generator, n: int) -> Values:
        words = ["the", "film", "was", "not", "good", "東京", "は", "晴れ", "です。", "ﾃｽﾄ", "naïve", "☃", "<b>", "3.14"]
        made = [" ".join(rng.choice(words, size=int(rng.integers(1, 12)))) for _ in range(n)]
        return object_array([None if rng.random() < 0.1 else text for text in made])

    def fit(self, values: Values) -> Self:
        """Learn characters and byte pairs from `values`."""
        texts = list(self._sample(values))
        counts = Counter(character for text in texts for character in text)
        alphabet = sorted(c for c, count in counts.items() if count > 1)
        room = max(0, self.vocabulary_size - _ALPHABET)
        if len(alphabet) > room:
            alphabet = sorted(sorted(alphabet, key=lambda c: (-counts[c], c))[:room])
        return replace(self, alphabet=tuple(alphabet), merges=_learn(texts, alphabet, room - len(alphabet)))

    def _sample(self, values: Values) -> Iterator[str]:
        step = 1
        total = sum(len(v) for v in values if isinstance(v, str))
        if total > _SAMPLE:
            step = -(-total // _SAMPLE)
        for value in values[::step]:
            if not is_missing(value):
                yield self.normalise(value)

    def normalise(self, value: Value) -> str:
        """NFKC, single spaces and one space in front, so that a word is the same token wherever it stands."""
        if not isinstance(value, str):
            raise DataError(
                f"Column {self.name!r} is text; expected a string, received {type(value).__name__} {value!r:.80}."
            )
        text = unicodedata.normalize("NFKC", value)
        if self.lowercase:
            text = unicodedata.normalize("NFKC", text.lower())
        words = text.encode("utf-8", "replace").decode("utf-8").split()
        return " " + " ".join(words) if words else ""

    @cached_property
    def tokens(self) -> tuple[bytes, ...]:
        """The bytes of every token by id."""
        table = [b"", b"", b"", *(bytes([i]) for i in range(256)), *(c.encode() for c in self.alphabet)]
        for left, right in self.merges:
            table.append(table[left] + table[right])
        return tuple(table)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        names = [f"<0x{i:02X}>" for i in range(256)] + list(self.alphabet)
        ids = {name: _BYTES + i for i, name in enumerate(names)}
        merges = []
        for left, right in self.merges:
            a, b = names[left - _BYTES], names[right - _BYTES]
            names.append(a + b)
            ids[a + b] = len(names) - 1 + _BYTES
            merges.append((a, b))
        tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges, byte_fallback=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES), "isolated")
        return tokenizer

    def encode(self, value: Value) -> Array:
        return self.encode_many(object_array([value]))[0]

    def encode_many(self, values: Values) -> list[Array]:
        return [ids[: self.max_length] for ids in self._ids(values)]

    def _ids(self, values: Values) -> list[Array]:
        limit = (self.max_length + 1) * _LONGEST_TOKEN
        texts = ["" if is_missing(v) else self.normalise(v)[:limit] for v in values]
        return [np.asarray(e.ids, np.int32) for e in self._tokenizer.encode_batch_fast(texts)]

    def collate(self, arrays: Sequence[Array]) -> Array:
        """(B, N) int32, padded with 0 to the longest (at least 1)."""
        out = np.zeros((len(arrays), max([1, *(len(a) for a in arrays)])), np.int32)
        for row, array in zip(out, arrays, strict=True):
            row[: len(array)] = array
        return out

    def decode(self, array: Array) -> Value:
        ids = [int(i) for i in array]
        ids = ids[: ids.index(END)] if END in ids else ids
        return b"".join(self.tokens[i] for i in ids).decode("utf-8", "replace").strip()

    def parts(self, value: Value) -> list[Hashable]:
        """Words as (start, end) in `value`; in Japanese, runs of one script."""
        return [] if is_missing(value) else [match.span() for match in _WORDS.finditer(value)]

    def hide(self, value: Value, part: Hashable) -> Value:
        """`value` without the word; spaces keep the places of the others."""
        assert isinstance(part, tuple)
        start, end = part
        return value[:start] + " " * (end - start) + value[end:]

    def summary(self, values: Values) -> dict[str, Any]:
        lengths = np.array([len(ids) for ids in self._ids(values)])
        found = {"rows": len(values), "missing": count_missing(values), "truncated": int((lengths > self.max_length).sum())}
        if len(values):
            quantiles = np.quantile(np.minimum(lengths, self.max_length), [0, 0.25, 0.5, 0.75, 1])
            found["tokens"] = [float(q) for q in quantiles]
        return found

    def show(self, value: Value) -> str:
        if is_missing(value):
            return ""
        text = " ".join(str(value).split())
        return html.escape(text if len(text) <= 280 else text[:279] + "…")

    def json_schema(self) -> dict[str, Any]:
        return {"title": self.name, "type": ["string", "null"]}


def _learn(texts: list[str], alphabet: list[str], room: int) -> tuple[tuple[int, int], ...]:
    """At most `room` merges of `alphabet`, as pairs of ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES), "isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + room,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        max_token_length=_LONGEST_TOKEN,
    )
    tokenizer.train_from_iterator(texts, trainer)
    ids = {character: _ALPHABET + i for i, character in enumerate(alphabet)}
    pairs = []
    for left, right in json.loads(tokenizer.to_str())["model"]["merges"]:
        pairs.append((ids[left], ids[right]))
        ids[left + right] = _ALPHABET + len(alphabet) + len(pairs) - 1
    return tuple(pairs)
