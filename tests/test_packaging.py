"""What is installed: the distribution that only serves asks for nothing beyond shinso, and for no torch."""

from __future__ import annotations

import builtins
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import shinso
from shinso.handle import LEFT_OUT
from shinso.serving.opening import open_model

ROOT = Path(__file__).parents[1]
DISTRIBUTED = {"scikit-learn": "sklearn"}  # where a distribution is not called what is imported


def project(path: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / path / "pyproject.toml").read_text(encoding="utf-8"))
    return found


def test_shinso_serve_is_shinso_without_what_trains() -> None:
    whole, serving = project("."), project("deploy/shinso-serve")
    core, extras = whole["project"]["dependencies"], whole["project"]["optional-dependencies"]
    asked = serving["project"]["dependencies"]
    assert set(asked) <= {*core, *extras["serve"]}
    assert set(extras["serve"]) <= set(asked)
    left = {one.partition(">")[0] for one in set(core) - set(asked)}
    assert {DISTRIBUTED.get(name, name) for name in left} == LEFT_OUT
    for name, wanted in serving["project"]["optional-dependencies"].items():
        assert extras[name] == wanted
    assert serving["project"]["scripts"] == whole["project"]["scripts"]
    for part in ("package-data", "dynamic"):
        assert serving["tool"]["setuptools"][part] == whole["tool"]["setuptools"][part]


def without(monkeypatch: pytest.MonkeyPatch, name: str, module: str) -> None:
    """As where a distribution was left out: `module` is imported anew, and `name` is not there."""
    real = builtins.__import__

    def missing(wanted: str, *given: Any, **named: Any) -> Any:
        if wanted.partition(".")[0] == name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(wanted, *given, **named)

    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(builtins, "__import__", missing)


def test_where_torch_was_left_out_a_verb_says_what_to_install() -> None:
    """In a process of its own: what was imported once is not imported again."""
    code = "import sys; sys.modules['torch'] = None; from shinso.handle import work; work(sys.argv[1])"
    told = {}
    for module in ("training", "no_such_module"):
        done = subprocess.run(
            [sys.executable, "-c", code, module], capture_output=True, text=True, check=False
        )
        told[module] = done.stderr.splitlines()[-1]
    assert (
        "MissingExtraError" in told["training"] and "needs torch, which is not installed" in told["training"]
    )
    assert told["training"].endswith("pip install shinso")
    assert (
        told["no_such_module"].startswith("ModuleNotFoundError")
        and "no_such_module" in told["no_such_module"]
    )


def test_where_torch_was_left_out_a_run_is_not_served(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text("")
    without(monkeypatch, "torch", "shinso.serving.running")
    with pytest.raises(shinso.ShinsoError, match=r"is a run, which needs torch. Serve an export of it"):
        open_model(tmp_path)
