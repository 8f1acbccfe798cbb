"""A file that one process holds, so that no second one does the same work in its folder."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

LOGGER = logging.getLogger("anneal")
PAUSE = 0.01  # seconds between two tries


def hold(path: Path, seconds: float, in_vain: Callable[[], bool] = lambda: False) -> IO | None:
    """Hold a file, made if need be, until the returned one closes in all processes that inherit it.

    The number of this process is written into it. None where another process has it for `seconds` more, or as soon as
    waiting is `in_vain`. Where the file system cannot lock, that is said, and the file is not held.
    """
    handle = open(path, "a+")  # noqa: SIM115  (it stays open)
    until = time.monotonic() + seconds
    try:
        while _held_elsewhere(handle, fcntl.LOCK_EX):
            if in_vain() or time.monotonic() > until:
                handle.close()
                return None
            time.sleep(PAUSE)
    except OSError as error:
        what = f"{path.parent}: cannot be locked here ({error.strerror or error}); continuing"
        LOGGER.warning(f"{what}; make sure that no second process uses it")
        return handle
    os.ftruncate(handle.fileno(), 0)
    handle.write(f"{os.getpid()}\n")
    handle.flush()
    return handle


def is_held(path: Path) -> bool:
    """Whether another process holds a file, as far as can be told."""
    try:
        with open(path, "r+") as handle:
            return _held_elsewhere(handle, fcntl.LOCK_SH)  # two that look do not take each other for a holder
    except OSError:
        return False


def _held_elsewhere(handle: IO, kind: int) -> bool:
    """Whether another process holds the lock of this file; else this one does, until the file closes."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):  # a network file system without locks, say
            raise
        return True
    return False
