"""The range test on a run's own model, data, groups and optimizer, changing none of them."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

import schedulers
from data.batch import Batch
from schedulers import Point, Schedule
from schedulers.range_test import RangeTest, range_test
from training import build
from training.memory import halve_on_out_of_memory
from training.meter import LossMeter
from training.session import Session
from utils.console.log import progress


@dataclass
class HeldRate:
    """What a Schedule asks of a policy, with a rate that the range test sets."""

    lr0: float
    rate: float = 0.0
    name: str = "range test"
    ramps: bool = True

    def at(self, step: int) -> Point:
        return Point(self.rate / self.lr0)


def find_rate(run: Session, start: float = 1e-7, end: float = 10.0, steps: int = 100, mode: str = "exp") -> RangeTest:
    """Raise the rate step by step on a copy of the run's model; see `schedulers.range_test`.

    A step is one batch. Its gradient is scaled by the run's accumulation, since a step of the run sums that many
    batches: the rates found are those of the run. A batch for which memory does not suffice passes in parts, as in
    training.
    """
    trial = copy_of(run)
    held: HeldRate = trial.schedule.policy
    batches = (batch for epoch in itertools.count() for batch in run.data.train.epoch(epoch))
    trial.model.train()
    with progress(total=steps, desc="range test", unit="step") as bar:

        def loss_at(rate: float) -> float:
            held.rate = rate
            batch, terms = next(batches), None
            while terms is None:  # once more, in smaller parts, where memory ran out
                with halve_on_out_of_memory(trial):
                    terms = step_on(trial, batch.to(run.device), run.accumulate)
            bar.update()
            return float(terms.sum())

        try:
            return range_test(loss_at, start, end, steps, mode)
        finally:
            batches.close()


def step_on(trial: Session, batch: Batch, scale: int) -> Tensor:
    """One step on the gradient of a batch times `scale`, in parts if need be. Returns the batch's loss terms (3,)."""
    trial.meter = LossMeter(trial.device)
    for part in trial.parts_of(batch):
        trial.count(trial.gradient(part, scale), part)
    trial.close_batch(batch)
    trial.step()
    return trial.meter.sums / trial.meter.pictures


def copy_of(run: Session) -> Session:
    """The run with its own copies of everything a step changes, and a rate to set by hand."""
    options = copy.deepcopy(run.options)
    model = copy.deepcopy(run.model)
    optimizer = build.build_optimizer(options, model, run.accumulate)
    for group in optimizer.param_groups:  # all of it trains in a test
        group.pop("begins", None)
    schedule = Schedule(HeldRate(lr0=optimizer.param_groups[0]["initial_lr"]), optimizer)
    criterion = build.build_criterion(options, model)
    own = {"options": options, "model": model, "optimizer": optimizer, "schedule": schedule, "criterion": criterion}
    return dataclasses.replace(run, **own, accumulate=1)


class Suggestion(Protocol):
    """What a range test found: a `RangeTest`, or what was kept of one."""

    max_lr: float | None
    steepest: float | None


def peak_of(result: Suggestion, policy: str) -> float | None:
    """The lr0 for a policy: the largest rate for one that ramps up to it, the steepest for one that starts there."""
    return result.max_lr if schedulers.get(policy).ramps else result.steepest
