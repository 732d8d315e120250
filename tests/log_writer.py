"""A process that writes a request log until it is killed, and says which rows are on the disk."""

from __future__ import annotations

import sys
import time
from itertools import count

import numpy as np

from shinso.columns.category import Category
from shinso.schema import Schema
from shinso.watching.log import RequestLog
from shinso.watching.sampling import Vector, share_of
from shinso.watching.store import Entry

BUYS = Category(name="buys").fit(np.array(["no", "yes"] * 20, object))


def row(id: str, now: float) -> Entry:
    vector = Vector("s", id, id, now, share_of(id, "vectors"), bytes(8))
    return Entry(id, now, "m", "1", "answer", 200, 0.0, {"buys": "no"}, {}, None, vector)


def main(place: str, life: str) -> None:
    log = RequestLog(place, Schema((BUYS,), (BUYS,)))
    for group in count():
        ids = [f"{life}-{group}-{i}" for i in range(20)]
        rows = [row(id, time.time()) for id in ids]
        if log.wait(log.append(rows)):
            print(*ids, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3])
