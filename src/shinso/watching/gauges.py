"""The result of the monitor as Prometheus gauges, for the text file collector of the node exporter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

HELP = {
    "passed": "1 where nothing has moved.",
    "alarms": "Alarms in all days that were looked at.",
    "rows": "Rows that were served on the last day.",
    "p": "Probability of a difference as large under no change, on the last day.",
    "effect": "Share of the rows that moved, on the last day.",
    "psi": "Population stability index, on the last day.",
    "alarm": "1 where something moved on the last day.",
    "embeddings": "Embeddings that were compared on the last day.",
    "latency_seconds": "Latency of the last day.",
    "refused": "Share of requests that were refused on the last day.",
    "quality": "The figure of all labelled rows.",
    "quality_low": "Lower end of its 95% interval.",
    "quality_high": "Upper end of its 95% interval.",
    "labelled_rows": "Rows with a label.",
    "difference": "Another version less this one.",
    "difference_low": "Lower end of the interval that holds at every moment.",
    "difference_high": "Upper end of the interval that holds at every moment.",
}


def exposition(found: Mapping[str, Any]) -> str:
    """The text that Prometheus reads."""
    samples: dict[str, list[str]] = {}
    for name, labels, value in _samples(found):
        if value is not None:
            shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            samples.setdefault(name, []).append(f"shinso_monitor_{name}{{{shown}}} {float(value):.10g}")
    return "".join(
        f"# HELP shinso_monitor_{name} {HELP[name]}\n# TYPE shinso_monitor_{name} gauge\n"
        + "".join(f"{line}\n" for line in lines)
        for name, lines in samples.items()
    )


def _samples(found: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str], Any]]:
    run = {"run": found["run"]}
    yield "passed", run, found["passed"]
    yield "alarms", run, len(found["alarms"])
    if found["days"]:
        last = found["days"][-1]
        yield "rows", run, last["rows"]
        yield "refused", run, last["refused"]
        if found["embedding"] is not None:
            yield "embeddings", run, last["vectors"]
        for quantile, value in last["latency"].items():
            yield "latency_seconds", {**run, "quantile": f"0.{quantile[1:]}"}, value
        for check in found["checks"]:
            if check["day"] == last["day"]:
                where = {**run, "column": check["column"], "check": check["check"]}
                for name in ("p", "effect", "psi", "alarm"):
                    yield name, where, check[name]
    for name, quality in found["quality"].items():
        where = {**run, "column": name, "metric": quality["metric"]}
        yield "quality", where, quality["value"]
        yield "quality_low", where, quality["low"]
        yield "quality_high", where, quality["high"]
        yield "labelled_rows", where, quality["rows"]
    for one in found["experiments"]:
        where = {**run, "column": one["column"], "second": one["second"]}
        yield "difference", where, one["value"]
        yield "difference_low", where, one["low"]
        yield "difference_high", where, one["high"]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
