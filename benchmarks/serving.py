"""Requests a second, latency, start, memory, overload, swaps and bad neighbours of `shinso serve`.

    python benchmarks/serving.py EXPORT RUN IMAGE --peers PYTHON --only compare -o out.json

The server is pinned to core 0, the load generator to core 1. EXPORT and RUN are the same image classifier,
IMAGE a picture, PYTHON an interpreter that has fastapi, python-multipart and litserve. `--only` names parts:

compare     ours, FastAPI + torch, LitServe one after the other, `--rounds` times; each round gives ratios.
            Closed loop: n connections, each of which asks again once it was answered. The most requests a
            second whose p99 stays within 25 ms count, and the most at all beside it.
overload    ten times the requests a second that can be answered (open loop, `--rows` rows each), for
            `--storm` seconds; the usual load before and after. Where the generator has no time left it sends
            in bursts: then ask for more rows a request.
swaps       50 hot swaps between two versions while eight connections ask.
neighbours  one client asks: alone, and beside one that sends bombs, endless bodies or malformed tensors.
floor       what uvicorn and onnxruntime need with nothing around them, and shinso beside it, in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import serving_neighbours
from serving_load import PORT, Load, http_request, loaded, memory, processor, server

PEERS = Path(__file__).parent / "peers"
READY = "/v2/health/ready"
LIMIT = 0.025  # seconds: the p99 that counts
COUNTS = {"shinso": (8, 12, 16, 24, 32), "fastapi": (2, 3, 4), "litserve": (4, 16, 32),
          "floor": (8, 16)}  # fmt: skip  # of connections
Facts = dict[str, Any]


def form(image: bytes, name: str) -> bytes:
    """A form with one file, as browsers send it."""
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n'
    return f"{head}Content-Type: image/png\r\n\r\n".encode() + image + b"\r\n--b--\r\n"


def measured(command: list[str], ready: str, request: bytes, counts: Sequence[int], seconds: float) -> Facts:
    """One server, started afresh."""
    with server(command, ready) as (process, start):
        idle = memory(process)
        asyncio.run(loaded(request, 4, 1.0))  # warm
        single = asyncio.run(loaded(request, 1, seconds)).told()
        every = {count: asyncio.run(loaded(request, count, seconds)).told() for count in counts}
        within = [t["rps"] for t in (single, *every.values()) if t["p99_ms"] <= 1000 * LIMIT]
        return {
            "within": max(within, default=0.0), "most": max(t["rps"] for t in every.values()),
            "p50_ms": single["p50_ms"], "ready_seconds": round(start, 3), "rss_mb": [idle, memory(process)],
            "by_connections": {1: single, **every},
        }  # fmt: skip


def compared(commands: dict[str, tuple[list[str], str, bytes]], rounds: int, seconds: float) -> Facts:
    """A, B, C, A, B, C: medians, and the ratios of the rounds."""
    found: dict[str, list[Facts]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, (command, ready, request) in commands.items():
            found[name].append(measured(command, ready, request, COUNTS[name.partition(" ")[0]], seconds))
            print(json.dumps({name: found[name][-1]}), flush=True)
    middle = {
        name: {key: median(one[key] for one in each) for key in ("within", "most", "p50_ms", "ready_seconds")}
        | {"rss_mb": max(max(one["rss_mb"]) for one in each)}
        for name, each in found.items()
    }
    ratios: Facts = {}
    own = [name for name in found if name.startswith("shinso")]
    for ours, name, key in product(own, found.keys() - {*own}, ("within", "most")):
        pairs = zip(found[ours], found[name], strict=True)
        times = sorted(mine[key] / theirs[key] for mine, theirs in pairs if theirs[key])
        ratios[f"{key}, {ours} / {name}"] = [round(t, 2) for t in (median(times), *times)] if times else None
    return {"medians": middle, "ratios: median, all": ratios, "rounds": found}


def overload(command: list[str], request: bytes, seconds: float, deadline: float) -> Facts:
    """Ten times what can be answered, then the usual load two seconds later."""
    with server([*command, "--deadline", str(deadline), "--share", "1"], READY) as (process, _):
        asyncio.run(loaded(request, 4, 1.0))
        calm = max((asyncio.run(loaded(request, n, 3.0)).told() for n in (2, 4, 8)), key=lambda t: t["rps"])
        before = memory(process)
        rate, used, own = 10 * calm["rps"], processor(process), time.process_time()
        storm = asyncio.run(loaded(request, round(rate), seconds, rate)).told()
        during, spent = memory(process), processor(process)
        own = (time.process_time() - own) / seconds
        time.sleep(2.0)
        after = asyncio.run(loaded(request, 4, 3.0)).told()
        again = asyncio.run(loaded(request, round(rate), seconds / 3, rate)).told()
        rss = {"before": before, "after a storm": during, "after another": memory(process)}
        used = [round(b - a, 1) for a, b in zip(used, spent, strict=True)]
        return {"calm": calm, "storm": storm, "after": after, "again": again, "rss_mb": rss,
                "goodput": round(storm["rps"] / calm["rps"], 3), "deadline_ms": 1000 * deadline,
                "seconds, own and system": used, "generator, of its core": round(own, 2)}  # fmt: skip


def exchanges(command: list[str], export: Path, request: bytes, count: int) -> Facts:
    """Hot swaps under load, between two versions that are loaded from their folders each time."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a", "b"):
            shutil.copytree(export, Path(folder) / name)
            manifest = Path(folder) / name / "export.json"
            manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": name}))
        with server([*command, "--folder", folder], READY):
            started = time.perf_counter()
            load, versions = asyncio.run(swapping(request, export.name, count))
            told = load.told()
            seconds = round(time.perf_counter() - started, 1)
            return {"swaps": count, "versions": sorted(versions), "seconds": seconds,
                    "calm": asyncio.run(loaded(request, 8, 2.0)).told(), **told}  # fmt: skip


async def swapping(request: bytes, name: str, count: int) -> tuple[Load, set[str]]:
    """The load, and the versions that were live in turn."""
    load, until, seen = Load(), time.perf_counter() + 600, set[str]()
    started = time.perf_counter()
    stop = asyncio.Event()

    async def ask() -> None:
        while not stop.is_set():
            part = await loaded(request, 1, 0.25)
            load.seconds += part.seconds
            load.failed += part.failed
            load.refused += part.refused

    asking = [asyncio.create_task(ask()) for _ in range(8)]
    for i in range(count):
        assert time.perf_counter() < until
        seen.add(await asyncio.to_thread(swap, name, "ab"[i % 2]))
    stop.set()
    await asyncio.gather(*asking)
    load.elapsed = time.perf_counter() - started
    return load, seen


def swap(name: str, version: str) -> str:
    """Load a version and let it answer; gives the version that is live."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/admin/models/{name}/load",
        json.dumps({"path": version}).encode(), {"content-type": "application/json"}, method="POST",
    )  # fmt: skip
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return str(json.load(answer)["version"])


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("export", type=Path)
    parser.add_argument("run")
    parser.add_argument("image", type=Path)
    parser.add_argument("--peers", default=sys.executable)
    parser.add_argument(
        "--also", type=Path, help="another export of the run, as in bf16, to compare beside it"
    )
    parser.add_argument("--only", default="compare,overload,swaps,neighbours")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--storm", type=float, default=30.0)
    parser.add_argument("--rows", type=int, default=10)
    parser.add_argument("--deadline", type=float, default=1.0)
    parser.add_argument("-o", "--out", type=Path)
    asked = parser.parse_args()
    os.sched_setaffinity(0, {1})
    os.environ["OMP_NUM_THREADS"] = "1"
    image, port, export = asked.image.read_bytes(), str(PORT), asked.export.resolve()
    multipart = http_request("/predict", "multipart/form-data; boundary=b", form(image, "image"))
    raw = http_request("/predict", "image/png", image)
    rows = json.dumps({"rows": [{"image": base64.b64encode(image).decode()}] * asked.rows}).encode()
    many = http_request("/predict", "application/json", rows)
    ours = [sys.executable, "-m", "shinso", "serve", str(export), "--port", port, "--drain", "0"]
    also = (
        {}
        if asked.also is None
        else {
            f"shinso {asked.also.name}": ([*ours[:4], str(asked.also.resolve()), *ours[5:]], READY, multipart)
        }
    )
    peers = {
        name: [asked.peers, str(PEERS / f"serving_{name}.py")] for name in ("fastapi", "litserve", "floor")
    }
    commands = {
        "shinso": (ours, READY, multipart),
        **also,
        "fastapi": ([*peers["fastapi"], asked.run, port], "/ready", multipart),
        "litserve": ([*peers["litserve"], asked.run, port], "/health", multipart),
    }
    found: Facts = {}
    for name in asked.only.split(","):
        if name == "compare":
            found[name] = compared(commands, asked.rounds, asked.seconds)
        elif name == "overload":
            found[name] = overload(ours, many, asked.storm, asked.deadline)
        elif name == "swaps":
            found[name] = exchanges(ours, export, raw, 50)
        elif name == "neighbours":
            found[name] = serving_neighbours.beside(ours, READY, raw, asked.seconds)
        elif name == "floor":
            bare = ([*peers["floor"], str(export), port], "/ready", raw)
            both = {"shinso": (ours, READY, raw), "floor": bare}
            found[name] = compared(both, asked.rounds, asked.seconds)
        print(json.dumps({name: found[name]}), flush=True)
        if asked.out is not None:
            asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
