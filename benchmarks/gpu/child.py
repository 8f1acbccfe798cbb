"""A part in a process of its own, so that one that hangs or crashes is named and the next begins.

`run` starts it; `python -m benchmarks.gpu.child MODULE SETTING FINDINGS` is the process.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu.findings import DONE, FAILED, LATE, LEFT_OUT, RUNNING, Findings, LeftOut
from benchmarks.gpu.parts import Part
from benchmarks.gpu.setting import Setting
from utils.console import log

ROOT = Path(__file__).resolve().parents[2]
EVERY = 0.5  # seconds between two looks at what it found


def start(part: Part, setting: Setting, console: Path) -> tuple[subprocess.Popen, Path]:
    """The process of a part, and the file of its findings. It leads a group: all it starts can be ended with it."""
    folder = Path(setting.folder) / part.name
    folder.mkdir()
    setting.write(folder / "setting.json")
    found = folder / "findings.json"
    words = [sys.executable, "-m", "benchmarks.gpu.child", part.module, str(folder / "setting.json"), str(found)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    with open(console, "ab") as out:
        process = subprocess.Popen(
            words, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    return process, found


def run(part: Part, setting: Setting, console: Path, changed: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Run a part until its end or `setting.until`; `changed` is called with what it has found whenever that grows."""
    process, path = start(part, setting, console)
    seen = ""
    try:
        while process.poll() is None and setting.seconds_left > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(min(EVERY, max(setting.seconds_left, 0.01)))
            if path.exists() and (text := path.read_text(encoding="utf-8")) != seen:
                seen = text
                changed(json.loads(text))
        late = process.poll() is None
    finally:
        end(process)
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"figures": [], "state": RUNNING}
    if found["state"] == RUNNING:
        found |= {"state": LATE} if late else {"state": FAILED, "why": how(process.returncode)}
    return found


def end(process: subprocess.Popen) -> None:
    """End what is left of a part's group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def how(code: int) -> str:
    """A process's end in words."""
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def main(module: str, setting: str, path: str) -> int:
    """Do a part. Its failure is among its findings; 1 where it failed."""
    log.setup()
    findings = Findings(Path(path))
    findings.write()
    print(f"\n===== {module}, {time.strftime('%H:%M:%S')}", flush=True)
    try:
        importlib.import_module(module).run(Setting.read(Path(setting)), findings)
    except LeftOut as reason:
        findings.end(LEFT_OUT, str(reason))
    except Exception as error:  # whatever it is, the next part has its turn
        traceback.print_exc()
        findings.end(FAILED, " ".join(f"{type(error).__name__}: {error}".split())[:300])
        return 1
    else:
        findings.end(DONE)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
