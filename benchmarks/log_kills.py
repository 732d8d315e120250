"""Kill a process that writes the request log, again and again: no acknowledged row may be gone.

    python benchmarks/log_kills.py [--kills 100] [--folder FOLDER]

Each life writes groups of 20 rows as fast as it can and says which are on the disk; it is killed (SIGKILL)
after a random number of them. Then the log is searched for every row that was acknowledged, and checked.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from shinso.watching.store import Store

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from log_writer import main as write


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    rng, acknowledged, lost = np.random.default_rng(0), set[str](), set[str]()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=asked.folder) as scratch:
        place = Path(scratch) / "log.db"
        for life in range(asked.kills):
            fresh = killed(place, life, int(rng.integers(1, 30)))
            acknowledged |= fresh
            store = Store(place)
            lost |= fresh - store.known(sorted(fresh))
            store.close()
        store = Store(place)
        broken = store.check() != "ok"
        lost |= acknowledged - store.known(sorted(acknowledged))
        store.close()
    found: dict[str, Any] = {"what": "kill -9 of the writer of the log", "kills": asked.kills}
    found |= {"acknowledged": len(acknowledged), "lost": len(lost), "damaged": int(broken)}
    found["seconds"] = round(time.perf_counter() - started)
    print(json.dumps(found))
    return int(bool(lost or broken))


def killed(place: Path, life: int, after: int) -> set[str]:
    """Ids that one life acknowledged before it was killed, right after its `after`-th group."""
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        os.close(reading)
        os.dup2(writing, 1)
        sys.stdout = os.fdopen(1, "w")
        write(str(place), str(life))
    os.close(writing)
    said = []
    with os.fdopen(reading) as pipe:
        for line in pipe:
            said.append(line)
            if len(said) == after:
                os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return {id for line in said if line.endswith("\n") for id in line.split()}


if __name__ == "__main__":
    sys.exit(main())
