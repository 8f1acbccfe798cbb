"""How much memory is free, as far as the system and a container around us tell."""

from __future__ import annotations

import os
from pathlib import Path


def available_bytes(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of main memory that can still be used: the system's, or what a container's limit leaves if that is less.

    Where the system does not say (macOS), half of what is built in.
    """
    try:
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return max(0, min(free, _cgroup_free(cgroup, free)))


def _cgroup_free(folder: Path, otherwise: int) -> int:
    """What a container's limit leaves (cgroup version 2, then 1); file pages that it would give back count as free."""
    for limit, used, detail in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        try:
            stat = dict(line.split()[:2] for line in (folder / detail).read_text().splitlines() if line.strip())
            reclaimable = int(stat.get("inactive_file", 0))
            return int((folder / limit).read_text()) - int((folder / used).read_text()) + reclaimable
        except (OSError, ValueError):  # no such file, or "max": no limit
            continue
    return otherwise
