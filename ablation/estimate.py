"""`--dry-run`: the runs of a study, and about how long they will take."""

from __future__ import annotations

import itertools
import logging
import math
import statistics
import time

import torch

from ablation import runner
from ablation.grid import Cell
from ablation.options import StudyOptions
from ablation.progress import duration
from ablation.study import Study
from ablation.view import FINISHED
from ablation.worker_pool import placements
from training import start
from utils.console.wording import counted

LOGGER = logging.getLogger("anneal")
STEPS = 4  # batches that are timed, after one that is not


def print_estimate(study: Study, device: str, asked: StudyOptions) -> int:
    """Print every run with its state, and the estimate. Returns the exit code."""
    for cell in study.cells:
        LOGGER.info(f"{cell.name}  {study.record(cell).status}")
    todo = runner.unfinished(study, asked.retry_failed)
    LOGGER.info(f"{counted(len(study.cells), 'run')}, {len(todo)} to do")
    if not todo:
        return 0
    seconds, basis = from_finished(study)
    if seconds is None:
        seconds, basis = from_steps(todo[0], device)
    epochs = sum(cell.asked.run.epochs - study.record(cell).facts.get("epoch", 0) for cell in todo)
    workers = 1 if asked.ray else min(len(placements(asked.demand(device))), len(todo))
    manner = "one after the other" if workers == 1 else f"{workers} at once, if they do not slow one another down"
    LOGGER.info(
        f"about {duration(seconds * epochs / workers)} {manner}: {counted(epochs, 'epoch')} of {seconds:.3g} s, {basis}"
    )
    return 0


def from_finished(study: Study) -> tuple[float | None, str]:
    """Seconds an epoch of the study's finished runs."""
    known = [study.record(cell) for cell in study.cells]
    known = [record for record in known if record.status == FINISHED and record.seconds]
    if not known:
        return None, ""
    seconds = statistics.median(record.seconds / record.facts["epoch"] for record in known)
    return seconds, f"as in {counted(len(known), 'finished run')}"


def from_steps(cell: Cell, device: str) -> tuple[float, str]:
    """Seconds an epoch by a few real steps of a run, on the first device of a list; validation counts as a forward
    pass of its pictures."""
    asked = cell.asked
    asked.run.device = device.split(",")[0].strip()
    asked.hyp.lr0 = None if asked.hyp.lr0 == "find" else asked.hyp.lr0
    session = start.prepare(asked)
    session.model.train()
    marks, forward = [], []
    batches = itertools.chain.from_iterable(map(session.data.train.epoch, range(STEPS + 1)))
    for number, batch in zip(range(STEPS + 1), batches, strict=False):
        began = time.perf_counter()
        loss, _ = session.criterion(session.forward(batch.to(session.device)), batch.targets.to(session.device))
        forward.append(_since(began, session.device))
        session.scaler.scale(loss).backward()
        session.step()
        if number:
            marks.append(_since(began, session.device))
    train = statistics.median(marks) * len(session.data.train)
    validation = statistics.median(forward[1:]) * math.ceil(len(session.data.val.index) / asked.run.batch_size)
    return train + validation, f"by {len(marks)} steps of {cell.name}, a rough estimate"


def _since(began: float, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
