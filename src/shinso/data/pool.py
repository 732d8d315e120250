"""Several processes that decode files side by side, without pickling and without the user's module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import IO

import numpy as np

from ..columns.base import Array, Column, Values
from .encoding import Failures, Piece

JOB = 256  # files that a process decodes at a time
PACKAGE = Path(__file__).parents[2]  # the folder that holds the package


@dataclass
class Done:
    """The answer to one job."""

    count: int
    pieces: list[Piece] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)


class Workers:
    """Processes that encode paths for one column. Closing ends them."""

    def __init__(self, column: Column, count: int) -> None:
        """Start the processes. Raises `OSError` when they cannot be started, as where that is forbidden."""
        described = {
            "type": f"{type(column).__module__}:{type(column).__qualname__}",
            "column": column.to_dict(),
        }
        self._greeting = json.dumps(described).encode() + b"\n"
        self._ragged = column.ragged
        self._count = count
        self._running: list[subprocess.Popen[bytes]] = []
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        try:
            for _ in range(count):
                self._launch()
            for process in self._running:
                self._await(process)
        except OSError:
            self.close()
            raise

    def encode(self, chunks: Iterator[tuple[int, Values]]) -> Iterator[Done]:
        """Encode chunks of paths, each with the place of its first row, in order."""
        jobs = (
            (start + i, values[i : i + JOB]) for start, values in chunks for i in range(0, len(values), JOB)
        )
        waiting: deque[Future[Done]] = deque()
        with ThreadPoolExecutor(self._count) as pool:
            try:
                for start, values in jobs:
                    waiting.append(pool.submit(self._encode, start, values))
                    if len(waiting) > 2 * self._count:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def close(self) -> None:
        """End the processes."""
        for process in self._running:
            _end(process)
        self._running = []

    def _encode(self, start: int, values: Values) -> Done:
        """Encode one job; a file that brings the decoder down is found by halving; only that one fails."""
        process = self._idle.get()
        done = _ask(process, start, values, ragged=self._ragged)
        if done is not None:
            self._idle.put(process)
            return done
        _end(process)
        self._await(self._launch())
        if len(values) == 1:
            reason = "The program that decodes it stopped. The file is damaged; replace or remove it."
            return Done(1, [], Failures([start], [reason], [str(values[0])]))
        half = len(values) // 2
        first, second = self._encode(start, values[:half]), self._encode(start + half, values[half:])
        failures = Failures(
            first.failures.rows + second.failures.rows,
            first.failures.reasons + second.failures.reasons,
            first.failures.values + second.failures.values,
        )
        return Done(len(values), first.pieces + second.pieces, failures)

    def _launch(self) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join([str(PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "shinso.data.encoding_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )
        self._running.append(process)
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(self._greeting)
            process.stdin.flush()
        return process

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        """Let a process that has just started be given jobs."""
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise OSError("the process that decodes files did not start")
        self._idle.put(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()
    process.wait()


def _ask(process: subprocess.Popen[bytes], start: int, values: Values, *, ragged: bool) -> Done | None:
    """Let a process encode some paths; None when it died of them."""
    assert process.stdin is not None and process.stdout is not None
    job = {"start": start, "paths": [None if value is None else str(value) for value in values]}
    try:
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
        return _read_answer(process.stdout, len(values), ragged=ragged)
    except (BrokenPipeError, EOFError):
        return None


def _read_answer(stream: IO[bytes], count: int, *, ragged: bool) -> Done:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    answer = json.loads(line)
    pieces: list[Piece] = []
    for described in answer["pieces"]:
        arrays = [
            _read_array(stream, tuple(shape), np.dtype(described["dtype"])) for shape in described["shapes"]
        ]
        pieces.append((described["start"], arrays if ragged else arrays[0]))
    return Done(count, pieces, Failures(*answer["failures"]))


def _read_array(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
    size = int(np.prod(shape)) * dtype.itemsize
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return np.frombuffer(data, dtype).reshape(shape)
