"""Numbers about the server, in the text format of Prometheus."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from .observers import Watchers
from .registry import Registry

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass
class Histogram:
    """How often each time was needed."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


class Meters:
    """Counts of requests by what became of them, and how long they took."""

    def __init__(self) -> None:
        self.started = time.time()
        self.requests: dict[tuple[str, str, str, str], int] = defaultdict(int)
        self.seconds: dict[tuple[str, str], Histogram] = defaultdict(Histogram)

    def count(self, way: str, model: str, version: str, code: str, seconds: float) -> None:
        """One request: over which way, by whom, with which result."""
        self.requests[way, model, version, code] += 1
        self.seconds[way, model].add(seconds)

    def text(self, registry: Registry, watchers: Watchers) -> str:
        """All of it."""
        lines = [*self._own(), *_models(registry), *_watched(watchers)]
        return "\n".join(lines) + "\n"

    def _own(self) -> Iterable[str]:
        yield from _head("shinso_start_time_seconds", "gauge", "When the server started.")
        yield f"shinso_start_time_seconds {self.started:.3f}"
        yield from _head("shinso_requests_total", "counter", "Requests by what became of them.")
        for (way, model, version, code), count in self.requests.items():
            labels = _labels(way=way, model=model, version=version, code=code)
            yield f"shinso_requests_total{labels} {count}"
        yield from _head("shinso_request_seconds", "histogram", "From a request's arrival to its answer.")
        for (way, model), histogram in self.seconds.items():
            total = 0
            for edge, count in zip((*map(str, BUCKETS), "+Inf"), histogram.counts, strict=True):
                total += count
                yield f"shinso_request_seconds_bucket{_labels(way=way, model=model, le=edge)} {total}"
            yield f"shinso_request_seconds_sum{_labels(way=way, model=model)} {histogram.total:.6f}"
            yield f"shinso_request_seconds_count{_labels(way=way, model=model)} {total}"


def _models(registry: Registry) -> Iterable[str]:
    served = registry.everything()
    for name, kind, help, pick in (
        ("batches_total", "counter", "Batches that were computed.", lambda b: b.counts.batches),
        ("rows_total", "counter", "Rows that were computed.", lambda b: b.counts.rows),
        ("compute_seconds_total", "counter", "Time spent computing.", lambda b: round(b.counts.seconds, 6)),
        ("refused_total", "counter", "Requests refused as too much.", lambda b: b.counts.refused),
        ("expired_total", "counter", "Requests whose deadline passed.", lambda b: b.counts.expired),
        ("left_total", "counter", "Requests whose client left.", lambda b: b.counts.left),
        ("waiting_rows", "gauge", "Rows that wait.", lambda b: b.waiting),
    ):
        yield from _head(f"shinso_{name}", kind, help)
        for one in served:
            yield f"shinso_{name}{_labels(model=one.name, version=one.version)} {pick(one.batcher)}"
    yield from _head("shinso_live", "gauge", "1 for the version of each model that answers.")
    for one in served:
        live = int(registry.models[one.name].live == one.version)
        yield f"shinso_live{_labels(model=one.name, version=one.version)} {live}"


def _watched(watchers: Watchers) -> Iterable[str]:
    yield from _head(
        "shinso_unwatched_total", "counter", "Requests that no observer was told of, or that failed."
    )
    yield f'shinso_unwatched_total{{why="dropped"}} {watchers.dropped}'
    yield f'shinso_unwatched_total{{why="failed"}} {watchers.failed}'


def _head(name: str, kind: str, help: str) -> Iterable[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"


def _labels(way: str = "", model: str = "", version: str = "", code: str = "", le: str = "") -> str:
    """Labels in braces, escaped; names of models hold no special characters, but clients' words may."""
    given = {"way": way, "model": model, "version": version, "code": code, "le": le}
    inner = ",".join(f'{k}="{_escaped(v)}"' for k, v in given.items() if v)
    return f"{{{inner}}}" if inner else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
