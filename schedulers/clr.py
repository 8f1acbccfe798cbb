"""Cyclical learning rates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from schedulers.policy import FEW_STEPS, Point, Policy, option, register

CYCLE_EPOCHS = 8  # sec. 3.2 of the paper: a half cycle of two to ten epochs
EXP_RANGE_END = 0.01  # what exp_range's amplitude falls to by the run's end, unless gamma says otherwise


@register("clr", source="Cyclical Learning Rates for Training Neural Networks, arXiv 1506.01186, sec. 3")
@dataclass(frozen=True, kw_only=True)
class Clr(Policy):
    """Swings in straight lines between a base rate and a maximum: torch's CyclicLR, by the step.

    cycle = floor(1 + t / 2s), x = |t / s - 2 cycle + 1|, lr = base + (max - base) max(0, 1 - x) scale, with s the
    steps of half a cycle, and scale 1 (triangular), 1 / 2^(cycle - 1) (triangular2) or gamma^t (exp_range). By default
    whole cycles of about eight epochs fill the run, which so ends at the base. Momentum, where it is asked for, mirrors
    the rate and scales with it.
    """

    ramps: ClassVar[bool] = True

    mode: Literal["triangular", "triangular2", "exp_range"] = option("triangular", "how the amplitude changes")
    gamma: float | None = option(None, "exp_range's amplitude is gamma^t; by default it falls to 1 %", above=0, high=1)
    base_lr: float | None = option(None, "lowest rate, absolute; by default max_lr / 4", low=0)
    max_lr: float | None = option(None, "highest rate, absolute; by default lr0", above=0)
    step_epochs: float | None = option(None, "epochs of half a cycle, instead of `cycles`", above=0)
    cycles: int | None = option(None, "cycles that fill the run; by default of about 8 epochs", low=1)
    base_momentum: float | None = option(None, "momentum at the highest rate; off by default", low=0, below=1)
    max_momentum: float | None = option(None, "momentum at the lowest rate; off by default", low=0, below=1)

    def validate(self) -> None:
        if self.step_epochs is not None and self.cycles is not None:
            raise self.refuse("step_epochs and cycles both set the length of a cycle; give one of them")
        if self.gamma is not None and self.mode != "exp_range":
            raise self.refuse(f"gamma={self.gamma} has no effect with mode={self.mode}; add mode=exp_range")
        if self._base > self._max:
            raise self.refuse(f"base_lr={self._base * self.lr0:g} is over max_lr={self._max * self.lr0:g}")
        momenta = self.base_momentum, self.max_momentum
        if momenta.count(None) == 1:
            raise self.refuse("base_momentum and max_momentum cycle together; give both or neither")
        if None not in momenta and momenta[0] > momenta[1]:
            raise self.refuse(f"base_momentum={momenta[0]} is over max_momentum={momenta[1]}")
        if self._half < 1 and (self.step_epochs is not None or self._count > 1):
            given = f"step_epochs={self.step_epochs:g}" if self.step_epochs is not None else f"cycles={self.cycles}"
            raise self.refuse(f"{given} makes half a cycle of {self._half:.2g} steps; it needs at least one step")

    @cached_property
    def _max(self) -> float:
        return 1.0 if self.max_lr is None else self.max_lr / self.lr0

    @cached_property
    def _base(self) -> float:
        return self._max / 4 if self.base_lr is None else self.base_lr / self.lr0

    @cached_property
    def _count(self) -> int:
        cycles = self.cycles or max(1, round(self.epochs / CYCLE_EPOCHS))
        fitting = max(1, self.total_steps // 2)
        return min(cycles, fitting) if self.cycles is None or self.total_steps < FEW_STEPS else cycles

    @cached_property
    def _half(self) -> float:
        if self.step_epochs is not None:
            return self.step_epochs * self.steps_per_epoch
        return self.total_steps / (2 * self._count)

    @cached_property
    def _decay(self) -> float:
        return EXP_RANGE_END ** (1 / self.total_steps) if self.gamma is None else self.gamma

    @cached_property
    def restarts(self) -> tuple[int, ...]:
        cycle = 2 * self._half
        steps = (math.ceil(i * cycle - 1e-6) for i in range(1, math.ceil(self.total_steps / cycle)))
        return tuple(step for step in steps if step < self.total_steps)

    @property
    def cycle_ends(self) -> tuple[int, ...]:
        return (*self.restarts, self.total_steps)

    def at(self, step: int) -> Point:
        cycle = math.floor(1 + step / (2 * self._half))
        height = max(0.0, 1 - abs(step / self._half - 2 * cycle + 1))
        if self.mode == "triangular2":
            height *= 0.5 ** (cycle - 1)
        elif self.mode == "exp_range":
            height *= self._decay**step
        lr = self._base + (self._max - self._base) * height
        if self.max_momentum is None:
            return Point(lr)
        return Point(lr, self.max_momentum - (self.max_momentum - self.base_momentum) * height)
