"""The C library's allocator, set for tensors: they come and go by the hundred a step, and are large."""

from __future__ import annotations

import ctypes
import functools

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4  # of mallopt(3)


@functools.cache
def keep_freed_memory() -> bool:
    """Have the process keep memory that is freed, for the next tensor. Returns whether the C library can (glibc does).

    By default glibc gives each large block back to the kernel when it is freed, and the next one is mapped and cleared
    page by page: a third of the time of a network on a CPU.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return False
    # no blocks of their own; nothing given back; the heap grows by 64 MB
    return all([mallopt(MMAP_MAX, 0), mallopt(TRIM_THRESHOLD, -1), mallopt(TOP_PAD, 64 << 20)])
