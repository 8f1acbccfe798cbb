"""Non-maximum suppression of decoded predictions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor

from utils.boxes import cxcywh_to_xyxy

MAX_CANDIDATES = 30_000  # a picture; the lowest scores beyond it are dropped before the suppression
FIRST = 2048


def non_max_suppression(
    decoded: Tensor,
    conf: float = 0.25,
    iou: float = 0.45,
    *,
    multi_label: bool = False,
    agnostic: bool = False,
    max_det: int = 300,
    classes: Sequence[int] | None = None,
) -> list[Tensor]:
    """Keep the best of overlapping boxes.

    decoded: (B, anchors, 5 + classes): cx, cy, w, h in pixels, objectness, class probabilities; not changed. The score
    is objectness times class probability and must exceed `conf`, as must the objectness alone. A box gets its best
    class or, with `multi_label`, one row for every class over `conf`. Boxes of one class (of any, with `agnostic`) that
    overlap a better one by more than `iou` go. `classes`: keep only these.

    Returns one float32 tensor (n, 6) a picture, n <= max_det: x1, y1, x2, y2 in pixels, score, class; by falling score.
    """
    wanted = None if classes is None else torch.as_tensor(list(classes), device=decoded.device)
    candidates = decoded[..., 4] > conf
    return [
        _suppress(_rows(rows[mask].float(), conf, multi_label, wanted), iou, agnostic, max_det)
        for rows, mask in zip(decoded, candidates, strict=True)
    ]


def _rows(boxes: Tensor, conf: float, multi_label: bool, wanted: Tensor | None) -> Tensor:
    """(n, 5 + classes) to (m, 6), the `MAX_CANDIDATES` best by falling score."""
    scores = boxes[:, 5:] * boxes[:, 4:5]
    if multi_label:
        box, label = (scores > conf).nonzero().unbind(1)
        score = scores[box, label]
    elif len(boxes):
        score, label = scores.max(1)
        box = (score > conf).nonzero().squeeze(1)
        score, label = score[box], label[box]
    else:
        return boxes.new_zeros(0, 6)
    if wanted is not None:
        keep = torch.isin(label, wanted)
        box, score, label = box[keep], score[keep], label[keep]
    order = score.argsort(descending=True, stable=True)[:MAX_CANDIDATES]
    corners = cxcywh_to_xyxy(boxes[box[order], :4])
    return torch.cat((corners, score[order, None], label[order, None].to(corners.dtype)), 1)


def _suppress(rows: Tensor, iou: float, agnostic: bool, max_det: int) -> Tensor:
    """Rows by falling score to those kept, `max_det` at most.

    A row is judged by better ones alone, so the best `FIRST` rows settle the matter where `max_det` of them are kept:
    an untrained network gives tens of thousands of candidates, whose suppression would take seconds on a CPU.
    """
    group = torch.zeros_like(rows[:, 5]) if agnostic else rows[:, 5]
    count = FIRST
    while True:
        head = rows[:count]
        kept = torchvision.ops.batched_nms(head[:, :4], head[:, 4], group[:count], iou)
        if len(kept) >= max_det or count >= len(rows):
            return rows[kept[:max_det]]
        count *= 4
