"""Boxes as tensors: formats, overlap, clipping. The last dimension of a box tensor has four entries."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """(..., 4) centre and size to (..., 4) corners, in the same unit."""
    centre, half = boxes[..., :2], boxes[..., 2:4] / 2
    return torch.cat((centre - half, centre + half), -1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """(..., 4) corners to (..., 4) centre and size, in the same unit."""
    low, high = boxes[..., :2], boxes[..., 2:4]
    return torch.cat(((low + high) / 2, high - low), -1)


def clip_boxes(boxes: Tensor, height: float, width: float) -> Tensor:
    """(..., 4) corners in pixels clamped to a picture of `height` by `width`."""
    limit = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), limit)


def label_rows(detections: Tensor, shape: Iterable[int], scores: bool) -> str:
    """Detections (n, 6) as a label file, a line a box: class, cx, cy, w, h as parts of the picture and, with `scores`,
    the score. `shape`: the picture's height and width."""
    height, width = shape
    rows = detections.double().cpu()
    boxes = xyxy_to_cxcywh(rows[:, :4]) / rows.new_tensor([width, height, width, height])
    columns = [rows[:, 5:], boxes] + ([rows[:, 4:5]] if scores else [])
    return "".join(" ".join(f"{value:.6g}" for value in row) + "\n" for row in torch.cat(columns, 1).tolist())


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Pairwise IoU of (n, 4) and (m, 4) corner boxes: (n, m). Empty boxes overlap nothing."""
    size = (torch.minimum(a[:, None, 2:], b[None, :, 2:]) - torch.maximum(a[:, None, :2], b[None, :, :2])).clamp(min=0)
    inter = size.prod(-1)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(-1), (b[:, 2:] - b[:, :2]).prod(-1)
    union = area_a[:, None] + area_b[None] - inter
    return torch.where(union > 0, inter / union, torch.zeros_like(inter))


def complete_iou(a: Tensor, b: Tensor, eps: float = 1e-7) -> Tensor:
    """CIoU of matching rows of (n, 4) centre-size boxes: (n,).

    "Distance-IoU Loss" (arXiv 1911.08287), equations 8 to 11: the overlap less the squared distance of the centres over
    the squared diagonal of the enclosing box, less the aspect term `alpha v`. No gradient flows through alpha.
    """
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.unbind(-1), b.unbind(-1)
    ax1, ax2, ay1, ay2 = ax - aw / 2, ax + aw / 2, ay - ah / 2, ay + ah / 2
    bx1, bx2, by1, by2 = bx - bw / 2, bx + bw / 2, by - bh / 2, by + bh / 2
    overlap_w = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp(min=0)
    overlap_h = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp(min=0)
    inter = overlap_w * overlap_h
    iou = inter / (aw * ah + bw * bh - inter + eps)
    enclose_w = torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)
    enclose_h = torch.maximum(ay2, by2) - torch.minimum(ay1, by1)
    distance = ((bx - ax) ** 2 + (by - ay) ** 2) / (enclose_w**2 + enclose_h**2 + eps)
    aspect = 4 / math.pi**2 * (torch.atan(bw / bh) - torch.atan(aw / ah)) ** 2
    with torch.no_grad():
        alpha = aspect / (1 - iou + aspect + eps)
    return iou - distance - alpha * aspect
