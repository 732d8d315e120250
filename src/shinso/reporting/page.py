"""The report: one page of HTML that needs nothing else and asks nothing of the network."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from .about import about_data, chip
from .audit_page import audit_section
from .data import ReportData
from .explanations import brief
from .findings import headline
from .markup import Content, Html, breakable, h
from .parts import parts_section
from .result import result
from .right_and_wrong import errors
from .story import cost, learning, mistakes, settings

MOST_CHIPS = 8


def build_report(data: ReportData) -> str:
    """The whole page, as it stands in `report.html`.

    It works from a file, in light and dark, from 390 pixels up and on paper. The policy in its head forbids
    every request and every script but its own: nothing in the data can run, even if it were not escaped.
    """
    sections = {
        "Result": result(data),
        "Errors": errors(data),
        "Mistakes": mistakes(data),
        "Parts": parts_section(data),
        "Explanations": brief(data.explanation) if data.explanation else None,
        "Learning": learning(data),
        "Data": about_data(data),
        "Audit": audit_section(data.audit),
        "Time": cost(data),
        "Settings": settings(data),
    }
    anchors = {"Time": "cost"}
    links = [
        h("li", None, h("a", {"href": f"#{anchors.get(name, name.lower())}"}, name))
        for name, content in sections.items()
        if content
    ]
    body = h(
        "body",
        None,
        _header(data),
        h("nav", {"aria-label": "Sections"}, h("ul", None, *links)),
        h("main", None, *sections.values()),
        h("footer", None, _footer(data)),
        h("div", {"id": "tip", "role": "status", "hidden": True}),
        h("script", None, Html(part("report.js"))),
    )
    return f"<!doctype html>\n{h('html', {'lang': 'en'}, _head(data), body)}\n"


@cache
def part(name: str) -> str:
    """The style sheet (report.css) or the script (report.js) of the page."""
    return files(__package__).joinpath(name).read_text("utf-8")


def policy() -> str:
    """The content security policy: images and sounds inside the page, its own style and its own script."""
    digest = base64.b64encode(hashlib.sha256(part("report.js").encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _head(data: ReportData) -> Html:
    said = "; ".join(headline(output) for output in data.outputs.values())
    return head(f"{data.name}: report", f"{data.name}: {said}")


def head(title: str, description: str) -> Html:
    """The head of a page that asks nothing of the network."""
    return h(
        "head",
        None,
        h("meta", {"charset": "utf-8"}),
        h("meta", {"http-equiv": "Content-Security-Policy", "content": policy()}),
        h("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        h("meta", {"name": "description", "content": description}),
        h("title", None, title),
        h("style", None, Html(part("report.css"))),
    )


def _header(data: ReportData) -> Html:
    given: list[Content] = [chip(column) for column in data.given[:MOST_CHIPS]]
    if len(data.given) > MOST_CHIPS:
        given.append(h("span", None, f"and {len(data.given) - MOST_CHIPS} more"))
    if not given:
        given.append(h("span", {"class": "chip"}, "nothing"))
    predict = [chip(column) for column in data.predict]
    where = [
        data.source,
        data.created[:16].replace("T", " "),
        f"shinso {data.version}" if data.version else "",
    ]
    if data.parent:
        where.append(f"made from {data.parent}")
    task = [h("span", None, "given"), *given, h("span", None, "predict"), *predict]
    return h(
        "header",
        None,
        brand("report"),
        h("h1", None, breakable(data.name)),
        h("p", {"class": "task"}, *task),
        h("p", {"class": "meta"}, " · ".join(part for part in where if part)),
    )


def brand(what: str) -> Html:
    """The line above a page's title."""
    return h("p", {"class": "brand"}, h("b", None, "shinso ", h("span", {"lang": "ja"}, "深層")), f" {what}")


def _footer(data: ReportData) -> Html:
    return h(
        "p",
        None,
        "Intervals are 95%: exact for shares of rows, DeLong's for ROC AUC, by resampling the rows for the "
        "rest. Everything on this page comes from the files of the run directory; it needs no network.",
    )
