"""Every example runs, on little data, and says what it did."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


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
    module.main(tiny=True)
    assert capsys.readouterr().out.strip()
    assert module.__doc__ and len(path.read_text("utf-8").splitlines()) < 70


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 9
