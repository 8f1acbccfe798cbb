"""What the terminal shows while a study runs: a table with the time that is left; a line a run where nobody watches."""

from __future__ import annotations

import logging
import shutil
import sys
import time

from ablation import records
from ablation.grid import Cell
from ablation.records import Record
from ablation.study import Study
from ablation.view import FAILED, FINISHED

LOGGER = logging.getLogger("anneal")


class Screen:
    """A line for each run that ended; on a terminal, below them, how the runs under way and the whole stand."""

    def __init__(self, study: Study) -> None:
        self.study, self.live = study, sys.stdout.isatty()
        self.began = time.monotonic()
        self.names = {cell.name: cell for cell in study.cells}
        self.width = max(map(len, self.names))
        states = {cell.name: study.record(cell).status for cell in study.cells}
        self.epochs = {cell.name: cell.asked.run.epochs for cell in study.cells}
        self.closed = {name for name, status in states.items() if status in (FINISHED, FAILED)}
        self.failed = list(states.values()).count(FAILED)
        self.before = self._done()
        self.drawn = 0

    def ended(self, cell: Cell, record: Record) -> None:
        """A run is finished or has failed: its line."""
        self.closed.add(cell.name)
        self.failed += record.status == FAILED
        place = f"{len(self.closed)}/{len(self.names)}"
        self._erase()
        if record.status == FINISHED:
            seconds = f"  {duration(record.seconds)}" if record.seconds is not None else ""
            best = f"best epoch {record.metrics['best_epoch']} of {record.metrics['epochs']}"
            scores = f"mAP50 {record.metrics['mAP50']:.4f}  mAP50-95 {record.metrics['mAP50-95']:.4f}"
            LOGGER.info(f"{place}  {cell.name:<{self.width}}  {scores}  {best}{seconds}")
        else:
            LOGGER.warning(f"{place}  {cell.name:<{self.width}}  failed: {record.error.splitlines()[-1]}")

    def lost(self, cell: Cell, how: str) -> None:
        """The worker of a run is gone, most often with its node."""
        self._erase()
        LOGGER.warning(f"{cell.name}: its worker was lost ({how}); the run continues on the next free worker")

    def draw(self, running: set[str]) -> None:
        """Bring the table up to date: a line a run under way, and the whole with the time left."""
        if not self.live:
            return
        lines = []
        for name in sorted(running):
            done, epochs = records.epochs_done(self.study.folder_of(self.names[name])), self.epochs[name]
            bar = "#" * (20 * min(done, epochs) // epochs)
            lines.append(f"  [{bar:<20}] epoch {done}/{epochs}  {name}")
        waiting = len(self.names) - len(self.closed) - len(running)
        counts = f"{len(self.closed) - self.failed} finished, {self.failed} failed, {len(running)} running"
        lines.append(f"  {self._left()}; {counts}, {waiting} waiting")  # a narrow terminal shows the time
        self._erase()
        columns = shutil.get_terminal_size().columns - 1
        sys.stdout.write("".join(f"{line[:columns]}\n" for line in lines))
        sys.stdout.flush()
        self.drawn = len(lines)

    def _erase(self) -> None:
        if self.drawn:
            sys.stdout.write(f"\x1b[{self.drawn}A\x1b[J")
            self.drawn = 0

    def _left(self) -> str:
        done = self._done()
        gone = time.monotonic() - self.began
        if done <= self.before:
            return f"{duration(gone)} gone"
        left = (sum(self.epochs.values()) - done) * gone / (done - self.before)
        return f"{duration(gone)} gone, ~{duration(left)} left"

    def _done(self) -> float:
        """Epochs behind: a failed run's and a stopped one's count whole, nothing more is to be done for them."""
        return sum(
            epochs if name in self.closed else min(records.epochs_done(self.study.folder_of(self.names[name])), epochs)
            for name, epochs in self.epochs.items()
        )


def duration(seconds: float) -> str:
    """12 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
