"""The errors that users meet: what happened, what was expected, what was received, what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ShinsoError(ValueError):
    """A mistake in what the user gave. The command line prints it and exits with status 2."""


class DataError(ShinsoError):
    """Something in the user's data cannot be used: names file, row, column and remedy."""


class SettingError(ShinsoError):
    """A setting, flag or name that does not exist or is out of bounds."""


class RunError(ShinsoError):
    """A run directory that is missing, incomplete, locked, truncated or altered."""


class MissingExtraError(ShinsoError):
    """An optional dependency is not installed; says which `pip install` brings it."""


def did_you_mean(name: str, known: Iterable[str], most: int = 20) -> str:
    """Return the sentence that helps after an unknown name: a close match, or what is known, at most `most`.

    >>> did_you_mean("prise", ["price", "area"])
    "Did you mean 'price'?"
    >>> did_you_mean("xyz", ["price", "area"])
    "Known: 'area', 'price'."
    """
    known = sorted(set(known))
    lowered = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), lowered, n=1)
    if close:
        return f"Did you mean {lowered[close[0]]!r}?"
    shown = ", ".join(repr(k) for k in known[:most])
    return f"Known: {shown}{', ...' if len(known) > most else ''}."
