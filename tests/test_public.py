"""The public face: what is exported is documented, and importing it is instant."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module

import pytest

import shinso

PUBLIC = ("shinso", "shinso.columns", "shinso.heads", "shinso.models")
HEAVY = (
    "torch", "numpy", "pandas", "pyarrow", "duckdb", "pydantic", "sklearn", "scipy", "PIL", "tokenizers",
    "soundfile", "soxr", "safetensors", "matplotlib",
)  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_all_is_what_is_public(name: str) -> None:
    module = import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    for public in module.__all__:
        assert getattr(module, public, None) is not None, f"{name}.__all__ names {public}, which is not there"
    classes_and_functions = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == name
    }
    assert classes_and_functions <= set(module.__all__), f"{name} defines names that are not in __all__"
    assert len(set(module.__all__)) == len(module.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_documented(name: str) -> None:
    module = import_module(name)
    for public in module.__all__:
        thing = getattr(module, public)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), f"{name}.{public} has no docstring"
            undocumented = [m for m in _own_methods(thing) if not inspect.getdoc(getattr(thing, m))]
            assert not undocumented, f"{name}.{public}: no docstring on {undocumented}"


def test_every_column_head_and_model_is_documented() -> None:
    columns, heads, models = (import_module(f"shinso.{n}") for n in ("columns", "heads", "models"))
    things = [*columns.COLUMNS, *heads.HEADS.values(), *(made for _, made in models.MODELS.values())]
    for thing in things:
        made_up = f"{thing.__name__}("  # what a dataclass without a docstring gets
        assert thing.__doc__ and not thing.__doc__.startswith(made_up), f"{thing} has no docstring"
        assert sys.modules[thing.__module__].__doc__, f"{thing.__module__} has no docstring"


def test_importing_loads_nothing_heavy() -> None:
    code = f"import sys, shinso; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert _python("-c", code).stdout.strip() == "[]"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom shinso.cli import run\n"
        "sys.argv = ['shinso', '--help']\n"
        "try:\n    run()\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    assert _python("-c", code).stderr.strip() == "[]"


def test_importing_is_instant() -> None:
    """By Python's own clock, the best of three, so that a busy machine does not fail it."""
    assert min(_import_seconds() for _ in range(3)) < 0.15


def test_a_name_that_is_not_there_says_so() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        shinso.trian  # noqa: B018


def _own_methods(thing: object) -> list[str]:
    if not inspect.isclass(thing):
        return []
    return [key for key, value in vars(thing).items() if inspect.isfunction(value) and key[0] != "_"]


def _import_seconds() -> float:
    lines = _python("-X", "importtime", "-c", "import shinso").stderr.splitlines()
    (line,) = [line for line in lines if line.split("|")[-1].strip() == "shinso"]
    return int(line.split("|")[1]) / 1e6


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
