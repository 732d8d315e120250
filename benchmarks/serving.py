"""Requests a second, latency, start, memory, overload of `shinso serve`, beside servers as people write them.

    python benchmarks/serving.py EXPORT RUN IMAGE --peers PYTHON -o out.json

The server is pinned to core 0, the load generator to core 1. EXPORT and RUN are the same image classifier,
IMAGE a picture, PYTHON an interpreter that has fastapi, python-multipart and litserve. Closed loop: n
connections, each of which asks again once it was answered; the best n whose p99 stays within 25 ms counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parent / "peers"
PORT = 8710
LIMIT = 0.025  # seconds: the p99 that counts


@dataclass
class Load:
    """What a load generator saw."""

    seconds: list[float] = field(default_factory=list)  # of accepted requests
    refused: int = 0
    failed: int = 0
    elapsed: float = 0.0

    def told(self) -> dict[str, float]:
        """Requests a second and quantiles in milliseconds."""
        times = sorted(self.seconds) or [float("nan")]
        return {
            "rps": round(len(self.seconds) / self.elapsed, 1),
            "p50_ms": round(1000 * times[len(times) // 2], 2),
            "p99_ms": round(1000 * times[int(len(times) * 0.99)], 2),
            "refused": self.refused,
            "failed": self.failed,
        }


async def connection(request: bytes, until: float, load: Load, pause: float) -> None:
    """One connection that asks until the time is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    try:
        while time.perf_counter() < until:
            started = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            status = head[9:12]
            if status == b"200":
                load.seconds.append(time.perf_counter() - started)
            elif status == b"503":
                load.refused += 1
            else:
                load.failed += 1
            if pause:
                await asyncio.sleep(pause)
    except (OSError, asyncio.IncompleteReadError):
        load.failed += 1
    finally:
        writer.close()


async def loaded(request: bytes, connections: int, seconds: float, pause: float = 0.0) -> Load:
    """A closed loop of so many connections."""
    load, started = Load(), time.perf_counter()
    until = started + seconds
    await asyncio.gather(*(connection(request, until, load, pause) for _ in range(connections)))
    load.elapsed = time.perf_counter() - started
    return load


def http_request(path: str, kind: str, body: bytes) -> bytes:
    """The bytes of one request."""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def form(image: bytes, name: str) -> bytes:
    """A form with one file, as browsers send it."""
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n'
    return f"{head}Content-Type: image/png\r\n\r\n".encode() + image + b"\r\n--b--\r\n"


@contextmanager
def server(command: list[str], ready: str) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """A server on core 0, and the seconds from its start until it says that it is ready."""
    started = time.perf_counter()
    process = subprocess.Popen(["taskset", "-c", "0", *command], stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{ready}", timeout=1) as answer:
                    if answer.status == 200:
                        break
            except OSError:
                assert process.poll() is None, "the server ended"
                time.sleep(0.01)
        yield process, time.perf_counter() - started
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def memory(process: subprocess.Popen[bytes]) -> float:
    """Resident MB of a process and of what it started."""
    total, wanted = 0.0, {process.pid}
    for path in sorted(Path("/proc").glob("[0-9]*/stat"), key=lambda p: int(p.parent.name)):
        fields = path.read_text().rpartition(")")[2].split() if path.exists() else []
        if fields and (int(path.parent.name) in wanted or int(fields[1]) in wanted):
            wanted.add(int(path.parent.name))
            total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return round(total, 1)


def best(request: bytes, counts: list[int], seconds: float) -> dict[str, Any]:
    """The most requests a second whose p99 is within the limit."""
    found: dict[str, Any] = {"rps": 0.0}
    every = {}
    for count in counts:
        told = asyncio.run(loaded(request, count, seconds)).told()
        every[count] = told
        if told["p99_ms"] <= 1000 * LIMIT and told["rps"] > found["rps"]:
            found = {"connections": count, **told}
    return {"best": found, "by_connections": every}


def measured(command: list[str], ready: str, requests: dict[str, bytes], seconds: float) -> dict[str, Any]:
    """Everything about one server."""
    with server(command, ready) as (process, start):
        first = next(iter(requests.values()))
        asyncio.run(loaded(first, 2, 1.0))  # warm
        found: dict[str, Any] = {"ready_seconds": round(start, 3), "rss_mb_idle": memory(process)}
        for name, request in requests.items():
            found[name] = {"single": asyncio.run(loaded(request, 1, seconds)).told()}
            found[name] |= best(request, [4, 8, 16, 24, 32, 48], seconds)
        found["rss_mb"] = memory(process)
    return found


def overload(command: list[str], request: bytes, peak: int, seconds: float) -> dict[str, Any]:
    """Ten times the connections of the peak, then as many again as at the peak."""
    with server(command, "/v2/health/ready") as (process, _):
        asyncio.run(loaded(request, 4, 1.0))
        before, calm = memory(process), asyncio.run(loaded(request, peak, 4.0)).told()
        storm = asyncio.run(loaded(request, 10 * peak, seconds)).told()
        time.sleep(1.0)
        after = asyncio.run(loaded(request, peak, 4.0)).told()
        return {"calm": calm, "storm": storm, "after": after, "rss_mb": [before, memory(process)]}


def exchanges(command: list[str], request: bytes, name: str, folder: str, count: int) -> dict[str, Any]:
    """Hot swaps under load: each loads the model again from its folder and makes it live."""

    async def both() -> Load:
        load = asyncio.create_task(loaded(request, 8, 20.0))
        for _ in range(count):
            await asyncio.to_thread(swap)
        return await load

    def swap() -> None:
        asked = urllib.request.Request(
            f"http://127.0.0.1:{PORT}/admin/models/{name}/load",
            json.dumps({"path": folder}).encode(), {"content-type": "application/json"}, method="POST",
        )  # fmt: skip
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert answer.status == 200

    with server(command, "/v2/health/ready"):
        started = time.perf_counter()
        told = asyncio.run(both()).told()
        return {"swaps": count, "seconds": round(time.perf_counter() - started, 1), **told}


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("export")
    parser.add_argument("run")
    parser.add_argument("image", type=Path)
    parser.add_argument("--peers", default=sys.executable)
    parser.add_argument("--only", default="shinso,fastapi,floor,litserve")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--storm", type=float, default=30.0)
    parser.add_argument("-o", "--out", type=Path)
    asked = parser.parse_args()
    os.sched_setaffinity(0, {1})
    os.environ["OMP_NUM_THREADS"] = "1"
    image = asked.image.read_bytes()
    multipart = http_request("/predict", "multipart/form-data; boundary=b", form(image, "image"))
    raw = http_request("/predict", "image/png", image)
    port = str(PORT)
    ours = [sys.executable, "-m", "shinso", "serve", asked.export, "--port", port, "--drain", "0"]
    commands = {
        "shinso": (ours, "/v2/health/ready", {"multipart": multipart, "raw": raw}),
        "fastapi": ([asked.peers, str(PEERS / "serving_fastapi.py"), asked.run, port], "/ready",
                    {"multipart": multipart}),
        "floor": ([asked.peers, str(PEERS / "serving_floor.py"), asked.export, port], "/ready", {"raw": raw}),
        "litserve": ([asked.peers, str(PEERS / "serving_litserve.py"), asked.run, port], "/health",
                     {"multipart": multipart}),
    }  # fmt: skip
    found: dict[str, Any] = {}
    for name in asked.only.split(","):
        if name in commands:
            found[name] = measured(*commands[name], asked.seconds)
        elif name == "overload":
            found[name] = overload(ours, raw, 32, asked.storm)
        elif name == "swaps":
            export = Path(asked.export).resolve()
            found[name] = exchanges(ours, raw, export.name, export.name, 50)
        print(json.dumps({name: found[name]}), flush=True)
    if asked.out is not None:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
