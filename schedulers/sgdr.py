"""Cosine annealing with warm restarts."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

from schedulers.policy import FEW_STEPS, Point, Policy, option, register

DEFAULT_CYCLES = 3
SHORTEST_CYCLE = 10  # steps; by default rather fewer cycles than shorter ones


@register("sgdr", source="SGDR: Stochastic Gradient Descent with Warm Restarts, arXiv 1608.03983, eq. 5")
@dataclass(frozen=True, kw_only=True)
class Sgdr(Policy):
    """Falls along a cosine, springs back to the peak, and falls again over a longer cycle.

    f = lrf + (gamma^i - lrf)(1 + cos(pi T_cur / T_i)) / 2 in cycle i, T_i = t0 t_mult^i, and T_cur the fractional
    epochs since its restart: torch's CosineAnnealingWarmRestarts where gamma is 1. By default the cycles fill the
    run, which so ends annealed. A restart is at the first step at or after its time.
    """

    lrf: float = option(0.01, "lowest rate, as a fraction of lr0", low=0, high=1)
    t0: float | None = option(None, "epochs of the first cycle, instead of `cycles`; need not be whole", above=0)
    t_mult: float = option(2.0, "each cycle is this many times as long as the one before", low=1)
    cycles: int | None = option(None, "cycles that fill the run; by default 3, fewer on a short run", low=1)
    gamma: float = option(1.0, "each cycle's peak is this many times the one before", above=0, high=1)

    def validate(self) -> None:
        if self.t0 is not None and self.cycles is not None:
            raise self.refuse("t0 and cycles both set the length of a cycle; give one of them")
        if self._first < 1 and self.total_steps > 1:
            given = f"t0={self.t0:g}" if self.t0 is not None else f"cycles={self.cycles}"
            raise self.refuse(f"{given} makes a first cycle of {self._first:.2g} steps; it needs at least one step")

    def _share(self, cycles: int) -> float:
        """Steps of the first cycle when `cycles` of them fill the run; powers below 1, which cannot overflow."""
        shares = math.fsum(self.t_mult**-i for i in range(cycles))
        return self.total_steps / shares * self.t_mult ** (1 - cycles)

    @cached_property
    def _first(self) -> float:
        if self.t0 is not None:
            return self.t0 * self.steps_per_epoch
        cycles = min(self.cycles or DEFAULT_CYCLES, self.total_steps + 1)
        shortest = SHORTEST_CYCLE if self.cycles is None else 1 if self.total_steps < FEW_STEPS else 0
        while cycles > 1 and self._share(cycles) < shortest:
            cycles -= 1
        return self._share(cycles)

    @cached_property
    def _cycles(self) -> list[tuple[float, float]]:
        """(start, length) of each cycle, in steps, not rounded."""
        cycles, start, length = [], 0.0, self._first
        while start < self.total_steps - 1e-6:  # a restart at the run's end is none
            cycles.append((start, length))
            start += length
            length *= self.t_mult
        return cycles

    @cached_property
    def restarts(self) -> tuple[int, ...]:
        steps = (math.ceil(start - 1e-6) for start, _ in self._cycles[1:])
        return tuple(step for step in steps if step < self.total_steps)

    @property
    def cycle_ends(self) -> tuple[int, ...]:
        return (*self.restarts, self.total_steps)

    def cycle_epochs(self, step: int) -> float:
        """Epochs of the cycle that `step` belongs to."""
        return self._cycles[bisect_right(self.restarts, step)][1] / self.steps_per_epoch

    def at(self, step: int) -> Point:
        cycle = bisect_right(self.restarts, step)
        start, length = self._cycles[cycle]
        done = min(max((step - start) / length, 0.0), 1.0)
        peak = max(self.gamma**cycle, self.lrf)
        return Point(self.lrf + (peak - self.lrf) * (1 + math.cos(math.pi * done)) / 2)
