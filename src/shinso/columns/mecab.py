"""Japanese words by MeCab (Kudo et al., EMNLP 2004), for published weights whose pieces are parts of words.

fugashi and a dictionary come with the extra `hub` and are imported on use. The dictionary is the one that the
weights were made with: another cuts otherwise.
"""

from __future__ import annotations

import threading
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError

# How each dictionary is installed, by the name that a tokenizer_config.json has for it.
DICTIONARIES = {
    "unidic_lite": "pip install 'shinso[hub]'",
    "ipadic": "pip install 'shinso[hub]' ipadic",
    "unidic": "pip install 'shinso[hub]' unidic && python -m unidic download",
}
_lock = threading.Lock()  # a tagger reads one text at a time


def words(text: str, dictionary: str) -> list[str]:
    """The words of a text in order, without the spaces between them."""
    tagger = _tagger(dictionary)
    with _lock:
        return [word.surface for word in tagger(text)]


@cache
def _tagger(dictionary: str) -> Any:
    try:
        fugashi, folder = import_module("fugashi"), Path(import_module(dictionary).DICDIR)
    except ImportError as error:
        raise MissingExtraError(_missing(dictionary, str(error))) from None
    if not (folder / "mecabrc").is_file():  # unidic is downloaded apart from its package
        raise MissingExtraError(_missing(dictionary, f"{folder} is empty"))
    return fugashi.GenericTagger(f'-d "{folder}" -r "{folder / "mecabrc"}"')


def _missing(dictionary: str, reason: str) -> str:
    return (
        f"These weights know words as MeCab cuts them with the dictionary {dictionary!r}, which could not be "
        f"used ({reason}). Install it with `{DICTIONARIES[dictionary]}`."
    )
