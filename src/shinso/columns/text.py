"""Text as byte-pair tokens learned from the training rows alone; Japanese too, and nothing is unknown."""

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
from .base import Array, Column, Value, Values, count_missing, is_missing, missing_mask, object_array
from .mecab import DICTIONARIES
from .mecab import words as words_of
from .published import open_tokenizer, pads_with_zero, unknown_id

# Left open, tokenizers starts threads of its own and then warns in every process that is forked.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

PADDING, BEGIN, END = 0, 1, 2
FIRST_BYTE = 3  # ids 3 to 258 are the 256 bytes, of characters that were too rare to be learned
FIRST_CHARACTER = FIRST_BYTE + 256
LONGEST_TOKEN = 16  # characters
LONGEST_PIECE = 128  # likewise, of published tokenizers: beyond so many for each token a text is not read
MOST_TOKENS = 1 << 20  # of a vocabulary or a text: beyond that a stored column is damaged
SAMPLE = 20_000_000  # characters that a vocabulary is learned from
MEASURED = 10_000  # texts whose length is measured
SHOWN = 280  # characters

_KANA = r"\p{Hiragana}\p{Katakana}ー"
# A run of one script with the space before it; merges never cross its ends, so that Japanese, which has no
# spaces, is cut where its scripts meet.
_RUN = Regex(
    rf" ?(?:\p{{Han}}+|\p{{Hiragana}}+|[\p{{Katakana}}ー]+|\p{{N}}{{1,4}}"
    rf"|[\p{{L}}\p{{M}}&&[^\p{{Han}}{_KANA}]]+|[^\s\p{{L}}\p{{M}}\p{{N}}]+)"
)
_JAPANESE = ("々\u3400-\u9fff\uf900-\ufaff", "\u3041-\u309f", "\u30a0-\u30ff\uff66-\uff9f")
_MARKS = "、。，．・！？「」『』（）【】"
# What an explanation calls a word: a Japanese run of one script, or all between two spaces.
_WORD = re.compile(
    "|".join(f"[{c}]+" for c in _JAPANESE) + rf"|[{_MARKS}]|[^\s{''.join(_JAPANESE)}{_MARKS}]+"
)


@dataclass(frozen=True, kw_only=True)
class Text(Column):
    """Free text in any language; encodes to int32 token ids (N,), decodes to NFKC text with single spaces.

    Ids: 0 padding, 1 begin and 2 end (both for heads that write), 256 bytes, the characters, the merges.
    A missing text and an empty one are (0,). Byte-pair encoding: Sennrich et al., ACL 2016.

    With a `tokenizer`, that of published weights, nothing is learned: the ids are the tokenizer's, with what
    it puts at the ends of a text; moved up by one (`offset`) where its token 0 is not padding. Where its
    pieces are parts of Japanese words, MeCab cuts these first, with the `dictionary` of the weights.

    >>> column = Text(name="review").fit(np.array(["good film", "bad film"] * 4, object))
    >>> column.decode(column.encode("a good   ｆｉｌｍ☃"))
    'a good film☃'
    """

    kind: ClassVar[str] = "text"
    ragged: ClassVar[bool] = True
    vocabulary_size: int = 16_384  # most tokens to learn
    max_length: int = 1_024  # most tokens that are read
    characters: tuple[str, ...] = ()
    merges: tuple[tuple[int, int], ...] = ()  # pairs of ids; each makes the next id after the characters'
    longest: int = 0  # tokens of the longest training text: how far a head that writes should go
    tokenizer: str = ""  # JSON of a published one; see published.py
    dictionary: str = ""  # that MeCab cuts words with before it; see mecab.py

    def __post_init__(self) -> None:
        limits = {
            "vocabulary_size": self.vocabulary_size,
            "max_length": self.max_length,
            "longest": self.longest,
        }
        for name, value in {**limits, "tokens": len(self.characters) + len(self.merges)}.items():
            if not (isinstance(value, int) and 0 <= value <= MOST_TOKENS):
                raise DataError(
                    f"Text column {self.name!r}: {name} is {value!r:.40}; expected 0 to {MOST_TOKENS:,}."
                )
        if not all(isinstance(c, str) and len(c) == 1 for c in self.characters):
            raise DataError(f"Text column {self.name!r}: 'characters' must be single characters.")
        self._check_merges()
        if type(self.tokenizer) is not str:
            raise DataError(f"Text column {self.name!r}: the tokenizer must be a string of JSON.")
        if self.dictionary not in ("", *DICTIONARIES):
            raise DataError(f"Text column {self.name!r}: there is no dictionary {self.dictionary!r:.40}.")
        if self.tokenizer:
            open_tokenizer(self.tokenizer, f"Text column {self.name!r}")

    def _check_merges(self) -> None:
        """Merges must name tokens before them and make no long ones: each could be twice the last."""
        sizes = [0] * FIRST_CHARACTER + [1] * len(self.characters)
        for i, pair in enumerate(self.merges):
            known = isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(p, int) for p in pair)
            if not (known and all(FIRST_CHARACTER <= p < len(sizes) for p in pair)):
                raise DataError(
                    f"Text column {self.name!r}: merge {i} is {pair!r:.40}, no pair of tokens before it."
                )
            sizes.append(sizes[pair[0]] + sizes[pair[1]])
            if sizes[-1] > LONGEST_TOKEN:
                raise DataError(
                    f"Text column {self.name!r}: merge {i} is longer than {LONGEST_TOKEN} characters."
                )

    @classmethod
    def matches(cls, values: Values) -> float:
        """Strings of which most differ: the longer and the more of them with spaces, the surer."""
        present = values[~missing_mask(values)]
        if not len(present) or not all(isinstance(v, str) for v in present):
            return 0.0
        texts = [str(v).strip() for v in present]
        length = min(1.0, float(np.mean([len(t) for t in texts])) / 50)
        sentences = float(np.mean([" " in t or len(t) > 20 for t in texts]))
        return round(len(set(texts)) / len(texts) * (0.2 + 0.4 * sentences + 0.3 * length), 3)

    @classmethod
    def examples(cls, rng: np.random.Generator, n: int) -> Values:
        """Sentences of English and Japanese words, a tenth of them missing."""
        words = "the film was not good 東京 は 晴れ です。 ﾃｽﾄ naïve ☃ <b> 3.14".split()
        made = [" ".join(rng.choice(words, int(rng.integers(4, 12)))) for _ in range(n)]
        return object_array([None if rng.random() < 0.1 else text for text in made])

    def fit(self, values: Values) -> Self:
        """Learn the characters and the byte pairs of `values`, up to `vocabulary_size` tokens."""
        texts = list(self._sample(values))
        return self._measured(texts) if self.tokenizer else self._learned(texts)

    def _learned(self, texts: list[str]) -> Self:
        counts = Counter(character for text in texts for character in text)
        room = max(0, self.vocabulary_size - FIRST_CHARACTER)
        often = sorted((c for c, count in counts.items() if count > 1), key=lambda c: (-counts[c], c))
        characters = tuple(sorted(often[:room]))
        merges = _learn(texts, characters, room - len(characters))
        return replace(self, characters=characters, merges=merges)._measured(texts)

    def _measured(self, texts: list[str]) -> Self:
        some = object_array(texts[:: max(1, len(texts) // MEASURED)])
        return replace(self, longest=max((len(ids) for ids in self.encode_many(some)), default=0))

    def _sample(self, values: Values) -> Iterator[str]:
        total = sum(len(v) for v in values if isinstance(v, str))
        for value in values[:: max(1, -(-total // SAMPLE))]:
            if not is_missing(value):
                yield self.normalise(value)

    def normalise(self, value: Value) -> str:
        """NFKC, single spaces, and one in front, so that a word is the same token wherever it stands."""
        if not isinstance(value, str):
            raise DataError(
                f"Column {self.name!r} is text: expected a string, received "
                f"{type(value).__name__} {value!r:.80}. "
                f"Write it as a string, or give the column another type with --types {self.name}=TYPE."
            )
        clean = value.encode("utf-8", "replace").decode("utf-8")
        if self.tokenizer and self.dictionary:
            most = (self.max_length + 1) * LONGEST_PIECE
            return " ".join(words_of(unicodedata.normalize("NFKC", clean[:most]), self.dictionary))
        if self.tokenizer:  # has rules of its own
            return clean
        words = unicodedata.normalize("NFKC", clean).split()
        return " " + " ".join(words) if words else ""

    @cached_property
    def offset(self) -> int:
        """What is added to the ids of a published tokenizer."""
        return int(bool(self.tokenizer) and not pads_with_zero(self._tokenizer))

    @cached_property
    def tokens(self) -> tuple[bytes, ...]:
        """The UTF-8 bytes of every token, by id; of a published tokenizer, its name for it."""
        if self.tokenizer:
            vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
            named = [b""] * (max(vocabulary.values()) + 1 + self.offset)
            for name, number in vocabulary.items():
                named[number + self.offset] = name.encode()
            return tuple(named)
        table = [b"", b"", b"", *(bytes([i]) for i in range(256)), *(c.encode() for c in self.characters)]
        for left, right in self.merges:
            table.append(table[left] + table[right])
        return tuple(table)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return open_tokenizer(self.tokenizer, self.name) if self.tokenizer else self._byte_pairs()

    @cached_property
    def _closing(self) -> Array:
        """What a published tokenizer puts at the end of every text: one id, or none."""
        ends = self._tokenizer.encode("").ids if self.tokenizer else []
        return np.array(ends[-1:], np.int32) + self.offset

    def _byte_pairs(self) -> Tokenizer:
        names = ["", "", "", *(f"<0x{i:02X}>" for i in range(256)), *self.characters]
        for left, right in self.merges:
            names.append(names[left] + names[right])
        ids = {name: i for i, name in enumerate(names) if i >= FIRST_BYTE}
        pairs = [(names[left], names[right]) for left, right in self.merges]
        tokenizer = Tokenizer(models.BPE(vocab=ids, merges=pairs, byte_fallback=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(_RUN, "isolated")
        return tokenizer

    def encode(self, value: Value) -> Array:
        return self.encode_many(object_array([value]))[0]

    def encode_many(self, values: Values) -> list[Array]:
        return [self._cut(ids) for ids in self._ids(values)]

    def _cut(self, ids: Array) -> Array:
        """The first `max_length` ids; the end of a text stays its end."""
        if len(ids) <= self.max_length or not len(self._closing):
            return ids[: self.max_length]
        return np.concatenate([ids[: self.max_length - 1], self._closing])

    def _ids(self, values: Values) -> list[Array]:
        """Ids of all of `values`, one more than `max_length` at least where there are as many."""
        limit = (self.max_length + 1) * (LONGEST_PIECE if self.tokenizer else LONGEST_TOKEN)
        texts = ["" if is_missing(v) else self.normalise(v)[:limit] for v in values]
        found = self._tokenizer.encode_batch_fast(texts)
        return [np.array(one.ids, np.int32) + self.offset for one in found]

    def collate(self, arrays: Sequence[Array]) -> Array:
        """(B, N) int32, padded with 0 to the longest, which counts as 1 at least."""
        out = np.full((len(arrays), max([1, *(len(a) for a in arrays)])), PADDING, np.int32)
        for row, array in zip(out, arrays, strict=True):
            row[: len(array)] = array
        return out

    def decode(self, array: Array) -> Value:
        """Token ids (N,), up to the first end, as a string."""
        ids = [int(i) for i in array]
        if self.tokenizer:
            return self._tokenizer.decode([i - self.offset for i in ids if i > 0])
        if END in ids:
            ids = ids[: ids.index(END)]
        return b"".join(self.tokens[i] for i in ids).decode("utf-8", "replace").strip()

    def parts(self, value: Value) -> list[Hashable]:
        """Words, as (start, end) in `value`; in Japanese, runs of one script."""
        return [] if is_missing(value) else [match.span() for match in _WORD.finditer(value)]

    def hide(self, value: Value, part: Hashable) -> Value:
        """`value` with spaces for the word, which are read as none; the other parts stay in their places.

        Where there is no word ("value", of a missing text) there is nothing to hide.
        """
        if is_missing(value) or not isinstance(part, tuple):
            return value
        start, end = part
        return value[:start] + " " * (end - start) + value[end:]

    def summary(self, values: Values) -> dict[str, Any]:
        """Counts of missing and truncated texts, quantiles of lengths, share of characters never seen."""
        present = values[~missing_mask(values)]
        ids = self._ids(present)
        lengths = np.array([min(len(i), self.max_length) for i in ids] or [0])
        read = np.concatenate([*(i[: self.max_length] for i in ids), np.zeros(0, np.int32)])
        strange = (read >= FIRST_BYTE) & (read < FIRST_CHARACTER)
        if self.tokenizer:
            unknown = unknown_id(self._tokenizer)
            strange = read == (-1 if unknown is None else unknown + self.offset)
        return {
            "rows": len(values),
            "missing": count_missing(values),
            "truncated": sum(len(i) > self.max_length for i in ids),
            "tokens": [float(q) for q in np.quantile(lengths, [0, 0.25, 0.5, 0.75, 1])],
            "unseen": float(strange.mean()) if len(read) else 0.0,
        }

    def show(self, value: Value) -> str:
        text = "" if is_missing(value) else " ".join(str(value).split())
        return html.escape(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…")

    def json_schema(self) -> dict[str, Any]:
        return {"title": self.name, "type": ["string", "null"]}


def _learn(texts: list[str], characters: tuple[str, ...], room: int) -> tuple[tuple[int, int], ...]:
    """At most `room` merges of `characters`, as pairs of ids, the most frequent pair first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(_RUN, "isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=len(characters) + room,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=list(characters),
        limit_alphabet=len(characters),
        max_token_length=LONGEST_TOKEN,
    )
    tokenizer.train_from_iterator(texts, trainer)
    ids = {character: FIRST_CHARACTER + i for i, character in enumerate(characters)}
    pairs: list[tuple[int, int]] = []
    for left, right in json.loads(tokenizer.to_str())["model"]["merges"]:
        ids[left + right] = FIRST_CHARACTER + len(characters) + len(pairs)
        pairs.append((ids[left], ids[right]))
    return tuple(pairs)
