"""What a client that sends bombs, endless bodies or malformed tensors does to another one.

Both ask over the same core, the bad one in a process of its own that gives way (nice 19), from another
address (127.0.0.2). `python benchmarks/serving_neighbours.py KIND SECONDS` is that process.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import struct
import subprocess
import sys
import time
import zlib
from statistics import median
from typing import Any

from PIL import Image
from serving_load import PORT, http_request, loaded, server

CONNECTIONS = 4
HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\n"
KINDS = ("image_bomb", "picture_64_mpx", "body_1_gb", "chunks_for_ever", "tensor_16_mb", "tensors_malformed",
         "no_json", "half_a_head")  # fmt: skip


def bomb() -> bytes:
    """A PNG whose header claims 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"0" * 99)) + chunk(b"IEND", b"")


def large() -> bytes:
    """64 million pixels in 60 KB, which may just be read."""
    file = io.BytesIO()
    Image.new("L", (8000, 8000)).save(file, "PNG", compress_level=9)
    return file.getvalue()


def sent(kind: str, path: str = "/v2/models/fashion/infer") -> list[bytes]:
    """The pieces of one request; the last is sent again and again where the answer does not come."""
    tensor: dict[str, Any] = {"name": "image", "shape": [1], "datatype": "BYTES", "data": ["!"]}
    if kind == "image_bomb":
        return [http_request("/predict", "image/png", bomb())]
    if kind == "picture_64_mpx":
        body = json.dumps({"image": base64.b64encode(large()).decode()}).encode()
        return [http_request("/predict", "application/json", body)]
    if kind == "body_1_gb":
        head = HEAD + b"content-length: 1073741824\r\n\r\n"
        return [head, b"\0" * 65_536]
    if kind == "chunks_for_ever":
        head = HEAD + b"transfer-encoding: chunked\r\n\r\n"
        return [head, b"10000\r\n" + b"\0" * 65_536 + b"\r\n"]
    if kind == "tensor_16_mb":
        head = b'{"inputs": [{"name": "image", "shape": [8000000], "datatype": "UINT8", "data": ['
        return [http_request(path, "application/json", head + b"0," * 8_000_000 + b"0]}]}")]
    if kind == "tensors_malformed":
        return [http_request(path, "application/json", json.dumps({"inputs": [tensor, tensor]}).encode())]
    if kind == "half_a_head":
        return [b"POST /predict HTTP/1.1\r\nx: "]
    return [http_request("/predict", "application/json", b'{"image": ' * 2000)]


async def annoy(pieces: list[bytes], until: float) -> int:
    """One connection after the other that sends and does not look at what comes; gives the requests sent."""
    count = 0
    while time.perf_counter() < until:
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT, local_addr=("127.0.0.2", 0))
        answer = asyncio.create_task(reader.read(65_536))
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            count += 1
            while not answer.done() and time.perf_counter() < until:
                if len(pieces) > 1:
                    writer.write(pieces[-1])
                    await writer.drain()
                await asyncio.wait([answer], timeout=0 if len(pieces) > 1 else 0.5)
        except OSError:
            await asyncio.sleep(0)
        finally:
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)
            writer.close()
    return count


async def annoying(kind: str, seconds: float) -> int:
    """All connections of the bad client."""
    pieces, until = sent(kind), time.perf_counter() + seconds
    return sum(await asyncio.gather(*(annoy(pieces, until) for _ in range(CONNECTIONS))))


def beside(command: list[str], ready: str, request: bytes, seconds: float) -> dict[str, Any]:
    """By kind of neighbour: the good client's rate and latency, and how often slower than alone around it."""
    found: dict[str, Any] = {}
    with server(command, ready):
        asyncio.run(loaded(request, 1, 1.0))
        alone = asyncio.run(loaded(request, 1, seconds)).told()
        for kind in KINDS:
            bad = subprocess.Popen(
                ["taskset", "-c", "1", sys.executable, __file__, kind, str(seconds + 1)],
                stdout=subprocess.PIPE,
            )
            time.sleep(0.8)
            told = asyncio.run(loaded(request, 1, seconds)).told()
            output = bad.communicate()[0]
            after = asyncio.run(loaded(request, 1, seconds / 2)).told()
            quiet = {key: median((alone[key], after[key])) for key in ("rps", "p50_ms", "p99_ms")}
            found[kind] = {
                "slower": round(quiet["rps"] / max(told["rps"], 0.1), 2), "rps": [quiet["rps"], told["rps"]],
                "p50_ms": [quiet["p50_ms"], told["p50_ms"]], "p99_ms": [quiet["p99_ms"], told["p99_ms"]],
                "failed": told["failed"], "sent": int(output or 0),
            }  # fmt: skip
            alone = after
            print(json.dumps({kind: found[kind]}), flush=True)
    return found


if __name__ == "__main__":
    os.nice(19)
    print(asyncio.run(annoying(sys.argv[1], float(sys.argv[2]))))
