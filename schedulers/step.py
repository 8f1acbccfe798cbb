"""Drops at stated moments: the policy of the classic detectors."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

from schedulers.policy import Point, Policy, option, register


@register("step", source="Faster R-CNN, arXiv 1506.01497, sec. 3.1.3")
@dataclass(frozen=True, kw_only=True)
class Step(Policy):
    """Multiplied by gamma at each milestone.

    f = gamma^k after k milestones: torch's MultiStepLR where they are epochs. A milestone of 1 or more is an epoch,
    one below 1 a share of the run. A drop is at the first step at or after its time.
    """

    milestones: str = option("0.7,0.9", "when the rate drops, by comma: epochs, or shares of the run below 1")
    gamma: float = option(0.1, "the rate is multiplied by this at each milestone", above=0, high=1)

    def validate(self) -> None:
        try:
            times = [float(part) for part in self.milestones.split(",")]
        except (AttributeError, ValueError):
            raise self.refuse(f"milestones={self.milestones} must be numbers with commas, such as 0.7,0.9") from None
        if not all(math.isfinite(time) and time > 0 for time in times):
            raise self.refuse(f"milestones={self.milestones} must be above 0")
        if self._drops != sorted(self._drops):
            raise self.refuse(f"milestones={self.milestones} must rise")

    @cached_property
    def _drops(self) -> list[int]:
        """The first step of each rate after the first."""
        times = [float(part) for part in self.milestones.split(",")]
        lengths = [self.total_steps if time < 1 else self.steps_per_epoch for time in times]
        return [math.ceil(time * length - 1e-6) for time, length in zip(times, lengths, strict=True)]

    def at(self, step: int) -> Point:
        return Point(self.gamma ** bisect_right(self._drops, step))
