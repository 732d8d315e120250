"""What the doctor found, as a page of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .markup import Content, Html, h, section
from .plain import plain_page
from .words import duration, number

LEVELS = {"severe": "Severe", "warning": "To look at", "note": "To know", "fine": "Fine"}


def doctor_page(found: Mapping[str, Any]) -> str:
    """The page that `shinso doctor --report` writes: what to do next, then every check with its number."""
    counts = {level: sum(f["level"] == level for f in found["findings"]) for level in LEVELS}
    lead = f"{len(found['findings'])} checks of {found['column']} in {duration(found['seconds'])}"
    if found["others"]:
        lead += f"; not looked at: {', '.join(found['others'])}"
    tiles = [h("div", None, h("dt", None, LEVELS[k]), h("dd", None, str(n))) for k, n in counts.items()]
    return plain_page(
        f"{found['patient']}: doctor", lead,
        section("next", "What to do next", h("dl", {"class": "tiles"}, *tiles), *_next(found)),
        section("checks", "What was measured", *[_card(finding) for finding in found["findings"]]),
    )  # fmt: skip


def _next(found: Mapping[str, Any]) -> list[Content]:
    if found["healthy"]:
        return [h("p", None, "Nothing to mend was found.")]
    steps = [
        h("li", None, h("p", None, one["advice"], " ", h("small", None, f"({one['why']})")),
          h("pre", None, one["command"]))
        for one in found["next"]
    ]  # fmt: skip
    return [h("ol", {"class": "steps"}, *steps)]


def _card(finding: Mapping[str, Any]) -> Html:
    """One check; those that found nothing are one line."""
    level = h("span", {"class": f"severity {finding['level']}"}, LEVELS[finding["level"]])
    measured = "" if finding["measured"] is None else f" {number(finding['measured'])}"
    name = h("strong", None, finding["check"])
    top = h("p", None, level, " ", name, h("small", None, measured) if measured else None)
    return h("article", {"class": "finding"}, top, h("p", None, f"{finding['said'].rstrip('.')}."))
