"""The verb `monitor`: what was served since, beside what the model was trained on. Without torch.

Each day in UTC is compared with the reference, column by column. Holm's correction runs over all checks of
at least 20 days, those to come among them: so that of every 20 quiet days all stay quiet, with 95%, also when
one looks on each of them.
"""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..console import Console
from ..errors import SettingError
from ..files import write_atomic
from ..reporting.monitor_page import monitor_page
from . import daily, embeddings
from .condensing import Privacy, read_key
from .daily import Check, Day
from .drift import holm
from .embeddings import Spaces
from .experiments import experiments
from .gauges import exposition
from .log import key_beside
from .store import DAY, Entry, Store
from .watched import Watched

LEVEL = 0.05  # probability that anything is said in DAYS days in which nothing moved
DAYS = 20
LEAST_EFFECT = 0.02  # share of the rows that has to have moved
MOST_ROWS = 10_000  # of a day that are read
BACK = {"d": DAY, "h": 3600.0, "m": 60.0}


@dataclass(frozen=True)
class Asked:
    """What to look at."""

    log: str | None = None
    since: str | None = None
    until: str | None = None
    over: bool = False  # leave out the day that is not over
    key: Path | None = None  # of hashed columns


def monitor(
    path: Path, asked: Asked, console: Console, *, out: Path | None, prometheus: Path | None,
    now: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """See `shipping.monitor`."""
    now = time.time() if now is None else now
    watched = Watched(path)
    place = watched.log(asked.log)
    store = Store(place)
    try:
        found = look(watched, store, asked, now, console)
    finally:
        store.close()
    found = {"run": str(path), "log": place.rpartition("@")[2] if "://" in place else place, **found}
    if out is not None:
        write_atomic(out, monitor_page(found))
    if prometheus is not None:
        write_atomic(prometheus, exposition(found))
    return found


def look(watched: Watched, store: Store, asked: Asked, now: float, console: Console) -> dict[str, Any]:
    """What `monitor` gives, from an open log."""
    since, until = moment(asked.since, now, 0.0), moment(asked.until, now, now + DAY)
    if asked.over:
        until = min(until, now - now % DAY)
    reference, schema = watched.reference, watched.schema
    counts = store.days(since, until)
    truths = store.labels(since)
    private = _private(asked, store)
    mine = whose(watched, store, since, until)
    spaces = Spaces.of(watched.path)
    family = (_hypotheses(schema) + bool(spaces.folders)) * max(DAYS, len(counts))
    made: list[Check] = []
    days: list[dict[str, Any]] = []
    scored: dict[str, list[Any]] = {c.name: [] for c in schema.predict}
    with console.progress("comparing") as advance:
        for i, (number, rows) in enumerate(counts.items()):
            day = _day(store, number, rows, since, until, truths)
            made += daily.checks(day, schema, reference, private, LEVEL / family, mine)
            start, end = _within(number, since, until)
            found, told = embeddings.of_day(day, store.vectors(start, end), spaces, LEVEL / family)
            made += found
            own = [e for e in day.answered if mine(e)]
            for c in schema.predict:
                scored[c.name].append(daily.scores(c, own, truths))
            days.append({**_served(day), **told, "over": DAY * (number + 1) <= now})
            advance(i + 1, len(counts))
    alarms = _judge(made, family)
    quality = {
        c.name: daily.quality_of(c, joined) | {"on_test": _on_test(c.name, reference)}
        for c in schema.predict
        if len(joined := np.concatenate([*scored[c.name], np.zeros(0)]))
    }
    return {
        "passed": not any(alarms),
        "level": LEVEL, "days_held": max(DAYS, len(counts)), "hypotheses": family,
        "rows": sum(counts.values()), "days": days,
        "alarms": [_told(check) for check, alarm in zip(made, alarms, strict=True) if alarm],
        "checks": [{**_told(c), "alarm": alarm} for c, alarm in zip(made, alarms, strict=True)],
        "columns": {c.name: c.kind for c in schema}, "quality": quality, "embedding": _told_of(spaces, days),
        "experiments": experiments(schema, store, since, mine, reference),
    }  # fmt: skip


def moment(text: str | None, now: float, otherwise: float) -> float:
    """A time as seconds since 1970: a date, a date with a time (UTC), or a span back, as in 7d, 12h, 30m.

    >>> moment("1970-01-02", 0.0, 0.0), moment("1d", 86400.0, 0.0)
    (86400.0, 0.0)
    """
    if text is None:
        return otherwise
    span = re.fullmatch(r"(\d+(?:\.\d+)?)([dhm])", text.strip())
    if span:
        return now - float(span[1]) * BACK[span[2]]
    try:
        found = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        raise SettingError(
            f"{text!r} is no time. Give a date as in 2026-11-21, a date and time, or a span back, "
            f"as in 7d or 12h."
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()


def whose(watched: Watched, store: Store, since: float, until: float) -> Any:
    """Which answers are those of this model: by its name or version; all where one model alone was served."""
    name = watched.path.resolve().name
    arms = store.arms(since, until)
    own = {arm for arm in arms if name in arm[:2]} or set(arms)
    if len({arm[:2] for arm in own}) > 1 and not any(name in arm[:2] for arm in own):
        shown = ", ".join(sorted({f"{model} {version}".strip() for model, version, _ in own}))
        raise SettingError(
            f"The log holds answers of {shown}, and none of {name}. Name the run that was served."
        )
    models = {arm[:2] for arm in own}

    def mine(entry: Entry) -> bool:
        return (entry.model, entry.version) in models

    return mine


def _day(
    store: Store, number: int, rows: int, since: float, until: float, truths: Mapping[str, Mapping[str, Any]]
) -> Day:
    start, end = _within(number, since, until)
    every = max(1, -(-rows // MOST_ROWS))
    name = datetime.datetime.fromtimestamp(number * DAY, datetime.UTC).strftime("%Y-%m-%d")
    return Day(name, rows, list(store.entries(start, end, every=every)), truths)


def _told_of(spaces: Spaces, days: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Vectors that were compared, and those that came from other graphs; None where there are none."""
    compared, others = (sum(day[name] for day in days) for name in ("vectors", "other_vectors"))
    if not spaces.folders and not others:
        return None
    return {"graphs": sorted(spaces.folders), "vectors": compared, "other_vectors": others}


def _within(number: int, since: float, until: float) -> tuple[float, float]:
    return max(since, number * DAY), min(until, (number + 1) * DAY)


def _served(day: Day) -> dict[str, Any]:
    """What clients felt of a day."""
    heard = day.heard
    seconds = np.array([e.seconds for e in day.answered])
    latency = {f"p{q}": float(np.quantile(seconds, q / 100)) if len(seconds) else None for q in (50, 95, 99)}
    refused = sum(e.status >= 400 for e in heard)
    failed = sum(e.status >= 500 for e in heard)
    return {
        "day": day.day, "rows": day.rows, "looked_at": len(day.entries), "latency": latency,
        "tested": len(day.answered) >= daily.LEAST_ROWS,
        "refused": refused / max(1, len(heard)), "failed": failed / max(1, len(heard)),
        "labelled": sum(e.id in day.truths for e in day.answered),
    }  # fmt: skip


def _hypotheses(schema: Any) -> int:
    """Checks of one day, all of which may come to be made."""
    return 2 * len(schema.given) + 3 * len(schema.predict)


def _judge(made: Sequence[Check], family: int) -> list[bool]:
    fallen = holm([check.found.p for check in made], LEVEL, family)
    return [f and check.found.effect >= LEAST_EFFECT for f, check in zip(fallen, made, strict=True)]


def _told(check: Check) -> dict[str, Any]:
    return {
        "day": check.day, "column": check.column, "check": check.kind, **check.found.to_dict(),
        "live": check.live, "training": check.training,
    }  # fmt: skip


def _on_test(name: str, reference: Mapping[str, Any]) -> float | None:
    known = reference["answers"].get(name, {})
    if known.get("rows") and "right" in known:
        return float(known["right"] / known["rows"])
    return float(np.median(known["errors"])) if known.get("errors") else None


def _private(asked: Asked, store: Store) -> Privacy:
    """The key of hashed columns, where it stands beside the log or was named."""
    path = asked.key or key_beside(store.place)
    if path is None or not path.is_file():
        return Privacy()
    return Privacy(key=read_key(path), hashed=frozenset())


def lines(result: Mapping[str, Any]) -> list[str]:
    """For a terminal."""
    return list(_lines(result))


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    days = result["days"]
    if not days:
        yield f"{result['log']} holds no request of that time."
        return
    untested = sum(not day["tested"] for day in days)
    span = f"{len(days)} days, {days[0]['day']} to {days[-1]['day']}" if days[1:] else days[0]["day"]
    yield f"{result['rows']:,} rows on {span}"
    if untested:
        yield f"{untested} of these days have fewer than {daily.LEAST_ROWS} rows, too few to compare"
    for alarm in result["alarms"]:
        yield f"! {alarm['day']} {alarm['column']!r}: {sentence(alarm)}"
    if not result["alarms"]:
        yield "Nothing has moved."
    if result["embedding"] is not None:
        yield from embedding_lines(result["embedding"])
    for name, found in result["quality"].items():
        yield f"{name}: {quality_sentence(found)}"
    for one in result["experiments"]:
        yield experiment_sentence(one)


def sentence(alarm: Mapping[str, Any]) -> str:
    """What an alarm says."""
    share, what = f"{alarm['effect']:.0%} of the rows moved", plain(alarm["what"])
    then_and_now = (
        "" if alarm["live"] is None else f", {alarm['live']:.4g} where training had {alarm['training']:.4g}"
    )
    names = {
        "values": f"values differ from training ({what}; {share}{then_and_now})",
        "missing": f"{alarm['live'] or 0:.1%} missing, {alarm['training'] or 0:.1%} in training",
        "answers": f"answers differ from those on the test rows ({what}; {share}{then_and_now})",
        "sureness": f"answers are {what} in how sure they are ({share}{then_and_now})",
        "embedding": f"embeddings differ from those of held-back rows (at least {share}; {what})",
        "quality": f"answers are worse than on the test rows ({what}{then_and_now})",
    }
    return f"{names[alarm['check']]}, p = {alarm['p']:.1g}"


def embedding_lines(told: Mapping[str, Any]) -> Iterator[str]:
    """What embeddings were compared, and why others were not."""
    if told["vectors"]:
        yield f"{told['vectors']:,} embeddings were compared"
    elif told["graphs"] and not told["other_vectors"]:
        yield "No embedding was compared: the log keeps none of answers of an export of this model"
    if told["other_vectors"]:
        yield (
            f"{told['other_vectors']:,} embeddings come from graphs of which no reference is here, and were "
            f"not compared: `shinso monitor EXPORT` compares those of an export"
        )


def quality_sentence(found: Mapping[str, Any]) -> str:
    """Accuracy where labels exist."""
    ends = "" if found["low"] is None else f" ({found['low']:.4g} to {found['high']:.4g})"
    test = "" if found["on_test"] is None else f", {found['on_test']:.4g} on the test rows"
    name = found["metric"].replace("_", " ")
    return f"{name} {found['value']:.4g}{ends} on {found['rows']:,} labelled rows{test}"


def experiment_sentence(one: Mapping[str, Any]) -> str:
    """How a second version compares."""
    if one["value"] is None:
        return f"{one['second']} beside {one['first']} ({one['how']}): no labelled rows yet"
    verdicts = {"better": "is better", "worse": "is worse", "open": "is not told apart yet"}
    return (
        f"{one['second']} {verdicts[one['verdict']]} beside {one['first']} ({one['how']}): "
        f"{one['value']:+.4f} in {one['measure']} "
        f"({one['low']:+.4f} to {one['high']:+.4f}, at every moment), "
        f"{one['rows'][0]:,} and {one['rows'][1]:,} labelled rows"
    )


def plain(text: str) -> str:
    """A label as it may be printed: without characters that steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:80]
