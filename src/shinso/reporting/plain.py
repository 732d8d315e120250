"""A page of its own for what one verb found, in the dress of the report."""

from __future__ import annotations

from . import explanations
from .data import Json
from .markup import Content, Html, breakable, h
from .page import part, policy


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
