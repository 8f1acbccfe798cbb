"""Which run a launcher's processes train: torchrun starts them again by the same command line when one has died."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from utils.ranks import started

MARK = ".launch"


def mark(folder: Path) -> None:
    """Note in a run's folder which launcher trains it; nothing without one."""
    if started():
        (folder / MARK).write_text(_launcher(), encoding="utf-8")


def is_restart() -> bool:
    """Whether the launcher has started this process in place of one that died."""
    return started() and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def find(project: Path) -> Path | None:
    """The folder under `project` that this launcher's processes train."""
    marks = [path for path in project.glob(f"*/{MARK}") if path.read_text(encoding="utf-8") == _launcher()]
    return max(marks, key=lambda path: path.stat().st_mtime).parent if marks else None


def _launcher() -> str:
    """The launch by the name it was given, else by its process: host, number and start."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    if name != "none":
        return f"{name}\n"
    parent = os.getppid()
    try:
        start = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        start = ""
    return f"{socket.gethostname()} {parent} {start}\n"
