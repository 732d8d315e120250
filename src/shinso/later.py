"""Libraries that are imported when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Later:
    """A module that is imported with the first name that is asked of it.

    For what only some verbs need: scikit-learn and scipy.stats take a second and 130 MB.

    >>> Later("json").dumps([1])
    '[1]'
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)
