"""Write an export, whole or not at all, and only once it has proven to be equal."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save

from ..console import Console
from ..data.given import encode_given, refuse_bad
from ..data.sources import Source
from ..data.table import Table
from ..data.tabular import Tabular
from ..errors import RunError, SettingError, ShinsoError, did_you_mean
from ..exported import (
    EMBEDDING,
    FORMAT,
    GOLDEN,
    GRAPH,
    MANIFEST,
    OPENVINO,
    PRECISIONS,
    SCHEMA,
    TORCH,
    Columns,
    Export,
    encoded,
)
from ..files import file_digest, sync_folder, write_atomic, write_json
from ..forecasting import Window
from ..machine import using
from ..reopening import reopened
from ..run import RunDirectory, free_name
from ..runtimes import has_bf16, openvino_runtime
from ..version import VERSION
from ..watching.reference import NAME as REFERENCE
from .embedding import KINDS, Unseen, fitted, unseen_rows, write_vectors
from .graph import OPSET, Deployed, Signature, long_enough, must_be_exportable, settled, to_onnx, to_torch
from .odd import odd_rows
from .parity import BATCH, BOUNDS, NEAR, REMEDY, VECTORS, Answer, Arrays, Rehearsal, prove

TARGETS = ("onnx", "torch", "openvino")
ROWS = 1000  # real rows that an export is compared on at most
GOLDEN_ROWS = 4
READING = ("header", "separator", "encoding", "table")  # settings of the data that reading new rows needs
PACKAGES = {"onnx": ("onnx", "onnxruntime"), "torch": (), "openvino": ("onnx", "openvino")}
MAIN = {"onnx": GRAPH, "torch": TORCH, "openvino": "model.bin"}  # the file that makes a version
WATCHED = ("onnx", "openvino")  # targets that shinso serves, so that their embeddings can be watched


@dataclass(frozen=True)
class Made:
    """One network, ready to be written for any target."""

    run: RunDirectory
    own: Deployed  # the network of the run, which is what an export is compared with
    module: Deployed  # the one that is exported
    signature: Signature
    inputs: dict[str, Any]  # an example batch
    golden: dict[str, Any]  # tensors by name
    precision: str = "fp32"  # that the export computes in
    unseen: Unseen | None = None  # what the embeddings are compared with, where there are embeddings


def export(
    path: Path, to: str, data: Source, *, precision: str = "fp32", out: str | Path | None,
    allow: tuple[str, ...], quiet: bool,
) -> Path:  # fmt: skip
    """See `shipping.export`."""
    console = Console(quiet=quiet)
    if to not in TARGETS:
        raise SettingError(f"There is no export target {to!r}. {did_you_mean(to, TARGETS)}")
    check_precision(to, precision)
    run = RunDirectory(path, allow=allow)
    run.require_complete()
    name = to if precision == "fp32" else f"{to}-{precision}"
    place = free_name(name, run.path / "exports") if out is None else Path(out)
    if place.exists():
        raise RunError(f"{place} exists already. Choose another folder with --out.")
    must_be_exportable(run.schema, run.network)
    rehearsal = rehearse(run, data)
    unseen = unseen_rows(run, rehearsal, data, console) if to in WATCHED else None
    with using(run.plan.threads):
        made = replace(make(run, rehearsal, unseen, narrow=to == "openvino"), precision=precision)
        with _unfinished(place) as folder:
            write_graph(made, to, folder)
            parity = prove_equal(made, rehearsal, folder)
            kept = write_vectors(folder, run, made.unseen) if made.unseen is not None else {}
            write_manifest(made, to, folder, parity, kept)
            folder.rename(place)
    sync_folder(place.parent)
    said = ", ".join(f"{count:,} {kind} rows" for kind, count in parity["rows"].items())
    far = max(parity["largest_difference"].values())
    alike = "equal to" if precision == "fp32" else f"in {precision}, within its bounds of"
    console.say(f"{place}: {alike} the run on {said} (largest difference {far:.2g})")
    return place


def check_precision(to: str, precision: str) -> None:
    """Raise `SettingError` where an export cannot be computed, or not be proven here, in a precision."""
    every = sorted({one for known in PRECISIONS.values() for one in known})
    if precision not in every:
        raise SettingError(f"There is no precision {precision!r}. {did_you_mean(precision, every)}")
    if precision not in PRECISIONS[to]:
        able = ", ".join(f"--to {one}" for one, known in PRECISIONS.items() if precision in known)
        raise SettingError(f"--to {to} does not compute in {precision}. Use {able} for it, or leave it out.")
    if precision == "bf16" and not has_bf16():
        raise SettingError(
            "This processor has no instructions for bf16, so an export in bf16 could not be proven here. "
            "Leave --precision bf16 out, or export on a processor with AVX512_BF16 or AMX."
        )


def rehearse(run: RunDirectory, data: Source) -> Rehearsal:
    """Rows of `data`, else the run's own validation rows."""
    quiet = Console(quiet=True)
    if data is None:
        if run.data["source"] is None:
            raise RunError(
                f"{run.path} was trained on data in memory, so its validation rows are not here to compare "
                f"on. Give rows with --data (in Python: data=...)."
            )
        own = reopened(run, None, quiet)
        rows = own.split.validation if len(own.split.validation) else own.split.train
        return Rehearsal(
            own.table, own.store, np.sort(rows[_spread(len(rows))]), targets=True, split=own.split
        )
    table: Tabular = Table.read(data, run.config.data)
    if run.data["window"] is not None:
        assert isinstance(table, Table)
        table = Window.restore(run.data["window"]).everything(table, run.config.data)
    targets = all(c.name in table.names for c in run.schema.predict)
    for column in run.schema.given:
        table.check(column.name)
    table = table.take(_spread(len(table)))  # type: ignore[attr-defined]
    store = encode_given(table, tuple(run.schema) if targets else run.schema.given, quiet)
    refuse_bad(store.bad)
    return Rehearsal(table, store, np.arange(len(table)), targets=targets)


def _spread(rows: int) -> Any:
    return np.unique(np.linspace(0, rows - 1, min(rows, ROWS)).astype(np.int64))


def make(
    run: RunDirectory, rehearsal: Rehearsal, unseen: Unseen | None = None, *, narrow: bool = False
) -> Made:
    """The network as one module in fp32, an example of what it reads, and golden tensors."""
    network = run.network.to("cpu").float().eval()
    leaving = settled(network, narrow=narrow)  # OpenVINO computes int64 in 32 bits
    embedding = None if unseen is None else fitted(network, run.schema.given, unseen)
    own, module = (Deployed(n, run.schema, run.calibration, embedding).eval() for n in (network, leaving))
    inputs = long_enough(run.schema, _example(run, rehearsal))
    outputs = own.on(inputs)
    signature = Signature.of(run.schema, inputs, outputs)
    odd = {name: values[-GOLDEN_ROWS:] for name, values in odd_rows(run.schema).items()}
    golden_in = {c.name: encoded(c, odd[c.name]) for c in run.schema.given}
    golden_out = own.on(golden_in)
    golden = {f"input.{one['name']}": golden_in[one["column"]] for one in signature.inputs}
    golden |= {f"output.{one['name']}": golden_out[one["column"]] for one in signature.outputs}
    if VECTORS in golden_out:
        golden[f"output.{EMBEDDING}"] = golden_out[VECTORS]
    return Made(run, own, module, signature, inputs, golden, unseen=unseen)


def _example(run: RunDirectory, rehearsal: Rehearsal) -> dict[str, Any]:
    found = {}
    for c in run.schema.given:
        taken = rehearsal.store[c.name].take(rehearsal.rows[:BATCH])
        found[c.name] = taken if isinstance(taken, np.ndarray) else c.collate(taken)
    return found


def write_graph(made: Made, to: str, folder: Path) -> None:
    """All files but the manifest; then a manifest without proof, with which the export can be opened."""
    parts = (made.module, made.run.schema, made.inputs)
    if to == "torch":
        to_torch(*parts, folder / TORCH)
    elif to == "openvino":
        to_openvino(to_onnx(*parts, made.signature), folder)
    else:
        write_atomic(folder / GRAPH, to_onnx(*parts, made.signature))
    write_json(folder / SCHEMA, made.run.schema.to_dict())
    write_atomic(folder / GOLDEN, save({k: np.ascontiguousarray(v) for k, v in made.golden.items()}))
    if (made.run.path / REFERENCE).is_file():  # so that what an export answers can be watched too
        write_atomic(folder / REFERENCE, made.run.verified(REFERENCE).read_bytes())
    write_manifest(made, to, folder, {})


def to_openvino(graph: bytes, folder: Path) -> None:
    """An ONNX graph as model.xml and model.bin, in fp32."""
    openvino = openvino_runtime("OpenVINO is not installed, which writes these exports", "edge,export")
    source = folder / GRAPH
    write_atomic(source, graph)
    try:
        model = openvino.Core().read_model(source)
        openvino.save_model(model, folder / OPENVINO, compress_to_fp16=False)
    except RuntimeError as error:
        raise RunError(
            f"OpenVINO cannot take this network, so nothing was written: {str(error)[:300]} Use --to onnx."
        ) from error
    source.unlink()


def prove_equal(made: Made, rehearsal: Rehearsal, folder: Path) -> dict[str, Any]:
    """The export, opened as users open it, beside torch."""
    found = Export(folder, made.run.plan.threads)
    found.verify()
    if (folder / TORCH).exists():
        program = torch.export.load(folder / TORCH).module()  # of this very process, not of a stranger
        answer = guarded(partial(made.own.on, module=program))
        return prove(made.run.schema, rehearsal, made.own.on, answer, partial(_encoded, found))
    encode = partial(_encoded, found)
    figures = prove(
        made.run.schema, rehearsal, made.own.on, guarded(partial(_answered, found)), encode, made.precision
    )
    found.check()
    return figures


def _answered(export: Export, inputs: Arrays) -> dict[str, Any]:
    """By predicted column what an export gives, and its embeddings where it has any."""
    if not export.space:
        return export.forward(inputs)
    found, vectors = export.embedded(inputs)
    return {**found, VECTORS: vectors}


def _encoded(export: Export, rows: Columns) -> Arrays:
    """As the export encodes; series of a forecast as they are, shorter ones than it takes among them."""
    if export.manifest.get("window") is None:
        return export.encode(rows)
    return {c.name: encoded(c, rows[c.name]) for c in export.schema.given}


def guarded(answer: Answer) -> Answer:
    """`answer`, whose failure on a batch is an error that says what to do."""

    def guard(inputs: Arrays) -> dict[str, Any]:
        try:
            return answer(inputs)
        except Exception as error:  # each runtime has classes of its own
            shapes = {name: array.shape for name, array in inputs.items()}
            raise RunError(
                f"The export does not take a batch of the shapes {shapes}, so nothing was written: "
                f"{str(error)[:200]} {REMEDY['fp32']}"
            ) from error

    return guard


def write_manifest(
    made: Made, to: str, folder: Path, parity: dict[str, Any], kept: dict[str, Any] | None = None
) -> None:
    """`export.json`: everything about the export that is not in its graph."""
    run = made.run
    graph = file_digest(folder / MAIN[to])
    files = sorted(p for p in folder.iterdir() if p.name != MANIFEST and p.name[0] != ".")
    write_json(
        folder / MANIFEST,
        {
            "format": FORMAT,
            "target": to,
            "name": run.path.resolve().name,
            "version": graph[:12] + ("" if made.precision == "fp32" else f"-{made.precision}"),
            "opset": None if to == "torch" else OPSET,
            "inputs": made.signature.inputs,
            "outputs": [{**one, "bound": BOUNDS[made.precision]} for one in made.signature.outputs],
            "precision": made.precision,
            "embedding": embedding_of(made, kept or {}),
            "calibration": {name: c.to_dict() for name, c in run.calibration.items()},
            "window": run.data["window"],
            "data": {name: getattr(run.config.data, name) for name in READING},
            "parity": parity,
            "source": {
                "weights": file_digest(run.path / "weights.safetensors"),
                "manifest": file_digest(run.path / "manifest.json"),
            },
            "versions": {
                "shinso": VERSION,
                **{name: version(name) for name in ("torch", "numpy", *PACKAGES[to])},
            },
            "files": {p.name: {"bytes": p.stat().st_size, "blake2b": file_digest(p)} for p in files},
        },
    )


def embedding_of(made: Made, kept: dict[str, Any]) -> dict[str, Any] | None:
    """What a manifest says of the embeddings; `kept` of the vectors that are kept of them."""
    if made.signature.width is None:
        return None
    names = [c.name for c in made.run.schema.given if c.kind in KINDS]
    return {"columns": names, "width": made.signature.width, "bound": NEAR[made.precision], **kept}


@contextmanager
def _unfinished(place: Path) -> Iterator[Path]:
    """A folder beside `place` that is gone afterwards, unless it was renamed."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".tmp", dir=place.parent))
    except OSError as error:
        raise ShinsoError(f"{place} could not be made: {error.strerror or error}.") from None
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
