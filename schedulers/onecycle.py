"""The 1cycle policy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import ClassVar, Literal

from schedulers.policy import FEW_STEPS, Point, Policy, option, register

DEFAULT_PCT_START = {3: 0.45, 2: 0.3}


@register("onecycle", source="A Disciplined Approach to Neural Network Hyper-Parameters, arXiv 1803.09820; 1708.07120")
@dataclass(frozen=True, kw_only=True)
class OneCycle(Policy):
    """One rise to the maximum, the same way back, and a last fall far below the start, with momentum as its mirror.

    Three phases: max/div -> max -> max/div -> max/(div final_div), which end at steps pct T - 1, 2 pct T - 2 and
    T - 1. Two phases: max/div -> max -> max/(div final_div), ending at pct T - 1 and T - 1. These are torch's
    OneCycleLR(three_phase=True) and (False).
    """

    ramps: ClassVar[bool] = True

    max_lr: float | None = option(None, "highest rate, absolute; by default lr0", above=0)
    pct_start: float | None = option(
        None, "share of the run that the rise takes; 0.45, or 0.3 with 2 phases", above=0, below=1
    )
    div: float = option(10.0, "the start is max_lr / div", low=1)
    final_div: float = option(100.0, "the end is max_lr / (div final_div)", low=1)
    anneal: Literal["linear", "cos"] = option("linear", "shape of each phase")
    phases: Literal[3, 2] = option(3, "3: back to the start, then below it; 2: straight down")
    base_momentum: float = option(0.85, "momentum at the highest rate", low=0, below=1)
    max_momentum: float = option(0.95, "momentum at the start and the end", low=0, below=1)

    def validate(self) -> None:
        if self.base_momentum > self.max_momentum:
            raise self.refuse(f"base_momentum={self.base_momentum} is over max_momentum={self.max_momentum}")
        if self.phases == 3 and self._pct > 0.5:
            raise self.refuse(f"pct_start={self._pct} leaves no room for the descent; give at most 0.5, or phases=2")
        ends = [0.0, *self._ends]
        shortest = min(after - before for before, after in pairwise(ends))
        # rounding of pct T must not refuse a phase of exactly one step
        if self.total_steps >= FEW_STEPS and shortest < 1 - 1e-9:
            why = f"pct_start={self._pct} of {self.total_steps} steps leaves a phase of {max(shortest, 0):.2g} steps"
            raise self.refuse(f"{why}; it needs at least one step")

    @cached_property
    def _pct(self) -> float:
        return DEFAULT_PCT_START[self.phases] if self.pct_start is None else self.pct_start

    @cached_property
    def _ends(self) -> list[float]:
        """The step at which each phase ends; on a run of a few steps each phase keeps one."""
        rise, total = self._pct * self.total_steps, self.total_steps
        ends = [rise - 1, 2 * rise - 2, total - 1.0] if self.phases == 3 else [rise - 1, total - 1.0]
        if total < FEW_STEPS:
            for i, end in enumerate(ends):
                ends[i] = max(end, (ends[i - 1] if i else 0.0) + 1)
        return ends

    @cached_property
    def _phases(self) -> list[tuple[float, float, Point, Point]]:
        """(start, end, from, to) of each phase."""
        highest = 1.0 if self.max_lr is None else self.max_lr / self.lr0
        start = Point(highest / self.div, self.max_momentum)
        peak = Point(highest, self.base_momentum)
        end = Point(highest / self.div / self.final_div, self.max_momentum)
        points = [start, peak, start, end] if self.phases == 3 else [start, peak, end]
        return list(zip([0.0, *self._ends], self._ends, points, points[1:], strict=False))

    def at(self, step: int) -> Point:
        # past the run's end the last phase's end holds
        start, end, before, after = next((phase for phase in self._phases if step <= phase[1]), self._phases[-1])
        done = min((step - start) / (end - start), 1.0)
        if self.anneal == "cos":
            done = (1 - math.cos(math.pi * done)) / 2
        lr = before.lr + (after.lr - before.lr) * done
        return Point(lr, before.momentum + (after.momentum - before.momentum) * done)
