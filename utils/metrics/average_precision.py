"""Detection metrics by the COCO definition, on tensors: precision, recall, mAP50 and mAP50-95."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from utils.metrics.matching import assign, flatten, overlapping_pairs

# Taken from numpy, bit for bit as the COCO tools do: a recall of exactly 0.29 must fall on the same side.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_POINTS = np.linspace(0.0, 1.0, 101)
CONFIDENCES = np.linspace(0.0, 1.0, 1000)
EPS = float(np.spacing(1))


@dataclass(frozen=True)
class ClassMetrics:
    """One class: pictures that show it, its boxes, P and R at `Metrics.confidence`, AP at IoU 0.5 and over 0.5:0.95."""

    index: int
    images: int
    instances: int
    precision: float
    recall: float
    ap50: float
    ap: float


@dataclass(frozen=True)
class Curves:
    """What the plots draw, for the k classes that have ground truth; at IoU 0.5; float64 on the CPU.

    classes: their indices. confidence (1000,). precision, recall, f1 (k, 1000) over confidence: precision is 1 above a
    class's highest score and 0 for a class never predicted. pr (k, 101): precision over `recall_points` (101,).
    """

    classes: tuple[int, ...]
    confidence: Tensor
    precision: Tensor
    recall: Tensor
    f1: Tensor
    recall_points: Tensor
    pr: Tensor


@dataclass
class Metrics:
    """Means over the classes that have ground truth; all 0 where none has.

    precision and recall are those at `confidence`, where the mean F1 is best. losses: (3,) mean box, objectness and
    class terms a picture, where they were asked for.
    """

    precision: float
    recall: float
    map50: float
    map: float
    per_class: list[ClassMetrics]
    curves: Curves
    confidence: float = 0.0
    images: int = 0
    instances: int = 0
    losses: Tensor | None = None

    @property
    def fitness(self) -> float:
        """What `best.pt` is chosen by: 0.1 mAP50 + 0.9 mAP50-95."""
        return 0.1 * self.map50 + 0.9 * self.map


def evaluate_boxes(predictions: list[Tensor], targets: list[Tensor], classes: int, max_det: int = 300) -> Metrics:
    """Score detections against ground truth.

    predictions: one (n, 6) tensor a picture: x1, y1, x2, y2, score, class. targets: one (m, 5) tensor a picture: class,
    x1, y1, x2, y2. Pixels; any float dtype; CPU or CUDA. classes: how many there are.

    "Microsoft COCO: Common Objects in Context" (arXiv 1405.0312) as its tools compute it: in every picture and class
    the `max_det` best detections, by falling score, each take the free ground truth of highest IoU at or over the
    threshold (of equal ones the last); AP is the mean of 101 points of the precision envelope. All areas, no crowds.
    Raises ValueError where the lists differ in length or a class is out of range.
    """
    if len(predictions) != len(targets):
        found = f"{len(predictions)} pictures predicted, {len(targets)} with targets"
        raise ValueError(f"{found}: give one tensor a picture")
    device = predictions[0].device if predictions else torch.device("cpu")
    if device.type == "mps":  # has no float64
        device = torch.device("cpu")
    truth, truth_image = flatten(targets, 5, device)
    detections, image = flatten(predictions, 6, device)
    _check_classes(truth[:, 0], classes)
    _check_classes(detections[:, 5], classes)
    order = (truth_image * classes + truth[:, 0].long()).argsort(stable=True)
    truth, truth_image = truth[order], truth_image[order]
    detections, image = _in_class_order(detections, image, classes, max_det)
    truth_class, label = truth[:, 0].long(), detections[:, 5].long()
    instances = torch.bincount(truth_class, minlength=classes)
    group, truth_group = image * classes + label, truth_image * classes + truth_class
    level, hit = _true_positives(detections[:, :4], group, truth[:, 1:], truth_group)
    envelope = _precision_envelope(level, hit, label, instances)
    curves = _curves(detections[:, 4], label, hit[level == 0], instances, envelope[0])
    seen = torch.unique(truth_group) % classes
    return _summary(envelope.mean(-1).cpu(), curves, instances, torch.bincount(seen, minlength=classes), len(targets))


def _check_classes(label: Tensor, classes: int) -> None:
    outside = label[(label < 0) | (label >= classes)]
    if len(outside):
        raise ValueError(f"class {float(outside[0]):g} where there are {classes}, counted from 0")


def _in_class_order(rows: Tensor, image: Tensor, classes: int, max_det: int) -> tuple[Tensor, Tensor]:
    """Detections by class, then falling score, then as given; at most `max_det` of a class in a picture."""
    order = rows[:, 4].argsort(descending=True, stable=True)
    order = order[rows[order, 5].argsort(stable=True)]
    rows, image = rows[order], image[order]
    if len(rows) and int(torch.bincount(image).max()) > max_det:
        group = image * classes + rows[:, 5].long()
        by_group = group.argsort(stable=True)
        start = torch.searchsorted(group[by_group], group[by_group])
        rank = torch.arange(len(group), device=group.device) - start
        keep = by_group[rank < max_det].sort().values
        rows, image = rows[keep], image[keep]
    return rows, image


def _true_positives(boxes: Tensor, group: Tensor, truth: Tensor, truth_group: Tensor) -> tuple[Tensor, Tensor]:
    """IoU level and detection row of every true positive, (k,) each, ascending by level, then row."""
    det, gt, iou = overlapping_pairs(boxes, group, truth, truth_group, float(IOU_THRESHOLDS[0]))
    thresholds = torch.from_numpy(IOU_THRESHOLDS).to(iou.device)
    level, pair = (iou >= thresholds[:, None]).nonzero().unbind(1)
    det, gt = det[pair], gt[pair]
    chosen = assign(level * len(boxes) + det, level * len(truth) + gt, det, len(thresholds) * len(truth))
    return level[chosen], det[chosen]


def _precision_envelope(level: Tensor, hit: Tensor, label: Tensor, instances: Tensor) -> Tensor:
    """(levels, classes, 101): the best precision at each recall or beyond.

    Precision rises at true positives only, so the envelope needs no other detection: each is filed under the highest
    recall point that it reaches, and a running maximum from the right does the rest.
    """
    levels, classes, points = len(IOU_THRESHOLDS), len(instances), len(RECALL_POINTS)
    kind = label[hit]
    key = level * classes + kind
    true = torch.arange(1, len(hit) + 1, device=hit.device) - _starts(key, levels * classes)[key]
    shown = hit + 1 - _starts(label, classes)[kind]
    precision = true.double() / (shown.double() + EPS)
    recall = true.double() / instances[kind].double()
    point = torch.searchsorted(torch.from_numpy(RECALL_POINTS).to(recall.device), recall, right=True) - 1
    best = precision.new_zeros(levels * classes * points)
    best.scatter_reduce_(0, key * points + point, precision, "amax")
    return best.view(levels, classes, points).flip(-1).cummax(-1).values.flip(-1)


def _starts(key: Tensor, size: int) -> Tensor:
    """(size,) where the run of each key begins in an ascending (n,) key tensor."""
    count = torch.bincount(key, minlength=size)
    return count.cumsum(0) - count


def _curves(score: Tensor, label: Tensor, hit: Tensor, instances: Tensor, pr: Tensor) -> Curves:
    """Counts at every confidence `c` of the detections with score >= c, and of the true ones among them."""
    classes, steps = len(instances), len(CONFIDENCES)
    confidence = torch.from_numpy(CONFIDENCES)
    reached = torch.searchsorted(confidence.to(score.device), score.double(), right=True)
    key = label * (steps + 1) + reached

    def at_least(keys: Tensor) -> Tensor:
        count = torch.bincount(keys, minlength=classes * (steps + 1)).view(classes, steps + 1)
        return count.flip(1).cumsum(1).flip(1)[:, 1:].double()

    present = instances.nonzero().squeeze(1)
    shown, true = at_least(key)[present].cpu(), at_least(key[hit])[present].cpu()
    predicted = torch.bincount(label, minlength=classes)[present].cpu() > 0
    precision = torch.where(shown > 0, true / shown.clamp(min=1), predicted[:, None].double())
    recall = true / instances[present].cpu()[:, None]
    f1 = 2 * precision * recall / (precision + recall).clamp(min=EPS)
    points = torch.from_numpy(RECALL_POINTS)
    return Curves(tuple(present.tolist()), confidence, precision, recall, f1, points, pr[present].cpu())


def _summary(ap: Tensor, curves: Curves, instances: Tensor, images: Tensor, pictures: int) -> Metrics:
    """ap (levels, classes) and curves to means and rows. Of equal F1 the lowest confidence counts."""
    if not curves.classes:
        return Metrics(0.0, 0.0, 0.0, 0.0, [], curves, images=pictures)
    mean_f1 = curves.f1.mean(0)
    best = int((mean_f1 == mean_f1.max()).nonzero()[0])
    precision, recall = curves.precision[:, best], curves.recall[:, best]
    images, instances = images.tolist(), instances.tolist()
    rows = [
        ClassMetrics(c, images[c], instances[c], float(p), float(r), float(ap[0, c]), float(ap[:, c].mean()))
        for c, p, r in zip(curves.classes, precision, recall, strict=True)
    ]
    present = ap[:, list(curves.classes)]
    return Metrics(
        precision=float(precision.mean()),
        recall=float(recall.mean()),
        map50=float(present[0].mean()),
        map=float(present.mean()),
        per_class=rows,
        curves=curves,
        confidence=float(curves.confidence[best]),
        images=pictures,
        instances=sum(instances),
    )
