"""Stand-ins that let `train.train_one_epoch` run without a report or a loader, and a clock for its stages."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch

from data.batch import Batch
from data.dealing import ALL
from training.report import READ_EVERY
from training.session import Session
from utils.device import synchronize


class Watch:
    """What `train_one_epoch` asks of a Report: no bar, no files; the losses are read as often as there."""

    def __init__(self, run: Session) -> None:
        self.run = run
        self.first_step: float | None = None  # time.perf_counter() at the end of the first step
        self.before: Callable[[], None] = lambda: None  # called before each batch is asked for
        self.after: Callable[[], None] = lambda: None  # and when it is there

    def watch(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        place, last = self.run.progress, len(self.run.data.train)
        batches = iter(batches)
        while True:
            self.before()
            batch = next(batches, None)
            self.after()
            if batch is None:
                return
            yield batch
            if place.batch % READ_EVERY == 0 or place.batch == last:
                self.run.losses()

    def step(self) -> None:
        if self.first_step is None:
            synchronize(self.run.device)
            self.first_step = time.perf_counter()


class OneBatch:
    """A loader that gives one batch, already on the device, as often as the real one gives batches."""

    dealing = ALL

    def __init__(self, batch: Batch, batches: int, batch_size: int) -> None:
        self.batch, self.batches, self.batch_size = batch, batches, batch_size

    def __len__(self) -> int:
        return self.batches

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return iter([self.batch] * (self.batches - start))


class Clock:
    """Seconds by stage. The device is waited for at the end of each, so that its work is booked where it belongs."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self.since = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Book the time since the last lap."""
        synchronize(self.device)
        now = time.perf_counter()
        self.seconds[stage] += now - self.since
        self.since = now

    def around(self, function: Callable, stage: str, before: str = "other") -> Callable:
        """`function`, booked under `stage`; the time since the last lap goes under `before`."""

        def timed(*args: Any, **options: Any) -> Any:
            self.lap(before)
            result = function(*args, **options)
            self.lap(stage)
            return result

        return timed


@contextmanager
def timed(run: Session, watch: Watch) -> Iterator[Clock]:
    """Book the stages of what trains inside."""
    clock = Clock(run.device)
    with ExitStack() as stack:

        def put(owner: Any, name: str, value: Any) -> None:
            stack.enter_context(patch.object(owner, name, value))

        put(watch, "before", lambda: clock.lap("other"))
        put(watch, "after", lambda: clock.lap("load wait"))
        if run.options.run.cuda_graphs:  # which run as one
            put(run, "gradient", clock.around(run.gradient, "forward, loss, backward", before="to device"))
        else:
            put(run, "forward", clock.around(run.forward, "forward"))
            put(run, "criterion", clock.around(run.criterion, "loss"))
            put(run, "gradient", clock.around(run.gradient, "backward", before="to device"))
        put(run, "step", clock.around(run.step, "optimizer and EMA"))
        yield clock
        clock.lap("other")
