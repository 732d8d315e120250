"""How many cores this process may use for reading data."""

from __future__ import annotations

import os
import sys

MOST = 16


def cores() -> int:
    """Cores that this process may run on, at most 16."""
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(MOST, count)
