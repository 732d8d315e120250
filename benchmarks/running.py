"""Starting one side of a measurement as a process of its own, and reading its answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from environments import OURS, python_of

HERE = Path(__file__).parent
SOURCES = HERE.parent / "src"
TAIL = 300  # characters of a failure that are kept


@dataclass(frozen=True)
class Side:
    """One program beside the others: what it is called, where it runs, and how long it may take."""

    name: str
    script: str  # below benchmarks/
    arguments: tuple[str, ...] = ()
    environment: str = OURS
    limit: float = 120.0  # seconds
    repeat: int = 3
    knob: bool = False  # whether it is run once more with our precision
    beside: bool = False  # a peer that nothing is asked against

    def with_knob(self) -> Side:
        """The same with bf16 and channels_last, as far as the peer offers them."""
        return replace(self, name=f"{self.name} + bf16", arguments=(*self.arguments, "--knob"), knob=False)


def run(side: Side, data: Path, peers: Path) -> dict[str, Any]:
    """The answer of one process, or why there is none: `failed`."""
    with tempfile.TemporaryDirectory() as work, tempfile.TemporaryFile("w+") as out:
        with tempfile.TemporaryFile("w+") as messages:
            command = [
                str(python_of(side.environment, peers)), str(HERE / side.script), *side.arguments,
                "--data", str(data), "--work", work,
            ]  # fmt: skip
            process = subprocess.Popen(
                command, stdout=out, stderr=messages, env=environment_of(side, Path(work)), cwd=work,
                start_new_session=True,
            )  # fmt: skip
            try:
                code = process.wait(side.limit)
            except subprocess.TimeoutExpired:
                return {"failed": f"did not end in {side.limit:g} s", "limit": side.limit}
            finally:
                end(process)
            out.seek(0)
            messages.seek(0)
            return answer(code, out.read(), messages.read())


def environment_of(side: Side, work: Path) -> dict[str, str]:
    """Ours sees our sources, peers only the shared helpers; caches are cold, the network is not asked."""
    paths = [HERE / "common"] + ([HERE, SOURCES] if side.environment == OURS else [])
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "BENCH_STARTED": repr(time.time()),
        "SHINSO_CACHE": str(work / "cache"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "MPLCONFIGDIR": str(work),
        "MPLBACKEND": "agg",
    }


def end(process: subprocess.Popen[Any]) -> None:
    """Leave no process of the side behind."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def answer(code: int, out: str, messages: str) -> dict[str, Any]:
    """The last line of what was printed, as plain data."""
    lines = out.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines and not code else None
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    last = (messages.strip().splitlines() or ["no message"])[-1]
    return {"failed": f"exit status {code}: {last[-TAIL:]}"}
