"""A straight line down: YOLOv5's default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from schedulers.policy import Point, Policy, option, register


@register("linear", source="YOLOv5")
@dataclass(frozen=True, kw_only=True)
class Linear(Policy):
    """Falls in a straight line from lr0 to lrf * lr0.

    f = 1 - p (1 - lrf), with p = t / (T - 1). `granularity=epoch` gives the stair p = e / (E - 1), e = floor(t / n).
    """

    lrf: float = option(0.01, "final rate, as a fraction of lr0", low=0, high=1)
    granularity: Literal["step", "epoch"] = option("step", "change the rate every step, or once an epoch")

    def at(self, step: int) -> Point:
        if self.granularity == "epoch":
            done, last = step // self.steps_per_epoch, -(-self.total_steps // self.steps_per_epoch) - 1
        else:
            done, last = step, self.total_steps - 1
        return Point(1 - min(done / max(last, 1), 1) * (1 - self.lrf))
