"""The command line, made from the signatures and docstrings of `api.py`. This file knows no task and no verb.

A parameter becomes an argument (positional where it stands before `*`), its line under "Args:" the help.
Data goes to stdout, everything else to stderr; a mistake of the user ends with status 2.
"""

from __future__ import annotations

import argparse
import inspect
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import api, shipping
from .errors import ShinsoError, did_you_mean
from .handle import Run, work
from .memory import keep_freed_memory
from .version import VERSION

VERBS: dict[str, Callable[..., Any]] = {
    "train": api.train,
    "predict": api.predict,
    "evaluate": api.evaluate,
    "mitigate": api.mitigate,
    "explain": api.explain,
    "doctor": api.doctor,
    "robustness": api.robustness,
    "report": api.report,
    "compare": api.compare,
    "audit": api.audit,
    "monitor": shipping.monitor,
    "label": shipping.label,
    "promote": shipping.promote,
    "rollback": shipping.rollback,
    "serve": shipping.serve,
    "samples": api.samples,
    "models": api.models,
    "settings": api.settings,
    "machine": api.machine,
    "find-rate": api.find_rate,
    "export": shipping.export,
}
EXAMPLES = """\
examples:
  shinso samples digits && shinso train digits
  shinso train houses.csv --predict price
  shinso train reviews.jsonl --predict sentiment --given text --minutes 5
  shinso predict runs/houses new.csv -o answers.csv
"""
SHORT = {"out": "-o"}
NAMES = {"settings": "set"}  # a parameter whose flag has another name
PAIRS = frozenset({"types", "settings"})  # name=value, given many times
MANY = frozenset({"allow", "by", "require"})
# A flag with which a command hands what it was given to another function.
SWITCHES: dict[str, tuple[str, Callable[..., Any], str]] = {
    "train": ("check", api.check, "Only walk through a training, in seconds, and say what will fail."),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status."""
    parser = build_parser()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and not given[0].startswith("-") and given[0] not in VERBS:
        parser.exit(2, f"shinso: there is no command {given[0]!r}. {did_you_mean(given[0], VERBS)}\n")
    found, unknown = parser.parse_known_args(given)
    if unknown:
        parser.exit(2, f"shinso {found.verb}: {_unknown(found.verb, unknown[0])}\n")
    parsed = vars(found)
    verb, as_json = parsed.pop("verb"), parsed.pop("json")
    if verb is None:
        parser.print_help()
        return 0
    try:
        function, shown = _chosen(verb, parsed)
        result = function(**_values(function, parsed))
        written = parsed.get("out") is not None and shown == verb
        _show(shown, result, as_json=as_json, written=written)
        if isinstance(result, dict) and result.get("passed") is False:
            return 1  # something that was required does not hold
    except ShinsoError as error:
        print(f"shinso {verb}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        print(f"shinso {verb}: {error.filename or 'the system'}: {error.strerror or error}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"shinso {verb}: interrupted.", file=sys.stderr)
        return 130
    return 0


def _unknown(verb: str, argument: str) -> str:
    """What to say of an argument that a command does not take."""
    if not argument.startswith("-"):
        return f"there is no place for {argument!r}. `shinso {verb} --help` says what it takes."
    flag = argument.partition("=")[0]
    setting = flag.lstrip("-").replace("-", "_")
    near = [name for name in work("config").settings() if name.endswith(f".{setting}")]
    if near and "settings" in inspect.signature(VERBS[verb]).parameters:
        return f"there is no flag {flag!r}. It is a setting: --set {near[0]}=VALUE."
    names = (NAMES.get(name, name) for name in inspect.signature(VERBS[verb]).parameters)
    flags = [f"--{name.replace('_', '-')}" for name in (*names, "json", *SWITCHES.get(verb, ())[:1])]
    return f"there is no flag {flag!r}. {did_you_mean(flag, flags)}"


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        "shinso", description="From data to a trained, evaluated, reported model in one command.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"shinso {VERSION}")
    commands = parser.add_subparsers(dest="verb", metavar="COMMAND", title="commands")
    for name, function in VERBS.items():
        text = inspect.getdoc(function) or ""
        command = commands.add_parser(
            name,
            help=text.partition("\n")[0].replace("%", "%%"),
            description=text.partition("\n")[0],  # only `help` is formatted with %
            allow_abbrev=False,
        )
        for parameter in inspect.signature(function).parameters.values():
            _add(command, parameter, _helps(text).get(parameter.name, ""))
        if name in SWITCHES:
            command.add_argument(f"--{SWITCHES[name][0]}", action="store_true", help=SWITCHES[name][2])
        command.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    return parser


def _add(command: argparse.ArgumentParser, parameter: inspect.Parameter, help: str) -> None:
    """One parameter of a function as one argument of a command."""
    name, default = parameter.name, parameter.default
    help = help.replace("%", "%%")
    if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
        optional = default is not inspect.Parameter.empty
        count = "+" if "Sequence" in str(parameter.annotation) else "?" if optional else None
        command.add_argument(name, nargs=count, metavar=name.upper(), help=help)
        return
    flags = ([SHORT[name]] if name in SHORT else []) + [f"--{NAMES.get(name, name).replace('_', '-')}"]
    kind = str(parameter.annotation)
    if kind == "bool":
        command.add_argument(*flags, dest=name, action="store_true", help=help)
    elif name in PAIRS:
        command.add_argument(*flags, dest=name, action="append", metavar="NAME=VALUE", default=[], help=help)
    elif name in MANY:
        command.add_argument(*flags, dest=name, action="append", default=[], help=help)
    else:
        number = int if kind.startswith("int") else float if kind.startswith("float") else str
        shown = "" if default in (None, (), False) else f" Default: {default}."
        metavar = {int: "N", float: "X", str: name.upper()}[number]
        command.add_argument(
            *flags, dest=name, type=number, default=default, metavar=metavar, help=help + shown
        )


def _chosen(verb: str, parsed: dict[str, Any]) -> tuple[Callable[..., Any], str]:
    """The function of a command, or the one that a switch names, and what shows its result."""
    if verb not in SWITCHES or not parsed.pop(SWITCHES[verb][0]):
        return VERBS[verb], verb
    flag, function, _ = SWITCHES[verb]
    known = inspect.signature(function).parameters
    for name, parameter in inspect.signature(VERBS[verb]).parameters.items():
        if name not in known and parsed[name] != parameter.default and parsed[name]:
            raise ShinsoError(f"--{name} does not go with --{flag}. Leave one of them out.")
    return function, function.__name__


def _values(function: Callable[..., Any], parsed: dict[str, Any]) -> dict[str, Any]:
    """Parsed arguments as the function takes them."""
    values = {name: value for name, value in parsed.items() if name in inspect.signature(function).parameters}
    if "types" in values:
        values["types"] = _pairs("--types", values["types"])
    if isinstance(values.get("settings"), list):
        values["settings"] = _pairs("--set", values["settings"])
    return values


def _pairs(flag: str, assignments: list[str]) -> dict[str, str]:
    found = {}
    for assignment in assignments:
        for one in assignment.split(",") if flag == "--types" else [assignment]:
            name, equals, value = one.rpartition("=") if flag == "--types" else one.partition("=")
            if not equals or not name:
                raise ShinsoError(f"{flag} takes name=value; received {one!r}.")
            found[name] = value
    return found


def _helps(text: str) -> dict[str, str]:
    """The lines under "Args:" of a docstring, by parameter."""
    found: dict[str, str] = {}
    inside = False
    for line in text.splitlines():
        if line.strip() == "Args:":
            inside = True
        elif inside and not line.startswith("    "):
            inside = bool(not line.strip() and not found)
        elif inside and ": " in line:
            name, _, help = line.strip().partition(": ")
            found[name] = help
    return found


def _show(verb: str, result: Any, *, as_json: bool, written: bool) -> None:
    """Print what a command gives."""
    if result is None:
        return
    if isinstance(result, Run):
        document: dict[str, Any] = {"run": str(result.path), "report": str(result.path / "report.html")}
        if as_json:
            document["evaluation"] = result.evaluation
        print(json.dumps(document, ensure_ascii=False) if as_json else result.path)
    elif as_json:
        print(json.dumps(result, ensure_ascii=False, allow_nan=False, default=str))
    elif isinstance(result, Path):
        print(result)
    elif not written:
        for line in work("presenting").lines(verb, result):
            print(line)


def run() -> None:
    """The `shinso` program."""
    keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):  # what the terminal has no characters for is escaped
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main())


if __name__ == "__main__":
    run()
