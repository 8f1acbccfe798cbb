"""A run in processes of its own: train.py starts one for each of its devices."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Sequence

from ablation.worker_pool import ROOT, search_path

# has the system send SIGTERM (15) when the parent is gone (PR_SET_PDEATHSIG of prctl(2) is 1), then becomes the command
TIED = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])"


def launch(argv: Sequence[str]) -> int:
    """Run `train.py` with these words. Returns its exit code, 128 + signal where one ended it.

    Ctrl-C is passed on, and once more if it comes again. If this process dies, the run is told to save itself and stop
    (on Linux).
    """
    command = [sys.executable, str(ROOT / "train.py"), *argv]
    if platform.system() == "Linux":
        command = [sys.executable, "-c", TIED, *command]
    env = {**os.environ, "PYTHONPATH": search_path(os.environ)}
    run = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, start_new_session=True)
    while True:
        try:
            code = run.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            run.send_signal(signal.SIGINT)
