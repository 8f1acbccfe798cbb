"""Helpers of the tests that run ablate.py on the small data set with the narrow network."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import ablate
from ablation.records import read
from benchmarks.compare import run_differences
from tests.trainer import ROOT, Runs

STUDY = Path("runs", "ablate", "exp")


def words(runs: Runs, text: str = "", **changed: Any) -> list[str]:
    """The command line of a small study; see `Runs.flags`."""
    return runs.flags(text, **{"epochs": 1} | changed)


def study(runs: Runs, text: str = "", **changed: Any) -> int:
    """ablate.py in this process, its workers in theirs. Returns the exit code."""
    return ablate.main(words(runs, text, **changed))


def child(argv: list[str], **options: Any) -> subprocess.Popen:
    """ablate.py in a process of its own, with its console in `stdout`."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    command = [sys.executable, str(ROOT / "ablate.py"), *argv]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env=env, **streams, **options)


def table(folder: Path = STUDY, name: str = "results.csv") -> list[dict[str, str]]:
    with open(folder / name, newline="") as file:
        return list(csv.DictReader(file))


def statuses(folder: Path = STUDY) -> dict[str, str]:
    """How every run stands, by its folder."""
    return {path.name: read(path).status for path in sorted((folder / "runs").iterdir())}


def assert_same_study(first: Path, second: Path) -> None:
    """The same table by bytes, and the same runs by content."""
    assert (first / "results.csv").read_bytes() == (second / "results.csv").read_bytes()
    names = [sorted(path.name for path in (folder / "runs").iterdir()) for folder in (first, second)]
    assert names[0] == names[1]
    place = (".options.run.project", ".options.run.name")
    for name in names[0]:
        assert not run_differences(first / "runs" / name, second / "runs" / name, place)


def kill(process: subprocess.Popen) -> None:
    """SIGKILL to the parent alone: its workers have to notice by themselves."""
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)
