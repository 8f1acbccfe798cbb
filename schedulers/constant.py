"""The same rate from the end of the warm-up to the end of the run."""

from __future__ import annotations

from dataclasses import dataclass

from schedulers.policy import Point, Policy, register


@register("constant", source="no schedule")
@dataclass(frozen=True, kw_only=True)
class Constant(Policy):
    """The same rate throughout, f = 1: for rules that need no schedule, and to compare the others with."""

    def at(self, step: int) -> Point:
        return Point(1.0)
