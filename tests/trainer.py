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
from torch import Tensor

import train
from training.session import Session
from utils import checkpoint

ROOT = Path(train.__file__).resolve().parent
TABLES = ("results.csv", "lr.csv", "cycles.csv")


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
        """Go on with a run, by default the newest unfinished one, in this process."""
        return train.main(["--resume", *([] if run is None else [str(run / "weights" / "last.pt")]), *text.split()])

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


def differences(first: Any, second: Any, where: str = "") -> list[str]:
    """Where two checkpoints differ: any tensor's dtype, shape or bits, any plain value but the date."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        same = first.dtype == second.dtype and torch.equal(first, second)
        return [] if same else [where]
    if type(first) is not type(second):
        return [f"{where}: {first!r} against {second!r}"]
    if isinstance(first, dict):
        if list(first) != list(second):
            return [f"{where}: keys {sorted(map(str, first.keys() ^ second.keys()))}"]
        pairs = [(first[key], second[key], f"{where}.{key}") for key in first if key != "date"]
    elif isinstance(first, list | tuple):
        if len(first) != len(second):
            return [f"{where}: {len(first)} entries against {len(second)}"]
        pairs = [(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(first, second, strict=True))]
    else:
        return [] if first == second else [f"{where}: {first!r} against {second!r}"]
    return [line for a, b, place in pairs for line in differences(a, b, place)]


def assert_identical(first: Path, second: Path, but: tuple[str, ...] = ()) -> None:
    """Two run folders hold the same run: tables by bytes, checkpoints by content but for the lines that name `but`."""
    for name in TABLES:
        assert (first / name).exists() == (second / name).exists(), name
        if (first / name).exists():
            assert (first / name).read_text() == (second / name).read_text(), name
    names = [{p.name for p in (run / "weights").iterdir() if "previous" not in p.name} for run in (first, second)]
    assert names[0] == names[1]
    for name in sorted(names[0]):
        states = [checkpoint.load(run / "weights" / name) for run in (first, second)]
        found = [line for line in differences(*states) if not any(line.startswith(place) for place in but)]
        assert not found, f"{name}: {found[:5]}"


def set_nan(run: Session) -> None:
    """Spoil one weight."""
    with torch.no_grad():
        next(run.model.parameters())[0, 0, 0, 0] = float("nan")


def is_finite(path: Path) -> bool:
    """Whether all tensors of a checkpoint's weights are."""
    state = checkpoint.load(path)
    return all(v.isfinite().all() for key in ("model", "ema") for v in state.get(key, {}).values())
