"""train.py in a process of its own, as a user runs it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.gpu.child import ROOT
from utils.console.log import printable

LAST = 200  # characters of a console that an error shows


def trainer(words: Sequence[str], console: Path, cwd: Path | None = None) -> subprocess.Popen:
    """train.py, begun; what it says goes to the end of a file."""
    return begin([sys.executable, str(ROOT / "train.py"), *words], console, cwd)


def begin(words: Sequence[str], console: Path, cwd: Path | None = None) -> subprocess.Popen:
    """Any process, likewise."""
    with open(console, "ab") as out:
        return subprocess.Popen(words, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def wait_until(process: subprocess.Popen, ready: Callable[[], bool], seconds: float) -> bool:
    """Wait until `ready`, at most to the process's end; whether it was. Raises TimeoutError."""
    until = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None:
            return ready()
        if time.monotonic() > until:
            raise TimeoutError(f"{process.args[1]} was not there after {seconds:.0f} s")
        time.sleep(0.02)
    return True


def finish(process: subprocess.Popen, console: Path, seconds: float) -> str:
    """Wait for a process's end; its console. Raises RuntimeError with the last of it where it failed."""
    try:
        code = process.wait(max(seconds, 0.1))
    except subprocess.TimeoutExpired:
        process.kill()
        raise TimeoutError(f"{console}: not done after {seconds:.0f} s: {tail(console)}") from None
    if code != 0:
        raise RuntimeError(f"{console}: exit code {code}: {tail(console)}")
    return text_of(console)


def text_of(console: Path) -> str:
    return printable(console.read_text(encoding="utf-8", errors="replace"))


def tail(console: Path) -> str:
    return text_of(console)[-LAST:]
