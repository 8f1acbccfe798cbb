"""Non-maximum suppression of decoded predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torchvision
from torch import Tensor

from utils.boxes import cxcywh_to_xyxy

MAX_CANDIDATES = 30_000  # a picture; the lowest scores beyond it are dropped before the suppression
FIRST = 2048
SCORES_AT_ONCE = 1 << 25  # on a GPU, as the next: bounds the memory where all of them are candidates
PAIRS_AT_ONCE = 1 << 25
ROUNDS = 4  # between two looks whether any changed something


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
    if decoded.is_cuda:
        return _together(decoded, conf, iou, multi_label, agnostic, max_det, wanted)
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


def _together(
    decoded: Tensor, conf: float, iou: float, multi_label: bool, agnostic: bool, max_det: int, wanted: Tensor | None
) -> list[Tensor]:
    """The same for many pictures at once: a GPU is waited for a few times a batch, not a few times a picture."""
    pictures = max(1, SCORES_AT_ONCE // max(1, decoded.shape[1:].numel()))
    options = (conf, iou, multi_label, agnostic, max_det, wanted)
    return [rows for part in decoded.split(pictures) for rows in _suppress_all(part.float(), *options)]


def _suppress_all(
    decoded: Tensor, conf: float, iou: float, multi_label: bool, agnostic: bool, max_det: int, wanted: Tensor | None
) -> list[Tensor]:
    rows, image = _rows_of_all(decoded, conf, multi_label, wanted)
    counts = torch.bincount(image, minlength=len(decoded))
    start, found = counts.cumsum(0) - counts, counts.clamp(max=MAX_CANDIDATES).tolist()
    side = min(FIRST, max(found, default=0))
    if side == 0:
        return [rows] * len(decoded)
    place = torch.arange(side, device=rows.device)
    table = rows[(start[:, None] + place).clamp(max=len(rows) - 1)]  # (B, side, 6), the best of each picture
    valid = place < counts[:, None]
    at_once = max(1, PAIRS_AT_ONCE // side**2)
    parts = zip(table.split(at_once), valid.split(at_once), strict=True)
    kept = torch.cat([_unsuppressed(part, there, iou, agnostic) for part, there in parts])
    numbers = kept.sum(1).tolist()
    best = table[kept & (kept.cumsum(1) <= max_det)].split([min(number, max_det) for number in numbers])
    short = [number < max_det and count > side for number, count in zip(numbers, found, strict=True)]
    return [
        _suppress(rows[begin : begin + count], iou, agnostic, max_det) if more else each
        for each, more, begin, count in zip(best, short, start.tolist(), found, strict=True)
    ]


def _rows_of_all(decoded: Tensor, conf: float, multi_label: bool, wanted: Tensor | None) -> tuple[Tensor, Tensor]:
    """(B, anchors, 5 + classes) to rows (m, 6) and their pictures (m,), by picture, then falling score."""
    scores = decoded[..., 5:] * decoded[..., 4:5]
    candidate = decoded[..., 4] > conf
    if multi_label:
        image, box, label = ((scores > conf) & candidate[..., None]).nonzero().unbind(1)
        score = scores[image, box, label]
    else:
        score, label = scores.max(-1)
        image, box = ((score > conf) & candidate).nonzero().unbind(1)
        score, label = score[image, box], label[image, box]
    if wanted is not None:
        keep = torch.isin(label, wanted)
        image, box, score, label = image[keep], box[keep], score[keep], label[keep]
    order = score.argsort(descending=True, stable=True)
    order = order[image[order].argsort(stable=True)]
    image, box = image[order], box[order]
    corners = cxcywh_to_xyxy(decoded[image, box, :4])
    return torch.cat((corners, score[order, None], label[order, None].to(corners.dtype)), 1), image


def _unsuppressed(table: Tensor, valid: Tensor, iou: float, agnostic: bool) -> Tensor:
    """Which rows no better row that stays suppresses: (B, n) of `table` (B, n, 6) by falling score.

    All rows judge at once, at first as if every row stayed. After k rounds the first k rows of each picture are right,
    and most of the others; nothing changes once all are.
    """
    low, high = table[:, :, :2], table[:, :, 2:4]
    area = (high - low).prod(-1)
    size = torch.minimum(high[:, :, None], high[:, None]) - torch.maximum(low[:, :, None], low[:, None])
    inter = size.clamp_(min=0).prod(-1)
    over = inter / (area[:, :, None] + area[:, None] - inter) > _float_below(iou)
    if not agnostic:
        over &= table[:, :, None, 5] == table[:, None, :, 5]
    over = over.triu_(1)  # better rows alone judge
    stays = valid
    while True:
        for _ in range(ROUNDS):
            before, stays = stays, valid & ~(over & stays[:, :, None]).any(1)
        if torch.equal(before, stays):
            return stays


def _float_below(value: float) -> float:
    """The largest float32 not over `value`: torchvision compares in float64, a tensor in its own type."""
    single = np.float32(value)
    return float(single if single <= value else np.nextafter(single, np.float32(-np.inf)))
