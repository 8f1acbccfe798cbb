"""Half a cosine down, or several down and up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from schedulers.policy import Point, Policy, option, register


@register("cosine", source="Bag of Tricks for Image Classification with CNNs, arXiv 1812.01187, sec. 5.1")
@dataclass(frozen=True, kw_only=True)
class Cosine(Policy):
    """Falls along half a cosine from lr0 to lrf * lr0.

    f = lrf + (1 - lrf)(1 + cos(pi p)) / 2, with p = t / (T - 1): torch's CosineAnnealingLR with T_max = T - 1. With
    `t_max` epochs, p = t / (n t_max): a shorter one falls and rises by turns. `granularity=epoch` gives the stair
    p = e / E (or e / t_max), e = floor(t / n).
    """

    lrf: float = option(0.01, "lowest rate, as a fraction of lr0", low=0, high=1)
    granularity: Literal["step", "epoch"] = option("step", "change the rate every step, or once an epoch")
    t_max: float | None = option(None, "half period in epochs; by default the run", above=0)

    def validate(self) -> None:
        if self.t_max is not None and self.t_max * self.steps_per_epoch < 1:
            raise self.refuse(f"t_max={self.t_max} epochs is under one step; give at least 1/{self.steps_per_epoch}")

    def at(self, step: int) -> Point:
        if self.granularity == "epoch":
            done = step // self.steps_per_epoch
            span = self.t_max or -(-self.total_steps // self.steps_per_epoch)
        else:
            done = step
            span = self.t_max * self.steps_per_epoch if self.t_max else max(self.total_steps - 1, 1)
        return Point(self.lrf + (1 - self.lrf) * (1 + math.cos(math.pi * done / span)) / 2)
