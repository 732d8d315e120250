"""Private randomness: every draw is a function of (seed, purpose, step); the user's own is untouched."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(*parts: int | str) -> int:
    """A 63-bit seed from a tuple of numbers and words, the same on every machine.

    >>> derive(0, "weights") == derive(0, "weights") != derive(1, "weights")
    True
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


@contextmanager
def private_randomness(*parts: int | str) -> Iterator[None]:
    """Seed torch's default generator (which dropout draws from) inside the block and put it back after."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive(*parts))
        yield


def generator(*parts: int | str, device: str = "cpu") -> torch.Generator:
    """A private generator for one purpose."""
    return torch.Generator(device=device).manual_seed(derive(*parts))
