"""Writes docs/reference/ from the program: `python docs/make_reference.py`. tests/test_docs.py compares."""

from __future__ import annotations

import argparse
import inspect
import re
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shinso import cli
from shinso.api import models as list_models
from shinso.baselines import LEARNERS
from shinso.columns import COLUMNS
from shinso.config import settings
from shinso.fusers import Concat, Join
from shinso.heads import HEADS, POOLED
from shinso.metrics import MAIN, evaluate_predictions, lower_is_better
from shinso.models import DEFAULTS, FAMOUS, MODELS, Scalars
from shinso.reporting.words import word

FOLDER = Path(__file__).parent / "reference"
COMMANDS = """\
Data goes to stdout, everything else to stderr. A mistake of the user ends with status 2, an interrupt
with 130. In Python each command is a function of the same name with the same arguments: `--set a=b` is
`settings={"a": "b"}` there, `--types a=b` is `types={"a": "b"}`, and `--allow a` is `allow=["a"]`."""
SETTINGS = """\
Set with `--set NAME=VALUE`, or `settings={NAME: VALUE}` in Python. Where the default is *open*, the
recipe decides by the data and the effort, or what the meaning says holds; `config.toml` of each run has
what was decided. See [settings, recipes, efforts](../concepts/settings.md)."""
COLUMN_TYPES = """\
What a value of each type is and what it is encoded to. `--types NAME=TYPE` sets the type of a column.
*Given* says whether a model reads it, *predicted* whether a head says it."""
OUTPUTS = """\
A head predicts one column. *Pooled* heads look at one vector a row; the others at all tokens or maps.
The losses are the values of `train.loss`, the first being the default."""
FAMOUS_NETWORKS = [
    "`--model NAME`; with `--weights FILE` from published weights. `shinso models` lists them too.",
]
ENCODERS = """\
An encoder reads one column; numbers, categories, dates and labels are read together. `model.name` takes
one of these names, or `my_module:MyEncoder`."""
MEASURES = """\
What is measured for each type of predicted column. Every metric has a 95% interval: exact
(Clopper-Pearson) for shares of independent rows, by bootstrap over rows for the others. The *main*
metric is the one that is said first."""
KINDS = {"int": "whole number", "float": "number", "str": "text", "bool": "`true`, `false`"}


def pages() -> dict[str, str]:
    """Every page by file name."""
    return {
        "commands.md": commands(),
        "settings.md": settings_page(),
        "columns.md": columns(),
        "heads.md": heads(),
        "models.md": models(),
        "metrics.md": metrics(),
    }


def begin(title: str, intro: str) -> list[str]:
    """The first lines of a page."""
    notice = "<!-- Made by docs/make_reference.py; do not edit. -->"
    return [f"# {title}", "", notice, "", *intro.splitlines()]


def commands() -> str:
    """The commands with their arguments."""
    parser = cli.build_parser()
    lines = begin("Commands", COMMANDS)
    for name, command in subcommands(parser).items():
        said = (command.description or "").replace("%%", "%")
        lines += ["", f"## shinso {name}", "", said, "", *arguments(command)]
    return "\n".join(lines) + "\n"


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parser of each command."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


def arguments(command: argparse.ArgumentParser) -> list[str]:
    """A table of the arguments of a command."""
    rows = []
    for action in command._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        shown = action.metavar or ""
        if action.option_strings:
            value = "" if action.nargs == 0 else f" {shown or (action.dest or '').upper()}"
            name = ", ".join(f"`{flag}{value}`" for flag in action.option_strings)
        else:
            name = f"`{shown}`" + (" (may be left out)" if action.nargs == "?" else "")
        said = (action.help or "").replace("%%", "%").rstrip(".")
        rows.append((name, said[:1].upper() + said[1:] + "."))
    return table(("argument", "meaning"), rows)


def settings_page() -> str:
    """Every setting, by section."""
    lines = begin("Settings", SETTINGS)
    sections: dict[str, list[tuple[str, ...]]] = {}
    for name, field in settings().items():
        section = name.partition(".")[0] if "." in name else "run"
        default = "*open*" if field.default is None else f"`{str(field.default).lower()}`"
        if isinstance(field.default, str):
            default = f"`{field.default}`"
        row = (f"`{name}`", default, kind_of(field), field.description or "")
        sections.setdefault(section, []).append(row)
    for section, rows in sections.items():
        lines += ["", f"## {section}", "", *table(("setting", "default", "values", "meaning"), rows)]
    return "\n".join(lines) + "\n"


def kind_of(field: Any) -> str:
    """What a setting may be: its choices, or its type and bounds."""
    annotation = field.annotation
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        annotation = next(a for a in typing.get_args(annotation) if a is not type(None))
    if typing.get_origin(annotation) is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(annotation))
    name = KINDS[annotation.__name__]
    bounds = {type(rule).__name__: rule for rule in field.metadata}
    low = bounds["Ge"].ge if "Ge" in bounds else None
    high = bounds["Le"].le if "Le" in bounds else None
    if low is not None and high is not None:
        return f"{name}, {plain(low)} to {plain(high)}"
    return name if low is None else f"{name}, {plain(low)} or more"


def plain(value: float) -> str:
    """A number as a person writes it."""
    return f"{int(value):,}" if value == int(value) else f"{value:.10f}".rstrip("0")


def columns() -> str:
    """Every column type."""
    lines = begin("Columns", COLUMN_TYPES)
    rows = []
    for column in COLUMNS:
        given = column.scalar or column.kind in DEFAULTS
        link = f"[{column.kind}](#{column.kind})"
        rows.append((link, yes(given), yes(column.kind in HEADS), first_line(column)))
    lines += ["", *table(("type", "given", "predicted", "what"), rows)]
    for column in COLUMNS:
        lines += ["", f"## {column.kind}", "", *prose(column)]
    return "\n".join(lines) + "\n"


def heads() -> str:
    """Every head."""
    lines = begin("Heads", OUTPUTS)
    rows = []
    for kind, head in HEADS.items():
        losses = ", ".join(f"`{loss}`" for loss in vars(head).get("LOSSES", ())) or "one"
        rows.append((kind, f"`{head.__name__}`", yes(kind in POOLED), losses, first_line(head)))
    lines += ["", *table(("predicts", "head", "pooled", "losses", "what"), rows)]
    for head in dict.fromkeys(HEADS.values()):
        lines += ["", f"## {head.__name__}", "", *prose(head), *source(head)]
    return "\n".join(lines) + "\n"


def models() -> str:
    """Every encoder."""
    lines = begin("Models", ENCODERS)
    rows = [("", "`Scalars`", "number, category, datetime, labels", "yes", first_line(Scalars))]
    for name, (kind, model) in MODELS.items():
        usual = yes(DEFAULTS.get(kind) == name)
        rows.append((f"`{name}`", f"`{model.__name__}`", kind, usual, first_line(model)))
    lines += ["", *table(("name", "class", "reads", "default", "what"), rows)]
    lines += ["", "## Famous networks", "", *FAMOUS_NETWORKS, ""]
    famous = []
    for name, one in list_models().items():
        if name in FAMOUS:
            size = f"{one['parameters']:,}" if one["parameters"] else ""
            reads = ", ".join(one["reads"])
            famous.append((f"`{name}`", one["title"], str(one["year"] or ""), size, reads, one["paper"]))
    lines += table(("name", "network", "year", "parameters", "reads", "paper"), famous)
    for model in (Scalars, *dict.fromkeys(model for _, model in MODELS.values())):
        lines += ["", f"## {model.__name__}", "", *prose(model), *source(model)]
    lines += ["", "## Fusers", "", "Where several inputs meet (`model.fuser`).", ""]
    named = (("concat", Concat), ("join", Join))
    lines += table(("name", "what"), [(f"`{name}`", first_line(fuser)) for name, fuser in named])
    return "\n".join(lines) + "\n"


def metrics() -> str:
    """Every metric and baseline by kind of predicted column."""
    lines = begin("Metrics and baselines", MEASURES)
    for kind, main in MAIN.items():
        rows = []
        for name in measured(kind):
            said = word(name)
            better = "lower" if lower_is_better(name) else "higher"
            shown = f"`{name}`" + (" (main)" if name == main else "")
            rows.append((shown, said.name, better, said.meaning.removesuffix("; lower is better")))
        lines += ["", f"## {kind}", "", *table(("metric", "name", "better", "meaning"), rows)]
        if kind in LEARNERS:
            lines += ["", f"Baselines: {', '.join(LEARNERS[kind])}."]
    return "\n".join(lines) + "\n"


def measured(kind: str) -> list[str]:
    """The names of the metrics of a kind, from measuring two made-up rows."""
    pixels = [np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8)]
    made_up: dict[str, tuple[Any, Any]] = {
        "category": (np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]])),
        "labels": (np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.1, 0.9], [0.8, 0.3]])),
        "number": (np.array([1.0, 2.0]), np.array([1.0, 2.5])),
        "datetime": (np.array(["2024-01-01"] * 2, "M8[us]"), np.array(["2024-01-01"] * 2, "M8[us]")),
        "text": (["a", "b"], ["a", "c"]),
    }
    truth, prediction = made_up.get(kind, (pixels, pixels))
    return list(evaluate_predictions(kind, truth, prediction, ("no", "yes"))["metrics"])


def first_line(thing: type) -> str:
    """The first sentence of a class."""
    return sentence(" ".join(paragraphs(thing)[0].split()))


def prose(thing: type) -> list[str]:
    """The docstring of a class, its examples in a block."""
    lines: list[str] = []
    for paragraph in paragraphs(thing):
        code = paragraph.lstrip().startswith(">>>")
        lines += ["```pycon", paragraph, "```", ""] if code else [cell(paragraph), ""]
    return lines[:-1]


def paragraphs(thing: type) -> list[str]:
    """The paragraphs of a docstring."""
    return [p for p in re.split(r"\n\s*\n", inspect.getdoc(thing) or thing.__name__) if p.strip()]


def source(thing: type) -> list[str]:
    """Where a class is written."""
    path = thing.__module__.replace(".", "/")
    return ["", f"Written in `src/{path}.py`."]


def sentence(text: str) -> str:
    """Text up to the end of its first sentence, with a full stop at the end."""
    match = re.match(r"(.+?[.。])(?=\s+[A-Z]|$)", text, flags=re.DOTALL)
    found = (match[1] if match else text).strip()
    return (found[:1].upper() + found[1:]).rstrip(".") + "." if found else ""


def yes(answer: bool) -> str:  # noqa: FBT001
    """Yes or no."""
    return "yes" if answer else "no"


def cell(text: str) -> str:
    """Text that stays text in Markdown."""
    return text.replace("<", "&lt;").replace("*", r"\*")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(value.replace('|', chr(92) + '|') for value in row)} |" for row in rows]


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, "utf-8")
