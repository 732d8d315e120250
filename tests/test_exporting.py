"""Exports: equal to their runs over a table of kinds, refused where they are not, run without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import shinso
from shinso import cli, exported
from shinso.errors import MissingExtraError
from shinso.exported import Export, open_export
from shinso.exporting import parity, write
from shinso.run import RunDirectory
from shinso.runtimes import has_bf16
from small_runs import FAST, houses

EXACT = {**FAST, "train.epochs": 1, "train.precision": "fp32", "model.depth": 1}


def pictures(rows: int = 40) -> dict[str, list[Any]]:
    rng = np.random.default_rng(0)
    bright = rng.integers(0, 2, rows)
    images = [(rng.integers(0, 128, (16, 16, 3)) + 127 * b).astype(np.uint8) for b in bright]
    masks = [(image[..., 0] > 100).astype(np.uint8) for image in images]
    return {"image": images, "mask": masks, "bright": [str(b) for b in bright]}


def waves(rows: int = 40) -> dict[str, list[Any]]:
    rng = np.random.default_rng(0)
    return {
        "wave": [np.sin(np.arange(rng.integers(20, 40)) / (1 + 2 * (i % 2))).tolist() for i in range(rows)],
        "kind": [f"k{i % 2}" for i in range(rows)],
    }


def readings(rows: int = 120) -> dict[str, list[Any]]:
    times = np.arange(rows)
    return {"load": np.sin(times / 5).tolist(), "heat": np.cos(times / 7).tolist()}


def tagged() -> dict[str, list[Any]]:
    area = houses(120)["area"]
    return {"area": area, "tags": [["a"] if a > 60 else ["a", "b"] for a in area]}


def only(*names: str) -> dict[str, list[Any]]:
    return {name: values for name, values in houses(120).items() if name in names}


TEXT = {"types": {"note": "text"}, "given": "note", "predict": "dear"}
KINDS: dict[str, tuple[dict[str, list[Any]], dict[str, Any]]] = {
    "table": (only("area", "city", "price", "dear"), {"predict": "dear,price", "given": "area,city"}),
    "perceptron": (only("area", "city", "price"), {"predict": "price", "model": "mlp"}),
    "labels": (tagged(), {"predict": "tags", "types": {"tags": "labels"}}),
    "image": (pictures(), {"predict": "bright", "given": "image"}),
    "mask": (pictures(), {"predict": "mask", "given": "image", "types": {"mask": "mask"}}),
    "series": (waves(), {"predict": "kind"}),
    "forecast": (readings(), {"predict": "load", "past": 24, "ahead": 6}),
    "text": (only("note", "dear"), TEXT),
    "lstm": (only("note", "dear"), {**TEXT, "model": "lstm"}),
    "bags": (only("note", "dear"), {**TEXT, "model": "bags"}),
    "transformer": (only("note", "dear"), {**TEXT, "model": "transformer", "settings": {"model.heads": 2}}),
    "joined": (
        {**pictures(), "area": only("area")["area"][:40]},
        {"predict": "bright", "given": "image,area"},
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`made("table")`: the run, its export and its data, made once."""
    folder, found = tmp_path_factory.mktemp("exports"), {}

    def make(kind: str) -> tuple[shinso.Run, Path, dict[str, list[Any]]]:
        if kind not in found:
            data, options = KINDS[kind]
            settings = {**EXACT, **options.get("settings", {})}
            run = shinso.train(data, quiet=True, out=folder / kind, **{**options, "settings": settings})
            found[kind] = (run, shinso.export(run, data=data, quiet=True), data)
        return found[kind]

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_answers_as_its_run(kind: str, made: Any) -> None:
    run, path, data = made(kind)
    here, there = shinso.predict(path, data, quiet=True), shinso.predict(run, data, quiet=True)
    assert list(here) == list(there)
    for name, wanted in there.items():
        for one, other in zip(here[name], wanted, strict=True):
            if isinstance(other, float):
                assert one == pytest.approx(other, rel=1e-3, abs=2e-4), name
            else:
                assert np.array_equal(one, other), name


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_beside_the_graph(kind: str, made: Any) -> None:
    _, path, _ = made(kind)
    export = open_export(path, threads=1)
    figures = export.manifest["parity"]
    assert set(figures["largest_difference"]) == {c.name for c in export.schema.predict}
    assert max(figures["largest_difference"].values()) < 1e-3
    assert max(figures["alone_and_in_a_batch"].values()) < 1e-4
    for entry in figures["metrics"].values():
        assert entry["run"] == pytest.approx(entry["export"], rel=1e-4)
    export.check()
    inputs, outputs = export.golden
    assert {name: array.dtype.name for name, array in inputs.items()} == {
        one["column"]: one["dtype"] for one in export.manifest["inputs"]
    }
    alone = export.forward({name: array[:1] for name, array in inputs.items()})
    for name, array in outputs.items():
        assert np.allclose(alone[name], array[:1], 1e-4, 1e-4, equal_nan=True)


def test_the_graph_names_its_axes_and_no_path_of_the_machine(made: Any) -> None:
    _, path, _ = made("text")
    model = onnx.load(path / "model.onnx")
    axes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input]
    assert axes == [["batch", "length_0"]]
    content = (path / "model.onnx").read_bytes() + (path / "export.json").read_bytes()
    assert str(Path(shinso.__file__).parent).encode() not in content
    assert str(path.parent).encode() not in content


def test_coverage_is_that_of_the_run(made: Any) -> None:
    run, path, data = made("table")
    here = shinso.predict(path, data, coverage=0.8, quiet=True)
    there = shinso.predict(run, data, coverage=0.8, quiet=True)
    threshold = RunDirectory(run.path).calibration["dear"].at(0.8).threshold
    assert threshold is not None
    for i, (one, other) in enumerate(zip(here["dear set"], there["dear set"], strict=True)):
        if one != other:  # a row whose own error is the threshold stands on it
            assert abs(here["dear: no"][i] - threshold) < 1e-5 or abs(here["dear: yes"][i] - threshold) < 1e-5
    assert here["price low"] == pytest.approx(there["price low"], rel=1e-3)
    with pytest.raises(shinso.SettingError, match="between 0 and 1"):
        shinso.predict(path, data, coverage=1.5, quiet=True)


WITHOUT_TORCH = """
import json, sys
from shinso.exported import open_export
export = open_export(sys.argv[1], threads=1)
rows = {c.name: json.loads(sys.argv[2])[c.name] for c in export.schema.given}
answer = export.decode(export.forward(export.encode(rows)))
loaded = [m for m in ("torch", "sklearn", "scipy", "pandas", "pyarrow", "duckdb") if m in sys.modules]
print(json.dumps({"answer": answer, "loaded": loaded}))
"""
COMMAND = """
import sys
from shinso import cli
status = cli.main(["predict", sys.argv[1], sys.argv[2], "--quiet", "--coverage", "0.8"])
assert "torch" not in sys.modules, "torch was imported"
assert not sys.modules.get("openvino_telemetry"), "openvino would report its use"
sys.exit(status)
"""


def test_an_export_is_run_without_torch(made: Any, tmp_path: Path) -> None:
    _, path, data = made("table")
    rows = {name: values[:3] for name, values in data.items()}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(path), json.dumps(rows)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["loaded"] == []
    wanted = shinso.predict(path, rows, quiet=True)
    assert found["answer"] == {name: values for name, values in wanted.items() if name != "row"}
    (tmp_path / "rows.jsonl").write_text(
        "".join(
            json.dumps(dict(zip(rows, one, strict=True))) + "\n" for one in zip(*rows.values(), strict=True)
        )
    )
    command = [sys.executable, "-c", COMMAND, str(path), str(tmp_path / "rows.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "dear set" in done.stdout


@pytest.mark.parametrize("kind", ["table", "image", "forecast"])
def test_torch_export_is_proven_and_only_written(kind: str, made: Any, tmp_path: Path) -> None:
    run, _, data = made(kind)
    path = shinso.export(run, to="torch", data=data, out=tmp_path / "out", quiet=True)
    manifest = json.loads((path / "export.json").read_text())
    assert manifest["target"] == "torch" and max(manifest["parity"]["largest_difference"].values()) < 1e-4
    program = torch.export.load(path / "model.pt2").module()
    export = Export(path)
    inputs, outputs = export.golden
    given = [torch.from_numpy(inputs[one["column"]][:1]) for one in manifest["inputs"]]
    for one, found in zip(manifest["outputs"], program(*given), strict=True):
        wanted = outputs[one["column"]][:1]
        assert np.allclose(found.detach().numpy(), wanted, 1e-4, 1e-4, equal_nan=True)
    with pytest.raises(shinso.RunError, match="for other programs"):
        shinso.predict(path, data, quiet=True)


def test_what_torch_cannot_capture_is_refused(made: Any, tmp_path: Path) -> None:
    run, _, data = made("lstm")
    with pytest.raises(shinso.RunError, match="nothing was written"):
        shinso.export(run, to="torch", data=data, out=tmp_path / "out", quiet=True)
    assert list(tmp_path.iterdir()) == []


# ---- what is refused


def test_a_graph_that_answers_otherwise_is_not_written(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _, data = made("table")
    honest = write.to_onnx

    def corrupt(*given: Any) -> bytes:
        model = onnx.load_from_string(honest(*given))
        large = max(
            model.graph.initializer, key=lambda one: int(np.prod(one.dims)) if one.data_type == 1 else 0
        )
        weights = onnx.numpy_helper.to_array(large) * np.float32(1.5)
        large.CopyFrom(onnx.numpy_helper.from_array(weights, large.name))
        return bytes(model.SerializeToString())

    monkeypatch.setattr(write, "to_onnx", corrupt)
    monkeypatch.setattr(Export, "check", lambda self: None)
    with pytest.raises(
        shinso.RunError, match=r"(?s)row.*output '(dear|price)'.*the run gives.*the export"
    ) as at:
        shinso.export(run, data=data, out=tmp_path / "wrong", quiet=True)
    assert "Nothing" in str(at.value) or "nothing was written" in str(at.value)
    assert list(tmp_path.iterdir()) == []


def test_an_altered_export_is_not_opened(made: Any, tmp_path: Path) -> None:
    _, path, _ = made("perceptron")
    for name in ("model.onnx", "schema.json", "golden.safetensors"):
        copy = tmp_path / name
        copy.mkdir()
        for file in path.iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        with pytest.raises(shinso.RunError, match="truncated or altered"):
            open_export(copy)


def test_a_manifest_that_is_none(made: Any, tmp_path: Path) -> None:
    for content in ("[]", '{"format": 99}', '{"format": 1}', "{"):
        (tmp_path / "export.json").write_text(content)
        with pytest.raises(shinso.RunError):
            open_export(tmp_path)
    with pytest.raises(shinso.RunError, match="no export"):
        open_export(tmp_path / "nowhere")


def test_paths_in_a_manifest_stay_inside(made: Any, tmp_path: Path) -> None:
    _, path, _ = made("perceptron")
    manifest = json.loads((path / "export.json").read_text())
    manifest["files"] = {"../secret": {"bytes": 1, "blake2b": ""}, **manifest["files"]}
    (tmp_path / "secret").write_text("s")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "export.json").write_text(json.dumps(manifest))
    with pytest.raises(shinso.RunError, match="missing"):
        open_export(inner)


def test_rows_that_do_not_fit(made: Any) -> None:
    _, path, _ = made("table")
    export = open_export(path)
    with pytest.raises(shinso.DataError, match="no column 'city'"):
        export.encode({"area": [1.0]})
    with pytest.raises(shinso.DataError, match="a value for each row"):
        export.encode({"area": [1.0, 2.0], "city": ["Nara"]})
    with pytest.raises(shinso.DataError, match="a value for each row"):
        export.encode({"area": [], "city": []})
    with pytest.raises(shinso.DataError, match="'area' holds numbers"):
        export.encode({"area": ["large"], "city": ["Nara"]})


def test_what_cannot_leave_says_what_can(made: Any, tmp_path: Path) -> None:
    data = {"en": ["one house", "two houses"] * 20, "ja": ["家", "家々"] * 20}
    types = {"en": "text", "ja": "text"}
    run = shinso.train(data, predict="ja", types=types, settings=EXACT, out=tmp_path / "run", quiet=True)
    with pytest.raises(shinso.SettingError, match=r"step by step.*category"):
        shinso.export(run, data=data, quiet=True)
    run, path, data = made("table")
    with pytest.raises(shinso.SettingError, match="Did you mean 'onnx'"):
        shinso.export(run, to="onxx", data=data, quiet=True)
    with pytest.raises(shinso.RunError, match="in memory"):
        shinso.export(run, quiet=True)
    with pytest.raises(shinso.RunError, match="exists already"):
        shinso.export(run, data=data, out=path, quiet=True)


def test_the_extra_that_is_missing(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, path, data = made("perceptron")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'shinso\[export\]'"):
        shinso.predict(path, data, quiet=True)


def test_the_runs_own_validation_rows(tmp_path: Path) -> None:
    data = only("area", "city", "dear")
    lines = [",".join(data), *(",".join(map(str, row)) for row in zip(*data.values(), strict=True))]
    (tmp_path / "houses.csv").write_text("\n".join(lines))
    run = shinso.train(
        tmp_path / "houses.csv", predict="dear", settings=EXACT, out=tmp_path / "run", quiet=True
    )
    path = run.export()
    assert path == tmp_path / "run" / "exports" / "onnx"
    assert json.loads((path / "export.json").read_text())["parity"]["rows"]["real"] == 12
    assert run.export() == path.parent / "onnx-2"


# ---- OpenVINO


@pytest.mark.parametrize("kind", ["table", "image", "text", "forecast", "lstm", "bags"])
def test_openvino_is_proven_and_read_without_torch(kind: str, made: Any, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'shinso[edge]'")
    run, onnx_path, data = made(kind)
    path = shinso.export(run, to="openvino", data=data, out=tmp_path / "out", quiet=True)
    assert {file.name for file in path.iterdir()} >= {"model.xml", "model.bin", "export.json"}
    assert not (path / "model.onnx").exists()
    figures = json.loads((path / "export.json").read_text())["parity"]
    assert max(figures["largest_difference"].values()) < 1e-3 and figures["rows"]["odd"] > 20
    here, there = shinso.predict(path, data, quiet=True), shinso.predict(onnx_path, data, quiet=True)
    for name, wanted in there.items():
        numbers = isinstance(wanted[0], float)
        assert here[name] == (pytest.approx(wanted, rel=1e-3, abs=2e-4) if numbers else wanted), name
    (tmp_path / "out" / "model.bin").write_bytes((path / "model.bin").read_bytes()[:-1])
    with pytest.raises(shinso.RunError, match="truncated or altered"):
        open_export(path)


def test_openvino_is_run_without_torch_by_the_command(made: Any, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'shinso[edge]'")
    run, _, data = made("table")
    path = shinso.export(run, to="openvino", data=data, out=tmp_path / "out", quiet=True)
    (tmp_path / "rows.csv").write_text("area,city\n50,Nara\n90,Kyoto\n")
    command = [sys.executable, "-c", COMMAND, str(path), str(tmp_path / "rows.csv")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "dear set" in done.stdout, done.stderr


def test_without_openvino_the_extra_is_named(
    made: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run, _, data = made("table")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'shinso\[edge,export\]'"):
        shinso.export(run, to="openvino", data=data, out=tmp_path / "out", quiet=True)
    assert list(tmp_path.iterdir()) == []


# ---- bf16


@pytest.fixture
def bf16() -> None:
    """Where a processor computes in bf16."""
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'shinso[edge]'")
    if not has_bf16():
        pytest.skip("this processor has no instructions for bf16")


@pytest.mark.parametrize("kind", ["table", "image", "forecast", "transformer"])
def test_bf16_is_proven_within_bounds_of_its_own(kind: str, made: Any, bf16: None, tmp_path: Path) -> None:
    run, _, data = made(kind)
    path = shinso.export(run, to="openvino", precision="bf16", data=data, out=tmp_path / "out", quiet=True)
    export = open_export(path, threads=1)
    bound = export.manifest["outputs"][0]["bound"]
    assert export.precision == "bf16" and not export.notice and bound == parity.BOUNDS["bf16"]
    assert str(export._compiled.get_property("INFERENCE_PRECISION_HINT")) != "f32"
    figures = export.manifest["parity"]
    assert figures["rows"]["odd"] > 20 and figures["metrics"]
    assert max(figures["largest_difference"].values()) > 1e-5, "it did not compute in bf16"
    assert set(figures["alone_and_in_a_batch"]) == {c.name for c in export.schema.predict}
    export.check()
    plain = shinso.export(run, to="openvino", data=data, out=tmp_path / "plain", quiet=True)
    assert open_export(plain).version + "-bf16" == export.version, "the same graph is another version"
    here, there = shinso.predict(path, data, quiet=True), shinso.predict(plain, data, quiet=True)
    for name, wanted in there.items():
        if isinstance(wanted[0], float) and ": " in name:
            assert np.abs(np.array(here[name]) - wanted).max() <= bound["absolute"] + bound["relative"]


def test_where_bf16_is_refused(made: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run, _, data = made("table")
    for to in ("onnx", "torch"):
        with pytest.raises(shinso.SettingError, match="Use --to openvino"):
            shinso.export(run, to=to, precision="bf16", data=data, out=tmp_path / "out", quiet=True)
    with pytest.raises(shinso.SettingError, match="Did you mean 'bf16'"):
        shinso.export(run, to="openvino", precision="bf1", data=data, out=tmp_path / "out", quiet=True)
    monkeypatch.setattr(write, "has_bf16", lambda: False)
    with pytest.raises(shinso.SettingError, match="no instructions for bf16"):
        run.export("openvino", precision="bf16", data=data, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_which_format_computes_in_bf16(
    made: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _, _ = made("table")
    assert cli.main(["export", str(run.path), "--precision", "bf16"]) == 2
    assert "--to onnx does not compute in bf16. Use --to openvino" in capsys.readouterr().err


def test_bf16_beyond_its_bounds_is_not_written(
    made: Any, bf16: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run, _, data = made("image")
    monkeypatch.setitem(parity.BOUNDS, "bf16", {"absolute": 1e-7, "relative": 0.0})
    with pytest.raises(shinso.RunError, match="Export it in fp32: leave --precision bf16 out"):
        shinso.export(run, to="openvino", precision="bf16", data=data, out=tmp_path / "out", quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_without_instructions_bf16_is_computed_in_fp32_and_said(
    made: Any, bf16: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, plain, data = made("image")
    path = shinso.export(run, to="openvino", precision="bf16", data=data, out=tmp_path / "out", quiet=True)
    shinso.predict(path, data)
    assert "no instructions" not in capsys.readouterr().err
    monkeypatch.setattr(exported, "has_bf16", lambda: False)
    found = shinso.predict(path, data)
    assert "no instructions. It is computed in fp32 here" in capsys.readouterr().err
    wanted = shinso.predict(plain, data, quiet=True)
    assert found["bright: 1"] == pytest.approx(wanted["bright: 1"], abs=1e-4)
    open_export(path).check()
