"""What a person should take away: each function looks at one thing and says it plainly, or is silent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from ..metrics import lower_is_better
from .data import Json, ReportData
from .words import count, decimals_of, fixed, interval, measured, number, percent, word

LEAST_ROWS = 10  # of a class before its recall is spoken of


class Finding(NamedTuple):
    """One sentence, and whether it is good news, a remark or a warning."""

    level: Literal["good", "note", "warning"]
    text: str


def findings(data: ReportData) -> list[Finding]:
    """What to take away from a run, warnings first."""
    found: list[Finding] = []
    for name, output in data.outputs.items():
        found += against_baselines(output)
        found += weakest_class(output)
        found += unbalanced(output)
        found += honest(output)
        found += covering(output, data.calibration.get(name, {}))
    found += sure_enough(data)
    found += kept_state(data)
    found += left_out(data)
    order = {"warning": 0, "good": 1, "note": 2}
    return sorted(found, key=lambda finding: order[finding.level])


def best_baseline(output: Json) -> Mapping[str, Any] | None:
    """The simple model with the best main metric."""
    main = output["main"]
    rows = [row for row in output.get("baselines", ()) if _value(row.get("metrics", {}), main) is not None]
    sign = 1 if lower_is_better(main) else -1
    return min(rows, key=lambda row: sign * row["metrics"][main]["value"], default=None)


def against_baselines(output: Json) -> Iterator[Finding]:
    """What the network bought over the best simple model."""
    best, main = best_baseline(output), output["main"]
    own = output["metrics"].get(main, {})
    if best is None or own.get("value") is None:
        return
    gained: Json = best.get("gain") or _apart(own, best["metrics"][main], main)
    if gained.get("value") is None:
        return
    size = difference(main, abs(gained["value"]), gained)
    ends = "" if gained.get("low") is None else f" (95% interval {_ends(main, gained)})"
    if gained.get("low") is not None and gained["low"] > 0:
        yield Finding(
            "good", f"{word(main).name} is {size} better than the best simple model, {best['name']}{ends}."
        )
    elif gained.get("high") is not None and gained["high"] < 0:
        yield Finding(
            "warning",
            f"{word(main).name} is {size} worse than that of {best['name']}{ends}. On data like these the "
            "simple model is the better choice, unless more time or more rows change that.",
        )
    else:
        side = "better" if gained["value"] >= 0 else "worse"
        yield Finding(
            "note",
            f"{word(main).name} is {size} {side} than that of {best['name']}{ends}: no clear difference.",
        )


def difference(metric: str, value: float, estimate: Mapping[str, Any]) -> str:
    """A difference of two values of a metric; of percentages in points."""
    text = fixed(metric, value, decimals_of(metric, estimate))
    return f"{text.removesuffix('%')} points" if text.endswith("%") else text


def weakest_class(output: Json) -> Iterator[Finding]:
    """The class that is found least often, and what it is taken for."""
    classes = [
        c for c in output.get("classes", ()) if c["rows"] >= LEAST_ROWS and c["recall"]["value"] is not None
    ]
    if len(classes) < 2:
        return
    weakest = min(classes, key=lambda c: float(c["recall"]["value"]))
    if weakest["recall"]["value"] > (_value(output["metrics"], "balanced_accuracy") or 0.0) - 0.05:
        return
    text = f"“{weakest['label']}” is found least often: {percent(weakest['recall']['value'])} of its rows"
    counts = output.get("confusion", {}).get("counts")
    if counts and len(counts) > 2:
        place = output["labels"].index(weakest["label"])
        others = [(n, i) for i, n in enumerate(counts[place]) if i != place]
        n, taken = max(others)
        text += f"; most often it is taken for “{output['labels'][taken]}” ({count(n, 'row')})"
    yield Finding("note", text + ".")


def unbalanced(output: Json) -> Iterator[Finding]:
    """One class so frequent that accuracy says little."""
    classes: Sequence[Json] = output.get("classes", ())
    total = sum(c["rows"] for c in classes)
    if output["kind"] != "category" or not total:
        return
    largest = max(classes, key=lambda c: int(c["rows"]))
    if largest["rows"] > 0.8 * total:
        share = percent(largest["rows"] / total)
        yield Finding(
            "note",
            f"{share} of the rows are “{largest['label']}”: look at balanced accuracy and ROC AUC instead.",
        )


def honest(output: Json) -> Iterator[Finding]:
    """Whether probabilities mean what they say."""
    bins: Sequence[Json] = output.get("reliability", ())
    error = _value(output["metrics"], "calibration_error")
    if not bins or error is None:
        return
    rows = sum(b["count"] for b in bins)
    lean = sum(b["count"] * (b["claimed"] - b["held"]) for b in bins) / rows
    if error > 0.05 and rows >= 200:
        way = "too high" if lean > 0 else "too low"
        yield Finding("warning", f"Its probabilities are {percent(error)} off on average, mostly {way}.")
    elif error <= 0.03 and (_value(output["metrics"], "balanced_accuracy") or 0) > 1.2 / len(
        output["labels"]
    ):
        yield Finding(
            "good", f"Its probabilities can be taken at their word: they are {percent(error)} off on average."
        )


def covering(output: Json, calibration: Json) -> Iterator[Finding]:
    """Whether the intervals around predicted numbers hold the truth as often as they promise."""
    found = output.get("coverage")
    if not found or found.get("value") is None:
        return
    promised = found.get("promised", calibration.get("coverage", 0.9))
    what = "intervals held the truth"
    if output["kind"] == "category":
        size = number(found.get("size"), 3)
        noun = "class" if size == "1" else "classes"
        what = f"sets of possible classes ({size} {noun} on average) held the true one"
    text = f"Its {percent(promised, 0)} {what} in {percent(found['value'])} of the rows"
    inside = found["low"] <= promised <= found["high"]
    yield Finding("good" if inside or found["value"] >= promised else "warning", text + ".")


def sure_enough(data: ReportData) -> Iterator[Finding]:
    """Too few rows to be sure of anything."""
    part = data.evaluation.get("part", "test")
    rows = data.evaluation.get("evaluated", data.evaluation.get("rows", {}).get(part, 0))
    if part != "test":
        yield Finding(
            "warning",
            f"There were no test rows, so everything is measured on {part} rows: expect less on new data.",
        )
    if 0 < rows < 200:
        yield Finding(
            "note", f"Only {count(rows, 'row')} were left to measure on, so the intervals are wide."
        )


def kept_state(data: ReportData) -> Iterator[Finding]:
    """Whether training went on too long, or not long enough."""
    marks = [i for i, entry in enumerate(data.history) if entry.get("best")]
    if not marks or len(data.history) < 4:
        return
    best, last = data.history[marks[-1]], data.history[-1]
    if marks[-1] >= len(data.history) - 1 and not data.stopped:
        yield Finding(
            "note", "Validation was still getting better when training ended: more epochs may help."
        )
    elif marks[-1] < 0.6 * len(data.history):
        yield Finding(
            "note",
            f"Validation was best at step {count(best['step'])} of {count(last['step'])}; it was kept.",
        )


def left_out(data: ReportData) -> Iterator[Finding]:
    """Rows that could not be used."""
    if data.quarantine:
        yield Finding(
            "note", f"{count(len(data.quarantine), 'entry')} of the data could not be used; see Data."
        )


def _value(metrics: Mapping[str, Any], name: str) -> float | None:
    value: float | None = metrics.get(name, {}).get("value")
    return value


def _apart(own: Json, other: Json, metric: str) -> dict[str, float | None]:
    """How much better one estimate is than another; with bounds only where their intervals lie apart."""
    sign = -1 if lower_is_better(metric) else 1
    low, high = ("low", "high") if sign > 0 else ("high", "low")
    found: dict[str, float | None] = {
        "value": sign * (own["value"] - other["value"]),
        "low": None,
        "high": None,
    }
    if own.get("low") is not None and other.get("low") is not None:
        found["low"], found["high"] = sign * (own[low] - other[high]), sign * (own[high] - other[low])
    return found


def _ends(metric: str, gained: Mapping[str, Any]) -> str:
    return interval(metric, gained).replace("%", "")


def headline(output: Json) -> str:
    """The main metric in words, for the page's description."""
    main = output["main"]
    ends = interval(main, output["metrics"][main])
    return f"{word(main).name} {measured(main, output['metrics'][main])}" + (f" ({ends})" if ends else "")
