"""Whether rows are what a non-maximum suppression may keep of a picture's boxes, if all of these are known to rounding.

Greedy suppression keeps the one set in which no box overlaps a better one of the set, and every box outside overlaps a
better one inside. Where scores are equal to rounding, or an overlap is the threshold to rounding, either way will do.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from utils.boxes import box_iou, cxcywh_to_xyxy

AT_ONCE = 1 << 20  # pairs of boxes


@dataclass(frozen=True)
class Rounding:
    """By how much corners (pixels) and scores may be off."""

    pixels: float
    score: float


@dataclass(frozen=True)
class Pairs:
    """The candidate (n,) nearest to each row; the largest difference of corners in pixels and of scores."""

    place: Tensor
    pixels: float
    score: float


class Candidates:
    """The boxes of a picture with a score over `conf`, of `decoded` (boxes, 5 + classes): corners, scores by class."""

    def __init__(self, decoded: Tensor, conf: float) -> None:
        scores = decoded[:, 5:] * decoded[:, 4:5]
        likely = scores.amax(1) > conf
        self.boxes, self.scores = cxcywh_to_xyxy(decoded[likely, :4]), scores[likely]
        self.best = self.scores.amax(1)

    def nearest(self, rows: Tensor, pixels: float, score: float) -> Pairs:
        """The candidate that each of the rows (n, 6) is, differences measured in these units; infinite without any."""
        if not len(rows) or not len(self.best):
            nothing = torch.zeros(0, dtype=torch.int64, device=rows.device)
            return Pairs(nothing, *([float("inf") if len(rows) else 0.0] * 2))
        parts = [self._nearest(part, pixels, score) for part in rows.split(max(1, AT_ONCE // len(self.best)))]
        place, corners, scores = (torch.cat(part) for part in zip(*parts, strict=True))
        return Pairs(place, *(each.nan_to_num(float("inf")).max().item() for each in (corners, scores)))

    def _nearest(self, rows: Tensor, pixels: float, score: float) -> tuple[Tensor, Tensor, Tensor]:
        corners = (rows[:, None, :4] - self.boxes).abs().amax(2)
        own = self.scores[:, rows[:, 5].long()].T
        # a class that is not the box's best is off by what it is short of it
        scores = torch.maximum((rows[:, None, 4] - own).abs(), self.best - own)
        place = torch.maximum(corners / pixels, scores / score).nan_to_num(float("inf")).argmin(1)
        at = place[:, None]
        return place, corners.gather(1, at).squeeze(1), scores.gather(1, at).squeeze(1)

    def explain(self, rows: Tensor, place: Tensor, near: Rounding, conf: float, iou: float, max_det: int) -> bool:
        """Whether the rows, whose candidates are at `place`, are what may be kept with these options."""
        falling = bool((rows[1:, 4] <= rows[:-1, 4]).all()) and len(rows) <= max_det
        if not falling or (len(rows) and rows[-1, 4] < conf - near.score):
            return False
        same = rows[:, None, 5] == rows[:, 5]
        if (_beyond(rows, rows, iou, near.pixels, -1) & same).triu(1).any():
            return False
        dropped = self.best > conf + near.score
        dropped[place] = False
        if len(rows) == max_det:  # those below the last row had no room
            dropped &= self.best > rows[-1, 4] + near.score
        parts = dropped.nonzero().squeeze(1).split(max(1, AT_ONCE // max(1, len(rows))))
        return all(bool(self._suppressed(part, rows, near, iou).all()) for part in parts)

    def _suppressed(self, place: Tensor, rows: Tensor, near: Rounding, iou: float) -> Tensor:
        """Which candidates a row may have suppressed: no worse, of a class that may be the candidate's best."""
        least = self.best[place, None] - near.score
        fits = (self.scores[place][:, rows[:, 5].long()] >= least) & (rows[:, 4] >= least)
        return (_beyond(self.boxes[place], rows, iou, near.pixels, 1) & fits).any(1)


def _beyond(boxes: Tensor, others: Tensor, iou: float, pixels: float, side: int) -> Tensor:
    """Which pairs overlap by more than `iou`: surely, with `side` -1, or possibly, with 1."""
    boxes, others = boxes[:, :4], others[:, :4]
    overlap = box_iou(boxes, others)
    (w, h), (v, g) = ((each[:, 2:] - each[:, :2]).unbind(1) for each in (boxes, others))
    union = ((w * h)[:, None] + v * g) / (1 + overlap)
    # corners off by p change the areas shared and covered by 4 p (w + h of both) at most, together
    slack = 4 * pixels * ((w + h)[:, None] + v + g) / union + 1e-6
    return (overlap + side * slack > iou) & (overlap > 0)
