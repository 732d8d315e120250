"""An exported model, opened and run without torch: raw columns in, answers out.

B = rows. Encoding is the column code of training; the graph, run by onnxruntime, holds everything from
encoded columns to calibrated probabilities; decoding is the code of `shinso predict`. Nothing in an export is
ever executed but the graph, whose file is compared with its digest first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from .answers import answers, covering, decoded
from .calibration import Calibration
from .columns import Column
from .columns.base import object_array
from .errors import DataError, RunError, SettingError, did_you_mean
from .files import file_digest, read_json
from .runtimes import compiled, has_bf16, session
from .schema import Schema

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

OPENVINO, TORCH = "model.xml", "model.pt2"
FORMAT = 1  # raised when a release writes exports that older ones cannot read
MANIFEST, SCHEMA, GOLDEN, GRAPH = "export.json", "schema.json", "golden.safetensors", "model.onnx"
EMBEDDING, VECTORS = "embedding", "embedding.safetensors"  # a last output, and what it gave of unseen rows
FILES = {"onnx": (GRAPH,), "openvino": (OPENVINO, "model.bin"), "torch": (TORCH,)}  # by target: what is run
PRECISIONS = {"onnx": ("fp32",), "torch": ("fp32",), "openvino": ("fp32", "bf16")}  # by target: computed in
PARTS = ("inputs", "outputs", "files", "versions", "source", "parity", "calibration", "data")

Columns = Mapping[str, Sequence[Any]]  # a list of raw values for each column
Arrays = Mapping[str, NDArray[Any]]


def is_export(path: Path) -> bool:
    """Whether there is an export at `path`."""
    return (path / MANIFEST).is_file()


def open_export(path: str | Path, *, threads: int | None = None) -> Export:
    """The export in a directory, verified; `threads` that one batch is computed with (all cores by default).

    Raises `RunError` where it is missing, altered, or of a format or target that cannot be run here.
    """
    export = Export(Path(path), threads)
    export.verify()
    return export


class Export:
    """One exported model. `forward` may be called from one thread at a time, everything else from any."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise SettingError(f"An export is computed with 1 thread or more; received {threads}.")
        self.path, self.threads = path, threads

    def __repr__(self) -> str:
        return f"shinso.Export({str(self.path)!r})"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What `export.json` holds: inputs, outputs, bounds, parity, calibration, source, versions."""
        if not is_export(self.path):
            raise RunError(f"There is no export at {self.path}. `shinso export RUN` makes one.")
        found = read_json(self.path / MANIFEST)
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            what = found.get("format") if isinstance(found, dict) else "?"
            raise RunError(
                f"{self.path} is an export of format {what!r}; this release reads {FORMAT}. "
                f"Export the run again, or use the release that wrote it."
            )
        wrong = _damage(found)
        if wrong:
            raise RunError(f"{self.path / MANIFEST} is damaged: {wrong}. Export the run again.")
        return found

    @property
    def name(self) -> str:
        """The name of the run that it was made of."""
        return str(self.manifest.get("name"))

    @property
    def version(self) -> str:
        """The first digits of the digest of the graph: another graph is another version."""
        return str(self.manifest.get("version"))

    @property
    def precision(self) -> str:
        """What it was proven in: fp32 or bf16."""
        return str(self.manifest.get("precision"))

    @cached_property
    def notice(self) -> str:
        """What a person has to know of this machine before it is used here; '' where there is nothing."""
        if self.precision != "bf16" or has_bf16():
            return ""
        return (
            f"{self.path} was exported in bf16, for which this processor has no instructions. It is "
            f"computed in fp32 here: slower, and its answers differ from those elsewhere by up to the bounds "
            f"in {MANIFEST}."
        )

    @cached_property
    def space(self) -> str:
        """The space of its embeddings, which is that of its graph; '' where it gives none.

        Vectors of two spaces say nothing about each other.
        """
        return space_of(self.manifest)

    @cached_property
    def schema(self) -> Schema:
        """The typed columns with what they learned."""
        try:
            return Schema.restore(read_json(self.path / SCHEMA))
        except ValueError as error:
            raise RunError(f"{self.path / SCHEMA} is not a valid schema: {error}") from None

    @cached_property
    def calibration(self) -> dict[str, Calibration]:
        """By predicted column: what makes intervals and sets. The temperature is in the graph."""
        stored = self.manifest["calibration"]
        try:
            return {n: replace(Calibration.restore(v), temperature=1.0) for n, v in stored.items()}
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise RunError(
                f"{self.path / MANIFEST} is damaged: its calibration cannot be read ({error}). "
                f"Export the run again."
            ) from None

    def verify(self) -> None:
        """Compare every file with the size and the digest that were written beside it."""
        for name, expected in self.manifest["files"].items():
            path = self.path / name
            inside = path.resolve().is_relative_to(self.path.resolve())
            if Path(name).name != name or not inside or not path.is_file():
                raise RunError(
                    f"{path} is missing, or not in the folder. Restore it from a copy, or export the run "
                    f"again."
                )
            if path.stat().st_size != expected["bytes"] or file_digest(path) != expected["blake2b"]:
                raise RunError(
                    f"{path} was truncated or altered: it is not the file that was exported. "
                    f"Restore it from a copy, or export the run again."
                )

        for side, columns in (("inputs", self.schema.given), ("outputs", self.schema.predict)):
            if sorted(one["column"] for one in self.manifest[side]) != sorted(c.name for c in columns):
                raise RunError(
                    f"{self.path / MANIFEST} is damaged: its {side} are not the columns of {SCHEMA}. "
                    f"Export the run again."
                )

    def encode(self, rows: Columns) -> dict[str, NDArray[Any]]:
        """By given column (B, ...): raw values through the code that training used; ragged ones are padded.

        Raises `DataError` where a column is missing, of another length, or holds what cannot be read.
        """
        given = self.schema.given
        for column in given:
            if column.name not in rows:
                known = did_you_mean(column.name, rows)
                raise DataError(f"The rows have no column {column.name!r}, which the model reads. {known}")
        counts = {c.name: len(rows[c.name]) for c in given}
        if len(set(counts.values())) > 1 or not all(counts.values()):
            raise DataError(f"Every column needs a value for each row, and one row or more; got {counts}.")
        window = self.manifest.get("window")
        if window is not None:
            return {c.name: latest(c, rows[c.name], int(window["past"])) for c in given}
        return {c.name: encoded(c, rows[c.name]) for c in given}

    def forward(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """By predicted column (B, ...): calibrated probabilities, or what `Column.decode` takes.

        Raises `RunError` where the runtime cannot compute the batch.
        """
        outputs = {one["name"]: one["column"] for one in self.manifest["outputs"]}
        found = self._run(inputs, list(outputs))
        return {column: found[name] for name, column in outputs.items()}

    def embedded(self, inputs: Arrays) -> tuple[dict[str, NDArray[Any]], NDArray[np.float32]]:
        """As `forward`, and (B, E) what the heads answered from, a vector a row; where there is a `space`."""
        outputs = {one["name"]: one["column"] for one in self.manifest["outputs"]}
        found = self._run(inputs, [*outputs, EMBEDDING])
        return {column: found[name] for name, column in outputs.items()}, found[EMBEDDING]

    def decode(
        self, outputs: Arrays, *, coverage: float | None = None, abstain: bool = False
    ) -> dict[str, list[Any]]:
        """The table that `shinso predict` gives, without its first column (the key of the row)."""
        raw = {c.name: decoded(c, outputs[c.name]) for c in self.schema.predict}
        calibration = self.calibration
        if coverage is not None or abstain:
            calibration = covering(self.schema, calibration, coverage, abstain=abstain, of=str(self.path))
        return answers(self.schema, raw, calibration, sets=coverage is not None, abstain=abstain)

    def check(self) -> None:
        """Raise `RunError` where the golden inputs do not give the golden outputs on this machine."""
        inputs, outputs = self.golden
        found, vectors = self.embedded(inputs) if self.space else (self.forward(inputs), None)
        for one in self.manifest["outputs"]:
            got, wanted = found[one["column"]], outputs[one["column"]]
            absolute, relative = one["bound"]["absolute"], one["bound"]["relative"]
            if got.shape != wanted.shape or not np.allclose(got, wanted, relative, absolute, equal_nan=True):
                worst = float(np.nanmax(np.abs(got - wanted))) if got.shape == wanted.shape else got.shape
                raise RunError(
                    f"{self.path} does not answer on this machine as it did when it was exported: "
                    f"{one['column']!r} differs by {worst}; the bound is {absolute:g} + {relative:g} of the "
                    f"value. Export the run again here, or install {self.manifest['versions']}."
                )
        if vectors is not None:
            self._check_embedding(vectors)

    def _check_embedding(self, vectors_BD: NDArray[np.float32]) -> None:
        try:
            wanted_BD = load_file(self.path / GOLDEN)[f"output.{EMBEDDING}"]
        except (SafetensorError, OSError, KeyError) as error:
            raise RunError(f"{self.path / GOLDEN} is damaged ({error}). Export the run again.") from None
        bound = self.manifest["embedding"]["bound"]
        if wanted_BD.shape != vectors_BD.shape or (rows_apart(wanted_BD, vectors_BD, bound) > 1).any():
            raise RunError(
                f"{self.path} does not give the embeddings on this machine that it gave when it was "
                f"exported, so they could not be watched. Export the run again here."
            )

    @cached_property
    def golden(self) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """Made-up encoded inputs and the outputs that torch gave, by column."""
        try:
            stored = load_file(self.path / GOLDEN)
            sides = [
                {one["column"]: stored[f"{side}.{one['name']}"] for one in self.manifest[f"{side}s"]}
                for side in ("input", "output")
            ]
        except (SafetensorError, OSError, KeyError) as error:
            raise RunError(f"{self.path / GOLDEN} is damaged ({error}). Export the run again.") from None
        return sides[0], sides[1]

    def _run(self, inputs: Arrays, names: list[str]) -> dict[str, NDArray[Any]]:
        fed = {one["name"]: np.ascontiguousarray(inputs[one["column"]]) for one in self.manifest["inputs"]}
        run = self._compiled if self.manifest.get("target") == "openvino" else self._session.run
        try:
            if self.manifest.get("target") == "openvino":
                found = run(fed)
                return {name: np.array(found[name]) for name in names}
            return dict(zip(names, run(names, fed), strict=True))
        except Exception as error:  # each runtime has classes of its own
            shapes = {name: array.shape for name, array in fed.items()}
            raise RunError(
                f"{self.path} could not compute a batch of the shapes {shapes}: {str(error)[:300]} "
                f"Export the run again."
            ) from error

    @cached_property
    def _compiled(self) -> Any:
        precision = "fp32" if self.notice else self.precision
        return compiled(self.path / OPENVINO, self.threads, precision)

    @cached_property
    def _session(self) -> InferenceSession:
        if self.manifest.get("target") != "onnx":
            raise RunError(
                f"{self.path} is an export to {self.manifest.get('target')!r}, which is for other programs. "
                f"Export the run with --to onnx or openvino to predict and serve with shinso."
            )
        return session(self.path / GRAPH, self.threads)


def _damage(manifest: Mapping[str, Any]) -> str:
    """What keeps a manifest from being one; '' where nothing does."""
    for part in PARTS:
        if not isinstance(manifest.get(part), list if part in ("inputs", "outputs") else dict):
            return f"it has no {part}"
    for entry in (*manifest["inputs"], *manifest["outputs"]):
        if not isinstance(entry, dict) or not all(isinstance(entry.get(n), str) for n in ("column", "name")):
            return "an input or output has no column and no name"
    for one in manifest["outputs"]:
        if not _bounded(one):
            return f"the output {one['name']} has no bound"
    for name, facts in manifest["files"].items():
        if not isinstance(facts, dict) or not {"bytes", "blake2b"} <= facts.keys():
            return f"{name} has no size and no digest"
    if manifest.get("embedding") is not None and not _describes(manifest["embedding"]):
        return "its embedding has no width, no columns or no bound"
    window = manifest.get("window")
    if window is not None and not (isinstance(window, dict) and isinstance(window.get("past"), int)):
        return "its window of a forecast is none"
    target = str(manifest.get("target"))
    if manifest.get("precision") not in PRECISIONS.get(target, ("fp32",)):
        return "its precision is none that its target can be computed in"
    missing = {SCHEMA, GOLDEN, *FILES.get(target, ())} - manifest["files"].keys()
    return f"{', '.join(sorted(missing))} is not listed with a digest" if missing else ""


def _bounded(entry: Mapping[str, Any]) -> bool:
    bound = entry.get("bound")
    ends = [bound.get(n) for n in ("absolute", "relative")] if isinstance(bound, dict) else [None]
    return all(isinstance(end, int | float) for end in ends)


def _describes(embedding: Any) -> bool:
    if not isinstance(embedding, dict) or not _bounded(embedding):
        return False
    names = embedding.get("columns")
    return (
        isinstance(embedding.get("width"), int)
        and isinstance(names, list)
        and all(isinstance(name, str) for name in names)
    )


def space_of(manifest: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that name a graph and what it is computed in; '' where it gives no embeddings."""
    if manifest.get("embedding") is None:
        return ""
    target = str(manifest.get("target"))
    digests = [str(manifest["files"][name]["blake2b"]) for name in FILES.get(target, ())]
    text = "/".join((target, str(manifest.get("precision")), *digests))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def rows_apart(
    wanted_BD: NDArray[Any], found_BD: NDArray[Any], bound: Mapping[str, float]
) -> NDArray[np.float64]:
    """(B,) how far vectors are apart, in units of the bound; it grows with the largest number of a vector.

    >>> bound = {"absolute": 1e-4, "relative": 1e-4}
    >>> rows_apart(np.array([[0.0, 9.0]]), np.array([[0.002, 9.0]]), bound).round(6).tolist()
    [2.0]
    """
    wide, other = wanted_BD.astype(np.float64), found_BD.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        size_B = np.abs(wide).max(1, initial=0.0)
        apart_BD = np.abs(wide - other) / (bound["absolute"] + bound["relative"] * size_B)[:, None]
    apart_BD = np.where((wide == other) | (np.isnan(wide) & np.isnan(other)), 0.0, apart_BD)
    return np.where(np.isnan(apart_BD), np.inf, apart_BD).max(1, initial=0.0)


def encoded(column: Column, values: Sequence[Any]) -> NDArray[Any]:
    """(B, ...) of one column."""
    array = values if isinstance(values, np.ndarray) and values.ndim == 1 else object_array(values)
    found = column.encode_many(array)
    return found if isinstance(found, np.ndarray) else column.collate(found)


def latest(column: Column, values: Sequence[Any], past: int) -> NDArray[Any]:
    """(B, P, V): the last `past` readings of each series, from which a future is forecast.

    Raises `DataError` where one is shorter.
    """
    read = [column.encode(value)[-past:] for value in values]
    for array in read:
        if len(array) < past:
            raise DataError(
                f"Column {column.name!r} has {len(array)} readings; the forecast looks back on {past}. "
                f"Send earlier readings too."
            )
    return column.collate(read)
