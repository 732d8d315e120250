"""Embeddings of a day beside those of rows that the network did not learn from: the check `embedding`.

A vector belongs to the graph that gave it. It is compared with the reference of that graph and of no other.

n vectors of a day, m of the reference, N of all days, E size of a vector, U units.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ..errors import RunError
from ..exported import VECTORS, Export, is_export
from ..files import file_digest
from .daily import LEAST_ROWS, Check, Day
from .days import LEAST_DAYS, OUTER, tail, within
from .discrepancy import discrepancy, gaussians, together
from .drift import Found
from .sampling import Vector, numbers_of

Floats = NDArray[np.float32]
SURE_OF_DAYS = 0.01  # the level that training days are tested at, which 200 permutations are enough for
KIND = "embedding"  # of the check


@dataclass(frozen=True)
class Known:
    """What rows that the network did not learn from look like to one graph."""

    space: str
    column: str  # what the embedding is made of, for people
    of: str  # which rows these are, for people
    vectors_mE: Floats
    days: Mapping[str, Any] | None  # how far training days are apart, see `apart_by_day`


@dataclass
class Spaces:
    """The graphs of a run or an export that give embeddings; a reference is read where it is needed."""

    folders: Mapping[str, Path]

    def __post_init__(self) -> None:
        self._read: dict[str, Known] = {}

    @classmethod
    def of(cls, path: Path) -> Spaces:
        """Those of an export, or of all exports that stand in a run."""
        inside = sorted(p for p in (path / "exports").glob("*") if not p.name.startswith("."))
        found: dict[str, Path] = {}
        for folder in (path, *inside):
            space = _space(folder)
            if space:
                found.setdefault(space, folder)
        return cls(found)

    def known(self, space: str) -> Known:
        """The reference of one of the graphs."""
        if space not in self._read:
            self._read[space] = read_known(self.folders[space])
        return self._read[space]

    def sorted(self, vectors: Iterable[Vector]) -> tuple[list[Vector], int]:
        """The vectors of a day that can be compared, all of one graph, and how many cannot."""
        every = list(vectors)
        counts = Counter(one.space for one in every if one.space in self.folders)
        if not counts:
            return [], len(every)
        space = min(counts, key=lambda name: (-counts[name], name))
        kept = [one for one in every if one.space == space]
        return kept, len(every) - len(kept)


def _space(folder: Path) -> str:
    try:
        return Export(folder).space if is_export(folder) else ""
    except RunError:  # of another release, or damaged: nobody serves it
        return ""


def read_known(folder: Path) -> Known:
    """The reference in an export; a damaged one is a `RunError`."""
    export, path = Export(folder), folder / VECTORS
    facts = export.manifest["embedding"]
    listed = export.manifest["files"].get(VECTORS)
    if listed is None or not path.is_file() or file_digest(path) != listed["blake2b"]:
        raise RunError(f"{path} is missing, truncated or altered. Restore it from a copy, or export again.")
    try:
        vectors_mE = load_file(path)["vectors"].astype(np.float32)
    except (SafetensorError, OSError, KeyError) as error:
        raise RunError(f"{path} is damaged ({error}). Export the run again.") from None
    if vectors_mE.ndim != 2 or vectors_mE.shape[1] != facts["width"] or len(vectors_mE) < LEAST_ROWS:
        raise RunError(f"{path} is damaged: it holds {vectors_mE.shape}. Export the run again.")
    days = facts.get("days")
    column = " + ".join(facts["columns"])
    return Known(export.space, column, str(facts.get("of")), vectors_mE, days if days else None)


def of_day(
    day: Day, vectors: Iterable[Vector], spaces: Spaces, level: float
) -> tuple[list[Check], dict[str, int]]:
    """The check of a day, where there are enough vectors, and how many were compared, how many of others."""
    kept, others = spaces.sorted(vectors)
    enough = kept and len(day.answered) >= LEAST_ROWS
    found = check(day.day, kept, spaces.known(kept[0].space), level) if enough else None
    told = {"vectors": len(kept) if found else 0, "other_vectors": others}
    return [found] if found else [], told


def check(day: str, vectors: Sequence[Vector], known: Known, level: float) -> Check | None:
    """Whether the vectors of a day are as those of the reference; None where there are too few.

    Rows of one request may be alike, so a request counts as one, where there are enough of them.
    """
    width = known.vectors_mE.shape[1]
    live = [one for one in vectors if len(one.data) == 2 * width]
    if len(live) < LEAST_ROWS:
        return None
    unit_n, names = units_of(live)
    n, m = len(live), len(known.vectors_mE)
    kernel = gaussians(np.concatenate([np.stack([numbers_of(one.data) for one in live]), known.vectors_mE]))
    if len(names) < n:
        kernel = together(kernel, np.concatenate([unit_n, np.arange(m) + len(names)]))
    days = known.days if known.days and known.days["alike"] else None
    rng = np.random.default_rng(sum(day.encode()))  # its own generator: the same p each time
    found = discrepancy(kernel, len(names), None if days else level, rng)
    p = found.p if days is None else beyond_days(found.squared, days)
    word = "request" if len(names) < n or live[0].id == live[0].request else "row"
    what = f"furthest from training: {word} {names[found.strangest]}"
    return Check(day, known.column, KIND, Found(p, found.effect, what=what))


def units_of(live: Sequence[Vector]) -> tuple[NDArray[np.int64], list[str]]:
    """(n,) the unit of each vector, and the ids of the units: requests where there are enough, else rows."""
    requests = list(dict.fromkeys(one.request for one in live))
    if len(requests) < LEAST_ROWS:
        return np.arange(len(live)), [one.id for one in live]
    places = {name: i for i, name in enumerate(requests)}
    return np.array([places[one.request] for one in live]), requests


def beyond_days(squared: float, days: Mapping[str, Any]) -> float:
    """The p of a day, where days are not as other days: by the exponential tail of the training days."""
    scale = float(days["scale"])
    return float(np.exp(-max(0.0, squared) / scale)) if scale > 0 else 1.0


def apart_by_day(days: Sequence[Floats]) -> dict[str, Any] | None:
    """How far each of some training days is from the others; None where they are too few.

    `alike` is 0 where a day is no further from the others than any rows are; then live days are permuted.
    `scale` is the tail of the squared discrepancies.
    """
    if len(days) < LEAST_DAYS:
        return None
    sizes = np.array([len(day) for day in days])
    day_N = np.repeat(np.arange(len(days)), sizes)
    kernel_NN, rng = gaussians(np.concatenate(days)), np.random.default_rng(0)
    found = []
    for i, size in enumerate(sizes.tolist()):
        order = np.argsort(day_N != i, kind="stable")
        found.append(discrepancy(kernel_NN[np.ix_(order, order)], size, SURE_OF_DAYS, rng))
    apart = np.maximum(0.0, [one.squared for one in found])
    return {
        "days": len(days), "alike": within([one.p for one in found], sizes), "scale": tail(apart, OUTER),
    }  # fmt: skip
