"""Threads for what takes long: they give way to those that answer."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

NICE = 10  # a tenth of the processor where others want it, all of it where nobody does


def giving_way(name: str) -> ThreadPoolExecutor:
    """One thread that computes when the others do not."""
    return ThreadPoolExecutor(1, thread_name_prefix=name, initializer=give_way)


def give_way() -> None:
    """Lower the priority of this thread alone, which Linux can."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
