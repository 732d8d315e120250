"""The part of the report about the data: what the columns are, what was cleaned, what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import charts
from .data import ColumnFacts, ReportData
from .markup import Content, Html, breakable, details, h, join, section, table
from .words import KINDS, count, number, percent

MOST_COLUMNS = 30  # that are shown at once
MOST_LISTED = 50  # lines of the quarantine that are shown
MOST_LABELS = 5


def about_data(data: ReportData) -> Html:
    """What the columns are, what was cleaned, what was left out."""
    parts: list[Content] = []
    rows = data.evaluation.get("rows", {})
    if rows:
        parts.append(_split(rows))
    body = [_column(c) for c in [*data.predict, *data.given]]
    head = ["Column", "Training rows", "Missing", "Example"]
    if body:
        parts.append(table(head, body[:MOST_COLUMNS], caption="The columns, as the training rows have them."))
    if len(body) > MOST_COLUMNS:
        rest = table(head, body[MOST_COLUMNS:], caption="The other columns.")
        parts.append(details(f"{len(body) - MOST_COLUMNS} more columns", rest))
    parts += [cleaned(data), quarantined(data)]
    return section("data", "Data", *parts)


def _split(rows: Mapping[str, int]) -> Html:
    total = sum(rows.values()) or 1
    bars = [h("span", {"class": f"part {name}", "style": f"flex-grow:{n}"}) for name, n in rows.items() if n]
    keys = [
        h("span", {"class": f"key {name}"}, f"{count(n)} {name}", h("small", None, percent(n / total, 0)))
        for name, n in rows.items()
    ]
    return h(
        "div",
        {"class": "split"},
        h("div", {"class": "bar", "aria-hidden": "true"}, *bars),
        h("p", {"class": "keys"}, *keys),
    )


def _column(column: ColumnFacts) -> list[Content]:
    name = [h("strong", None, breakable(column.name)), chip(column, named=False)]
    missing = column.summary.get("missing", 0)
    rows = column.summary.get("rows", 0)
    gaps = percent(missing / rows) if missing and rows else "none"
    example = h("div", {"class": "example"}, Html(column.example)) if column.example else ""
    return [name, facts(column), gaps, example]


def chip(column: ColumnFacts, *, named: bool = True) -> Html:
    """A column's type, and its name unless told not to."""
    role = " target" if column.role == "predict" else ""
    kind = KINDS.get(column.kind, column.kind)
    return h(
        "span",
        {"class": f"chip{role}"},
        h("b", None, breakable(column.name)) if named else None,
        h("i", None, kind),
    )


def facts(column: ColumnFacts) -> Content:
    """What a summary says, as a small picture and a line."""
    summary = column.summary
    if summary.get("deciles"):
        values = summary["deciles"]
        return [
            charts.deciles(values),
            h("small", None, f"median {number(values[5])}, from {number(values[0])} to {number(values[-1])}"),
        ]
    if summary.get("counts"):
        return _frequencies(summary)
    if summary.get("tokens"):
        low, *_, high = summary["tokens"]
        cut = f"; {count(summary['truncated'])} cut short" if summary.get("truncated") else ""
        middle = summary["tokens"][len(summary["tokens"]) // 2]
        return h(
            "small", None, f"{number(low, 3)} to {number(high, 3)} tokens, median {number(middle, 3)}{cut}"
        )
    if summary.get("sizes"):
        sizes = ", ".join(f"{size.replace('x', ' × ')}" for size in list(summary["sizes"])[:3])
        more = len(summary["sizes"]) - 3
        return h(
            "small",
            None,
            f"{sizes}{f' and {more} more sizes' if more > 0 else ''}; {', '.join(summary.get('modes', {}))}",
        )
    if summary.get("min") is not None:
        return h("small", None, f"{summary['min']} to {summary['max']}")
    other = [f"{key} {_plain(value)}" for key, value in summary.items() if key not in ("rows", "missing")]
    return h("small", None, "; ".join(other))


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_plain(v)}" for k, v in list(value.items())[:MOST_LABELS])
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " / ".join(_plain(v) for v in list(value)[:MOST_LABELS])
    return str(value)


def _frequencies(summary: Mapping[str, Any]) -> Content:
    rows = summary.get("rows") or sum(summary["counts"].values())
    counts = list(summary["counts"].items())
    most = max(n for _, n in counts)
    bars = [
        h(
            "li",
            None,
            h("span", {"class": "name"}, label),
            h("span", {"class": "track"}, h("b", {"style": f"width:{100 * n / most:.0f}%"})),
            h("span", {"class": "figure"}, percent(n / rows)),
        )
        for label, n in counts[:MOST_LABELS]
    ]
    labels = summary.get("labels", len(counts))
    more = h("small", None, f"and {count(labels - MOST_LABELS)} more") if labels > MOST_LABELS else None
    return [h("ul", {"class": "shares"}, *bars), more]


def cleaned(data: ReportData) -> Html:
    """What was noticed and changed while reading."""
    if not data.notes:
        return h("p", {"class": "note"}, "Nothing had to be cleaned.")
    items = [
        h(
            "li",
            {"class": note.get("level", "info")},
            h("b", None, note["column"] + ": ") if note.get("column") else None,
            str(note["message"]),
            _counted(note),
        )
        for note in data.notes
    ]
    return join([h("h3", None, "What was cleaned and noticed"), h("ul", {"class": "notes"}, *items)])


def _counted(note: Mapping[str, Any]) -> str | None:
    number = note.get("count", 0)
    return f" ({count(number)})" if number and f"{number:,}" not in str(note["message"]) else None


def quarantined(data: ReportData) -> Html | None:
    """What could not be used, entry by entry."""
    if not data.quarantine:
        return None
    listed = data.quarantine[:MOST_LISTED]
    rows = [
        [_place(b), b.get("column") or "whole row", str(b.get("reason", "")), str(b.get("value", ""))]
        for b in listed
    ]
    more = len(data.quarantine) - MOST_LISTED
    note = f" The first {MOST_LISTED}; {count(more)} more in quarantine.jsonl." if more > 0 else ""
    if not any(row[3] for row in rows):
        rows = [row[:3] for row in rows]
    head = ["Where", "Column", "Reason", "Value"][: len(rows[0])]
    shown = table(head, rows, caption="Left out, and why." + note)
    return join([h("h3", None, "What was left out"), shown])


def _place(bad: Mapping[str, Any]) -> str:
    file, row = str(bad.get("file", "")), str(bad.get("row", ""))
    return file if row in ("", file) else f"{file}, row {row}"
