"""What ends a run before its time, and the line that says how to go on."""

from __future__ import annotations

import os
import signal

import pytest
import torch

import lr_find
import train
from data.loader import TrainLoader
from tests.trainer import Runs, at_step
from training import build, start
from training.writer import Writer

LAST = "runs/train/exp/weights/last.pt"


def raising(error: BaseException):
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def last_line(capsys: pytest.CaptureFixture) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def test_memory_that_runs_out_before_the_first_step(runs: Runs, monkeypatch, capsys) -> None:
    monkeypatch.setattr(start, "assemble", raising(torch.OutOfMemoryError("CUDA out of memory")))
    line = "error: out of memory; give a smaller --imgsz, --batch-size or --cfg, or --cache ram"
    assert runs() == 1
    assert last_line(capsys) == line
    assert lr_find.main(runs.flags(epochs=None)) == 1
    assert last_line(capsys) == line


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory"),
            1,
            f"error: out of memory; continue with: python train.py --resume {LAST} with a smaller --batch-size",
        ),
        (
            OSError(5, "Input/output error", "/mnt/pictures/1.jpg"),
            1,
            "error: /mnt/pictures/1.jpg: Input/output error; once that is fixed, "
            f"continue with: python train.py --resume {LAST}",
        ),
    ],
)
def test_what_fails_once_there_is_a_checkpoint(runs: Runs, monkeypatch, capsys, error, code: int, said: str) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, 3, lambda _: patch.setattr(train, "validate", raising(error)))
        assert runs() == code
    assert last_line(capsys).startswith(said)
    with monkeypatch.context() as patch:
        patch.setattr(start, "assemble", raising(error))
        assert runs.resume() == code
        line = last_line(capsys)
        assert "give the same line again" in line
        assert "--project" not in line
        assert "whole run" not in line
    assert runs.resume() == 0


def test_what_fails_before_there_is_a_checkpoint(runs: Runs, monkeypatch, capsys) -> None:
    monkeypatch.setattr(TrainLoader, "epoch", raising(OSError(5, "Input/output error", "1.jpg")))
    assert runs() == 1
    assert last_line(capsys) == "error: 1.jpg: Input/output error; once that is fixed, give the same line again"


def test_the_keyboard_while_a_resume_loads(runs: Runs, monkeypatch, capsys) -> None:
    assert runs(epochs=1) == 0
    with monkeypatch.context() as patch:
        patch.setattr(start, "assemble", raising(KeyboardInterrupt()))
        assert runs.resume(runs.run(), "--epochs 2") == 130
        assert last_line(capsys) == "warning: stopped before the first step; the same command resumes"
        assert runs() == 130
        assert last_line(capsys) == "warning: stopped before the first step; nothing to resume"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 0)])
def test_signals_while_the_data_are_read(runs: Runs, monkeypatch, capsys, number: int, code: int) -> None:
    """There is nothing to save yet: that is said, and the signal that asks for a save does not end the run."""
    load = build.load_data

    def signalled(*given, **named):
        os.kill(os.getpid(), number)
        return load(*given, **named)

    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)]
    monkeypatch.setattr(build, "load_data", signalled)
    assert runs(epochs=1) == code
    if code:
        assert last_line(capsys) == "warning: stopped before the first step; nothing to resume"
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)] == before


def test_signals_are_ours_until_the_last_write_is_done(runs: Runs, monkeypatch) -> None:
    """Else a Ctrl-C in it would end in Python's own handler."""
    found = []
    wait = Writer.__exit__

    def leave(self: Writer, *error: object) -> None:
        found.append(signal.getsignal(signal.SIGINT))
        wait(self, *error)

    monkeypatch.setattr(Writer, "__exit__", leave)
    before = signal.getsignal(signal.SIGINT)
    assert runs(epochs=1) == 0
    assert len(found) == 1
    assert found[0] != before
    assert signal.getsignal(signal.SIGINT) == before
