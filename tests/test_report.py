"""The report says what holds, nothing in the data can run in it, and a real browser shows it."""

from __future__ import annotations

import html.parser
import json
import re
import runpy
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shinso.metrics import evaluate_predictions
from shinso.reporting import charts, findings
from shinso.reporting.data import ColumnFacts, Mistake, ReportData
from shinso.reporting.page import build_report
from shinso.reporting.terminal import summary_lines

RUNS: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("made_up_runs.py")))["RUNS"]
CHROMIUM = next(
    (p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None
)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    found = {}
    for name, make in {**RUNS, "evil": evil, "empty": empty, "many": many}.items():
        found[name] = folder / f"{name}.html"
        found[name].write_text(build_report(make()), "utf-8")
    return found


def evil() -> ReportData:
    """A run whose every text tries to leave its place."""
    nasty = EVIL + "\" onmouseover='alert(2)' x=\""
    labels = (nasty, "b", "</style>" + EVIL)
    truth = np.arange(60) % 3
    odds = np.full((60, 3), 0.2) + 0.4 * np.eye(3)[(truth + (np.arange(60) % 7 == 0)) % 3]
    output = evaluate_predictions("category", truth, odds, labels)
    output["baselines"] = [{"name": nasty, "metrics": output["metrics"]}, {"name": nasty, "skipped": nasty}]
    summary = {"rows": 9, "missing": 1, "counts": {nasty: 5, "b": 4}, "labels": 2}
    return ReportData(
        name=nasty,
        source=nasty,
        columns=[
            ColumnFacts(name=nasty, kind="category", role="given", summary=summary),
            ColumnFacts(name="y", kind=nasty, role="predict", summary={nasty: nasty}),
        ],
        evaluation={"part": "test", "rows": {"test": 60}, "outputs": {nasty: output}},
        notes=[{"level": "warning", "message": nasty, "column": nasty, "count": 1}],
        quarantine=[{"file": nasty, "row": nasty, "column": nasty, "reason": nasty, "value": nasty}],
        mistakes={
            "y": [Mistake(truth=nasty, predicted=nasty, probability=0.5, row=nasty, cells={nasty: "1"})]
        },
        settings={nasty: nasty},
        environment={"a": {nasty: [nasty]}},
        stopped=nasty,
        parent=nasty,
    )


def empty() -> ReportData:
    """The least a run can have."""
    output = evaluate_predictions("number", np.array([1.0]), np.array([1.0]))
    column = ColumnFacts(name="y", kind="number", role="predict")
    return ReportData(
        name="x", columns=[column], evaluation={"part": "train", "rows": {}, "outputs": {"y": output}}
    )


def many() -> ReportData:
    """Two outputs, one of them of very many classes with long names."""
    rng = np.random.default_rng(0)
    labels = tuple(f"a rather long name of a class, number {i}" for i in range(70))
    truth = rng.integers(70, size=800)
    odds = rng.random((800, 70)) + 3 * np.eye(70)[truth] * (rng.random((800, 1)) < 0.8)
    label = evaluate_predictions("category", truth, odds / odds.sum(1, keepdims=True), labels)
    skewed = rng.lognormal(3, 2, 500)
    cost = evaluate_predictions("number", skewed, skewed * rng.lognormal(0, 0.3, 500))
    columns = [ColumnFacts(name=f"column_{i}", kind="number", role="given") for i in range(90)]
    columns += [
        ColumnFacts(name=n, kind=k, role="predict") for n, k in (("label", "category"), ("cost", "number"))
    ]
    lines = [
        {"step": i, "epoch": i, "loss": {"label": 1 / i, "cost": 2 / i}, "best": True, "learning_rate": 1e-3,
         "validation": {"label": {"log_loss": 1 / i, "accuracy": 0.5}, "cost": {"rmse": 1 / i}}, "seconds": i}
        for i in range(1, 1200)
    ]  # fmt: skip
    evaluation = {"part": "test", "rows": {"test": 800}, "outputs": {"label": label, "cost": cost}}
    return ReportData(name="many", columns=columns, evaluation=evaluation, history=lines)


class Outline(html.parser.HTMLParser):
    """Which elements there are, in order, and whether every one is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[int] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in ("meta", "br", "img", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", [*RUNS, "evil", "empty", "many"])
def test_the_page_is_whole_and_stands_alone(pages: dict[str, Path], name: str) -> None:
    page = pages[name].read_text("utf-8")
    outline = Outline()
    outline.feed(page)
    outline.close()
    assert not outline.open
    assert outline.headings[0] == 1
    assert all(b - a <= 1 for a, b in zip(outline.headings, outline.headings[1:], strict=False))
    links = [value or "" for key, value in outline.attributes if key in ("src", "href")]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not any(key.startswith("on") for key, _ in outline.attributes)
    assert page.count("<script>") == 1
    assert "default-src &#x27;none&#x27;" in page
    assert "NaN" not in page.replace("isNaN", "")


def test_what_a_report_says() -> None:
    page = build_report(RUNS["houses"]())
    for text in ("49,139", "gradient boosting", "1.2 M", "set by you", "965 rows", "row "):
        assert text in page
    page = build_report(RUNS["digits"]())
    assert page.count("<article") == 15
    assert "the file ends early" in page
    page = build_report(RUNS["income"]())
    assert "<article" not in page
    for text in (
        "ROC curve; area",
        "24 rows occur twice; both are kept<",
        "Dashed: chance, the 24.2% that are positive",
    ):
        assert text in page


def test_the_same_data_give_the_same_page() -> None:
    assert build_report(RUNS["news"]()) == build_report(RUNS["news"]())


def test_findings_say_what_holds() -> None:
    data = RUNS["digits"]()
    output: dict[str, Any] = json.loads(json.dumps(data.outputs["label"]))
    for gain, level in (
        ({"value": 0.02, "low": 0.01, "high": 0.03}, "good"),
        ({"value": -0.02, "low": -0.03, "high": -0.01}, "warning"),
        ({"value": 0.002, "low": -0.01, "high": 0.01}, "note"),
    ):
        output["baselines"][1]["gain"] = gain
        assert next(findings.against_baselines(output)).level == level
    del output["baselines"][1]["gain"]
    assert next(findings.against_baselines(output)).level == "note"
    output["baselines"] = []
    assert not list(findings.against_baselines(output))
    early = replace(data, history=[{"step": i, "best": i == 2} for i in range(10)])
    assert "best at step 2 of 9" in next(findings.kept_state(early)).text
    unbalanced = evaluate_predictions("category", np.arange(100) // 90, np.full((100, 2), 0.5), ("no", "yes"))
    assert "90.0% of the rows are “no”" in next(findings.unbalanced(unbalanced)).text


def test_a_class_is_called_by_its_name_and_a_number_is_rounded() -> None:
    """`007` is no 7 and `nan` is no missing value, where they are names of classes."""
    named = [Mistake(truth="007", predicted="nan", probability=0.9, cells={"x": "1"})]
    numbers = [Mistake(truth="123456.789", predicted="1e3", error=-122456.789, cells={"x": "1"})]
    page = build_report(replace(empty(), mistakes={"a": named, "b": numbers}))
    for text in (">007<", ">nan<", ">123,457<", ">1,000<"):
        assert text in page
    quarantine = [{"file": "f.csv", "row": i, "column": "x", "reason": "no number"} for i in range(2)]
    (found,) = findings.left_out(replace(empty(), quarantine=quarantine))
    assert found.text.startswith("2 entries of the data")


def test_ticks_are_round_and_inside() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        low, size = rng.normal(0, 1000), 10 ** rng.uniform(-6, 6)
        found = charts.ticks(low, low + size)
        assert 2 <= len(found) <= 8
        assert all(low - size * 1e-6 <= t <= low + size * (1 + 1e-6) for t in found)
    log = charts.Scale(0.02, 3.0, 0, 100, log=True)
    assert len(log.ticks()) >= 3
    assert log(0.02) == 0
    assert log(3.0) == 100


def test_charts_survive_constant_values() -> None:
    line = charts.Line("train", "loss", [(1, 2.0), (2, 2.0)])
    assert "nan" not in charts.line_chart([line], summary="x", x_name="step")
    assert "nan" not in charts.deciles([3.0] * 11)
    assert "nan" not in charts.scatter([1.0, 1.0], [1.0, 1.0], summary="x")


def test_the_terminal_table_is_aligned_where_characters_are_wide() -> None:
    lines = summary_lines(RUNS["news"]().evaluation)
    assert lines[0] == "topic, on 1,842 test rows (95% interval)"
    assert len(lines) == 7
    assert any(line.lstrip().startswith("Accuracy") and "%" in line for line in lines)
    assert not any("\x1b" in line for line in lines)
    evaluation = evil().evaluation
    assert any("There" in line or ":" in line for line in summary_lines(evaluation))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium is installed")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.mark.parametrize("name", [*RUNS, "evil", "empty", "many"])
def test_a_browser_shows_it(browser: Any, pages: dict[str, Path], name: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(pages[name].as_uri())
    for part in page.query_selector_all("summary"):
        part.click()
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    page.close()


def test_pointing_at_a_mark_says_what_it_is_and_a_click_sorts(browser: Any, pages: dict[str, Path]) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(pages["digits"].as_uri())
    page.locator("#learning .band").nth(3).hover()
    assert "step 20" in page.locator("#tip").inner_text()
    heads = page.locator("table.sortable thead button")
    heads.nth(0).click()
    rows = page.locator("table.sortable tbody th").all_inner_texts()
    assert rows == sorted(rows)
    heads.nth(3).click()
    values = [float(v) for v in page.locator("table.sortable td:nth-child(4) [data-sort]").evaluate_all(
        "marks => marks.map(mark => mark.dataset.sort)")]  # fmt: skip
    assert values == sorted(values)
    page.close()


def test_text_stands_out_from_its_background(browser: Any, pages: dict[str, Path]) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(pages["digits"].as_uri())
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(CONTRAST) >= 4.5
    page.close()


CONTRAST = """
() => {
  const parse = (text) => {
    const found = text.match(/[\\d.]+/g).map(Number);
    return [found[0], found[1], found[2], found.length > 3 ? found[3] : 1];
  };
  const light = (c) => {
    const [r, g, b] = c.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    const over = (under, c) => under.map((v, i) => v * (1 - c[3]) + c[i] * c[3]);
    return layers.reverse().reduce(over, [255, 255, 255]);
  };
  let least = 99;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || element.closest("svg, script, #tip, .none, .off")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color).slice(0, 3)), light(behind(element))];
    least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  return least;
}
"""
