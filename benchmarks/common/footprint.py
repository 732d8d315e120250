"""Every side: seconds of its import and of its `--help`, and the most memory of a small training.

The interpreter's own start is counted. Each command runs once unmeasured, so that its files are in memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import side

HERE = Path(__file__).resolve().parent
PEERS = HERE.parent / "peers"
PREPARED = f"import sys; sys.path.insert(0, {str(PEERS)!r}); import torchvision_operators; "
IMPORTS = {
    "shinso": "import shinso",
    "torch": "import torch",
    "lightning": f"{PREPARED}import lightning",
    "fastai": f"{PREPARED}from fastai.vision.all import *",
    "transformers": f"{PREPARED}from transformers import Trainer",
}
# What can train: ours without the laziness of its import, so that nothing is hidden behind it.
READY = {**IMPORTS, "shinso": "import shinso.training"}
ASKED = "sys.argv = ['program', '--help']; "
HELP = {
    "shinso": ("-m", "shinso", "--help"),
    "lightning": ("-c", f"{PREPARED}{ASKED}from lightning.fabric.cli import _main; _main()"),
    "transformers": ("-c", f"{PREPARED}{ASKED}from transformers.cli.transformers import main; main()"),
}
DIGITS, SENTENCES = ("digits",), ("sentences",)
TRAINED_ON = {"shinso": DIGITS + SENTENCES, "transformers": SENTENCES}
TRAINING = {
    "lightning": "lightning_images.py",
    "fastai": "fastai_images.py",
    "transformers": "transformers_text.py",
}
TIMES = 1


def seconds(arguments: Sequence[str]) -> float | None:
    """The median of a few runs of this interpreter; None where the command fails."""
    found = []
    for _ in range(1 + TIMES):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )
        found.append(time.perf_counter() - start)
        if done.returncode:
            return None
    return sorted(found[1:])[TIMES // 2]


def training(which: str, data: Path, work: Path) -> dict[str, float]:
    """Most memory of one small training, in bytes, by what was trained on."""
    found = {}
    for name in TRAINED_ON.get(which, DIGITS):
        command = [sys.executable]
        if which == "shinso":
            task = "fashion_mnist" if name == "digits" else "sst2"
            command += [str(HERE.parent / "ours" / "train.py"), task]
        else:
            command += [str(PEERS / TRAINING[which])]
        (work / name).mkdir()
        command += ["--data", str(data / name), "--work", str(work / name), "--short"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[f"{name}_peak_bytes"] = json.loads(done.stdout.strip().splitlines()[-1])["peak_bytes"]
    return found


def main() -> None:
    asked = side.arguments(*IMPORTS)
    which = asked.which
    imported = seconds(["-c", IMPORTS[which]])
    lazy = READY[which] != IMPORTS[which]
    ready = seconds(["-c", READY[which]]) if lazy else imported
    values: dict[str, float | None] = {"import_seconds": imported, "ready_seconds": ready}
    if which in HELP and (help_seconds := seconds(HELP[which])) is not None:
        values["help_seconds"] = help_seconds
    if not asked.short:
        values |= training(which, asked.data, asked.work)
    side.answer(**values)


if __name__ == "__main__":
    main()
