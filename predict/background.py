"""Threads that read and write beside the network."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

LOWER = 5  # of nice(1), than the process


def let_network_go_first() -> None:
    """Lower the priority of the calling thread, and of those that it starts, where there is one a thread (Linux).

    The network's threads wait for one another at the end of every layer: one that a decoder holds up holds up all.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, os.getpid()) + LOWER)
