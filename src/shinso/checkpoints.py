"""Checkpoints that survive a kill at any moment: one file, committed by its rename, with a digest inside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .errors import RunError
from .files import write_atomic

KEEP = 2  # the newest and the one before it, should the newest be damaged by the disk


@dataclass
class Progress:
    """Where training stands: plain JSON, all that is not a tensor. The loop's whole state besides tensors."""

    step: int = 0  # optimizer steps done
    epoch: int = 0
    batch: int = 0  # batches done in this epoch
    total_steps: int = 0
    seconds: float = 0.0  # spent training before this process
    best: float | None = None  # best validation score so far; smaller is better
    best_epoch: int = -1
    waiting: int = 0  # epochs since then
    skipped: int = 0  # steps left out because their loss was not finite
    sums: dict[str, float] = field(default_factory=dict)  # running sums of the epoch's losses
    lines: int = 0  # lines of metrics.jsonl that belong to this state
    stopped: str = ""  # why training ended


def save_checkpoint(folder: Path, progress: Progress, groups: Mapping[str, Mapping[str, Tensor]]) -> Path:
    """Write one checkpoint, then remove those older than the last two. A full disk leaves the old ones."""
    tensors = {
        f"{group}/{name}": t.contiguous() for group, named in groups.items() for name, t in named.items()
    }
    body = save(tensors)
    head = json.dumps({"progress": progress.__dict__, "blake2b": _digest(body)}).encode()
    folder.mkdir(exist_ok=True)
    path = folder / f"step-{progress.step:09d}.checkpoint"
    write_atomic(path, len(head).to_bytes(8, "little"), head, body)
    for old in _newest_first(folder)[KEEP:]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(folder: Path) -> tuple[Progress, dict[str, dict[str, Tensor]]] | None:
    """The newest checkpoint that is whole, or None where there is none at all."""
    reasons = []
    for path in _newest_first(folder):
        try:
            return _read(path)
        except (RunError, SafetensorError, ValueError, TypeError, KeyError) as error:
            reasons.append(f"{path.name}: {error}")
    if reasons:
        raise RunError(
            f"No checkpoint in {folder} is whole: {'; '.join(reasons)}. Train again from the start."
        )
    return None


def _read(path: Path) -> tuple[Progress, dict[str, dict[str, Tensor]]]:
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    if length > len(raw) - 8:
        raise RunError("it is truncated")
    head: dict[str, Any] = json.loads(raw[8 : 8 + length])
    body = raw[8 + length :]
    if _digest(body) != head["blake2b"]:
        raise RunError("it is damaged")
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in load(body).items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = tensor
    return Progress(**head["progress"]), groups


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.checkpoint"), reverse=True)


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=16).hexdigest()
