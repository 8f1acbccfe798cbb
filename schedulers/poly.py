"""A polynomial down: the policy of many segmentation networks."""

from __future__ import annotations

from dataclasses import dataclass

from schedulers.policy import Point, Policy, option, register


@register("poly", source="DeepLab, arXiv 1606.00915, sec. 4.1")
@dataclass(frozen=True, kw_only=True)
class Poly(Policy):
    """Falls as a power of the part of the run that is left.

    f = lrf + (1 - lrf)(1 - p)^power, with p = t / (T - 1): where lrf is 0, torch's PolynomialLR with total_iters =
    T - 1. A power of 1 is `linear`.
    """

    lrf: float = option(0.01, "final rate, as a fraction of lr0", low=0, high=1)
    power: float = option(0.9, "below 1 it stays high and ends steeply, above 1 the other way round", above=0)

    def at(self, step: int) -> Point:
        left = max(1 - step / max(self.total_steps - 1, 1), 0.0)
        return Point(self.lrf + (1 - self.lrf) * left**self.power)
