"""An audit for people: lines for a terminal, a page of its own, a section of a run's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..console import clock
from ..data.notes import plural
from .markup import Content, Html, h, section, table
from .words import count, duration, number

SAID = {"severe": "!!", "warning": "! ", "note": "· "}
TITLES = {"severe": "Severe", "warning": "To look at", "note": "To know"}
BASES = {"given": "the parts of the data", "time": "time", "group": "group", "chance": "chance"}
SHOWN, LISTED = 5, 20  # rows of a finding


def lines(result: Mapping[str, Any]) -> list[str]:
    """An audit for a terminal."""
    rows = ", ".join(f"{n:,} {name}" for name, n in result["rows"].items() if n)
    found = [
        f"{result['data']}: {plural(result['looked_at'], 'row')} looked at ({rows}), "
        f"split by {BASES[result['split']]}"
    ]
    for finding in result["findings"]:
        found += ["", f"{SAID[finding['severity']]} {finding['check']}: {finding['message']}"]
        if finding["rows"]:
            shown = ", ".join(_pair(finding, i) for i in range(min(SHOWN, len(finding["rows"]))))
            found.append(f"   {result['key']}s: {shown}{', ...' if finding['count'] > SHOWN else ''}")
        found.append(f"   {finding['remedy']}")
    if not result["findings"]:
        found += ["", f"Nothing was found by {len(result['checks'])} checks."]
    counts = result["severities"]
    found += ["", f"{counts['severe']} severe, {counts['warning']} to look at, {counts['note']} to know; "
                  f"{clock(result['seconds'])}"]  # fmt: skip
    if "fixed" in result:
        fixed = result["fixed"]
        rows, columns = (
            plural(fixed["rows_left_out"], "row"),
            plural(len(fixed["columns_left_out"]), "column"),
        )
        found.append(f"{fixed['out']}: {plural(fixed['rows'], 'row')}, without {rows} and {columns};")
        found.append(f"each is listed in {fixed['log']}")
    return found


def _pair(finding: Mapping[str, Any], i: int) -> str:
    others = finding["others"]
    return f"{finding['rows'][i]}" + (f" (as {others[i]})" if i < len(others) else "")


def audit_section(result: Mapping[str, Any] | None) -> Html | None:
    """What the audit found, as a section of a page; None where there was none."""
    if not result:
        return None
    looked = f"{plural(result['looked_at'], 'row')} looked at"
    if result["looked_at"] < result["of"]:
        looked += f" of {count(result['of'])}, evenly spread"
    checks = ", ".join(name.replace("_", " ") for name in result["checks"])
    lead = (
        f"{looked}, split by {BASES[result['split']]}, in {duration(result['seconds'])}. Checked: {checks}."
    )
    if result["skipped"]:
        lead += f" No time was left for: {', '.join(result['skipped'])}."
    parts: list[Content] = [h("p", {"class": "lead"}, lead)]
    if result["quick"]:
        parts.append(h("p", {"class": "note"}, "This is the quick form; ", h("code", None, "shinso audit"),
                       " looks at all rows, and at the labels too."))  # fmt: skip
    if not result["findings"]:
        parts.append(h("p", None, "Nothing was found."))
    else:
        parts.append(_tiles(result["severities"]))
        parts += [_card(finding, result["key"]) for finding in result["findings"]]
    return section("audit", "Audit of the data", *parts)


def audit_page(result: Mapping[str, Any], head: Html, brand: Html) -> str:
    """A page of its own, in the style of reports."""
    title = h("h1", None, f"{result['data']}")
    meta = h("p", {"class": "meta"}, f"to predict {result['predict']}")
    body = h("body", None, h("header", None, brand, title, meta), h("main", None, audit_section(result)))
    return f"<!doctype html>\n{h('html', {'lang': 'en'}, head, body)}\n"


def _tiles(severities: Mapping[str, int]) -> Html:
    tiles = [h("div", None, h("dt", None, TITLES[s]), h("dd", None, count(n))) for s, n in severities.items()]
    return h("dl", {"class": "tiles"}, *tiles)


def _card(finding: Mapping[str, Any], key: str) -> Html:
    measured = ", ".join(f"{name} {number(value)}" for name, value in finding["measured"].items())
    name = h("strong", None, finding["check"].replace("_", " "))
    severity = h("span", {"class": f"severity {finding['severity']}"}, TITLES[finding["severity"]])
    rows = _rows(finding, key)
    return h(
        "article",
        {"class": "finding"},
        h("p", None, severity, " ", name, h("small", None, f" {measured}") if measured else None),
        h(
            "p",
            None,
            finding["message"].removesuffix("?") + ("?" if finding["message"].endswith("?") else "."),
        ),
        h("details", None, h("summary", None, f"{key}s"), rows) if rows else None,
        h("pre", None, finding["remedy"]),
    )


def _rows(finding: Mapping[str, Any], key: str) -> Html | None:
    if not finding["rows"]:
        return None
    if not finding["others"]:
        listed = ", ".join(str(row) for row in finding["rows"][:LISTED])
        more = finding["count"] - LISTED
        return h("p", {"class": "small"}, listed + (f" and {count(more)} more" if more > 0 else ""))
    pairs: Sequence[Sequence[Content]] = [
        [str(a), str(b)] for a, b in zip(finding["rows"][:LISTED], finding["others"], strict=False)
    ]
    return table([key, "as"], pairs, caption=f"The first {len(pairs)} of {count(finding['count'])}.")
