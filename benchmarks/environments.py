"""The peers' environments: one for each requirements file, made once, and made anew when it changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PINNED = Path(__file__).parent / "peers"
OURS = "ours"  # the environment that the suite itself runs in
MARK = "installed.txt"


def python_of(environment: str, folder: Path) -> Path:
    """The interpreter of an environment."""
    return Path(sys.executable) if environment == OURS else folder / environment / "bin" / "python"


def ready(environment: str, folder: Path) -> bool:
    """True where the environment is there, with what is pinned now."""
    if environment == OURS:
        return True
    mark = folder / environment / MARK
    return mark.is_file() and mark.read_bytes() == (PINNED / f"{environment}.txt").read_bytes()


def make(environment: str, folder: Path) -> str:
    """Make an environment unless it is ready; gives why it could not be made, or ''."""
    if ready(environment, folder):
        return ""
    place, pinned = folder / environment, PINNED / f"{environment}.txt"
    print(f"making the environment of the peers in {pinned.name}", file=sys.stderr, flush=True)
    for command in (
        [sys.executable, "-m", "venv", str(place)],
        [str(python_of(environment, folder)), "-m", "pip", "install", "--quiet", "-r", str(pinned)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return f"its environment could not be made: {last[:200]}"
    (place / MARK).write_bytes(pinned.read_bytes())
    return ""
