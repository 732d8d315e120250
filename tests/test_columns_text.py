"""Text columns: what they learn, that nothing is unknown, and that one value and many encode alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shinso.columns import COLUMNS, restore_column
from shinso.columns.base import object_array
from shinso.columns.text import (
    BEGIN,
    END,
    FIRST_BYTE,
    FIRST_CHARACTER,
    LONGEST_TOKEN,
    MOST_TOKENS,
    PADDING,
    Text,
)
from shinso.errors import DataError

ENGLISH = ["the film was good", "the film was not good", "a bad film, a bad day", "good day of the film"] * 3
JAPANESE = ["東京は今日も晴れです。", "今日の東京は雨です。", "スマートフォンを買う。", "雨の東京。"] * 3


@pytest.fixture(scope="module")
def column() -> Text:
    """Learned from a few English and Japanese sentences."""
    return Text(name="body").fit(object_array(ENGLISH + JAPANESE))


def plain(text: str) -> str:
    """What decoding must give back."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


@given(st.text())
@settings(deadline=None)
def test_any_text_comes_back(text: str) -> None:
    column = Text(name="body").fit(object_array(ENGLISH + JAPANESE))
    assert column.decode(column.encode(text)) == plain(text.encode("utf-8", "replace").decode())


@pytest.mark.parametrize(
    "text",
    [
        *ENGLISH[:4], *JAPANESE[:4], "ﾊﾝｶｸとＺｅｎｋａｋｕ①", "tabs\tand\n\nlines　of　space",
        "naïve café 👩‍👩‍👧 🇯🇵",
        "<0x41> <pad> [UNK] ▁ Ġ",
        "\ud800 alone", "สวัสดีชาวโลก", "مرحبا بالعالم", "鬱々とした薔薇", "a" * 500, " ", "\x00",
    ],
)  # fmt: skip
def test_texts_of_all_kinds_come_back(column: Text, text: str) -> None:
    assert column.decode(column.encode(text)) == plain(text.encode("utf-8", "replace").decode())


def test_text_that_a_column_learned_from_nothing_comes_back() -> None:
    column = Text(name="body").fit(object_array([None, ""]))
    assert column.characters == () and column.merges == ()
    assert column.decode(column.encode("どこでも anywhere")) == "どこでも anywhere"


def test_words_become_tokens_wherever_they_stand(column: Text) -> None:
    first, last = column.encode("film good"), column.encode("good film")
    assert first.dtype == np.int32 and len(first) == 2
    assert sorted(first) == sorted(last)
    assert column.tokens[first[0]] == b" film"


def test_japanese_is_cut_into_words_without_spaces(column: Text) -> None:
    tokens = [column.tokens[i].decode() for i in column.encode("東京は今日も晴れです。")]
    assert tokens[0] == " 東京" and "今日" in tokens and tokens[-1] == "。"
    assert len(column.encode("雨の東京")) <= 4


def test_ids_of_padding_begin_and_end_are_never_used(column: Text) -> None:
    ids = np.concatenate(column.encode_many(object_array([*ENGLISH, *JAPANESE, "\x00\x01\x02 <pad>"])))
    assert ids.min() >= FIRST_BYTE and ids.max() < len(column.tokens)
    assert (PADDING, BEGIN, END) == (0, 1, 2)


def test_many_encode_as_one_does(column: Text) -> None:
    values = object_array([*ENGLISH, None, "", *JAPANESE])
    for many, value in zip(column.encode_many(values), values, strict=True):
        np.testing.assert_array_equal(many, column.encode(value))


def test_batches_are_padded_to_the_longest(column: Text) -> None:
    batch = column.collate([column.encode("good film"), column.encode(None), column.encode("the bad day")])
    assert batch.shape == (3, 3) and batch.dtype == np.int32
    assert (batch > 0).sum(1).tolist() == [2, 0, 3]
    assert column.collate([column.encode("")]).shape == (1, 1)


def test_decoding_stops_at_the_end(column: Text) -> None:
    ids = [BEGIN, *column.encode("good film"), END, *column.encode("bad"), PADDING]
    assert column.decode(np.array(ids)) == "good film"


def test_truncated_texts_are_counted() -> None:
    column = Text(name="body", max_length=5).fit(object_array(ENGLISH))
    values = object_array(["film " * 5, "film " * 6, "film " * 100_000, None])
    assert [len(ids) for ids in column.encode_many(values)] == [5, 5, 5, 0]
    summary = column.summary(values)
    assert (summary["rows"], summary["missing"], summary["truncated"]) == (4, 1, 2)
    json.dumps(summary, allow_nan=False)


def test_a_long_text_is_cut_where_it_would_have_been_cut_anyway(column: Text) -> None:
    short = Text(name="body", max_length=4, characters=column.characters, merges=column.merges)
    text = "東京は今日も晴れです。" * 50
    np.testing.assert_array_equal(short.encode(text), column.encode(text)[:4])


def test_a_summary_tells_of_strange_characters(column: Text) -> None:
    assert column.summary(object_array(ENGLISH))["unseen"] == 0
    assert column.summary(object_array(["Здравствуй"]))["unseen"] > 0.9
    assert column.summary(object_array([]))["tokens"] == [0.0] * 5


def test_the_vocabulary_is_no_larger_than_asked() -> None:
    for size in (0, 64, 259, 270, 300):
        column = Text(name="body", vocabulary_size=size).fit(object_array(ENGLISH + JAPANESE))
        assert len(column.tokens) <= max(size, FIRST_CHARACTER)
        assert column.decode(column.encode("the 東京")) == "the 東京"


def test_tokens_have_a_longest() -> None:
    column = Text(name="body").fit(object_array(["abcdefghijklmnopqrstuvwxyz" * 4] * 5))
    assert max(len(token) for token in column.tokens) <= LONGEST_TOKEN


def test_a_vocabulary_is_the_same_in_every_process() -> None:
    program = (
        "import json, numpy as np; from shinso.columns.text import Text;"
        "rng = np.random.default_rng(0); words = [a + b for a in 'abcdefghi' for b in 'abcdefghi'];"
        "texts = np.array([' '.join(rng.choice(words, 20)) for _ in range(200)], object);"
        "print(json.dumps(Text(name='x').fit(texts).to_dict()))"
    )
    outputs = set()
    for seed, threads in (("1", "false"), ("2", "true")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TOKENIZERS_PARALLELISM": threads}
        environment["PYTHONPATH"] = str(Path(__file__).parents[1] / "src")
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
        )
        outputs.add(run.stdout)
    assert len(outputs) == 1


def test_columns_survive_json(column: Text) -> None:
    restored = restore_column(json.loads(json.dumps(column.to_dict())))
    assert restored == column
    np.testing.assert_array_equal(restored.encode(JAPANESE[0]), column.encode(JAPANESE[0]))


@pytest.mark.parametrize(
    "damage",
    [
        {"max_length": 1 << 40}, {"max_length": -1}, {"vocabulary_size": "many"}, {"vocabulary_size": 1e3},
        {"characters": ["ab"]}, {"characters": [1]}, {"characters": ["a"] * (MOST_TOKENS + 1)},
        {"merges": [[0, 0]]}, {"merges": [[FIRST_CHARACTER, 1 << 30]]}, {"merges": [[-1, -1]]},
        {"merges": ["ab"]}, {"merges": [[FIRST_CHARACTER]]}, {"merges": [5]},
        {"merges": [[FIRST_CHARACTER, None]]}, {"extra": 1},
        {"characters": ["a"], "merges": [[FIRST_CHARACTER + i, FIRST_CHARACTER + i] for i in range(40)]},
    ],
)  # fmt: skip
def test_damaged_columns_are_errors(column: Text, damage: dict[str, object]) -> None:
    with pytest.raises(DataError, match="body"):
        restore_column({**column.to_dict(), **damage})


def test_values_that_are_no_text_are_errors(column: Text) -> None:
    for value in (3, 2.5, b"bytes", Path("x"), ["a"]):
        with pytest.raises(DataError, match=r"'body'.*string"):
            column.encode(value)
    with pytest.raises(DataError, match="'body'"):
        Text(name="body").fit(object_array(["a", 3]))


def test_sentences_are_text_and_labels_are_not() -> None:
    sentences = object_array([*set(ENGLISH), *set(JAPANESE), None])
    scores = {kind.kind: kind.matches(sentences) for kind in COLUMNS}
    assert max(scores, key=lambda kind: scores[kind]) == "text"
    assert Text.matches(object_array(["good", "bad", "good", "good"] * 20)) < 0.2
    assert Text.matches(object_array([None])) == Text.matches(np.array([1.0, 2.0])) == 0
    assert Text.matches(object_array([1, "a"])) == 0


def test_parts_are_words_and_hiding_one_keeps_the_others_in_place(column: Text) -> None:
    for value, expected in (
        ("The film, <b>isn't</b> good", ["The", "film,", "<b>isn't</b>", "good"]),
        ("東京は今日もサービスOK。", ["東京", "は", "今日", "も", "サービス", "OK", "。"]),
    ):
        parts = column.parts(value)
        assert [value[a:b] for a, b in parts] == expected  # type: ignore[misc]
        hidden = column.hide(column.hide(value, parts[0]), parts[-1])
        assert [hidden[a:b] for a, b in parts[1:-1]] == expected[1:-1]  # type: ignore[misc]
        assert len(column.encode(hidden)) < len(column.encode(value))
    assert column.parts(None) == column.parts("  ") == []


def test_shown_texts_are_short_and_safe(column: Text) -> None:
    assert "<script" not in column.show("<script>alert(1)</script>")
    assert len(column.show("word " * 1000)) < 300
    assert column.show(None) == ""
    assert column.json_schema() == {"title": "body", "type": ["string", "null"]}


@pytest.mark.parametrize("name", ["aeslc.csv", "livedoor_news.csv", "small_parallel_enja/dev.ja"])
def test_real_texts_come_back(unpacked: Callable[[str], Path], name: str) -> None:
    path = unpacked(name.partition("/")[0])
    if path.is_dir():
        path = path / name.partition("/")[2]
    lines = list(dict.fromkeys(path.read_text("utf-8").splitlines()))[:2000]
    column = Text(name="body", max_length=1 << 16).fit(object_array(lines[:1500]))
    for ids, line in zip(column.encode_many(object_array(lines)), lines, strict=True):
        assert column.decode(ids) == plain(line)


def test_a_text_without_words_has_nothing_to_hide() -> None:
    column = Text(name="note").fit(np.array(["a good film"] * 3, object))
    assert column.parts(None) == [] and column.hide(None, "value") is None and column.hide("", "value") == ""
