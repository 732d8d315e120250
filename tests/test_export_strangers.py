"""Exports from strangers: whatever stands in them is refused with a sentence, and nothing outside is read."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import shinso
from shinso.errors import RunError, ShinsoError
from shinso.exported import open_export
from shinso.exporting import write
from shinso.files import file_digest
from shinso.runtimes import session
from small_runs import FAST, houses

Change = Callable[[onnx.ModelProto], None]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> shinso.Run:
    data = {name: values for name, values in houses(120).items() if name in ("area", "city", "dear")}
    out = tmp_path_factory.mktemp("strangers") / "run"
    run = shinso.train(data, predict="dear", out=out, settings=FAST | {"train.epochs": 1}, quiet=True)
    shinso.export(run, data=data, quiet=True)
    return run


@pytest.fixture
def export(run: shinso.Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run.path / "exports" / "onnx", tmp_path / "export"))


def sealed(export: Path, change: Change | None = None) -> Path:
    """An export whose graph was changed by somebody who also wrote the digests."""
    if change is not None:
        model = onnx.load(export / "model.onnx", load_external_data=False)
        change(model)
        (export / "model.onnx").write_bytes(model.SerializeToString())
    manifest = json.loads((export / "export.json").read_text())
    for name, facts in manifest["files"].items():
        facts |= {"bytes": (export / name).stat().st_size, "blake2b": file_digest(export / name)}
    (export / "export.json").write_text(json.dumps(manifest))
    return export


def first_weights(model: onnx.ModelProto) -> onnx.TensorProto:
    return max(model.graph.initializer, key=lambda one: len(one.raw_data))


def elsewhere(location: str) -> Change:
    def change(model: onnx.ModelProto) -> None:
        tensor = first_weights(model)
        size = len(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("length", str(size))):
            tensor.external_data.add(key=key, value=value)

    return change


def hidden(model: onnx.ModelProto) -> None:
    """The same, in a constant inside a branch."""
    inner = onnx.helper.make_graph([], "inner", [], [])
    tensor = inner.initializer.add(name="far", data_type=1, dims=[4])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    node = onnx.helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    model.graph.node.append(node)


def huge(model: onnx.ModelProto) -> None:
    first_weights(model).dims[0] = 2**40


@pytest.mark.parametrize("location", ["weights.bin", "../../secret", "/etc/hostname"])
def test_weights_in_another_file_are_not_opened(export: Path, location: str) -> None:
    (export / "weights.bin").write_bytes(bytes(1 << 20))
    opened = open_export(sealed(export, elsewhere(location)))
    with pytest.raises(RunError, match="keeps weights in another file"):
        opened.check()


def test_nor_where_they_are_hidden_in_a_branch(export: Path) -> None:
    with pytest.raises(RunError, match="keeps weights in another file"):
        open_export(sealed(export, hidden)).check()


def test_a_tensor_that_says_it_is_larger_than_it_is(export: Path) -> None:
    with pytest.raises(RunError, match=r"a tensor of the shape .*1099511627776.* are needed"):
        open_export(sealed(export, huge)).check()


def test_a_graph_that_is_cut_off_anywhere(export: Path, tmp_path: Path) -> None:
    content = (export / "model.onnx").read_bytes()
    rng = np.random.default_rng(0)
    for end in (0, 1, 2, 100, *rng.integers(3, len(content) - 1, 20).tolist()):
        (tmp_path / "cut.onnx").write_bytes(content[:end])
        with pytest.raises(RunError, match=r"complete graph|cannot run|holds"):
            session(tmp_path / "cut.onnx", 1)


def test_noise_is_no_graph(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for size in (1, 10, 1000, 100_000):
        (tmp_path / "noise.onnx").write_bytes(rng.bytes(size))
        with pytest.raises(RunError):
            session(tmp_path / "noise.onnx", 1)


def test_what_is_run_must_be_listed_with_a_digest(export: Path) -> None:
    manifest = json.loads((export / "export.json").read_text())
    for name in ("model.onnx", "schema.json", "golden.safetensors"):
        files = {one: facts for one, facts in manifest["files"].items() if one != name}
        (export / "export.json").write_text(json.dumps(manifest | {"files": files}))
        with pytest.raises(RunError, match=name):
            open_export(export)


def test_a_link_out_of_the_folder_is_not_followed(export: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.json").write_bytes((export / "schema.json").read_bytes())
    (export / "schema.json").unlink()
    (export / "schema.json").symlink_to(tmp_path / "outside.json")
    with pytest.raises(RunError, match="not in the folder"):
        open_export(export)


def changes(value: Any) -> Iterator[tuple[list[Any], Any]]:
    """Paths of all that stands in a manifest, two levels deep, with what could stand there instead."""
    for key, inner in value.items():
        for other in (None, 7, "x", [], {}, [7], {"x": 7}):
            yield [key], other
        items = (
            inner.items() if isinstance(inner, dict) else enumerate(inner) if isinstance(inner, list) else ()
        )
        for place, _ in list(items)[:2]:
            for other in (None, 7, "x", [], {}):
                yield [key, place], other


def test_no_manifest_makes_more_than_a_sentence(export: Path) -> None:
    whole = json.loads((export / "export.json").read_text())
    rows = {"area": [50.0], "city": ["Nara"]}
    for path, other in changes(whole):
        manifest = copy.deepcopy(whole)
        at = manifest
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = other
        (export / "export.json").write_text(json.dumps(manifest))
        try:
            opened = open_export(export, threads=1)
            opened.check()
            opened.decode(opened.forward(opened.encode(rows)))
        except ShinsoError as error:
            assert len(str(error)) < 1000, path


def test_an_operator_that_is_wrong_on_rare_rows_alone_is_found(
    run: shinso.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers are cut off where no row of the run has any: only made-up rows can tell."""
    honest = write.to_onnx

    def cut_off(*given: Any) -> bytes:
        model = onnx.load_from_string(honest(*given))
        name = next(v.name for v in model.graph.input if v.type.tensor_type.elem_type == 1)
        for node in model.graph.node:
            node.input[:] = ["cut" if one == name else one for one in node.input]
        for end, value in (("low", -9.0), ("high", 9.0)):
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(value), end))
        model.graph.node.insert(0, onnx.helper.make_node("Clip", [name, "low", "high"], ["cut"]))
        return bytes(model.SerializeToString())

    monkeypatch.setattr(write, "to_onnx", cut_off)
    data = {name: values for name, values in houses(120).items() if name in ("area", "city", "dear")}
    with pytest.raises(
        RunError, match=r"nothing was written. Made-up row .*area=.*the run gives .*the export"
    ):
        shinso.export(run, data=data, out=tmp_path / "wrong", quiet=True)
    assert not list(tmp_path.iterdir())
