"""Embeddings: an export gives them, the log keeps a few, and the monitor compares those of one graph."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import shinso
from served import ask, base64_of, server
from shinso.console import Console
from shinso.errors import RunError
from shinso.exported import Export, open_export, rows_apart
from shinso.exporting import write
from shinso.exporting.embedding import WIDEST, Embedding
from shinso.features import Features
from shinso.serving.observers import Seen
from shinso.watching.embeddings import apart_by_day, beyond_days, units_of
from shinso.watching.gauges import exposition
from shinso.watching.log import LogOptions, RequestLog
from shinso.watching.monitor import Asked, lines, monitor
from shinso.watching.sampling import MOST, Sample, Vector, halved, numbers_of
from shinso.watching.store import DAY, Entry, Limits, Store
from small_runs import FAST, houses

START = 20_000 * DAY
ROWS = 60  # a day


def pictures(rows: int, seed: int = 0, side: int = 12) -> dict[str, list[Any]]:
    rng = np.random.default_rng(seed)
    bright = rng.integers(0, 2, rows)
    images = [(rng.integers(0, 140, (side, side, 3)) + 100 * b).astype(np.uint8) for b in bright]
    return {"photo": images, "bright": [str(b) for b in bright]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> shinso.Run:
    out = tmp_path_factory.mktemp("embeddings") / "photos"
    settings = {**FAST, "train.precision": "fp32", "model.depth": 1}
    return shinso.train(
        pictures(600), predict="bright", given="photo", settings=settings, out=out, quiet=True
    )


@pytest.fixture(scope="module")
def export(run: shinso.Run) -> Export:
    return open_export(shinso.export(run, data=pictures(600), quiet=True), threads=1)


# ---- the export


def test_the_last_output_is_what_the_heads_answer_from(export: Export) -> None:
    graph = onnx.load(export.path / "model.onnx").graph
    assert [one.name for one in graph.output] == ["predict_0_bright", "embedding"]
    facts = export.manifest["embedding"]
    shape = [d.dim_param or d.dim_value for d in graph.output[1].type.tensor_type.shape.dim]
    assert shape == ["batch", facts["width"]] and facts["columns"] == ["photo"]
    assert facts["of"] == "validation and test rows" and facts["rows"] == 120
    assert export.manifest["parity"]["embedding"] < 1e-4 and len(export.space) == 16
    inputs = export.encode({"photo": pictures(40, 1)["photo"]})
    found, vectors = export.embedded(inputs)
    assert list(found) == ["bright"] == list(export.forward(inputs)), "not among the answers"
    assert np.allclose(found["bright"], export.forward(inputs)["bright"])
    alone = np.concatenate([export.embedded({"photo": inputs["photo"][i : i + 1]})[1] for i in range(40)])
    assert (rows_apart(alone, vectors, facts["bound"]) <= 1).all()
    assert 0.3 < vectors.std() < 3, "in deviations from the rows that were held back"


def test_the_reference_is_made_of_rows_that_were_held_back(run: shinso.Run, export: Export) -> None:
    kept = [numbers_of(halved(v).tobytes()) for v in export.embedded(export.encode(pictures(600)))[1]]
    known = {v.tobytes() for v in kept}
    from_file = _reference(export.path)
    assert len(from_file) == 120 and len(known) > 500
    inside = sum(any(np.allclose(row, one, atol=2e-2) for one in kept) for row in from_file[:20])
    assert inside == 20


def _reference(path: Path) -> Any:
    from safetensors.numpy import load_file

    return load_file(path / "embedding.safetensors")["vectors"]


def test_openvino_gives_them_too(run: shinso.Run, export: Export, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'shinso[edge]'")
    path = shinso.export(run, to="openvino", data=pictures(600), out=tmp_path / "openvino", quiet=True)
    other = open_export(path, threads=1)
    inputs = export.encode({"photo": pictures(20, 2)["photo"]})
    assert np.allclose(other.embedded(inputs)[1], export.embedded(inputs)[1], atol=1e-3)
    assert other.space and other.space != export.space, "each graph has a space of its own"


def test_who_has_none(run: shinso.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = {name: values for name, values in houses(120).items() if name in ("area", "city", "dear")}
    small = FAST | {"train.epochs": 1, "model.depth": 1}
    tables = shinso.train(table, predict="dear", settings=small, out=tmp_path / "table", quiet=True)
    few = shinso.train(pictures(60), predict="bright", settings=small, out=tmp_path / "few", quiet=True)
    settings = small | {"data.private": "photo"}
    secret = shinso.train(pictures(300), predict="bright", settings=settings, out=tmp_path / "s", quiet=True)
    for one, data in ((tables, table), (few, pictures(60)), (secret, pictures(300))):
        path = shinso.export(one, data=data)
        export = open_export(path, threads=1)
        assert export.manifest["embedding"] is None and export.space == ""
        assert not (path / "embedding.safetensors").exists()
        assert [o.name[:8] for o in onnx.load(path / "model.onnx").graph.output] == ["predict_"]
    assert "Only 12 rows were held back" in capsys.readouterr().err


def test_a_graph_whose_embedding_is_another_is_not_written(
    run: shinso.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = write.to_onnx

    def shifted(*given: Any) -> bytes:
        model = onnx.load_from_string(honest(*given))
        for node in model.graph.node:
            node.output[:] = ["inner" if name == "embedding" else name for name in node.output]
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.01), "shift"))
        model.graph.node.append(onnx.helper.make_node("Add", ["inner", "shift"], ["embedding"]))
        return bytes(model.SerializeToString())

    monkeypatch.setattr(write, "to_onnx", shifted)
    with pytest.raises(
        RunError, match="does not give the embedding that the run gives, so nothing was written"
    ):
        shinso.export(run, data=pictures(600), out=tmp_path / "wrong", quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_what_is_wide_is_made_narrow_and_keeps_its_distances() -> None:
    rng = np.random.default_rng(0)
    pooled_nS = torch.from_numpy(rng.normal(size=(200, 960)).astype(np.float32))
    embedding = Embedding(pooled_nS)
    tokens = Features.of(pooled_nS.unflatten(1, (5, 192)), members=True)
    found = embedding(tokens)
    assert found.shape == (200, WIDEST) and embedding.width == WIDEST
    assert found.mean(0).abs().max() < 1e-4 and (found.std(0, correction=0) - 1).abs().max() < 1e-3
    wide, narrow = (torch.pdist(x) for x in (pooled_nS, found / embedding.scale_E))
    assert ((narrow / wide - 1).abs() < 0.35).all() and abs(float((narrow / wide).mean()) - 1) < 0.05
    dead = torch.cat([pooled_nS[:, :8], torch.zeros(200, 1)], 1)
    assert float(Embedding(dead).scale_E.max()) < 20, "a number that never moves is not blown up"


def test_a_damaged_description_is_refused(export: Export, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    for file in export.path.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    whole = json.loads((folder / "export.json").read_text())
    for wrong in (7, [], {}, {**whole["embedding"], "width": "x"}, {**whole["embedding"], "bound": None},
                  {**whole["embedding"], "columns": [3]}):  # fmt: skip
        (folder / "export.json").write_text(json.dumps(whole | {"embedding": wrong}))
        with pytest.raises(RunError, match="embedding"):
            open_export(folder)
    (folder / "export.json").write_text(json.dumps(whole | {"embedding": None}))
    assert open_export(folder).space == "", "as an export of an older release"


# ---- the sample of a day


def test_the_lowest_ranks_stay_whatever_the_order() -> None:
    ids = [f"request {i}" for i in range(3000)]
    ranks = {id: Sample(1).taken(0, "s", id, 1)[0][1] for id in ids}
    wanted = sorted(ids, key=ranks.__getitem__)[:MOST]
    for order in (ids, ids[::-1]):
        sample, taken = Sample(), set[str]()
        for id in order:
            taken |= {id} if sample.taken(0, "s", id, 1) else set()
        assert set(wanted) <= taken and len(taken) < 5 * MOST, "few are written in vain"
    assert Sample().taken(0, "s", "a", 1) == Sample().taken(1, "t", "a", 1)


def test_each_request_has_one_row_before_any_has_two() -> None:
    sample, most = Sample(8), dict[str, int]()
    whole = {row: rank for row, rank in sample.taken(0, "s", "large", 10_000)}
    assert len(whole) == 8 and sorted(int(rank) for rank in whole.values()) == list(range(8))
    for i in range(20):
        most[f"small {i}"] = len(sample.taken(0, "s", f"small {i}", 3))
    held = sorted(-rank for rank in sample._held[0, "s"])
    assert len(held) == 8 and max(held) < 1, "eight requests, one row of each"
    again = sample.taken(0, "s", "large", 10_000)
    assert len(again) <= 1, "the same request again adds nothing"


def entry(i: int, space: str = "s", at: float = START) -> Entry:
    vector = Vector(space, f"r{i}", f"r{i}", at + i, (i * 7919 % 10_007) / 10_007, bytes([i % 256] * 8))
    return Entry(f"r{i}", at + i, "m", "1", "answer", 200, 0.01, {}, {}, None, vector)


def test_a_store_keeps_so_many_of_a_day_and_a_graph(tmp_path: Path) -> None:
    store, other = (Store(tmp_path / "log.db", create=True) for _ in range(2))
    for start in range(0, 1000, 100):
        (store if start % 200 else other).add([entry(i) for i in range(start, start + 100)])
    store.add([entry(i, "t") for i in range(1000, 1010)])
    store.add([entry(i, at=START + DAY) for i in range(2000, 2300)])
    kept = store.vectors(START, START + DAY)
    own = [one for one in kept if one.space == "s"]
    wanted = sorted((entry(i).vector for i in range(1000)), key=lambda v: v.rank if v else 0.0)[:MOST]
    assert own == wanted and len(kept) == MOST + 10
    assert len(store.vectors(START + DAY, START + 2 * DAY)) == MOST
    store.prune(Limits(days=0.5), START + 2 * DAY)
    assert store.vectors(0, START + DAY) == [], "they go with their rows"
    store.close()
    other.close()


def test_numbers_survive_as_float16() -> None:
    vector = np.array([0.1, -3.0, 1e9, -1e9], np.float32)
    assert numbers_of(halved(vector).tobytes()).tolist() == pytest.approx([0.1, -3.0, 6e4, -6e4], rel=1e-3)


# ---- what the log keeps


def seen(export: Export, photo: Any, id: str, **changes: Any) -> Seen:
    outputs, vectors = export.embedded(export.encode({"photo": [photo]}))
    values = {"rows": {"photo": [photo]}, "vectors": vectors} | changes
    return Seen(id, "photos", export.version, answers=export.decode(outputs), seconds=0.004, status=200,
                route="answer", space=export.space, **values)  # fmt: skip


@pytest.mark.parametrize("private", ["photo=hash", "photo=drop"])
def test_nothing_is_kept_of_what_is_private(export: Export, tmp_path: Path, private: str) -> None:
    log = RequestLog(tmp_path / "log.db", export.schema, LogOptions(private=private))
    (kept,) = log.entries(seen(export, pictures(1)["photo"][0], "a"), START)
    log.close()
    assert kept.vector is None


def test_nothing_is_kept_of_columns_that_the_log_does_not_know(export: Export, tmp_path: Path) -> None:
    log = RequestLog(tmp_path / "log.db", export.schema)
    photo = pictures(1)["photo"][0]
    (kept,) = log.entries(seen(export, photo, "a", rows={"photo": [photo], "name": ["Anna"]}), START)
    assert kept.vector is None, "another model read it, whose columns this log cannot keep private"
    (strange,) = log.entries(seen(export, photo, "b", vectors=np.full((1, 4), np.nan, np.float32)), START)
    assert strange.vector is None
    (whole,) = log.entries(seen(export, photo, "c"), START)
    assert whole.vector is not None and whole.vector.space == export.space
    log.close()


def test_a_server_hands_them_to_its_log_and_to_nobody_else(export: Export, tmp_path: Path) -> None:
    log = RequestLog(tmp_path / "log.db", export.schema)
    app = server(export, observers=(log,))  # type: ignore[arg-type]
    photos = pictures(30, 3)["photo"]

    async def talk() -> list[Any]:
        rows = [{"photo": base64_of(_png(photo))} for photo in photos]
        single = [ask(app, "POST", "/predict", row, {"x-request-id": f"r{i}"}) for i, row in enumerate(rows)]
        large = ask(app, "POST", "/predict", {"rows": rows * 3}, {"x-request-id": "many"})
        return list(await asyncio.gather(*single, large, ask(app, "GET", "/v2/models/houses")))

    *answers, metadata = asyncio.run(talk())
    app.engine.watchers.close()
    assert all(one.status == 200 and b"embedding" not in one.body for one in (*answers, metadata))
    store = Store(tmp_path / "log.db")
    kept = {one.id: one for one in store.vectors(0, 1e12)}
    store.close()
    wanted = export.embedded(export.encode({"photo": [_png(photo) for photo in photos]}))[1]
    for i, row in enumerate(wanted):
        assert np.allclose(numbers_of(kept[f"r{i}"].data), row, rtol=2e-3, atol=2e-3)
        assert np.allclose(numbers_of(kept[f"many/{60 + i}"].data), row, rtol=2e-3, atol=2e-3)
    assert len(kept) == 120 and {one.space for one in kept.values()} == {export.space}


def _png(photo: Any) -> bytes:
    import io

    from PIL.Image import fromarray

    file = io.BytesIO()
    fromarray(photo).save(file, "PNG")
    return file.getvalue()


# ---- the monitor


def serve(export: Export, place: Path, days: Sequence[Sequence[Any]], space: str | None = None) -> None:
    """A log of days of pictures, a request each."""
    log = RequestLog(place, export.schema, LogOptions(limits=Limits(days=1e6)))
    for day, photos in enumerate(days):
        outputs, vectors = export.embedded(export.encode({"photo": list(photos)}))
        table = export.decode(outputs)
        for i, photo in enumerate(photos):
            answers = {name: [values[i]] for name, values in table.items()}
            found = Seen(f"{day}-{i}", "photos", export.version, {"photo": [photo]}, answers, 0.004, 200,
                         "answer", None, vectors[i : i + 1], space or export.space)  # fmt: skip
            log.append(log.entries(found, START + DAY * day + 60 * i))
    assert log.flush()
    log.close()


def look(path: Path, place: Path, **more: Any) -> dict[str, Any]:
    files = {"out": None, "prometheus": None} | more
    return monitor(path, Asked(str(place)), Console(quiet=True), now=START + 40 * DAY, **files)


def darkened(photos: Sequence[Any], by: float) -> list[Any]:
    return [(photo * (1 - by)).astype(np.uint8) for photo in photos]


def test_darker_pictures_are_an_alarm_and_quiet_days_are_not(
    run: shinso.Run, export: Export, tmp_path: Path
) -> None:
    photos = pictures(6 * ROWS, 5)["photo"]
    days = [photos[i * ROWS :][:ROWS] for i in range(5)]
    serve(export, tmp_path / "log.db", [*days, darkened(photos[5 * ROWS :], 0.3)])
    files = {"out": tmp_path / "page.html", "prometheus": tmp_path / "gauges.prom"}
    for path in (run.path, export.path):
        found = look(path, tmp_path / "log.db", **files)
        checks = [one for one in found["checks"] if one["check"] == "embedding"]
        assert len(checks) == 6 and found["hypotheses"] == 20 * 6
        assert [one["alarm"] for one in checks] == [False] * 5 + [True]
        assert (
            checks[-1]["what"].startswith("furthest from training: request 5-")
            and 0.02 < checks[-1]["effect"] <= 1
        )
        assert found["embedding"] == {"graphs": [export.space], "vectors": 6 * ROWS, "other_vectors": 0}
    assert any("embeddings differ from those of held-back rows" in line for line in lines(found))
    assert 'check="embedding"' in files["prometheus"].read_text()
    assert "shinso_monitor_embeddings{" in exposition(found)
    assert "photo: embedding" in files["out"].read_text("utf-8")


def test_vectors_of_another_graph_are_not_compared(run: shinso.Run, export: Export, tmp_path: Path) -> None:
    photos = pictures(2 * ROWS, 6)["photo"]
    serve(export, tmp_path / "log.db", [photos[:ROWS], darkened(photos[ROWS:], 0.9)], space="f" * 16)
    found = look(run.path, tmp_path / "log.db")
    assert not any(one["check"] == "embedding" for one in found["checks"])
    assert found["embedding"]["other_vectors"] == 2 * ROWS and found["embedding"]["vectors"] == 0
    assert any("graphs of which no reference is here" in line for line in lines(found))


def test_an_export_of_an_older_release_is_watched_as_before(export: Export, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for file in export.path.iterdir():
        if file.name != "embedding.safetensors":
            (old / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((old / "export.json").read_text())
    del manifest["embedding"], manifest["files"]["embedding.safetensors"]
    (old / "export.json").write_text(json.dumps(manifest))
    opened = open_export(old, threads=1)
    opened.check()
    log = RequestLog(tmp_path / "log.db", opened.schema)
    app = server(opened, observers=(log,))  # type: ignore[arg-type]
    sent = {"photo": base64_of(_png(pictures(1)["photo"][0]))}
    for i in range(25):
        assert asyncio.run(ask(app, "POST", "/predict", sent, {"x-request-id": f"{i}"})).status == 200
    app.engine.watchers.close()
    found = monitor(old, Asked(str(tmp_path / "log.db")), Console(quiet=True), out=None, prometheus=None)
    assert found["embedding"] is None and found["hypotheses"] == 20 * 5 and found["rows"] == 25


def test_a_damaged_reference_is_said(export: Export, tmp_path: Path) -> None:
    copy = tmp_path / "export"
    copy.mkdir()
    for file in export.path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    serve(export, tmp_path / "log.db", [pictures(ROWS, 7)["photo"]])
    content = bytearray((copy / "embedding.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "embedding.safetensors").write_bytes(content)
    with pytest.raises(RunError, match="truncated or altered"):
        look(copy, tmp_path / "log.db")


# ---- days and requests


def vectors(requests: Sequence[str]) -> list[Vector]:
    return [Vector("s", name, f"{name}/{i}", 0.0, 0.0, b"") for i, name in enumerate(requests)]


def test_rows_of_a_request_count_as_one_where_requests_are_many() -> None:
    unit_n, names = units_of(vectors([f"r{i // 3}" for i in range(90)]))
    assert unit_n.tolist() == [i // 3 for i in range(90)] and names == [f"r{i}" for i in range(30)]
    unit_n, names = units_of(vectors(["a"] * 50))
    assert unit_n.tolist() == list(range(50)) and len(set(names)) == 50


def test_days_that_differ_by_themselves_are_known_by_it() -> None:
    rng = np.random.default_rng(1)

    def days(apart: float) -> list[Any]:
        return [(rng.normal(size=(30, 8)) + apart * rng.normal(size=8)).astype(np.float32) for _ in range(24)]

    quiet, moody = apart_by_day(days(0.0)), apart_by_day(days(0.7))
    assert quiet is not None and moody is not None and apart_by_day(days(1.0)[:5]) is None
    assert quiet["alike"] == 0 and moody["alike"] > 0
    assert beyond_days(0.02, moody) > 0.05 > 1e-4 > beyond_days(0.7, moody)
