"""Saves that training does not wait for: what was copied (`training.snapshots`) is written aside."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

MOST = 2


def _stand_back() -> None:
    """Let this thread run where a core is idle: one that shares a core with training holds up all of its threads."""
    if sys.platform == "linux":  # where a priority is a thread's own
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


class Writer:
    """One thread that writes what it is given, in order. A context manager: leaving it waits for the last write.

    At most `MOST` writes wait or are under way (an epoch's best and last weights, say), which bounds the memory.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="save", initializer=_stand_back)
        self._under_way: deque[Future] = deque()

    def submit(self, write: Callable[[], None]) -> None:
        """Run `write` aside, after those before it."""
        while len(self._under_way) >= MOST:
            self._under_way.popleft().result()
        self._under_way.append(self._pool.submit(write))

    def wait(self) -> None:
        """Return when nothing is under way. Raises what a write raised."""
        while self._under_way:
            self._under_way.popleft().result()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()
