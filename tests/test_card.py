"""The card and the parts of the rows in the report, from a run's own files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

import shinso
from shinso.reporting.card import card
from shinso.reporting.data import ReportData
from shinso.writing import write_table
from small_runs import houses


def people() -> dict[str, list[object]]:
    data: dict[str, list[object]] = {**houses(400)}
    rng = np.random.default_rng(1)
    data["sex"] = rng.choice(["f", "m"], 400).tolist()
    data["copy"] = ["x" if v == "yes" else "z" for v in data["dear"]]
    return data


def test_card_says_what_who_uses_it_has_to_know(
    small_train: Callable[..., shinso.Run], tmp_path: Path
) -> None:
    table = tmp_path / "people.csv"
    write_table(table, people())
    run = small_train(str(table), predict="dear", given="area,city,sex,copy")
    text = (run.path / "card.md").read_text("utf-8")
    for title in (
        "Intended use",
        "Data",
        "How good it is",
        "By class",
        "By slice and group",
        "Limits",
        "Cost",
    ):
        assert f"\n## {title}\n" in text
    assert "Predicts `dear` (category), given `area` (number)" in text
    assert "| `dear`" not in text and "| dear | Accuracy |" in text and "% to " in text
    assert "severe: 'copy' alone gives 'dear' away" in text and " Wh: an estimate" in text
    before = text
    found = run.evaluate(by="city", protect="sex")
    text, page = (run.path / "card.md").read_text("utf-8"), (run.path / "report.html").read_text("utf-8")
    assert text != before and "`dear` by `sex`: demographic parity" in text and "(95% interval 0" in text
    assert 'id="parts"' in page and "dear, by slice" in page and "Gaps between groups" in page
    assert found["slices"] and shinso.Run(run.path).evaluation["worst_slices"] is not None
    run.predict(table)  # still sealed


def test_folds_reach_the_report_and_do_not_push_out_slices(
    small_train: Callable[..., shinso.Run], tmp_path: Path
) -> None:
    table = tmp_path / "houses.csv"
    write_table(table, {name: houses(120)[name] for name in ("area", "price")})
    run = small_train(str(table), predict="price")
    shinso.evaluate(run, by="area>70", quiet=True)
    shinso.evaluate(run, folds=2, quiet=True)
    page = (run.path / "report.html").read_text("utf-8")
    assert "cross-validated in 2 folds" in page and "area&gt;70" in page


def test_names_cannot_write_markdown() -> None:
    text = card(ReportData(name="a\n# b <script>", columns=(), evaluation={"outputs": {}, "rows": {}}))
    assert text.startswith("# a \\# b \\<script\\>\n")
