"""What signals ask for: stop after the current step, or save and go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def begin_imports() -> None:
    """Have Ctrl-C end the process at once and without a word: a command's imports take seconds, with nothing begun."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # nobody has asked for something else
        signal.signal(signal.SIGINT, _leave)


def end_imports() -> None:
    """Have Ctrl-C raise KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


class Interrupted(Exception):
    """The run was asked to stop; it was saved first. `signum` tells the exit code, 128 + signum."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class StopRequest:
    """SIGTERM and SIGINT set `stop` (a second one ends the process at once), SIGUSR1 sets `save`.

    A context manager: the handlers found at the entry are put back at the exit. `launched`: this process has a
    launcher, which passes on what it got, so that a second signal may be the first once more: it changes nothing.
    """

    def __init__(self, launched: bool = False) -> None:
        self.launched = launched
        self.stop: int | None = None
        self.save = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            self.save = True
        elif self.stop is None:
            self.stop = number
            if not self.launched:
                os.write(2, b"\nstopping after this step; once more stops at once\n")  # logging is not for handlers
        elif not self.launched:
            os._exit(128 + number)


def _interrupt(number: int, _: FrameType | None) -> None:
    raise KeyboardInterrupt(number)


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """For the time before a run can save: SIGTERM raises KeyboardInterrupt, as SIGINT does, and SIGUSR1 does nothing.

    Handlers that somebody set are left alone.
    """
    ours = {signal.SIGTERM: _interrupt, signal.SIGUSR1: signal.SIG_IGN}
    before = {number: signal.getsignal(number) for number in ours}
    ours = {number: handler for number, handler in ours.items() if before[number] == signal.SIG_DFL}
    for number, handler in ours.items():
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
