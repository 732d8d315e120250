"""Explanations as sections of a page: how far to trust them, the rows, what is looked at overall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import charts
from .data import Json
from .markup import Content, Html, details, figure, h, join, section, table
from .words import count, number, percent

MOST_LISTED = 15
UNLIKELY = 0.1  # p above which an order may be chance
CHECKS = (
    ("faithfulness", "Faithfulness", "How much sooner the answer goes, and comes, when parts are hidden and "
     "shown in its order than in random orders; 0 is chance."),
    ("randomised", "Random weights", "Rank correlation with what the method says of an untrained network; "
     "near 0 is right."),
    ("stability", "Stability", "Rank correlation after a change that nobody would notice; 1 is right."),
)  # fmt: skip
CURVES = (
    ("train", "hidden first", "deletion"),
    ("validation", "shown first", "insertion"),
    ("bound", "at random", "random"),
)


def sections(found: Json) -> list[Content]:
    """Everything about one explanation."""
    parts: list[Content] = []
    if found.get("trust"):
        parts.append(trust(found))
        parts.append(
            section(
                "rows", "Row by row", legend(), h("div", {"class": "cards broad"}, *map(card, found["rows"]))
            )
        )
    if found.get("nearest"):
        parts.append(neighbours(found["nearest"]))
    if found.get("overall") or found.get("permutation"):
        parts.append(overall(found))
    return parts


def brief(found: Json) -> Html:
    """The section of the report: trust, a few rows, the whole."""
    rows = [card(row) for row in found.get("rows", ())[:4]]
    parts: list[Content] = []
    if found.get("trust"):
        parts += [verdict(found["trust"]), legend(), h("div", {"class": "cards broad"}, *rows)]
    parts += bars_of(found)
    return section("explanations", "What it looks at", *parts)


def trust(found: Json) -> Html:
    """How far these explanations can be believed."""
    t = found["trust"]
    rows: list[list[Content]] = [
        [name, _interval(t[key]), words + (_chance(t) if key == "faithfulness" else "")]
        for key, name, words in CHECKS
    ]
    if t.get("leftover") is not None:
        rows.append(
            ["Left over", percent(t["leftover"]), "Share of the answer that the parts do not add up to."]
        )
    return section(
        "trust",
        "Can it be trusted?",
        verdict(t),
        table(
            ["Check", "Value (95% interval)", "What it is"],
            rows,
            caption=f"{found['method'].replace('_', ' ')}: {found['about']}.",
        ),
    )


def verdict(t: Json) -> Html:
    """The checks in words."""
    if t["trusted"] and unsure(t):
        return said("warning", "!", unsure(t))
    if t["trusted"]:
        return said("good", "✓", "All checks passed: the marks show what the answers rest on.")
    return said("warning", "!", "Do not rely on these explanations.", *t["against"])


def unsure(t: Json) -> str:
    """That no check failed, where the rows are too few to say more; '' elsewhere."""
    if (t.get("p") or 0) <= UNLIKELY:
        return ""
    rows = count(t["faithfulness"]["rows"], "row")
    return f"No check failed, but {rows} cannot tell its order from chance: explain more with --rows."


def said(level: str, sign: str, *texts: str) -> Html:
    """Sentences with a sign in front."""
    items = [
        h("li", {"class": f"is-{level}"}, h("span", {"aria-hidden": "true"}, sign), text) for text in texts
    ]
    return h("ul", {"class": "findings"}, *items)


def _chance(t: Json) -> str:
    p = t.get("p")
    return "" if p is None else f" By chance alone: p = {number(p, 2)}."


def _interval(found: Json) -> str:
    if found.get("value") is None:
        return "too few parts to say"
    ends = "" if found.get("low") is None else f" ({found['low']:.3f} to {found['high']:.3f})"
    return f"{found['value']:.3f}{ends}"


def legend() -> Html:
    """What the colours mean."""
    return h("p", {"class": "note"}, "Red speaks for the answer, blue against it; the stronger, the more.")


def card(row: Json) -> Html:
    """One explained row."""
    answer = f"{row['answer']} " if row["answer"] else ""
    value = percent(row["value"]) if row["answer"] else number(row["value"])
    hidden = percent(row["hidden"]) if row["answer"] else number(row["hidden"])
    drawn = [picture(one) for one in row.get("pictures", ())]
    said = f"{value}; {hidden} with everything hidden"
    parts: list[Content] = [h("p", None, h("strong", None, answer), said), *drawn]
    parts.append(details("As its parts are hidden", curve(row["curves"])))
    return h("div", {"class": "card"}, *parts, h("p", {"class": "note"}, f"row {row['key']}"))


def picture(one: Mapping[str, str]) -> Html:
    """A picture inside the page."""
    if not one["source"].startswith("data:image/"):
        return Html("")
    about = f"marks on {one['column']}" if one["column"] else "bars of the single values"
    return h("img", {"src": one["source"], "alt": about, "class": "marks"})


def curve(found: Json) -> Html:
    """Deletion, insertion and random order."""
    shares = found["shares"]
    lines = [charts.Line(css, name, list(zip(shares, found[key], strict=True))) for css, name, key in CURVES]
    summary = "The answer as parts are hidden or shown in the order of the explanation, and at random"
    drawing = charts.line_chart(
        lines, summary=summary, x_name="share of the parts", text=lambda v: number(v, 3)
    )
    keys = [(line.css, line.name) for line in lines]
    return figure("The answer as parts go", drawing, None, keys)


def overall(found: Json) -> Html:
    """What the network looks at over all rows."""
    return section("overall", "Over all rows", *bars_of(found))


def bars_of(found: Json) -> list[Content]:
    """The parts that move the answers most, and the columns whose shuffling costs most."""
    parts: list[Content] = []
    listed: Sequence[Json] = found.get("overall", ())[:MOST_LISTED]
    if listed:
        rows = [
            [named(one), track(one["value"], listed[0]["value"]), _interval(one), number(one["signed"], 3),
             count(one["rows"])]
            for one in listed
        ]  # fmt: skip
        unit = (
            "probability" if found["kind"] in ("category", "labels") else "standard deviations of the answer"
        )
        caption = (
            f"How far the answer moves ({unit}) when one part is hidden, mean over the rows that have it."
        )
        parts.append(
            table(["Part", "", "Moves by", "On average", "Rows"], rows, caption=caption, numeric=(3, 4))
        )
    ranked: Sequence[Json] = [one for one in found.get("permutation", ()) if one["value"] is not None]
    if ranked:
        rows = [
            [one["column"], track(one["value"], ranked[0]["value"]), _interval(one)]
            for one in ranked[:MOST_LISTED]
        ]
        metric, seen = ranked[0]["metric"], count(ranked[0]["rows"], "row")
        caption = f"How much worse {metric} gets when the column is shuffled, on {seen}."
        parts.append(table(["Column", "", "Costs"], rows, caption=caption))
    if found.get("permutation_note"):
        parts.append(h("p", {"class": "note"}, found["permutation_note"]))
    return parts


def named(one: Json) -> str:
    """A part by its column and its own name."""
    return str(one["name"]) if one["name"] == one["column"] else f"{one['column']}: {one['name']}"


def track(value: float, largest: float) -> Html:
    """A bar in a cell."""
    width = 100 * max(0.0, value) / largest if largest > 0 else 0.0
    return h("span", {"class": "track wide"}, h("b", {"style": f"width:{width:.0f}%"}))


def neighbours(found: Sequence[Json]) -> Html:
    """For each row the training rows most like it."""
    blocks: list[Content] = []
    for row in found:
        own = join([Html(cell) for cell in row["cells"].values()])
        agree = [n for n in row["neighbours"] if n["target"] == row["answer"]]
        said = (
            f"{len(agree)} of the {len(row['neighbours'])} nearest are “{row['answer']}” too."
            if row["answer"]
            else ""
        )
        cards = [neighbour(n) for n in row["neighbours"]]
        title = f"Row {row['key']}: {row['answer']}"
        blocks += [
            h("h3", None, title),
            own,
            h("p", {"class": "note"}, said),
            h("div", {"class": "cards"}, *cards),
        ]
    return section("nearest", "The training rows most like it", *blocks)


def neighbour(found: Json) -> Html:
    """One training row."""
    said = f" row {found['key']}, similarity {found['similarity']:.2f}"
    cells = [Html(cell) for cell in found["cells"].values()]
    return h("div", {"class": "card"}, *cells, h("p", None, h("strong", None, Html(found["shown"])), said))


def lines(found: Json) -> list[str]:
    """For a terminal."""
    said = []
    for row in found.get("rows", ()):
        parts = sorted(row["parts"], key=lambda p: -abs(p["value"]))[:5]
        value = percent(row["value"]) if row["answer"] else number(row["value"])
        named = ", ".join(f"{' '.join(p['name'].split())} {p['value']:+.3g}" for p in parts)
        said.append(f"row {row['key']}: {row['answer']} {value}: {named}".replace(":  ", ": "))
    for row in found.get("nearest", ()):
        near = ", ".join(f"{n['key']} ({n['target']}, {n['similarity']:.2f})" for n in row["neighbours"])
        said.append(f"row {row['key']}: {row['answer']}: nearest {near}")
    for one in found.get("permutation", ())[:10] if found.get("method") == "permutation" else ():
        said.append(f"{one['column']}: {one['metric']} worse by {_interval(one)} when shuffled")
    if found.get("trust"):
        t = found["trust"]
        said.append(
            f"faithfulness {_interval(t['faithfulness'])}, random weights {_interval(t['randomised'])}, "
            f"stability {_interval(t['stability'])}"
        )
        said += [f"! {words}" for words in t["against"]] or [unsure(t) or "All checks passed."]
    return [*said, f"pictures and page: {found['page']}"]
