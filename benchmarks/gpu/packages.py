"""Which packages of requirements.txt are not installed. Imports the standard library alone."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"
ALSO = {"opencv-python": "opencv-python-headless"}  # another distribution of the same module


def missing() -> list[str]:
    """The packages named in requirements.txt that are not installed."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    names = [re.split(r"[<>=!~;\[ ]", line.strip())[0] for line in lines if line.strip() and line[0] not in "#-"]
    return [name for name in names if not _installed(name) and not _installed(ALSO.get(name, name))]


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def report_missing() -> None:
    """Say what is missing, in a line."""
    names = missing()
    if names:
        print(f"not installed: {', '.join(names)} (see requirements.txt); what needs it is left out", flush=True)
