"""The page at `/` in a browser: at the width of a desk and of a phone, by keyboard, in Japanese."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
pytest.importorskip("grpc", reason="the extra `serve` is not installed")

from served import png
from test_report import CHROMIUM, CONTRAST, FLAGS
from test_serving_network import Running, running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium is installed")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Running]:
    with running() as found:
        yield found


@pytest.mark.parametrize("width", [1280, 375])
def test_a_row_is_asked_by_keyboard_and_its_answer_explained(
    browser: Any, served: Running, tmp_path: Path, width: int
) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.set_default_timeout(20_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(served.url)
    page.wait_for_selector("#field-3")
    page.focus("#field-0")
    page.keyboard.type("55.5")
    page.keyboard.press("Tab")
    page.keyboard.type("Nara")
    page.keyboard.press("Tab")
    page.keyboard.insert_text("駅から五分、日当たりの良い平家です。")
    page.set_input_files("#field-3", tmp_path / "a.png")
    page.focus("#ask")
    page.keyboard.press("Enter")
    page.wait_for_selector("#result:not([hidden])")
    assert page.input_value("#field-1") == "Nara" and "平家" in page.input_value("#field-2")
    assert page.locator("#answer .value").count() == 2
    page.locator(".why").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".because .row")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(CONTRAST) >= 4.5
    assert errors == []
    page.close()


def test_a_mistake_stands_at_its_field(browser: Any, served: Running) -> None:
    page = browser.new_page(viewport={"width": 375, "height": 844})
    page.set_default_timeout(20_000)
    page.goto(served.url)
    page.wait_for_selector("#field-3")
    page.fill("#field-0", "large")
    page.click("#ask")
    page.wait_for_selector("#field-0-error")
    assert "'large'" in page.locator("#field-0-error").inner_text()
    assert page.get_attribute("#field-0", "aria-errormessage") == "field-0-error"
    assert page.evaluate("document.activeElement.id") == "field-0"
    assert page.locator("#result-title").inner_text() == "No answer"
    page.fill("#field-0", "50")
    page.click("#ask")
    page.wait_for_selector("#answer .value")
    assert page.locator("#field-0-error").count() == 0
    page.close()
