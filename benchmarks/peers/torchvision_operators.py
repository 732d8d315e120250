"""Declares the two operators that a torchvision without its compiled part misses, so that it imports.

Import this before anything that imports torchvision. Where the compiled part is there, nothing is done.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

_found = importlib.util.find_spec("torchvision")  # finding it does not import it
_folder = Path(_found.origin).parent if _found and _found.origin else None
KEPT = None


def _loads() -> bool:
    """True where the compiled part is there and fits this torch."""
    libraries = list(_folder.glob("_C*.so")) if _folder else []
    try:
        for library in libraries:
            torch.ops.load_library(library)
    except OSError:
        return False
    return bool(libraries)


if _folder and not _loads():
    KEPT = torch.library.Library("torchvision", "DEF")
    KEPT.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    KEPT.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
