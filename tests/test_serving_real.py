"""Trained models behind the server: a run with torch, an export without, as a process of its own."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("orjson", reason="the extra `serve` is not installed")
pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

import shinso
from served import ask, once, together
from shinso.runtimes import has_bf16
from shinso.serving.app import App
from shinso.serving.logs import Log
from shinso.serving.opening import open_model
from shinso.serving.options import Options
from shinso.serving.start import assembled
from small_runs import houses, train

BOUND = 2e-6  # of probabilities rounded to six digits, alone and in a batch


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("served"), predict="dear").path


@pytest.fixture(scope="module")
def export(run: Path) -> Path:
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    return shinso.export(run, data=houses(60), out=run.parent / "export", quiet=True)


def rows(count: int = 40) -> list[dict[str, Any]]:
    data = {name: values for name, values in houses(count).items() if name != "dear"}
    return [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]


def app_of(path: Path) -> App:
    app = assembled([("houses", path)], Options(deadline=600.0), log=Log(io.StringIO()))
    asyncio.run(app.engine.registry.load_expected())
    return app


def shares(answers: list[Any]) -> Any:
    return np.array([list(a["dear"]["probabilities"].values()) for a in answers])


@pytest.mark.parametrize("kind", ["run", "export", "openvino"])
def test_batched_answers_equal_those_alone_and_those_of_predict(
    kind: str, run: Path, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(kind)
    app, asked = app_of(path), rows()
    alone = [once(app, "POST", "/predict", row).json["answers"][0] for row in asked]
    found = asyncio.run(together(*(ask(app, "POST", "/predict", row) for row in asked)))
    batched = [f.json["answers"][0] for f in found]
    assert np.abs(shares(alone) - shares(batched)).max() <= BOUND
    assert [a["dear"]["value"] for a in alone] == [a["dear"]["value"] for a in batched]
    data = {name: [row[name] for row in asked] for name in asked[0]}
    model = open_model(path)
    table = model.decode(model.forward(model.encode(data)))
    assert np.abs(shares(batched)[:, 1] - np.array(table["dear: yes"])).max() <= BOUND


def test_a_stranger_folder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(shinso.ShinsoError, match="neither a run directory nor an export"):
        open_model(tmp_path)
    with pytest.raises(shinso.ShinsoError, match="There is no run or export"):
        open_model(tmp_path / "none")


def test_runs_and_exports_explain_alike_and_runs_by_gradients_too(run: Path, export: Path) -> None:
    apps, one = {"run": app_of(run), "export": app_of(export)}, rows(1)[0]
    values = {}
    for name, app in apps.items():
        found = once(app, "POST", "/predict?explain=occlusion", one).json
        (told,) = found["explanations"]
        answer = found["answers"][0]["dear"]
        assert told["answer"] == answer["value"]
        assert told["value"] == pytest.approx(answer["probabilities"][told["answer"]], abs=1e-4)
        values[name] = {(part["column"], part["name"]): part["value"] for part in told["parts"]}
    assert values["run"].keys() == values["export"].keys()
    for key, value in values["run"].items():
        assert values["export"][key] == pytest.approx(value, abs=1e-2)
    said = shinso.explain(run, {name: [value] for name, value in one.items()}, method="occlusion", quiet=True)
    alike = {(part["column"], part["name"]): part["value"] for part in said["rows"][0]["parts"]}
    for key, value in alike.items():
        assert values["run"][key] == pytest.approx(value, abs=1e-2)
    found = once(apps["run"], "POST", "/predict?explain=integrated_gradients", one)
    assert found.status == 200 and found.json["explanations"][0]["method"] == "integrated_gradients"
    for app, method, words in ((apps["export"], "gradcam", "export"), (apps["run"], "gradcam", "")):
        found = once(app, "POST", f"/predict?explain={method}", one)
        assert (
            found.status == 400 and found.error["code"] == "not_explained" and words in found.error["message"]
        )


@pytest.fixture(scope="module")
def forecast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wave = np.sin(np.arange(200) / 5)
    data = {"load": (10 + wave).tolist(), "heat": (20 - wave).tolist()}
    folder = tmp_path_factory.mktemp("forecast")
    return train(folder, data, predict="load", past=12, ahead=3).path


def test_a_forecast_is_served_by_its_past(forecast: Path) -> None:
    app = app_of(forecast)
    wave = np.sin(np.arange(40) / 5)
    past = np.stack([10 + wave, 20 - wave], 1).tolist()
    found = once(app, "POST", "/predict", {"past": past[-12:]}).json["answers"][0]["load"]["value"]
    assert len(found) == 3
    said = shinso.predict(forecast, {"load": [a for a, _ in past], "heat": [b for _, b in past]})
    assert found == pytest.approx(said["load"], rel=1e-4)
    longer = once(app, "POST", "/predict", {"past": past}).json["answers"][0]["load"]["value"]
    assert longer == pytest.approx(found), "of a longer past the latest readings are read"
    short = once(app, "POST", "/predict", {"past": past[-5:]})
    assert (
        short.status == 400
        and short.error["field"] == "past"
        and "looks back on 12" in short.error["message"]
    )
    tensor = {"name": "past", "datatype": "FP64", "shape": [1, 12, 2], "data": past[-12:]}
    outputs = once(app, "POST", "/v2/models/houses/infer", {"inputs": [tensor]}).json["outputs"]
    assert json.loads(outputs[0]["data"][0]) == pytest.approx(found)
    told = once(app, "POST", "/predict?explain=occlusion", {"past": past[-12:]}).json["explanations"][0]
    assert told["column"] == "load" and told["parts"]


WITHOUT_TORCH = """
import sys
from shinso.cli import main
code = main(sys.argv[1:])
assert "torch" not in sys.modules, "serving an export imported torch"
sys.exit(code)
"""


@pytest.fixture(scope="module")
def openvino(run: Path) -> Path:
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'shinso[edge]'")
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    return shinso.export(run, to="openvino", data=houses(60), out=run.parent / "openvino", quiet=True)


@pytest.fixture(scope="module")
def bf16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'shinso[edge]'")
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    if not has_bf16():
        pytest.skip("this processor has no instructions for bf16")
    data = {name: values for name, values in houses(60).items() if name in ("area", "city", "dear")}
    run = train(tmp_path_factory.mktemp("bf16"), data, predict="dear", model="mlp").path
    return shinso.export(run, to="openvino", precision="bf16", data=data, quiet=True)


def test_answers_in_bf16_alone_are_those_in_a_batch_within_its_bounds(bf16: Path) -> None:
    app = app_of(bf16)
    asked = [{name: row[name] for name in ("area", "city")} for row in rows()]
    alone = [once(app, "POST", "/predict", row).json["answers"][0] for row in asked]
    found = asyncio.run(together(*(ask(app, "POST", "/predict", row) for row in asked)))
    (entry,) = app.engine.registry.get("houses").model.manifest["outputs"]
    apart = np.abs(shares(alone) - shares([one.json["answers"][0] for one in found])).max()
    assert apart <= entry["bound"]["absolute"] == 0.05


def test_a_server_says_where_it_computes_in_another_precision(
    bf16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = io.StringIO()
    monkeypatch.setattr("shinso.exported.has_bf16", lambda: False)
    app = assembled([("houses", bf16)], Options(deadline=600.0), log=Log(said))
    asyncio.run(app.engine.registry.load_expected())
    (line,) = map(json.loads, said.getvalue().splitlines())
    assert (line["event"], line["level"]) == ("precision", "warning")
    assert "computed in fp32 here" in line["message"]
    asked = {"area": 50.0, "city": "Nara"}
    assert once(app, "POST", "/predict", asked).json["version"].endswith("-bf16")


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("target", ["export", "openvino"])
def test_a_process_serves_an_export_without_torch_and_ends_in_order(
    target: str, request: pytest.FixtureRequest
) -> None:
    export = request.getfixturevalue(target)
    command = [
        sys.executable,
        "-c",
        WITHOUT_TORCH,
        "serve",
        f"houses={export}",
        "--port",
        "0",
        "--drain",
        "0",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            facts = json.loads(process.stderr.readline())
            assert facts["event"] == "ready", facts
            address = f"http://127.0.0.1:{facts['port']}"
            with shinso.Client(address) as client:
                assert client.predict(rows(1)[0])["dear"]["value"] in ("yes", "no")
            with urllib.request.urlopen(f"{address}/metrics") as answer:
                assert re.search(rb'code="ok"} 1', answer.read())
            process.send_signal(signal.SIGTERM)
            lines = [json.loads(line) for line in process.stderr]
            assert process.wait(20) == 0
            assert [line["event"] for line in lines] == ["draining", "ended"]
        finally:
            process.kill()
