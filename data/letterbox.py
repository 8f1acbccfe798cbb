"""Validation pictures: centred on grey, in batches of like shapes, and the way back to the original's pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.render import GREY, planes


@dataclass(frozen=True)
class Letterbox:
    """How a picture came to lie in its tensor: `tensor = original * gain + pad`.

    `shape`: original height, width. `gain`: width's and height's factor. `pad`: pixels at the left and at the top.
    """

    shape: tuple[int, int]
    gain: tuple[float, float]
    pad: tuple[int, int]


def undo(rows: Sequence[Tensor], letterboxes: Sequence[Letterbox]) -> list[Tensor]:
    """Of each picture (n, 4 or more), first corners in letterboxed pixels: in the original's pixels, clipped to it.

    What is computed with is sent to the rows' device in one piece.
    """
    counts = [len(each) for each in rows]
    numbers = torch.tensor([box.pad * 2 + box.gain * 2 + box.shape[::-1] * 2 for box in letterboxes])
    table, numbers = torch.cat(list(rows)), numbers.repeat_interleave(torch.tensor(counts), 0)
    pad, gain, limit = numbers.to(table).split(4, 1)
    corners = torch.minimum(((table[:, :4] - pad) / gain).clamp(min=0), limit)
    return list(torch.cat((corners, table[:, 4:]), 1).split(counts))


def batch_shape(shapes: np.ndarray, stride: int, pad: float) -> tuple[int, int]:
    """Height and width that hold pictures of `shapes` (k, 2): `ceil(largest / stride + pad) * stride`."""
    height, width = (math.ceil(float(side) / stride + pad) * stride for side in shapes.max(0))
    return height, width


def letterbox(picture: np.ndarray, original: tuple[int, int], out: np.ndarray) -> Letterbox:
    """Centre a picture (h, w, 3) on grey in `out` (3, H, W) uint8. `original`: height, width before it was resized."""
    box = lie(picture.shape[:2], original, *out.shape[1:])
    (h, w), (left, top) = picture.shape[:2], box.pad
    out.fill(GREY)
    planes(picture, out[:, top : top + h, left : left + w])
    return box


def lie(shape: Sequence[int], original: Sequence[int], height: int, width: int) -> Letterbox:
    """How a picture resized to `shape` (h, w) from `original` (h, w) is centred in (height, width)."""
    (h, w), original = map(int, shape), (int(original[0]), int(original[1]))
    return Letterbox(original, (w / original[1], h / original[0]), ((width - w) // 2, (height - h) // 2))


def letterbox_labels(labels: np.ndarray, shape: tuple[int, int], box: Letterbox, height: int, width: int) -> np.ndarray:
    """(k, 5) labels normalised to a picture of `shape` (h, w), normalised instead to the (height, width) around it."""
    moved = labels.astype(np.float32, copy=True)
    moved[:, 1:3] = (labels[:, 1:3] * shape[::-1] + box.pad) / (width, height)
    moved[:, 3:5] = labels[:, 3:5] * shape[::-1] / (width, height)
    return moved
