"""Every example runs, on little data, and says what it did."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))

# What an example teaches must be what it measures.
CLAIMS: dict[str, Callable[[Any], bool]] = {
    "sigmoid_and_relu": lambda found: found["sigmoid 8"] < 0.2 < 0.9 < found["relu 8"],
    "wide_and_deep": lambda found: found["deep"] < 0.7 * found["wide"],
    "vanishing_gradient": lambda found: found["rnn"] < found["gru"] < 1e-4 < 0.1 < found["lstm"],
    "plain_and_residual": lambda found: found["resnet34"] < 0.6 * found["plain34"],
}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shinso.machine.cores", lambda: 1)
    monkeypatch.setattr(sys, "argv", [path.name])
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.main(tiny=True)
    assert capsys.readouterr().out.strip()
    assert path.stem not in CLAIMS or CLAIMS[path.stem](found), found
    assert module.__doc__ and len(path.read_text("utf-8").splitlines()) < 70


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 9
