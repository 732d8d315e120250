"""What verbs give, as lines of plain text for a terminal or a pipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .diagnosis import examine
from .reporting import explanations
from .reporting.terminal import summary_lines
from .schema import display_width, pad
from .stress import measure
from .writing import to_csv


def lines(verb: str, result: Any) -> list[str]:
    """The result of a verb as lines."""
    return PRESENTERS[verb](result)


def _answers(result: dict[str, list[Any]]) -> list[str]:
    return to_csv(result).splitlines()


def _settings(result: dict[str, dict[str, Any]]) -> list[str]:
    width = max(map(display_width, result))
    return [
        f"{pad(name, width)}  {'recipe' if s['default'] is None else s['default']!s:10}  {s['help']}"
        for name, s in result.items()
    ]


def _comparison(result: dict[str, Any]) -> list[str]:
    return list(result["lines"])


PRESENTERS: dict[str, Callable[[Any], list[str]]] = {
    "predict": _answers,
    "evaluate": summary_lines,
    "explain": explanations.lines,
    "doctor": examine.lines,
    "robustness": measure.lines,
    "settings": _settings,
    "compare": _comparison,
}
