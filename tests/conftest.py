"""What several tests need."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import shinso
from small_runs import FAST

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests leave the user's cache folder alone."""
    before = os.environ.get("SHINSO_CACHE")
    os.environ["SHINSO_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["SHINSO_CACHE"]
    else:
        os.environ["SHINSO_CACHE"] = before


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data as it is stored; skips where it is absent."""
    folder = Path(os.environ.get("SHINSO_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "unpack.py").is_file():
        pytest.skip(f"real data is absent: {folder} (name its folder in SHINSO_DATA)")
    return folder


@pytest.fixture(scope="session")
def unpacked(shared_data: Path) -> Callable[[str], Path]:
    """`unpacked("titanic")`: the path of a real data set as a user would have it, unpacked once a machine."""
    target = Path(tempfile.gettempdir()) / f"shinso-test-data-{os.getuid()}"

    def unpack(name: str) -> Path:
        place = target / name
        if not place.exists():
            listed = [path.name.split(".")[0] for path in shared_data.iterdir()]
            asked = name.split(".")[0] if name.split(".")[0] in listed else "tabular"
            with tempfile.TemporaryDirectory(dir=_made(target)) as fresh:
                command = [sys.executable, str(shared_data / "unpack.py"), fresh, asked]
                subprocess.run(command, check=True)
                for found in Path(fresh).iterdir():
                    if not (target / found.name).exists():
                        found.rename(target / found.name)
        return place

    return unpack


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def small_train(tmp_path: Path) -> Callable[..., Any]:
    """Train on made-up rows in a second: `small_train(data, predict="y", settings={...})`."""
    made = iter(range(100))

    def train(data: Any, **options: Any) -> Any:
        settings = {**FAST, **options.pop("settings", {})}
        return shinso.train(data, quiet=True, settings=settings, out=tmp_path / f"run{next(made)}", **options)

    return train
