"""Tokenizers that come with published weights: read from a file, checked, told apart by what they pad with.

A tokenizer is kept as the JSON of the `tokenizers` library, without its truncation and padding: those are
ours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from ..errors import DataError
from .mecab import DICTIONARIES

NAMES = ("tokenizer.json", "vocab.txt")  # looked for in a folder, in this order
LARGEST_FILE = 64 << 20  # bytes
MOST_PIECES = 1 << 20
PADDING_NAMES = ("[PAD]", "<pad>")  # a token 0 of this name is padding already
JAPANESE = "BertJapaneseTokenizer"  # cuts words by a dictionary before it looks its pieces up (mecab.py)
UNKNOWN_NAMES = ("[UNK]", "<unk>")


def find_tokenizer(place: Path) -> Path | None:
    """The tokenizer at `place`: that file, or one in that folder, or one beside that file of weights."""
    if place.name in NAMES or (place.suffix in (".json", ".txt") and place.is_file()):
        return place if place.is_file() else None
    folder = place if place.is_dir() else place.parent
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def read_tokenizer(path: Path) -> str:
    """The tokenizer in a tokenizer.json or a vocab.txt of BERT, as JSON; anything else is a `DataError`."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(f"{path} is larger than {LARGEST_FILE >> 20} MiB and is not read as a tokenizer.")
        content = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The tokenizer {path} cannot be read: {error}. Give a tokenizer.json.") from None
    made = word_pieces(content, path) if path.suffix == ".txt" else open_tokenizer(content, str(path))
    made.no_truncation()
    made.no_padding()
    return made.to_str()


def open_tokenizer(content: str, what: str) -> Tokenizer:
    """The tokenizer in a JSON text; `what` names it in the `DataError` where there is none."""
    try:
        found = Tokenizer.from_str(content)
    except Exception as error:  # the library raises no narrower class
        raise DataError(
            f"{what} holds no tokenizer that can be read: {str(error)[:200]}. "
            f"Take the tokenizer.json that belongs to the weights."
        ) from None
    numbers = found.get_vocab(with_added_tokens=True).values()
    if not 0 <= max(numbers, default=-1) < MOST_PIECES:
        raise DataError(
            f"{what} holds a tokenizer without tokens, or with more than {MOST_PIECES:,}. "
            f"Take the tokenizer.json that belongs to the weights."
        )
    return found


def word_pieces(content: str, path: Path) -> Tokenizer:
    """BERT's tokenizer from its list of pieces, one a line (Devlin et al., NAACL 2019)."""
    pieces = content.removesuffix("\n").split("\n")  # not splitlines: U+2028 is a piece of some
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    missing = [name for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]") if name not in vocabulary]
    if missing or len(vocabulary) != len(pieces):
        raise DataError(
            f"{path} is no vocabulary of BERT: "
            + (f"it lacks {', '.join(missing)}." if missing else "a piece stands in it twice.")
        )
    made = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    _pieces_of_words(made, _settings(path))
    ends = [(name, vocabulary[name]) for name in ("[SEP]", "[CLS]")]
    made.post_processor = processors.BertProcessing(*ends)
    made.decoder = decoders.WordPiece()
    made.add_special_tokens(
        [name for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if name in vocabulary]
    )
    return made


def _pieces_of_words(made: Tokenizer, settings: dict[str, Any]) -> None:
    """What comes before the pieces. Without a word on it small letters, as most of BERT's are."""
    japanese = _japanese(settings)
    small = bool(settings.get("do_lower_case", not japanese))
    if japanese and settings.get("word_tokenizer_type") == "mecab":  # spaces stand where words meet
        if small:
            made.normalizer = normalizers.Lowercase()
        made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        made.normalizer = normalizers.BertNormalizer(handle_chinese_chars=not japanese, lowercase=small)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if japanese and settings.get("subword_tokenizer_type") == "character":
        one = pre_tokenizers.Split(Regex("."), "isolated")
        made.pre_tokenizer = pre_tokenizers.Sequence([made.pre_tokenizer, one])


def _japanese(settings: dict[str, Any]) -> bool:
    return settings.get("tokenizer_class") == JAPANESE or "word_tokenizer_type" in settings


def dictionary_of(path: Path) -> str:
    """The dictionary that MeCab cuts words with before the tokenizer at `path`; empty where it does not.

    A `DataError` where words are cut by a program that is not known here.
    """
    settings = _settings(path) if path.suffix == ".txt" else {}
    by = str(settings.get("word_tokenizer_type", "basic"))
    if not _japanese(settings) or by == "basic":
        return ""
    options = settings.get("mecab_kwargs") or {}
    name = options.get("mecab_dic", "unidic_lite") if isinstance(options, dict) else options
    if by == "mecab" and name in DICTIONARIES:
        return str(name)
    what = f"by {by!r}" if by != "mecab" else f"with the dictionary {str(name)!r:.40}"
    raise DataError(
        f"The tokenizer {path} cuts words {what}; known is MeCab with one of {', '.join(DICTIONARIES)}. "
        f"Take weights that were made with it."
    )


def _settings(path: Path) -> dict[str, Any]:
    """What the tokenizer_config.json beside a list of pieces says; empty without one."""
    beside = path.with_name("tokenizer_config.json")
    try:
        found = json.loads(beside.read_text("utf-8")) if beside.is_file() else {}
    except (OSError, ValueError) as error:
        raise DataError(f"{beside} cannot be read: {error}. Restore it from a copy.") from None
    return found if isinstance(found, dict) else {}


def pads_with_zero(tokenizer: Tokenizer) -> bool:
    """Whether token 0 is padding; else all ids are moved up by one, for 0 is padding in every batch."""
    return tokenizer.id_to_token(0) in PADDING_NAMES


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """The token that stands for what the tokenizer does not know, if it has one."""
    found = (tokenizer.token_to_id(name) for name in UNKNOWN_NAMES)
    return next((number for number in found if number is not None), None)
