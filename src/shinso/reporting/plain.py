"""A page of its own for what one verb found, in the dress of the report."""

from __future__ import annotations

from . import charts, explanations
from .data import Json
from .markup import Content, Html, breakable, figure, h, section
from .page import part, policy
from .words import count, number


def plain_page(title: str, lead: str, *sections: Content) -> str:
    """A whole page of HTML that needs nothing else and asks nothing of the network."""
    head = h(
        "head", None, h("meta", {"charset": "utf-8"}),
        h("meta", {"http-equiv": "Content-Security-Policy", "content": policy()}),
        h("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        h("title", None, title), h("style", None, Html(part("report.css"))),
    )  # fmt: skip
    brand = h("p", {"class": "brand"}, h("b", None, "shinso ", h("span", {"lang": "ja"}, "深層")))
    top = h("header", None, brand, h("h1", None, breakable(title)), h("p", {"class": "meta"}, lead))
    tip = h("div", {"id": "tip", "role": "status", "hidden": True})
    body = h("body", None, top, h("main", None, *sections), tip, h("script", None, Html(part("report.js"))))
    return f"<!doctype html>\n{h('html', {'lang': 'en'}, head, body)}\n"


def explanation_page(found: Json) -> str:
    """The page that `shinso explain` writes."""
    lead = f"{found['method'].replace('_', ' ')} on {found['data']}: why {found['column']} is what it is"
    return plain_page(f"{found['run']}: explanations", lead, *explanations.sections(found))


def robustness_page(found: Json) -> str:
    """The page that `shinso robustness` writes."""
    lead = f"{found['metric']} of {found['column']} on {count(found['rows'], 'row')} as the inputs get worse"
    figures = [hardened(curve, found["metric"]) for curve in found["curves"]]
    items = h("ul", {"class": "notes"}, *[h("li", None, text) for text in found["words"]])
    return plain_page(
        f"{found['run']}: robustness", lead, section("taken", "What to take away", items),
        section("curves", "By strength", h("div", {"class": "figures"}, *figures)),
    )  # fmt: skip


def hardened(curve: Json, metric: str) -> Html:
    """One metric against one strength, its interval in thin lines."""
    points = [p for p in curve["points"] if p["value"] is not None]
    if not points:
        return Html("")
    named = (("validation", metric, "value"), ("bound", "lower end", "low"), ("bound", "upper end", "high"))
    lines = [
        charts.Line(css, name, [(p["strength"], p[key]) for p in points if p[key] is not None])
        for css, name, key in named
    ]
    lines = [line for line in lines if line.points]
    summary = f"{metric} against the strength of {curve['against']}"
    drawing = charts.line_chart(lines, summary=summary, x_name="strength", text=lambda v: number(v, 3))
    return figure(curve["against"], drawing, "Thin lines: the 95% interval.")
