"""Every check of the audit finds the fault that is planted for it, and says nothing of healthy data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import shinso
from shinso import cli
from shinso.data import audit_labels
from shinso.data.audit import CHECKS, looked_at
from shinso.data.likeness import groups_of, near_images, near_numbers, near_texts, pairs_sharing
from shinso.data.subject import holm
from shinso.data.table import Table

Data = dict[str, list[Any]]
ROWS = 800


def healthy(rows: int = ROWS, seed: int = 0) -> Data:
    """Flats with a price class that depends on size and town, with noise."""
    rng = np.random.default_rng(seed)
    size, age = rng.uniform(20, 120, rows), rng.uniform(0, 50, rows)
    town = rng.choice(["Kyoto", "Osaka", "Nara"], rows, p=[0.4, 0.4, 0.2])
    score = size / 30 - age / 40 + (town == "Kyoto") + rng.normal(0, 0.8, rows)
    return {
        "size": size.tolist(),
        "age": age.tolist(),
        "town": town.tolist(),
        "dear": np.where(score > 2, "yes", "no").tolist(),
    }


def found(data: Any, predict: str = "dear", **options: Any) -> dict[str, list[dict[str, Any]]]:
    result = shinso.audit(data, predict=predict, quiet=True, **options)
    by_check: dict[str, list[dict[str, Any]]] = {}
    for finding in result["findings"]:
        by_check.setdefault(finding["check"], []).append(finding)
    return by_check


def columns(findings: list[dict[str, Any]]) -> set[str]:
    return {name for finding in findings for name in finding["columns"]}


def extended(data: Data, rows: list[int]) -> Data:
    return {name: [*values, *(values[i] for i in rows)] for name, values in data.items()}


def test_says_nothing_of_healthy_tables() -> None:
    assert found(healthy()) == {}
    rng = np.random.default_rng(3)
    size = rng.normal(size=ROWS)
    assert found({"a": size.tolist(), "b": rng.normal(size=ROWS).tolist(),
                  "y": (size + rng.normal(size=ROWS)).tolist()}, "y") == {}  # fmt: skip


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_finds_test_rows_that_are_trained_on(share: float, tmp_path: Path) -> None:
    train, test = healthy(1200, 1), healthy(400, 2)
    copied = round(share * 400)
    for name, values in test.items():
        values[:copied] = train[name][100 : 100 + copied]
    for name, data in (("train", train), ("test", test)):
        shinso_table(tmp_path / f"{name}.csv", data)
    findings = found(tmp_path / "train.csv", test=tmp_path / "test.csv")["duplicates"]
    assert findings[0]["severity"] == "severe" and findings[0]["count"] == copied
    assert findings[0]["measured"]["share"] == pytest.approx(copied / 400)
    assert findings[0]["rows"][0] == 1201 and findings[0]["others"][0] == 101  # counted on over the files


def shinso_table(path: Path, data: Data) -> None:
    lines = [",".join(data), *(",".join(map(str, row)) for row in zip(*data.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def test_coarse_rows_that_recur_by_chance_are_no_copies() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, ROWS), rng.integers(0, 3, ROWS)
    y = (a + b + rng.integers(0, 3, ROWS)) > 3
    assert "duplicates" not in found({"a": a.tolist(), "b": b.tolist(), "y": y.tolist()}, "y")


def test_finds_rows_that_differ_by_rounding() -> None:
    light = np.random.default_rng(7).normal(size=ROWS).tolist()
    data = extended({"light": light, **healthy()}, list(range(100)))
    data["size"][ROWS:] = [value + 1e-4 for value in data["size"][ROWS:]]
    found_ones = found(data)["near_duplicates"]
    assert found_ones[0]["severity"] == "severe" and sum(f["count"] for f in found_ones) >= 60


def test_finds_the_same_question_answered_two_ways() -> None:
    data = extended(healthy(), list(range(40)))
    data["dear"][ROWS:] = ["no" if v == "yes" else "yes" for v in data["dear"][ROWS:]]
    assert found(data)["contradictions"][0]["count"] == 80


def test_finds_groups_in_two_parts_and_is_content_when_split_by_them() -> None:
    rng = np.random.default_rng(0)
    patient = rng.integers(0, 100, ROWS)
    ill = rng.random(100) < 0.5
    data = {"patient": patient.tolist(), "x": rng.normal(size=ROWS).tolist(),
            "pulse": rng.normal(70, 9, ROWS).tolist(), "ill": ill[patient].tolist()}  # fmt: skip
    finding = found(data, "ill")["groups"][0]
    assert finding["severity"] == "severe" and "data.group=patient" in finding["remedy"]
    assert finding["measured"]["alike"] == pytest.approx(1.0)
    assert "groups" not in found(data, "ill", settings={"data.group": "patient"})


def series(rows: int = 600) -> Data:
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=rows))
    days = np.datetime64("2024-01-01") + np.arange(rows)
    return {"day": [str(d) for d in days], "x": rng.normal(size=rows).tolist(), "sales": walk.tolist()}


def test_finds_a_time_series_that_is_split_by_chance() -> None:
    finding = found(series(), "sales")["time"][0]
    assert finding["severity"] == "severe" and finding["measured"]["correlation"] > 0.9
    assert "time" not in found(series(), "sales", settings={"data.time": "day"})


def test_finds_a_series_without_dates_and_not_a_file_that_is_sorted() -> None:
    data = series()
    del data["day"]
    assert found(data, "sales")["time"][0]["severity"] == "warning"
    data["sales"].sort()
    assert "time" not in found(data, "sales")


@pytest.mark.parametrize("share", [0.0, 0.03])
def test_finds_a_column_that_gives_the_target_away(share: float) -> None:
    data, rng = healthy(), np.random.default_rng(5)
    wrong = rng.random(ROWS) < share
    data["paid"] = [
        ("x" if v == "yes" else "z") if not w else "x" for v, w in zip(data["dear"], wrong, strict=True)
    ]
    finding = found(data)["leaks"][0]
    assert finding["severity"] == "severe" and finding["columns"] == ["paid"]


def test_finds_a_number_that_is_the_target_in_another_unit_and_two_that_sum_to_it() -> None:
    rng = np.random.default_rng(0)
    a, b, x = rng.gamma(2, 10, ROWS), rng.gamma(2, 20, ROWS), rng.normal(size=ROWS)
    total = (a + b).tolist()
    data = {"a": a.tolist(), "b": b.tolist(), "x": x.tolist(), "total": total}
    assert columns(found(data, "total")["leaks"]) == {"a", "b"}
    other = {"x": x.tolist(), "b": b.tolist(), "yen": (150 * (a + b)).tolist(), "total": total}
    assert columns(found(other, "total")["leaks"]) == {"yen"}


def test_finds_columns_that_name_the_row() -> None:
    data = healthy()
    data["code"] = [f"K-{i * 7919 % 10007:05d}" for i in range(ROWS)]
    data["code"][3] = data["code"][4]  # not quite unique, so that cleaning keeps it
    assert found(data)["identifiers"][0]["columns"] == ["code"]


def test_finds_a_column_that_shifted_and_a_label_that_is_spelled_otherwise(tmp_path: Path) -> None:
    train, test = healthy(1200, 1), healthy(400, 2)
    test["age"] = [value + 12 for value in test["age"]]
    shinso_table(tmp_path / "train.csv", train)
    shinso_table(tmp_path / "test.csv", test)
    findings = found(tmp_path / "train.csv", test=tmp_path / "test.csv")["shift"]
    assert "age" in columns(findings) and "town" not in columns(findings)
    assert any("told from" in f["message"] for f in findings)
    test["dear"] = [f"{v}." for v in test["dear"]]
    shinso_table(tmp_path / "spelled.csv", test)
    findings = found(tmp_path / "train.csv", test=tmp_path / "spelled.csv", only="shift")["shift"]
    assert findings[0]["severity"] == "severe" and "no training row has" in findings[0]["message"]


def test_finds_rare_classes() -> None:
    data = healthy()
    data["dear"] = ["maybe" if i % 100 == 0 else v for i, v in enumerate(data["dear"])]
    finding = found(data)["imbalance"][0]
    assert finding["severity"] == "warning" and "'maybe'" in finding["message"] and finding["count"] == 8
    assert finding["message"].startswith("1 class of 'dear' is rare, 'maybe' with 8 rows (1.00%)")


def test_finds_what_is_missing_for_one_target_only() -> None:
    data, rng = healthy(), np.random.default_rng(1)
    data["age"] = [None if v == "yes" and r < 0.6 else a
                   for v, a, r in zip(data["dear"], data["age"], rng.random(ROWS), strict=True)]  # fmt: skip
    finding = found(data)["missingness"][0]
    assert finding["columns"] == ["age"] and finding["measured"]["effect"] > 0.4
    evenly = [None if r < 0.3 else a for a, r in zip(healthy()["age"], rng.random(ROWS), strict=True)]
    assert "missingness" not in found({**healthy(), "age": evenly})


def test_finds_labels_that_were_flipped() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=3000), rng.normal(size=3000)
    truth = x + y + 0.3 * rng.normal(size=3000) > 0
    flipped = rng.random(3000) < 0.05
    data = {"x": x.tolist(), "y": y.tolist(), "label": np.where(flipped, ~truth, truth).tolist()}
    result = shinso.audit(data, predict="label", only="label_errors", quiet=True)
    (finding,) = result["findings"]
    assert finding["measured"]["noise"] == pytest.approx(0.05, abs=0.02)
    told = np.array(finding["rows"]) - 1
    assert flipped[told].mean() >= 0.5
    assert finding["count"] >= 0.6 * flipped.sum()
    clean = {**data, "label": truth.tolist()}
    assert found(clean, "label", only="label_errors") == {}


def test_a_model_without_skill_accuses_no_label() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([5, 5], 500)
    assert len(audit_labels.suspects(probabilities, rng.integers(0, 2, 500))[0]) == 0


# ---------------------------------------------------------------- texts and images


JAPANESE = "新しい{}が駅前に開店し、初日から{}人の客が列を作った。店主の{}さんは長く続けたいと話している。{}"


def test_finds_nearly_equal_texts_in_japanese() -> None:
    rng = np.random.default_rng(0)
    words = np.array(list("春夏秋冬山川空海花鳥風月雨雪星光道町村人"), object)
    texts = ["".join(rng.choice(words, 60)) for _ in range(300)]
    copied = [text[:-2] + "。" for text in texts[:60]]
    labels = rng.choice(["a", "b"], 360).tolist()
    findings = found({"text": texts + copied, "label": labels}, "label", only="near_duplicates")
    assert sum(f["count"] for f in findings["near_duplicates"]) == 60
    assert near_texts(texts)[0].shape == (0, 2)


def test_templates_filled_otherwise_are_not_equal() -> None:
    filled = [
        JAPANESE.format("食堂", 30, "田中", "春の市が近い。"),
        JAPANESE.format("本屋", 90, "鈴木", "雨。"),
    ]
    pairs, _ = near_texts(filled, 0.9)
    assert len(pairs) == 0


def picture(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    return small.resize((48, 48), Image.Resampling.BICUBIC)


def test_finds_images_that_look_the_same(tmp_path: Path) -> None:
    for part, first in (("train", 0), ("test", 60)):
        for i in range(40 if part == "train" else 20):
            folder = tmp_path / "photos" / part / ("cat" if i % 2 else "dog")
            folder.mkdir(parents=True, exist_ok=True)
            picture(first + i).save(folder / f"{i:03d}.png")
    for i in (3, 8):  # the same picture, smaller, brighter and compressed
        copy = picture(i).resize((40, 40)).point(lambda v: min(255, round(v * 0.95 + 4)))
        copy.save(tmp_path / "photos" / "test" / "cat" / f"again{i}.jpg", quality=85)
    result = shinso.audit(tmp_path / "photos", only="near_duplicates", quiet=True)
    (finding,) = result["findings"]
    assert finding["severity"] == "severe" and finding["count"] == 2
    assert finding["others"] == ["train/cat/003.png", "train/dog/008.png"]
    fixed = shinso.audit(tmp_path / "photos", only="near_duplicates", fix=tmp_path / "clean", quiet=True)[
        "fixed"
    ]
    assert fixed["rows_left_out"] == 2 and not (tmp_path / "clean" / "train" / "cat" / "003.png").exists()
    assert (tmp_path / "photos" / "train" / "cat" / "003.png").exists()
    assert len(list((tmp_path / "clean").rglob("*.*g"))) == 60


def test_empty_pictures_are_not_alike() -> None:
    blank = [np.full((20, 20, 3), 255, np.uint8)] * 3
    values = np.empty(3, object)
    values[:] = blank
    assert len(near_images(values)[0]) == 0


# ---------------------------------------------------------------- the verb


def test_writes_a_cleaned_copy_and_a_log_and_leaves_the_original(tmp_path: Path) -> None:
    data = extended(healthy(), list(range(50)))
    data["paid"] = ["x" if v == "yes" else "z" for v in data["dear"]]
    shinso_table(tmp_path / "flats.csv", data)
    before = (tmp_path / "flats.csv").read_bytes()
    result = shinso.audit(tmp_path / "flats.csv", predict="dear", fix=tmp_path / "clean.csv", quiet=True)
    assert result["fixed"]["columns_left_out"] == ["paid"] and result["fixed"]["rows_left_out"] == 50
    log = [json.loads(line) for line in (tmp_path / "clean.csv.log.jsonl").read_text("utf-8").splitlines()]
    assert len(log) == 51 and {entry["left_out"] for entry in log} == {"row", "column"}
    assert (tmp_path / "flats.csv").read_bytes() == before
    again = shinso.audit(tmp_path / "clean.csv", predict="dear", quiet=True)
    assert again["severities"]["severe"] == 0
    with pytest.raises(shinso.SettingError, match="exists already"):
        shinso.audit(tmp_path / "flats.csv", predict="dear", fix=tmp_path / "clean.csv", quiet=True)


def test_prints_lines_json_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = healthy()
    data["<b>paid"] = ["x" if v == "yes" else "z" for v in data["dear"]]
    shinso_table(tmp_path / "flats.csv", data)
    page = tmp_path / "audit.html"
    assert cli.main(["audit", str(tmp_path / "flats.csv"), "--predict", "dear", "--report", str(page)]) == 0
    out = capsys.readouterr().out
    assert "!! leaks: '<b>paid' alone gives 'dear' away" in out and "1 severe" in out
    text = page.read_text("utf-8")
    assert "&lt;b&gt;paid" in text
    assert "<b>paid" not in text and "default-src" in text
    assert cli.main(["audit", str(tmp_path / "flats.csv"), "--predict", "dear", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checks"] == list(CHECKS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only": "leeks"}, "Did you mean 'leaks'"),
        ({"predict": "deer"}, "Did you mean 'dear'"),
        ({"test": "x.csv"}, "--test takes a second file"),
        ({"fix": "copy.txt"}, "has to end in"),
    ],
)
def test_says_what_is_wrong_with_the_question(options: dict[str, Any], message: str) -> None:
    with pytest.raises(shinso.ShinsoError, match=message):
        shinso.audit(healthy(60), **{"predict": "dear", "quiet": True, **options})


def test_training_audits_quickly_and_reports(tmp_path: Path, small_train: Callable[..., shinso.Run]) -> None:
    data = healthy()
    data["paid"] = ["x" if v == "yes" else "z" for v in data["dear"]]
    run = small_train(data, predict="dear")
    stored = json.loads((run.path / "audit.json").read_text("utf-8"))
    assert stored["quick"] and stored["findings"][0]["check"] == "leaks" and stored["seconds"] < 5
    notes = json.loads((run.path / "data.json").read_text("utf-8"))["notes"]
    assert any("gives 'dear' away" in note["message"] for note in notes)
    assert "Audit of the data" in (run.path / "report.html").read_text("utf-8")
    quiet = small_train(data, predict="dear", settings={"data.audit": False})
    assert not (quiet.path / "audit.json").exists()


# ---------------------------------------------------------------- parts of it


def test_pairs_are_those_that_share_a_key() -> None:
    keys = np.array([[1, 7], [2, 7], [1, 8], [3, 9]], np.uint64)
    assert pairs_sharing(keys, np.zeros(4)).tolist() == [[0, 1], [0, 2]]
    assert groups_of(np.array([[0, 1], [1, 2]]), 4).tolist() == [0, 0, 0, 3]


def test_nearly_equal_numbers_are_of_one_group() -> None:
    table = np.array([[0, 0], [1e-4, 0], [1e-4, 0], [5, 5]], np.float32)
    assert near_numbers(np.array([0, 0, 1, 0]), table, 1e-3).tolist() == [[0, 1]]


def test_a_sample_keeps_both_sides() -> None:
    part = np.zeros(1000, np.int8)
    part[900:] = 2
    places = looked_at(np.arange(1000), part, 100)
    assert len(places) == 100 and (part[places] == 2).sum() == 50


def test_holm_never_falls_below_the_plain_value() -> None:
    assert holm([]) == [] and holm([0.5, 0.9]) == [1.0, 1.0]


def test_parts_are_kept_by_a_table() -> None:
    table = Table.read(healthy(10)).parted(np.array([0] * 8 + [2] * 2, np.int8))
    assert table.parts is not None and table.parts.tolist()[-1] == 2
