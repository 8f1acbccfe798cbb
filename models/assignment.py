"""Which anchors answer for which boxes: candidates of a fixed number and a mask, so no shape depends on the data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Columns and rows by which a neighbouring cell lies off a box's own: centre, left, top, right, bottom.
_OFFSETS = ((0, 0), (-1, 0), (0, -1), (1, 0), (0, 1))


@dataclass(frozen=True)
class Matches:
    """The candidates of one map, `M = 5 offsets x A anchors x N targets` in that order, and which of them count.

    `valid` (M,) bool; `cell` (M,) index into the map's flattened (B, A, h, w); `boxes` (M, 4) centre relative to the
    cell's corner and size, in cells; `anchors` (M, 2) in cells; `classes` (M,) int64; `winner` (B A h w,) the candidate
    a cell's objectness follows, -1 where there is none.
    """

    valid: Tensor
    cell: Tensor
    boxes: Tensor
    anchors: Tensor
    classes: Tensor
    winner: Tensor


@torch.no_grad()
def assign(targets: Tensor, anchors: Tensor, shape: tuple[int, int, int, int], anchor_t: float) -> Matches:
    """Match `targets` (N, 6: image, class, cx, cy, w, h normalised) with one map of `shape` (B, A, h, w).

    An anchor (`anchors` (A, 2), in cells) answers for a box when neither side differs by a factor of `anchor_t` or
    more, in the box's own cell and in up to two beside it, on the sides its centre is nearer to. Rows with an image
    below 0 are padding. Of several candidates for a cell the last in order wins, on every device alike.
    """
    batch, per_cell, height, width = shape
    size = _pair(width, height, targets)
    count = len(targets)
    centre, extent = targets[:, 2:4] * size, targets[:, 4:6] * size
    ratio = extent[None] / anchors[:, None]
    fits = (torch.maximum(ratio, 1 / ratio).amax(-1) < anchor_t) & (targets[:, 0] >= 0)  # (A, N)
    near, offsets = _neighbours(centre, size)  # (5, N), (5, 1, 2)
    corner = (centre + offsets / 2).long()  # (5, N, 2)
    column, row = corner[..., 0].clamp(0, width - 1), corner[..., 1].clamp(0, height - 1)
    relative = torch.stack((centre[:, 0] - column, centre[:, 1] - row), -1)
    boxes = torch.cat((relative, extent.expand(5, count, 2)), -1)

    valid = (near[:, None] & fits).flatten()
    image = targets[:, 0].long()
    number = torch.arange(per_cell, device=targets.device)[:, None]
    cell = (((image * per_cell + number)[None] * height + row[:, None]) * width + column[:, None]).flatten()
    cells = batch * per_cell * height * width
    rank = torch.arange(len(valid), device=targets.device)
    # Those that do not count are spread over the map, so that no cell gathers thousands of them.
    cell = torch.where(valid, cell, rank % cells)
    winner = torch.full((cells,), -1, dtype=torch.int64, device=targets.device)
    winner = winner.scatter_reduce(0, cell, torch.where(valid, rank, -1), "amax")
    return Matches(
        valid,
        cell,
        boxes[:, None].expand(5, per_cell, count, 4).reshape(-1, 4),
        anchors[None, :, None].expand(5, per_cell, count, 2).reshape(-1, 2),
        targets[:, 1].long().expand(5, per_cell, count).flatten(),
        winner,
    )


def _neighbours(centre: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """For centres (N, 2) in cells: which of the five cells count (5, N), and how far off they lie (5, 1, 2)."""
    far = size - centre
    low = (centre % 1 < 0.5) & (centre > 1)
    high = (far % 1 < 0.5) & (far > 1)
    near = torch.stack((torch.ones_like(low[:, 0]), low[:, 0], low[:, 1], high[:, 0], high[:, 1]))
    return near, torch.stack([_pair(x, y, centre) for x, y in _OFFSETS])[:, None]


def _pair(x: float, y: float, like: Tensor) -> Tensor:
    """(2,) tensor made on the device: copying one there would make the host wait."""
    return torch.stack((like.new_full((), x), like.new_full((), y)))
