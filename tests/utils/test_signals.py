"""Signals become wishes, and the handlers found are put back."""

from __future__ import annotations

import os
import signal

import pytest

from utils.signals import Interrupted, Wishes


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop(number: int) -> None:
    with Wishes() as wishes:
        os.kill(os.getpid(), number)
        assert wishes.stop == number
        assert not wishes.save


def test_a_signal_to_save() -> None:
    with Wishes() as wishes:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGUSR1)
        assert wishes.save
        assert wishes.stop is None


def test_the_handlers_found_come_back() -> None:
    watched = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in watched]
    inside = []

    def fail() -> None:
        with Wishes():
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
        with Wishes():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), second)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + second


def test_interrupted_names_the_signal() -> None:
    assert str(Interrupted(signal.SIGTERM)) == "SIGTERM"
