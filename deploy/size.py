"""How large the packages of the container are: installs them as the Dockerfile does, and counts.

    python deploy/size.py [--folder FOLDER] [--most 250]

Ends with status 1 where torch came along, where the server cannot be imported from that folder alone, or
where the folder is larger than `--most` MB.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHOWN = 12
PARTS = "shinso.serving.start, shinso.serving.rpc, shinso.watching.plugging, shinso.exported, onnxruntime"


def main() -> int:
    """Install, count, import."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--most", type=float, default=250.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.folder or Path(scratch) / "packages"
        if not folder.exists():
            install(folder)
        sizes = {entry.name: size(entry) for entry in folder.iterdir()}
        for name, found in sorted(sizes.items(), key=lambda item: -item[1])[:SHOWN]:
            print(f"{found / 1e6:8.1f} MB  {name}")
        total = sum(sizes.values()) / 1e6
        print(f"{total:8.1f} MB  in all, without compiled Python files")
        missing = check(folder)
    if "torch" in sizes:
        print("torch came along", file=sys.stderr)
    if missing:
        print(missing, file=sys.stderr)
    return int("torch" in sizes or bool(missing) or total > asked.most)


def install(folder: Path) -> None:
    """As the Dockerfile does."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(folder)]
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, *constraints, str(ROOT / "deploy" / "shinso-serve")], check=True)


def size(path: Path) -> int:
    """Bytes below a path."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files if p.suffix != ".pyc")


def check(folder: Path) -> str:
    """What keeps the server from being imported with these packages alone; '' where nothing does."""
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); import {PARTS}; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


if __name__ == "__main__":
    sys.exit(main())
