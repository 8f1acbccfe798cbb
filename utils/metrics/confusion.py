"""The confusion matrix of a detector."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from utils.metrics.matching import assign, flatten, overlapping_pairs


class ConfusionMatrix:
    """Counts of what was predicted for what was there.

    matrix: (classes + 1, classes + 1) int64 on the CPU, rows predicted, columns true, the last of each background: its
    row counts boxes that were missed, its column detections where nothing was.

    Detections with a score over `conf` and boxes pair up one to one whatever their classes, the highest IoU first, down
    to an IoU of `iou`. An instance is an observer of `val.evaluate`.
    """

    def __init__(self, classes: int, conf: float = 0.25, iou: float = 0.45) -> None:
        self.classes, self.conf, self.iou = classes, conf, iou
        self.matrix = torch.zeros(classes + 1, classes + 1, dtype=torch.int64)

    def update(self, predictions: list[Tensor], targets: list[Tensor]) -> None:
        """Count pictures: one (n, 6) x1, y1, x2, y2, score, class and one (m, 5) class, x1, y1, x2, y2 for each."""
        device = torch.device("cpu")
        found, picture = flatten(predictions, 6, device)
        truth, truth_picture = flatten(targets, 5, device)
        sure = found[:, 4] > self.conf
        found, picture = found[sure], picture[sure]
        det, gt, iou = overlapping_pairs(found[:, :4], picture, truth[:, 1:], truth_picture, self.iou)
        rank = torch.empty_like(det)
        rank[iou.argsort(descending=True, stable=True)] = torch.arange(len(det))
        chosen = assign(det, gt, rank, len(truth))
        predicted = torch.full((len(found) + len(truth),), self.classes)
        predicted[: len(found)] = found[:, 5].long()
        true = torch.full_like(predicted, self.classes)
        true[len(found) :] = truth[:, 0].long()
        true[det[chosen]] = truth[gt[chosen], 0].long()
        counted = torch.ones_like(predicted, dtype=torch.bool)
        counted[len(found) + gt[chosen]] = False
        cell = (predicted * (self.classes + 1) + true)[counted]
        self.matrix += torch.bincount(cell, minlength=self.matrix.numel()).view_as(self.matrix)

    def __call__(self, result: Any) -> None:
        """Count a `val.Predictions`."""
        self.update(result.boxes, result.targets)
