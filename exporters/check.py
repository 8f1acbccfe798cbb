"""An exported file beside its checkpoint: how far apart their boxes are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from exporters.model import Exported, rows_of
from models import Detector
from utils.boxes import box_iou, cxcywh_to_xyxy
from utils.nms import non_max_suppression

BEST = 300  # boxes of each picture that are compared, where no NMS chooses
PIXELS, SCORE = 0.05, 1e-3  # float32: some fifty times what rounding came to on published weights
HALF_PIXELS, HALF_SCORE = 0.01, 0.05  # float16 keeps 11 bits; pixels as a part of the picture's longer side


@dataclass(frozen=True)
class Difference:
    """The largest differences of corners in pixels and of scores; boxes compared, and those that one side alone has."""

    pixels: float
    score: float
    boxes: int
    unmatched: int
    rounding: bool  # all of it can be rounding

    def __str__(self) -> str:
        alone = f", {self.unmatched} without a counterpart" if self.unmatched else ""
        return f"largest differences of {self.boxes} boxes: {self.pixels:.2g} px, score {self.score:.2g}{alone}"


@torch.inference_mode()
def compare(detector: Detector, exported: Exported, images: Tensor) -> Difference:
    """Run both on pictures (B, 3, H, W), float in [0, 1], on the detector's device."""
    decoded, found = detector(images)[0], exported(images)
    pixels, score = PIXELS, SCORE
    if exported.half:
        pixels, score = HALF_PIXELS * max(images.shape[2:]), HALF_SCORE
    if not exported.nms:
        return _all(decoded, found, pixels, score)
    options = {"conf": exported.conf, "iou": exported.iou, "max_det": exported.max_det}
    return _kept(non_max_suppression(decoded, **options), rows_of(found), pixels, score, exported.conf)


def _all(decoded: Tensor, found: Tensor, pixels: float, score: float) -> Difference:
    scores, others = (each[..., 5:] * each[..., 4:5] for each in (decoded, found))
    place = scores.amax(2).topk(min(BEST, scores.shape[1]), 1).indices
    corners, moved = (
        cxcywh_to_xyxy(each[..., :4]).gather(1, place[..., None].expand(-1, -1, 4)) for each in (decoded, found)
    )
    apart = _largest(corners - moved), _largest(scores - others)
    rounding = apart[0] <= pixels and apart[1] <= score
    return Difference(*apart, boxes=place.numel(), unmatched=0, rounding=rounding)


def _kept(expected: Sequence[Tensor], found: Sequence[Tensor], pixels: float, score: float, conf: float) -> Difference:
    """Boxes of one class are pairs where they overlap most. One alone is rounding where its score is about `conf`."""
    apart, count, alone, odd = [0.0, 0.0], 0, 0, 0
    for rows, others in zip(expected, found, strict=True):
        overlap = box_iou(rows[:, :4], others[:, :4]) * (rows[:, None, 5] == others[None, :, 5])
        free = torch.ones(len(others), dtype=torch.bool, device=others.device)
        for row, near in zip(rows, overlap, strict=True):
            place = int((near * free).argmax()) if len(others) else 0
            if not len(others) or not free[place] or near[place] < 0.5:
                alone, odd = alone + 1, odd + int(row[4] > conf + score)
                continue
            free[place] = False
            apart[0] = max(apart[0], _largest(row[:4] - others[place, :4]))
            apart[1] = max(apart[1], _largest(row[4] - others[place, 4]))
        count += len(rows)
        alone, odd = alone + int(free.sum()), odd + int((others[free, 4] > conf + score).sum())
    rounding = apart[0] <= pixels and apart[1] <= score and odd == 0
    return Difference(*apart, boxes=count, unmatched=alone, rounding=rounding)


def _largest(difference: Tensor) -> float:
    """The largest absolute value; infinite where anything is not a number."""
    value = difference.abs().max().item() if difference.numel() else 0.0
    return value if value == value else float("inf")
