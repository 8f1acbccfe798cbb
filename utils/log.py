"""What the console shows: one logger, and progress bars that are silent where nobody watches."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

LOGGER = logging.getLogger("anneal")


class _BarSafe(logging.Handler):
    """Writes whole lines around a running progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)
        sys.stdout.flush()


class _Level(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno <= logging.INFO else f"{record.levelname.lower()}: {text}"


def setup(file: Path | None = None, quiet: bool = False) -> logging.Logger:
    """Send the logger to the console and, with `file`, to a run's log. Calling it again replaces the handlers."""
    for handler in list(LOGGER.handlers):
        LOGGER.removeHandler(handler)
        handler.close()
    LOGGER.setLevel(logging.WARNING if quiet else logging.INFO)
    LOGGER.propagate = False
    handlers: list[logging.Handler] = [_BarSafe()]
    if file is not None:
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(_Level("%(message)s"))
        LOGGER.addHandler(handler)
    return LOGGER


def progress(iterable: Iterable | None = None, *, desc: str = "", total: int | None = None, **options: Any) -> tqdm:
    """A tqdm bar on stderr with an ETA; disabled where stderr is not a terminal."""
    options.setdefault("dynamic_ncols", True)
    return tqdm(iterable, desc=desc, total=total, disable=not sys.stderr.isatty(), file=sys.stderr, **options)
