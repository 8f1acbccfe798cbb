"""An exported file beside its checkpoint: how far apart their boxes are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from exporters.model import Exported, rows_of
from exporters.suppressed import Candidates, Rounding
from models import Detector
from utils.boxes import cxcywh_to_xyxy
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
    return _kept(decoded, rows_of(found), exported, pixels, score)


def _all(decoded: Tensor, found: Tensor, pixels: float, score: float) -> Difference:
    scores, others = (each[..., 5:] * each[..., 4:5] for each in (decoded, found))
    place = scores.amax(2).topk(min(BEST, scores.shape[1]), 1).indices
    at = place[..., None].expand(-1, -1, 4)
    corners, moved = (cxcywh_to_xyxy(each[..., :4]).gather(1, at) for each in (decoded, found))
    apart = _largest(corners - moved), _largest(scores - others)
    rounding = apart[0] <= pixels and apart[1] <= score
    return Difference(*apart, boxes=place.numel(), unmatched=0, rounding=rounding)


def _kept(decoded: Tensor, found: Sequence[Tensor], exported: Exported, pixels: float, score: float) -> Difference:
    """Of a file with NMS inside: whether each picture's rows are what an NMS of `decoded` may keep, rounding apart."""
    options = {"conf": exported.conf, "iou": exported.iou, "max_det": exported.max_det}
    expected = non_max_suppression(decoded, **options)
    candidates = [Candidates(each, exported.conf - score) for each in decoded]
    pairs = [each.nearest(rows, pixels, score) for each, rows in zip(candidates, found, strict=True)]
    apart = max(pair.pixels for pair in pairs), max(pair.score for pair in pairs)
    near = Rounding(_room(apart[0], pixels), _room(apart[1], score))
    sound = apart[0] <= pixels and apart[1] <= score
    for each, pair, rows in zip(candidates, pairs, found, strict=True):
        sound = sound and each.explain(rows, pair.place, near, **options)
    kept = [each.nearest(rows, pixels, score).place for each, rows in zip(candidates, expected, strict=True)]
    alone = sum(len(set(a.tolist()) ^ set(b.place.tolist())) for a, b in zip(kept, pairs, strict=True))
    return Difference(*apart, boxes=sum(map(len, expected)), unmatched=alone, rounding=sound)


def _room(seen: float, most: float) -> float:
    """What rounding may come to for boxes that were dropped, where it cannot be seen: four times the largest seen."""
    return min(most, max(4 * seen, most / 50))


def _largest(difference: Tensor) -> float:
    """The largest absolute value; infinite where anything is not a number."""
    value = difference.abs().max().item() if difference.numel() else 0.0
    return value if value == value else float("inf")
