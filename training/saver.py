"""How a run is saved: copied at once, written beside training, and tried again where the disk refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from training.pending_writes import PendingWrites
from training.snapshots import Snapshot, Snapshots
from training.writer import Writer
from utils import checkpoint

LOGGER = logging.getLogger("anneal")
Write = Callable[[], None]


class Saver:
    """Writes a run's checkpoints, in order, by one thread. It knows files and states, and nothing of training.

    writes: whether this process writes the run's files at all. errors: the files that could not be written since they
    last could, with the reason. before_save: what to write first at each save. retry_at_save: what the disk refused,
    to be written once at a later save.
    """

    def __init__(self, writes: bool = True) -> None:
        self.writes = writes
        self.errors: dict[Path, str] = {}
        self.before_save: dict[Path, Write] = {}
        self.retry_at_save: dict[Path, Write] = {}
        self.writer = Writer()
        self.snapshots = Snapshots()
        self.pending_writes = PendingWrites()

    def save(self, files: dict[Path, dict[str, Any]], generations: Path) -> None:
        """Copy the states and have them written to their files; of `generations` the version before stays too.

        A disk that refuses is reported, and tried again at the next save; training continues.
        """
        if not self.writes:
            return
        copies = {path: self.snapshots.take(state) for path, state in files.items()}
        if copies:
            self.writer.submit(partial(self._write, copies, generations))

    def attempt(self, path: Path, write: Write) -> bool:
        """Write a file: whether the disk took it. If not, that is reported and remembered until it does."""
        try:
            write()
            self.errors.pop(path, None)
            return True
        except OSError as error:
            self.errors[path] = f"{path}: could not be saved ({error.strerror or error})"
            LOGGER.warning(f"{self.errors[path]}; training continues and tries again at the next save")
            return False

    def _write(self, copies: dict[Path, Snapshot], generations: Path) -> None:
        for path, write in self.before_save.items():
            self.attempt(path, write)
        retried = self.retry_at_save.items()
        self.retry_at_save = {path: write for path, write in retried if not self.attempt(path, write)}
        waiting = {path: copy for path, copy in self.pending_writes.take().items() if path not in copies}
        for copy in copies.values():
            copy.settle()
        fresh = {path: copy.value for path, copy in copies.items()}
        for path, state in (waiting | fresh).items():  # in order: no last.pt names a best epoch before it is there
            if self.attempt(path, partial(checkpoint.save, path, state, keep_previous=path == generations)):
                if path in copies:  # the others' memory is their own
                    self.snapshots.give_back(copies[path])
            elif (lost := self.pending_writes.keep(path, state)) is not None:
                LOGGER.warning(f"{lost}: dropped, because newer files are waiting for the disk too")
