"""What the console shows: one logger, and progress bars that are silent where nobody watches."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

LOGGER = logging.getLogger("anneal")
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """`text` with control characters (but tabs and new lines), reversed writing and broken bytes as escapes."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """The same with new lines as escapes too."""
    return printable(text).replace("\n", r"\n")


class _BarSafe(logging.Handler):
    """Writes whole lines around a running progress bar instead of through it. `warned`: the warnings among them."""

    def __init__(self, warned: set[str]) -> None:
        super().__init__()
        self.warned = warned

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            self.warned.add(record.getMessage())
        tqdm.write(self.format(record), file=sys.stdout)
        sys.stdout.flush()


class _Early(logging.Handler):
    """Remembers the lines said before there was a file to keep them in."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class _OfAnotherRank(logging.Handler):
    """Keeps the warnings of a process that does not write the log, for the one that does; prints what ends it."""

    def __init__(self, rank: int) -> None:
        super().__init__(logging.WARNING)
        self.rank = rank
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            print(f"rank {self.rank}: {self.format(record)}", flush=True)
        else:
            self.lines.append(record.getMessage())


class _Kept(logging.FileHandler):
    """A run's log. The console has said what a full disk leaves out of it."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class _Level(logging.Formatter):
    """Names and paths come from anybody: what would steer a terminal is written out, in an error new lines too."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        text = one_line(text) if record.levelno >= logging.ERROR else printable(text)
        return text if record.levelno <= logging.INFO else f"{record.levelname.lower()}: {text}"


def setup(file: Path | None = None) -> logging.Logger:
    """Send the logger to the console and, with `file`, to a run's log, with what was said since the last call.

    Calling it again replaces the handlers.
    """
    said = [line for handler in LOGGER.handlers if isinstance(handler, _Early) for line in handler.lines]
    warned = said_warnings() if file is not None else set()
    for handler in list(LOGGER.handlers):
        LOGGER.removeHandler(handler)
        handler.close()
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    handlers: list[logging.Handler] = [_BarSafe(warned), _Early()]
    if file is not None:
        with open(file, "a", encoding="utf-8") as kept:
            kept.writelines(f"{line}\n" for line in said)
        handlers[1] = _Kept(file, encoding="utf-8")
    for handler in handlers:
        handler.setFormatter(_Level("%(message)s"))
        LOGGER.addHandler(handler)
    return LOGGER


def of_another_rank(rank: int) -> None:
    """From now on nothing is printed but what ends this process; `held_warnings` has the rest."""
    LOGGER.handlers.clear()
    handler = _OfAnotherRank(rank)
    handler.setFormatter(_Level("%(message)s"))
    LOGGER.addHandler(handler)


def said_warnings() -> set[str]:
    """The warnings that this process has printed."""
    return set().union(*(handler.warned for handler in LOGGER.handlers if isinstance(handler, _BarSafe)))


def held_warnings() -> list[str]:
    """The warnings of a process that does not write the log, since the last call."""
    found: list[str] = []
    for handler in LOGGER.handlers:
        if isinstance(handler, _OfAnotherRank):
            found, handler.lines = handler.lines, []
    return found


def progress(iterable: Iterable | None = None, *, desc: str = "", total: int | None = None, **options: Any) -> tqdm:
    """A tqdm bar on stderr with an ETA; disabled where stderr is not a terminal, and in all ranks but the first."""
    options.setdefault("dynamic_ncols", True)
    hidden = not sys.stderr.isatty() or os.environ.get("RANK", "0") != "0"
    return tqdm(iterable, desc=desc, total=total, disable=hidden, file=sys.stderr, **options)
