"""Carrying out a study: which run goes to which worker next, and what its answer means."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablation import rates, records, tables
from ablation.grid import Cell
from ablation.progress import Screen
from ablation.ray_pool import RayWorker, RayWorkerPool
from ablation.records import Record
from ablation.study import Study
from ablation.view import FAILED, FINISHED
from ablation.worker_pool import DIED, LocalWorker, LocalWorkerPool
from utils.console.signals import StopRequest

LOGGER = logging.getLogger("anneal")
ATTEMPTS = 3  # at a run whose worker is told to stop by somebody else
OUT_OF_REACH = 300.0  # seconds that a node which was thought lost has to let go of a run
TICK = 0.5  # seconds between two looks at signals and at the screen

Worker = LocalWorker | RayWorker
WorkerPool = LocalWorkerPool | RayWorkerPool  # `workers` are those that are ready: on a cluster they come and go


@dataclass
class Task:
    """What a worker is at: a run, or with `rate` the range test that its rate comes from."""

    cell: Cell
    console: Path
    start: int  # bytes that the console had before
    rate: Path | None = None


@dataclass
class StudyRunner:
    """Hands out what is left of a study, and judges the answers. A run's state is its folder's, never kept here."""

    study: Study
    pool: WorkerPool
    screen: Screen
    stop_request: StopRequest
    waiting: list[Cell] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.at_work: dict[Worker, Task] = {}
        self.parked: set[Worker] = set()  # until another run on their GPU has ended
        self.stops: Counter[Path] = Counter()  # by somebody else, of the run or range test with that console
        self.reached: Counter[Path] = Counter()  # epochs that a run had when its node was lost
        self.peak = 0.0  # GB that the run finished last had set aside

    def run(self) -> None:
        """Do every run that is neither finished nor failed. Returns when all are done, or stopped as asked."""
        told = False
        while True:
            while not self.stop_request.stop and self._dispatch():
                pass
            if not self.at_work and (self.stop_request.stop or not self.waiting):
                return
            for worker, answer in self.pool.wait(list(self.at_work), TICK):
                self._settle(worker, self.at_work.pop(worker), answer)
            if self.stop_request.stop and not told:
                told = True
                for worker in self.at_work:
                    worker.interrupt()
            self.screen.draw({task.cell.name for task in self.at_work.values()})

    def _dispatch(self) -> bool:
        """Give a free worker something to do; False where no worker is free or nothing is ready."""
        for worker in self.pool.workers:
            if worker in self.at_work or worker in self.parked:
                continue
            task = self._next()
            if task is None:
                return False
            self._begin(worker, task)
            return True
        return False

    def _next(self) -> Task | None:
        """The next run whose rate is known, or the range test it waits for."""
        under_way = {task.rate for task in self.at_work.values()}
        for cell in list(self.waiting):
            if rates.wanted(cell):
                place = rates.place(self.study.folder, cell)
                found = rates.load(place)
                if found is None and place not in under_way:
                    return Task(cell, place.with_suffix(".txt"), _size(place.with_suffix(".txt")), place)
                if found is None:
                    continue
                if found.rate(cell.asked.run.lr_policy) is None:
                    self._fail(cell, f"--lr0 find: {found.outcome}; give a number")
                    continue
            self.waiting.remove(cell)
            console = self.study.folder_of(cell) / records.CONSOLE
            return Task(cell, console, _size(console))
        return None

    def _begin(self, worker: Worker, task: Task) -> None:
        shares = worker.place.gpu and any(other.place.gpu == worker.place.gpu for other in self.at_work)
        argv = self.study.argv(task.cell)
        job: dict[str, Any] = {"console": str(task.console), "needs": self.peak if shares else 0.0}
        job["argv"] = [*argv, "--device", worker.place.device]
        job |= {"find": str(task.rate)} if task.rate else {"folder": str(self.study.folder_of(task.cell))}
        if task.console in self.reached:
            job["patience"] = OUT_OF_REACH
        self.at_work[worker] = task
        worker.begin(job)

    def _settle(self, worker: Worker, task: Task, answer: dict[str, Any]) -> None:
        """What became of a task: done, stopped, put back for want of memory, or failed."""
        neighbours = [other for other in self.at_work if worker.place.gpu and other.place.gpu == worker.place.gpu]
        self.parked -= {other for other in self.parked if other.place == worker.place}
        self.peak = answer.get("peak", self.peak)
        if answer.get("lost") and not self.stop_request.stop:
            self._settle_lost(task, answer["how"])
        elif answer.get("full") or (answer.get("memory") and neighbours):
            self.parked |= {worker} if neighbours else set()
            self._put_back(task)
        elif self.stop_request.stop and (answer.get("lost") or answer.get("died") or answer.get("code", 1) >= 128):
            return  # stopped: its folder says how far it came
        elif answer.get("code", 1) >= 128 and self._may_go_on(task):
            self._put_back(task)
        elif task.rate:
            self._settle_rate(task, answer)
        else:
            record = self.study.record(task.cell)
            if record.status != FINISHED:
                self._fail(task.cell, _why(task, answer))
            else:
                self._ended(task.cell, record)

    def _may_go_on(self, task: Task) -> bool:
        """Whether a task that a signal from outside stopped, not this study's end, is tried again."""
        self.stops[task.console] += 1
        return self.stops[task.console] < ATTEMPTS

    def _settle_lost(self, task: Task, how: str) -> None:
        """Its node is gone: another takes it up, unless it comes no further on any."""
        done = records.epochs_done(self.study.folder_of(task.cell))
        if done > self.reached[task.console]:
            self.stops[task.console] = 0
        self.reached[task.console] = done
        if self._may_go_on(task):
            self.screen.lost(task.cell, how)
            self._put_back(task)
        elif task.rate:
            self._settle_rate(task, DIED | {"how": how})
        else:
            self._fail(task.cell, _why(task, DIED | {"how": f"{how}; {ATTEMPTS} times without an epoch in between"}))

    def _put_back(self, task: Task) -> None:
        if task.rate is None:
            self.waiting.insert(0, task.cell)

    def _settle_rate(self, task: Task, answer: dict[str, Any]) -> None:
        if rates.load(task.rate) is None:
            why = f"the range test failed: {_why(task, answer)}"
            for cell in [c for c in self.waiting if rates.place(self.study.folder, c) == task.rate]:
                self._fail(cell, why)

    def _fail(self, cell: Cell, why: str) -> None:
        if cell in self.waiting:
            self.waiting.remove(cell)
        records.fail(self.study.folder_of(cell), why)
        self._ended(cell, self.study.record(cell))

    def _ended(self, cell: Cell, record: Record) -> None:
        tables.write(self.study)
        self.screen.ended(cell, record)


def runs_left(study: Study, retry_failed: bool) -> list[Cell]:
    """The runs to do, repeats last: a study that is stopped early has every cell once. Failures only where asked."""
    todo = unfinished(study, retry_failed)
    for cell in todo:
        if study.record(cell).status == FAILED:
            records.clear_failure(study.folder_of(cell))
            if rates.wanted(cell):
                _clear_failed_rate(rates.place(study.folder, cell), cell)
    return todo


def unfinished(study: Study, retry_failed: bool) -> list[Cell]:
    """What `runs_left` returns; changes nothing."""
    seeds = study.definition.grid["seed"]
    over = (FINISHED,) if retry_failed else (FINISHED, FAILED)
    found = [cell for cell in study.cells if study.record(cell).status not in over]
    return sorted(found, key=lambda cell: seeds.index(cell.settings["seed"]))


def _clear_failed_rate(place: Path, cell: Cell) -> None:
    found = rates.load(place)
    if found is not None and found.rate(cell.asked.run.lr_policy) is None:
        place.unlink()


def _why(task: Task, answer: dict[str, Any]) -> str:
    said = records.last_lines(task.console, task.start)
    died = f"the worker died ({answer['how']})" if answer.get("died") else ""
    return "\n".join(part for part in (said, died) if part) or f"exit code {answer.get('code')}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
