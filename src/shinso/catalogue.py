"""The verb `models`: the networks that `--model` takes."""

from __future__ import annotations

from typing import Any

from .models import DEFAULTS, FAMOUS, MODELS, SCALARS
from .schema import display_width, pad

READS = {SCALARS: "table"}  # what a kind of column is called here


def models() -> dict[str, dict[str, Any]]:
    """By name: title, paper, year, parameters, operations, what it reads, weights, settings; oldest first."""
    own = {
        name: {
            "title": first_line(made.__doc__), "paper": "", "year": None, "parameters": None, "flops": None,
            "input": "", "reads": [READS.get(kind, kind)], "weights": "", "settings": [],
            "default": DEFAULTS.get(kind) == name or name == "tabm",
        }
        for name, (kind, made) in MODELS.items()
    }  # fmt: skip
    famous = {
        name: {
            "title": known.title, "paper": known.paper, "year": known.year,
            "parameters": known.parameters or None, "flops": known.flops or None, "input": known.input,
            "reads": [READS.get(kind, kind) for kind in known.encoders], "weights": known.weights,
            "settings": [f"model.{one}" for one in sorted(known.settings)], "default": False,
        }
        for name, known in sorted(FAMOUS.items(), key=lambda item: item[1].year)
    }  # fmt: skip
    return own | famous


def first_line(text: str | None) -> str:
    """The first line of a docstring."""
    return (text or "").strip().partition("\n")[0]


def lines(found: dict[str, dict[str, Any]]) -> list[str]:
    """For a terminal: a line a network."""
    rows = [("name", "year", "parameters", "reads", "weights that fit")]
    for name, one in found.items():
        size = "" if one["parameters"] is None else short(one["parameters"])
        reads = ", ".join(one["reads"]) + (" (default)" if one["default"] else "")
        rows.append((name, str(one["year"] or ""), size, reads, one["weights"]))
    widths = [max(display_width(row[i]) for row in rows) for i in range(4)]
    return ["  ".join([*map(pad, row, widths), row[4]]).rstrip() for row in rows]


def short(count: int) -> str:
    """A number of parameters in three figures.

    >>> [short(n) for n in (61_750, 11_689_512, 304_326_632)]
    ['61.8 k', '11.7 M', '304 M']
    """
    value, unit = (count / 1e6, "M") if count >= 1e6 else (count / 1e3, "k")
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
