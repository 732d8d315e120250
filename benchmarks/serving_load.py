"""Servers to measure, and the load that measures them: closed and open loops over raw sockets."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PORT = 8710


@dataclass
class Load:
    """What a load generator saw."""

    seconds: list[float] = field(default_factory=list)  # of accepted requests
    refused: int = 0  # 429 and 503
    failed: int = 0
    why: Counter[str] = field(default_factory=Counter)  # the failed: status, or class of the error
    elapsed: float = 0.0

    def told(self) -> dict[str, Any]:
        """Requests a second and quantiles in milliseconds."""
        times = sorted(self.seconds) or [float("nan")]
        sent = len(self.seconds) + self.refused + self.failed
        return {
            "rps": round(len(self.seconds) / self.elapsed, 1),
            "offered_rps": round(sent / self.elapsed, 1),
            "p50_ms": round(1000 * times[len(times) // 2], 2),
            "p99_ms": round(1000 * times[int(len(times) * 0.99)], 2),
            "longest_ms": round(1000 * times[-1], 2),
            "refused": self.refused,
            "failed": self.failed,
            **({"why": dict(self.why)} if self.why else {}),
        }


async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, load: Load) -> bool:
    """One request and its answer; whether the connection may be used again."""
    started = time.perf_counter()
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    status = head[9:12]
    if status == b"200":
        load.seconds.append(time.perf_counter() - started)
    elif status in (b"429", b"503"):
        load.refused += 1
    else:
        load.failed += 1
        load.why[status.decode()] += 1
    return b"connection: close" not in head


async def connection(request: bytes, start: float, until: float, load: Load, every: float) -> None:
    """One connection that asks until the time is over: at once again, or `every` so many seconds."""
    await asyncio.sleep(max(0.0, start - time.perf_counter()))
    writer = None
    due = start
    try:
        while time.perf_counter() < until:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            if not await one(reader, writer, request, load):
                writer.close()
                writer = None
            if every:
                due = max(due + every, time.perf_counter())
                await asyncio.sleep(due - time.perf_counter())
    except (OSError, asyncio.IncompleteReadError) as error:
        load.failed += 1
        load.why[type(error).__name__] += 1
    finally:
        if writer is not None:
            writer.close()


async def loaded(request: bytes, connections: int, seconds: float, rate: float = 0.0) -> Load:
    """So many connections in a closed loop, or together `rate` requests a second in an open one."""
    load, started = Load(), time.perf_counter()
    until, every = started + seconds, connections / rate if rate else 0.0
    starts = [started + i * every / connections for i in range(connections)]
    await asyncio.gather(*(connection(request, start, until, load, every) for start in starts))
    load.elapsed = time.perf_counter() - started
    return load


def http_request(path: str, kind: str, body: bytes) -> bytes:
    """The bytes of one request."""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextmanager
def server(command: Sequence[str], ready: str) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """A server on core 0, and the seconds from its start until it says that it is ready.

    It has a process group of its own, which is ended whole, for some leave children behind.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        ["taskset", "-c", "0", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
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
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask everything that a server started to end, then make it, then wait until its port is free."""
    for sent, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0)):
        until = time.perf_counter() + patience
        for pid in started_by(process):
            with suppress(ProcessLookupError):
                os.kill(pid, sent)
        while started_by(process) and time.perf_counter() < until:
            process.poll()
            time.sleep(0.02)
    while taken():
        time.sleep(0.05)


def taken() -> bool:
    """Whether anything listens on the port."""
    with socket.socket() as plug:
        return plug.connect_ex(("127.0.0.1", PORT)) == 0


def started_by(process: subprocess.Popen[bytes]) -> dict[int, int]:
    """The processes of a server's session and their resident pages, by id."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == process.pid and fields[0] != "Z":
            found[int(path.parent.name)] = int(fields[21])
    return found


def processor(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Seconds of processor that a server used: its own, and the system's for it."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    own, system = (int(field) / os.sysconf("SC_CLK_TCK") for field in fields[11:13])
    return own, system


def memory(process: subprocess.Popen[bytes]) -> float:
    """Resident MB of all that a server started."""
    return round(sum(started_by(process).values()) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
