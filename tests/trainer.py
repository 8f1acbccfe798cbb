"""Helpers of the tests that run train.py: in this process, in another, stopped at a step; and what a run left."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import train
from benchmarks.compare import run_differences
from training.session import Session
from utils import checkpoint

ROOT = Path(train.__file__).resolve().parent


class Killed(BaseException):
    """Ends a run where it stands, as SIGKILL does: nothing on the way out saves it."""


@dataclass(frozen=True)
class Runs:
    """Calls train.py on the small data set with the narrow network, at 64 px in batches of 2, quietly."""

    faces: Path
    narrow: Path
    folder: Path

    def flags(self, text: str = "", **changed: Any) -> list[str]:
        """The command line: the small defaults, each overridden by keyword (None drops it), then `text`."""
        values = {
            "data": self.faces,
            "cfg": self.narrow,
            "imgsz": 64,
            "batch_size": 2,
            "nbs": 8,
            "epochs": 3,
            "device": "cpu",
            "dtype": "fp32",
            "workers": 0,
            "noplots": True,
            "hyp": "yolov5",
        } | changed
        words = []
        for name, value in values.items():
            if value is not None:
                words += ["--" + name.replace("_", "-")] + ([] if value is True else [str(value)])
        return words + text.split()

    def __call__(self, text: str = "", **changed: Any) -> int:
        """A new run in this process. Returns the exit code."""
        return train.main(self.flags(text, **changed))

    def resume(self, run: Path | None = None, text: str = "") -> int:
        """Go on with a run, its folder or one of its checkpoints, by default the newest unfinished, in this process."""
        files = [] if run is None else [run if run.suffix else run / "weights" / "last.pt"]
        return train.main(["--resume", *map(str, files), *text.split()])

    def child(self, words: list[str], **options: Any) -> subprocess.Popen:
        """train.py in a process of its own, with its console in `stdout`."""
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *words],
            cwd=self.folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )

    def run(self, name: str = "exp") -> Path:
        return self.folder / "runs" / "train" / name


def at_step(patch: pytest.MonkeyPatch, step: int, act: Callable[[Session], None]) -> None:
    """Have `act` called with the run once, as soon as a run has done its `step`th optimizer step."""
    done = Session.step

    def and_act(self: Session) -> None:
        done(self)
        if self.progress.step == step and self.folder != Path():  # a range test steps on copies without a folder
            act(self)

    patch.setattr(Session, "step", and_act)


def send(number: int) -> Callable[[Session], None]:
    """What sends a signal to this process."""
    return lambda _: os.kill(os.getpid(), number)


def kill(_: Session) -> None:
    raise Killed


def wait_for(process: subprocess.Popen, ready: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until `ready`, which must come before the process ends."""
    until = time.monotonic() + seconds
    while not ready():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until, "the run did not get there"
        time.sleep(0.01)


def interrupt(process: subprocess.Popen, number: int = signal.SIGTERM) -> tuple[int, str]:
    """Send a signal; the exit code (negative: killed by a signal) and the console."""
    process.send_signal(number)
    text = process.communicate(timeout=120)[0]
    return process.returncode, text


def rows(path: Path) -> list[dict[str, float]]:
    """A CSV file's rows as numbers."""
    with open(path, newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def assert_identical(first: Path, second: Path, but: tuple[str, ...] = ()) -> None:
    """Two run folders hold the same run: tables by bytes, checkpoints by content without the entries in `but`."""
    found = run_differences(first, second, but)
    assert not found, found[:5]


def set_nan(run: Session) -> None:
    """Spoil one weight."""
    with torch.no_grad():
        next(run.model.parameters())[0, 0, 0, 0] = float("nan")


def is_finite(path: Path) -> bool:
    """Whether all tensors of a checkpoint's weights are."""
    state = checkpoint.load(path)
    return all(v.isfinite().all() for key in ("model", "ema") for v in state.get(key, {}).values())
