"""Which run a launcher's processes train: torchrun starts them again by the same command line when one has died.

Told by the launchers themselves, not by how often they say that they have started processes anew: of several hosts,
those whose own processes lived on do not count it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path

MARK = ".launch"


def launcher() -> str:
    """The launcher that started this process: the launch's name, host, number and start. Empty without one."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    if name is None:
        return ""
    parent = os.getppid()
    try:
        start = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        start = ""
    return f"{name} {socket.gethostname()} {parent} {start}".strip()


def mark(folder: Path, launchers: Iterable[str]) -> None:
    """Note in a run's folder which launchers' processes train it; nothing without any."""
    lines = sorted(set(launchers) - {""})
    if lines:
        (folder / MARK).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def find(folders: Sequence[Path], launchers: Iterable[str]) -> Path | None:
    """Which of the runs' folders was trained by any of these launchers, the last one; None where none was."""
    own = set(launchers) - {""}
    marks = [path for path in (folder / MARK for folder in folders) if path.is_file()]
    marks = [path for path in marks if own & set(path.read_text(encoding="utf-8").splitlines())]
    return max(marks, key=lambda path: path.stat().st_mtime).parent if marks else None
