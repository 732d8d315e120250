"""The monitor: quiet days stay quiet, what moves is found on its day, and one may look every day."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shinso
from shinso.cli import main
from shinso.columns.category import Category
from shinso.console import Console
from shinso.errors import RunError, SettingError
from shinso.watching import drift
from shinso.watching.condensing import Privacy
from shinso.watching.daily import compared
from shinso.watching.log import RequestLog
from shinso.watching.monitor import Asked, lines, moment, monitor
from shinso.watching.reference import reference
from shinso.watching.store import DAY, Entry, Label, Store
from small_runs import FAST, houses

START = 20_000 * DAY
ROWS = 100  # a day
Change = Callable[[int, dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> shinso.Run:
    data = {name: values[:1200] for name, values in houses(2000).items() if name != "note"}
    out = tmp_path_factory.mktemp("monitor") / "houses"
    return shinso.train(data, predict="dear", given="area,city", out=out, settings=FAST, quiet=True)


def same(day: int, row: dict[str, Any]) -> dict[str, Any]:
    return row


def serve(run: shinso.Run, place: Path, days: int, change: Change = same, **facts: Any) -> None:
    """A log of days of rows that training never saw, each changed as asked."""
    data = {name: values[1200:] for name, values in houses(2000).items()}
    found = run.predict({name: data[name] for name in ("area", "city")})
    columns, rng = run.schema.predict, np.random.default_rng(7)
    log = RequestLog(place, run.schema)
    log.close()
    store = Store(place)
    for day in range(days):
        entries, labels = [], []
        for i, at in enumerate(rng.integers(0, 800, ROWS).tolist()):
            row = {name: data[name][at] for name in ("area", "city")} | {"truth": data["dear"][at]}
            row["answer"] = found["dear"][at]
            row["sure"] = max(found["dear: no"][at], found["dear: yes"][at])
            row = change(day, row)
            answers = {columns[0].name: {"answer": row["answer"], "sure": row["sure"]}}
            inputs = {name: row[name] for name in ("area", "city")}
            values = {"model": "houses", "version": "1", "route": "answer"} | facts
            id = f"{day}-{i}"
            entries.append(Entry(id, START + DAY * day + 60 * i, status=200, seconds=0.005, inputs=inputs,
                                 answers=answers, **values))  # fmt: skip
            if row["truth"] is not None:
                labels.append(Label(id, START, {"dear": row["truth"]}))
        store.add(entries, labels if values["route"] == "answer" else [])
    store.close()


def look(run: shinso.Run, place: Path, **asked: Any) -> dict[str, Any]:
    return monitor(run.path, Asked(str(place), **asked), Console(quiet=True), out=None, prometheus=None,
                   now=START + 100 * DAY)  # fmt: skip


def test_twenty_quiet_days_stay_quiet(run: shinso.Run, tmp_path: Path) -> None:
    serve(run, tmp_path / "log.db", 20)
    found = look(run, tmp_path / "log.db")
    assert found["passed"] and not found["alarms"] and found["rows"] == 20 * ROWS
    assert len(found["checks"]) == 20 * 7 and found["hypotheses"] == 20 * 7
    assert found["quality"]["dear"]["low"] < found["quality"]["dear"]["on_test"] < 1.0
    assert "Nothing has moved." in lines(found)


def double(day: int, row: dict[str, Any]) -> dict[str, Any]:
    return row | ({"area": row["area"] * 1.5} if day >= 3 else {})


def gone(day: int, row: dict[str, Any]) -> dict[str, Any]:
    return row | ({"city": "Nara"} if day >= 3 and row["city"] == "Kyoto" else {})


def fresh(day: int, row: dict[str, Any]) -> dict[str, Any]:
    return row | ({"city": "Kobe"} if day >= 3 and row["city"] == "Kyoto" else {})


def empty(day: int, row: dict[str, Any]) -> dict[str, Any]:
    return row | ({"area": None} if day >= 3 and row["area"] > 80 else {})


def wrong(day: int, row: dict[str, Any]) -> dict[str, Any]:
    flipped = {"yes": "no", "no": "yes"}
    return row | ({"truth": flipped[row["truth"]]} if day >= 3 and row["area"] > 70 else {})


def one_sided(day: int, row: dict[str, Any]) -> dict[str, Any]:
    return row | ({"answer": "yes", "truth": None} if day >= 3 else {})


@pytest.mark.parametrize(
    ("change", "column", "check", "what"),
    [
        (double, "area", "values", "higher"), (gone, "city", "values", "gone: Kyoto"),
        (fresh, "city", "values", "labels that training never saw"), (empty, "area", "missing", "more"),
        (wrong, "dear", "quality", "fewer right"), (one_sided, "dear", "answers", "gone: no"),
    ],
)  # fmt: skip
def test_what_moves_is_found_on_its_day(
    run: shinso.Run, tmp_path: Path, change: Change, column: str, check: str, what: str
) -> None:
    serve(run, tmp_path / "log.db", 5, change)
    found = look(run, tmp_path / "log.db")
    assert not found["passed"]
    assert {a["day"] for a in found["alarms"]} == {"2024-10-07", "2024-10-08"}, "days 3 and 4, none before"
    alarm = next(a for a in found["alarms"] if (a["column"], a["check"]) == (column, check))
    assert what in alarm["what"] or (what == "gone: Kyoto" and "Nara" in alarm["what"])
    assert any(f"'{column}'" in line and line.startswith("!") for line in lines(found))


def test_hashed_labels_are_compared_by_their_hashes(run: shinso.Run) -> None:
    city = run.schema["city"]
    assert isinstance(city, Category)
    private = Privacy(frozenset({"city"}), key=b"k" * 32)
    training = [label for label, count in zip(city.labels, city.counts, strict=True) for _ in range(count)]
    live = [{"hash": private.hash(label)} for label in training[::4]]
    same = compared(city, live, training, private, 0.01)
    moved = compared(city, live[:100], training, private, 0.01)
    assert same is not None and same.p > 0.05 and moved is not None and moved.p < 1e-6
    assert compared(city, live, training, Privacy(), 0.01) is None, "without the key nothing is said"


def test_labels_that_training_never_saw_are_no_news_where_labels_are_many() -> None:
    rng = np.random.default_rng(0)
    draw = [f"w{int(i)}" for i in rng.zipf(1.5, 6000) % 5000]
    column = Category(name="word").fit(np.array(draw[:4000], object))
    kept = reference({column: np.array(draw[:4000], object)})["word"]["values"]
    found = compared(column, draw[4000:], kept, Privacy(), 0.01)
    assert found is not None and found.p > 0.01
    strange = compared(column, draw[4000:5500] + ["new"] * 150, kept, Privacy(), 0.01)
    assert strange is not None and strange.p < 1e-6 and "never saw" in strange.what


def test_each_test_keeps_its_promise_under_no_change() -> None:
    rng = np.random.default_rng(3)
    shares = [0.5, 0.3, 0.15, 0.04, 0.01]
    made = {
        "numbers": lambda: drift.of_numbers(rng.normal(size=80), rng.normal(size=400)),
        "classes": lambda: drift.of_classes(
            rng.multinomial(80, shares), rng.multinomial(400, shares), "abcde"
        ),
        "shares": lambda: drift.of_shares(rng.binomial(80, 0.1), 80, rng.binomial(400, 0.1), 400),
        "worse": lambda: drift.worse(rng.exponential(size=80), rng.exponential(size=400)),
        "right": lambda: drift.fewer_right(rng.binomial(80, 0.9), 80, rng.binomial(400, 0.9), 400),
    }
    for name, draw in made.items():
        p = np.array([draw().p for _ in range(1500)])
        assert (p <= 0.05).mean() < 0.065 and (p <= 0.01).mean() < 0.018, name


def test_the_discrepancy_of_portraits_keeps_its_promise_and_sees_what_single_features_hide() -> None:
    rng = np.random.default_rng(4)
    names = [f"f{i}" for i in range(6)]

    def draw(n: int, tie: float) -> Any:
        values = rng.normal(size=(n, 6))
        values[:, 1] = tie * values[:, 0] + np.sqrt(1 - tie**2) * values[:, 1]
        return values

    p = np.array([drift.of_features(draw(60, 0), draw(150, 0), names, 0.01, rng).p for _ in range(200)])
    assert (p <= 0.05).mean() < 0.09
    tied = drift.mmd(draw(500, 0.97), draw(500, 0.0), 0.001, rng)
    assert tied < 0.002, "two features that moved together, each alike by itself"


def test_holm_over_days_to_come_only_ever_adds_alarms() -> None:
    rng = np.random.default_rng(5)
    p = (rng.random(60) ** 4).tolist()
    whole = drift.holm(p, 0.05, 60)
    for seen in range(1, 60):
        early = drift.holm(p[:seen], 0.05, 60)
        assert all(now for then, now in zip(early, whole, strict=False) if then)


def test_the_command_gives_a_page_json_gauges_and_an_exit_status(
    run: shinso.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(run, tmp_path / "quiet.db", 3)
    serve(run, tmp_path / "log.db", 5, double)
    arguments = ["monitor", str(run.path), "--log"]
    assert main([*arguments, str(tmp_path / "quiet.db"), "--quiet"]) == 0
    page, gauges = tmp_path / "page.html", tmp_path / "gauges.prom"
    files = ["--out", str(page), "--prometheus", str(gauges), "--json"]
    capsys.readouterr()
    assert main([*arguments, str(tmp_path / "log.db"), "--quiet", *files]) == 1
    assert json.loads(capsys.readouterr().out)["alarms"][0]["column"] == "area"
    assert main([*arguments, str(tmp_path / "none.db")]) == 2
    text = page.read_text("utf-8")
    assert text.startswith("<!doctype html>") and "http://" not in text.replace("http://www.w3.org", "")
    assert "houses" in text and "2024-10-07" in text
    assert 'shinso_monitor_passed{run="' in gauges.read_text() and "} 0\n" in gauges.read_text()
    for line in gauges.read_text().splitlines():
        assert line.startswith("# ") or float(line.rpartition(" ")[2]) > -1e9


def test_what_clients_send_is_shown_and_never_run(run: shinso.Run, tmp_path: Path) -> None:
    evil = '<script>alert(1)</script>\x1b[31m\n"'
    serve(run, tmp_path / "log.db", 2, lambda day, row: row | {"city": evil},
          model=evil)  # fmt: skip
    found = monitor(run.path, Asked(str(tmp_path / "log.db")), Console(quiet=True), out=tmp_path / "p.html",
                    prometheus=tmp_path / "g.prom", now=START + 9 * DAY)  # fmt: skip
    assert "<script>alert" not in (tmp_path / "p.html").read_text("utf-8")
    assert "\x1b" not in "".join(lines(found)) and not any("\n" in line for line in lines(found))


def test_days_are_chosen_by_date_and_span(run: shinso.Run, tmp_path: Path) -> None:
    serve(run, tmp_path / "log.db", 5)
    found = look(run, tmp_path / "log.db", since="2024-10-06", until="2024-10-08")
    assert [day["day"] for day in found["days"]] == ["2024-10-06", "2024-10-07"]
    assert moment("12h", DAY, 0.0) == DAY / 2
    assert look(run, tmp_path / "log.db", since="1d")["days"] == []
    with pytest.raises(SettingError, match="is no time"):
        look(run, tmp_path / "log.db", since="yesterday")


def test_days_of_few_rows_are_shown_and_not_judged(run: shinso.Run, tmp_path: Path) -> None:
    serve(run, tmp_path / "log.db", 1)
    found = look(run, tmp_path / "log.db", until="2024-10-04T00:15")
    assert found["days"][0]["rows"] == 15 and not found["days"][0]["tested"] and not found["checks"]


def test_a_run_without_a_reference_says_how_to_add_one(tmp_path: Path) -> None:
    data = {name: values for name, values in houses(300).items() if name in ("area", "city", "dear")}
    run = shinso.train(data, predict="dear", out=tmp_path / "old", settings=FAST, quiet=True)
    (run.path / "reference.json").unlink()
    manifest = json.loads((run.path / "manifest.json").read_text())
    del manifest["files"]["reference.json"]
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    serve(run, tmp_path / "log.db", 2)
    with pytest.raises(RunError, match="--reference DATA"):
        look(run, tmp_path / "log.db")
    found = shinso.monitor(run, log=tmp_path / "log.db", reference=data, quiet=True)
    assert found["checks"] and shinso.Run(run.path).evaluation["part"] == "test"


def test_a_reference_holds_no_private_column_and_no_row(tmp_path: Path) -> None:
    data = {name: values for name, values in houses(300).items() if name in ("area", "city", "dear")}
    settings = FAST | {"data.private": "city"}
    run = shinso.train(data, predict="dear", out=tmp_path / "run", settings=settings, quiet=True)
    kept = json.loads((run.path / "reference.json").read_text())
    assert kept["columns"]["city"]["values"] == [] and kept["columns"]["city"]["rows"] == 240
    assert len(kept["columns"]["area"]["values"]) == 240
    assert kept["answers"]["dear"]["rows"] == 30
    with (run.path / "reference.json").open("a") as file:
        file.write(" ")
    with pytest.raises(RunError, match="altered"):
        serve(run, tmp_path / "log.db", 1)
        look(run, tmp_path / "log.db")


def test_the_monitor_needs_no_torch() -> None:
    code = "import sys, shinso.watching.monitor; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
