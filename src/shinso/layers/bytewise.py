"""The hash of `models/ngrams.py` for runtimes whose integers have 32 bits, as OpenVINO's on a CPU.

Numbers of 64 bits are 8 bytes, each a float32: nothing here exceeds 2**24, below which float32 counts
exactly. The hash of an n-gram is linear in its codes before it is mixed, so all orders are one product.

B rows, M codes, O orders, 8 bytes, the lowest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

STEP, MIX, SEED = 0x2545F491, 0x5851F42D, 7919
WORD, CODE, MIXED = 8, 3, 7  # bytes of a state, of a code, and those of a mixed state that are needed
MODULUS = 1 << 64
BUCKETS = 1 << 16  # the only number for which a remainder is a sum of two halves


def hashed_bytewise(codes_BM: Tensor, orders: Sequence[int], seed: int) -> list[Tensor]:
    """What `ngrams.hashed` gives for `BUCKETS`, by float32 alone. Codes are below 2**24.

    >>> from shinso.models.ngrams import hashed
    >>> codes = torch.tensor([[72, 105, 0x1F600, 0], [0x3042, 1, 0, 0]])
    >>> pairs = zip(hashed_bytewise(codes, (1, 3), 1), hashed(codes, (1, 3), BUCKETS, 1), strict=True)
    >>> all(torch.equal(a, b) for a, b in pairs)
    True
    """
    if not orders:
        return []
    size, most = codes_BM.shape[1], max(orders)
    following = [F.pad(codes_BM, (0, n))[:, n - 1 : n - 1 + size] for n in range(1, most + 1)]
    pieces_BMP = torch.cat([_bytes_of(codes) for codes in following], -1)
    weights_PO8, start_O8 = _states(orders, most)
    sums_BMO8 = (pieces_BMP @ weights_PO8.flatten(1)).unflatten(-1, (len(orders), WORD)) + start_O8
    state = _carried(sums_BMO8.unbind(-1))
    sign = (state[-1] >= 128).float() * 255
    mixed = _xor(state, _shifted([*state, *[sign] * (CODE + 2)], CODE, 32)[:WORD])
    product_BMO7 = torch.stack(mixed, -1) @ _times(MIX)[:, :MIXED] + _constant(seed * SEED)[:MIXED]
    last = _carried(product_BMO7.unbind(-1))
    low, second, third, high = _xor(last[:4], _shifted(last, 2, 2)[:4])
    total_BMO = low + 256 * second + third + 256 * (high - 128 * (high >= 128).float())
    for _ in range(2):
        total_BMO = torch.where(total_BMO >= BUCKETS - 1, total_BMO - (BUCKETS - 1), total_BMO)
    keys = (total_BMO.long() + 1).unbind(-1)
    return [torch.where(following[n - 1] > 0, key, 0) for n, key in zip(orders, keys, strict=True)]


def _bytes_of(codes_BM: Tensor) -> Tensor:
    """(B, M, 3)."""
    rest, found = codes_BM.float(), []
    for _ in range(CODE):
        above = (rest / 256).floor()
        found.append(rest - 256 * above)
        rest = above
    return torch.stack(found, -1)


def _states(orders: Sequence[int], most: int) -> tuple[Tensor, Tensor]:
    """(P, O, 8) what each byte of each code adds to a state, and (O, 8) what the numbers of the steps add."""
    weights = torch.zeros(most, CODE, len(orders), WORD)
    starts = []
    for place, n in enumerate(orders):
        for i in range(1, n + 1):
            for byte in range(CODE):
                weights[i - 1, byte, place] = _constant(pow(STEP, n - i, MODULUS) << (8 * byte))
        starts.append(_constant(sum(i * pow(STEP, n - i, MODULUS) for i in range(1, n + 1))))
    return weights.flatten(0, 1), torch.stack(starts)


def _constant(value: int) -> Tensor:
    """(8,) the bytes of a number."""
    return torch.tensor([float(b) for b in (value % MODULUS).to_bytes(WORD, "little")])


def _times(value: int) -> Tensor:
    """(8, 8) by which the bytes of a state are multiplied with a number."""
    return torch.stack([_constant(value << (8 * byte)) for byte in range(WORD)])


def _carried(sums: Sequence[Tensor]) -> list[Tensor]:
    """Sums of bytes as bytes; what is beyond the highest one is lost."""
    found, carry = [], torch.zeros_like(sums[0])
    for one in sums:
        total = one + carry
        carry = (total / 256).floor()
        found.append(total - 256 * carry)
    return found


def _shifted(digits: Sequence[Tensor], skipped: int, divisor: int) -> list[Tensor]:
    """Bytes shifted right, by whole bytes and by a power of two below 256."""
    return [
        (low / divisor).floor() + (high - divisor * (high / divisor).floor()) * (256 // divisor)
        for low, high in pairwise(digits[skipped:])
    ]


def _xor(first: Sequence[Tensor], second: Sequence[Tensor]) -> list[Tensor]:
    return [(a.int() ^ b.int()).float() for a, b in zip(first, second, strict=True)]
