"""A fast part of the suite of planted faults: those that need no data set of others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
FAST = (
    "patients on both sides",
    "a layer that is not trained",
    "dead units",
    "a reader that forgets its input",
)


@pytest.fixture(scope="module")
def suite() -> Iterator[ModuleType]:
    before = list(sys.path)
    sys.path.insert(0, str(BENCHMARKS))
    import faults

    yield faults
    sys.path[:] = before


@pytest.mark.parametrize("name", FAST)
def test_planted_fault_is_named(suite: ModuleType, name: str, tmp_path: Path) -> None:
    (case,) = (case for case in suite.FAULTS if case.name == name)
    findings = case.look(suite.Place(tmp_path, tmp_path, seed=7))
    assert suite.named(case, findings), [one["check"] for one in findings if one["level"] != "fine"]


def test_healthy_digits_are_quiet(suite: ModuleType, tmp_path: Path) -> None:
    findings = suite.HEALTHY["digits"](suite.Place(tmp_path, tmp_path, seed=7))
    assert not [one for one in findings if one["level"] == "severe"]


def test_there_are_enough_faults(suite: ModuleType) -> None:
    assert len(suite.FAULTS) >= 24 and len(suite.HEALTHY) == 6
    assert len({case.name for case in suite.FAULTS}) == len(suite.FAULTS)
