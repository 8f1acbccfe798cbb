"""A run in processes of its own is stopped with its worker, and goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ablation import records, worker
from ablation.launch import launch
from data.shared import Shared
from tests.trainer import ROOT, Runs, wait_for
from training.folder import is_locked


def test_only_runs_of_several_processes_are_launched() -> None:
    assert worker._is_launched(["--lr0", "0.1", "--device", "0,1"])
    assert not worker._is_launched(["--lr-arg", "a=1,2", "--device", "auto"])
    assert not worker._is_launched(["--device", "0,1", "--device", "cpu"])
    assert worker._is_launched(["--processes", "2", "--device", "cpu"])
    assert not worker._is_launched(["--processes", "1", "--device", "cpu"])


@pytest.mark.slow
def test_a_run_of_several_devices_is_told_of_them(runs: Runs) -> None:
    """There are none here: train.py says so, and the job's console has it."""
    argv = [*runs.flags(device=None), "--device", "0,1"]
    job = {"argv": argv, "folder": "study/runs/a", "console": "study/runs/a/console.txt", "needs": 0.0}
    assert worker.do(job, Shared())["code"] > 0
    assert "error: --device 0" in records.last_lines(Path("study/runs/a/console.txt"))
    session = records.read(Path("study/runs/a")).sessions[-1]
    assert session["seconds"] > 0
    assert session["memory_gb"] is None


@pytest.mark.slow
def test_a_stop_is_passed_on(runs: Runs) -> None:
    """And a stopped run goes on when it is launched again."""
    folder = Path("runs/train/exp")

    def stop() -> None:
        while records.epochs_done(folder) < 1:
            threading.Event().wait(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    stopper = threading.Thread(target=stop)
    stopper.start()
    assert launch(runs.flags(epochs=200)) == 130
    stopper.join()
    assert records.last_facts(folder)["epoch"] < 200
    assert not is_locked(folder)
    epochs = records.epochs_done(folder) + 1
    assert launch(["--resume", str(folder), "--epochs", str(epochs)]) == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the system must tell of a parent's death")
def test_a_run_does_not_outlive_its_worker(runs: Runs) -> None:
    folder = Path("runs/train/exp")
    code = "import sys; from ablation.launch import launch; launch(sys.argv[1:])"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", code, *runs.flags(epochs=2000)], env=env) as parent:
        wait_for(parent, lambda: records.epochs_done(folder) >= 1)
        parent.kill()
    worker._until_free(folder)
    assert not is_locked(folder)
    assert 0 < records.last_facts(folder)["epoch"] < 2000  # saved
