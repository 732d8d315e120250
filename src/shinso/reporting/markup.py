"""HTML that is safe by construction: what is not `Html` yet is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence

EMPTY = frozenset({"meta", "br", "img"})  # elements of HTML without an end tag
Attributes = Mapping[str, str | float | bool | None]


class Html(str):
    """Text that is HTML already; a plain `str` is not."""

    __slots__ = ()


Content = str | Html | None | Iterable["Content"]


def h(name: str, attributes: Attributes | None = None, *content: Content) -> Html:
    """One element. Text and attribute values are escaped; attributes that are None or False are left out.

    >>> h("p", {"class": "note"}, "a < b ", h("b", None, "!"))
    '<p class="note">a &lt; b <b>!</b></p>'
    """
    start = name + "".join(_attribute(key, value) for key, value in (attributes or {}).items())
    return Html(f"<{start}>" if name in EMPTY else f"<{start}>{join(content)}</{name}>")


def join(content: Content) -> Html:
    """Content in a row, escaped where it is not HTML.

    >>> join(["<", Html("<br>"), None])
    '&lt;<br>'
    """
    if content is None:
        return Html("")
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return Html(html.escape(content))
    return Html("".join(join(part) for part in content))


def breakable(text: str) -> Html:
    """Text that may break after an underscore, a slash, a hyphen or a dot.

    >>> breakable("house_age")
    'house_<wbr>age'
    """
    return Html(re.sub(r"([_/.-])(?=\w)", r"\1<wbr>", html.escape(text)))


def table(
    head: Sequence[Content], rows: Iterable[Sequence[Content]], *, numeric: Sequence[int] = (), caption: str,
    sortable: bool = False,
) -> Html:  # fmt: skip
    """A table that scrolls in its own box where it is too wide; the first cell of a row heads it."""

    def cell(i: int, content: Content, kind: str) -> Html:
        scope = {"th": "row"}.get(kind) if i == 0 else None
        return h("th" if i == 0 else "td", {"scope": scope, "class": "n" if i in numeric else None}, content)

    headings = [
        h("th", {"scope": "col", "class": "n" if i in numeric else None}, part) for i, part in enumerate(head)
    ]
    body = [h("tr", None, *(cell(i, part, "th") for i, part in enumerate(row))) for row in rows]
    parts = [h("thead", None, h("tr", None, *headings)), h("tbody", None, *body)]
    return scroll(
        h("table", {"class": "sortable" if sortable else None, "aria-label": caption}, *parts), caption
    )


def scroll(content: Html, label: str) -> Html:
    """A box that scrolls sideways by itself, reachable by keyboard, under what it holds."""
    inner = h("div", {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": label}, content)
    return h("div", {"class": "box"}, h("p", {"class": "caption"}, label), inner)


def section(anchor: str, title: str, *content: Content) -> Html:
    """One section of the page."""
    return h(
        "section",
        {"id": anchor, "aria-labelledby": f"{anchor}-title"},
        h("h2", {"id": f"{anchor}-title"}, title),
        *content,
    )


def details(summary: Content, *content: Content) -> Html:
    """Something that opens on a click."""
    return h("details", None, h("summary", None, summary), *content)


def figure(title: str, drawing: Content, note: Content = None, keys: Sequence[tuple[str, str]] = ()) -> Html:
    """A chart with its title, its legend ((class, name) pairs) and what to read from it."""
    legend = [h("span", {"class": f"key {css}"}, name) for css, name in keys]
    return h(
        "figure",
        None,
        h(
            "figcaption",
            None,
            h("strong", None, title),
            h("span", {"class": "keys"}, *legend) if legend else None,
        ),
        drawing,
        h("p", {"class": "note"}, note) if note else None,
    )


def _attribute(key: str, value: str | float | bool | None) -> str:  # noqa: FBT001
    if value is None or value is False:
        return ""
    if value is True:
        return f" {key}"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f' {key}="{html.escape(text, quote=True)}"'
