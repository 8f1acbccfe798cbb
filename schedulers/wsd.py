"""Warm-up, stable, decay: a long trunk at one rate, and a short fall at its end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from schedulers.policy import Point, Policy, option, register

SHAPES: dict[str, Callable[[float], float]] = {
    "sqrt": lambda done: 1 - math.sqrt(done),
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}


@register("wsd", source="Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations, arXiv 2405.18392")
@dataclass(frozen=True, kw_only=True)
class Wsd(Policy):
    """Stays at lr0, then falls over the last part of the run.

    f = 1 up to step S = T - D, D = round(decay T); from there f = lrf + (1 - lrf) shape((t - S) / D), where shape is
    1 - sqrt(x) (arXiv 2405.18392, eq. 1), 1 - x, or half a cosine. The name is that of arXiv 2404.06395. Before S
    nothing depends on the run's length.
    """

    decay: float = option(0.2, "share of the run over which the rate falls", above=0, high=1)
    shape: Literal["sqrt", "linear", "cosine"] = option("sqrt", "how it falls")
    lrf: float = option(0.01, "final rate, as a fraction of lr0", low=0, high=1)

    @cached_property
    def stable_steps(self) -> int:
        """Steps before the fall."""
        return self.total_steps - max(round(self.decay * self.total_steps), 1)

    def longest_warmup(self, steps: int) -> int:
        """The whole trunk: a share of the run would make the trunk depend on the run's length."""
        return min(steps, self.stable_steps)

    def at(self, step: int) -> Point:
        done = (step - self.stable_steps) / (self.total_steps - self.stable_steps)
        return Point(self.lrf + (1 - self.lrf) * SHAPES[self.shape](min(max(done, 0.0), 1.0)))
