"""Signals become requests, and the handlers found are put back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from utils.console.signals import Interrupted, StopRequest, begin_imports, end_imports

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop(number: int) -> None:
    with StopRequest() as stop_request:
        os.kill(os.getpid(), number)
        assert stop_request.stop == number
        assert not stop_request.save


def test_a_signal_to_save() -> None:
    with StopRequest() as stop_request:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGUSR1)
        assert stop_request.save
        assert stop_request.stop is None


def test_the_handlers_found_come_back() -> None:
    watched = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in watched]
    inside = []

    def fail() -> None:
        with StopRequest():
            inside.extend(signal.getsignal(number) for number in watched)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not set(inside) & set(before)
    assert [signal.getsignal(number) for number in watched] == before


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_the_process(second: int) -> None:
    pid = os.fork()
    if pid == 0:  # the process ends without unwinding: it needs to be another one
        with StopRequest():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), second)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + second


def test_interrupted_names_the_signal() -> None:
    assert str(Interrupted(signal.SIGTERM)) == "SIGTERM"


@pytest.mark.parametrize("command", ["train.py", "val.py", "lr_find.py", "ablate.py"])
def test_the_keyboard_while_a_command_imports_ends_it_quietly(tmp_path: Path, command: str) -> None:
    """A torch that never ends its import stands in for one that takes seconds."""
    (tmp_path / "torch.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(600)\n")
    process = subprocess.Popen(
        [sys.executable, ROOT / command],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=120)[0] == ""
    assert process.returncode == 130


@pytest.mark.parametrize("before", [signal.default_int_handler, signal.SIG_IGN])
def test_after_the_imports_the_keyboard_is_what_it_was(before: object) -> None:
    found = signal.signal(signal.SIGINT, before)
    try:
        begin_imports()
        during = signal.getsignal(signal.SIGINT)
        end_imports()
        assert signal.getsignal(signal.SIGINT) is before
        assert (during is before) == (before is signal.SIG_IGN)  # a process in the background of a script
    finally:
        signal.signal(signal.SIGINT, found)
