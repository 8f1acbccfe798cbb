"""What the batched renderer needs to know of a batch, worked out on the host in float64 as a few small arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.geometry import Arrangement
from data.plan import Plan

CELLS = 9  # of a layer's grid, see `geometry.Arrangement`
MATRIX, LINES, CELL = slice(0, 9), slice(9, 13), slice(13, None)  # columns of a layer
ACROSS = 9  # columns of a cell


@dataclass(frozen=True)
class Recipe:
    """A batch to be drawn.

    Attributes:
        layers: (B, L, 94) float32: from output pixels, measured from the output's centre, to canvas pixels, a (3, 3)
            matrix by rows; the grid's lines, first x, y, second x, y; and of each of its nine cells low x, y, high
            x, y, origin x, y, source pixels a canvas pixel, and the source's width and height. A cell without a tile
            has its low side at infinity.
        colour: (B, 4) float32 gains of hue, saturation and value, and the first layer's weight.
        offsets: (B, L, 9) int64 where the cells' sources begin in the pixels.
        height, width: of the output.
        jitter: whether any colour changes.
    """

    layers: np.ndarray
    colour: np.ndarray
    offsets: np.ndarray
    height: int
    width: int
    jitter: bool


def of_plans(
    plan: Plan,
    tiles: Arrangement,
    layers: np.ndarray,
    shapes: np.ndarray,
    offsets: np.ndarray,
    height: int,
    width: int,
) -> Recipe:
    """The recipe of a stacked plan.

    Args:
        plan, tiles, layers: the plan, its `geometry.arrange` and its `geometry.layer_matrices`.
        shapes, offsets: (B, LAYERS, T, 2) and (B, LAYERS, T): the tiles' sources, and where they begin.
        height, width: of the output, pixels.
    """
    mixed = bool((plan.sources[:, 1] >= 0).any())
    present = plan.sources >= 0
    present[:, 1] &= mixed
    after = np.concatenate((tiles.lines, np.full_like(tiles.lines[..., :1, :], np.inf)), -2)
    after = np.take_along_axis(after, tiles.cell, -2)
    high = tiles.origin + tiles.extent
    high = np.where(np.abs(high - after) < 1e-6, after, high)  # one number on both sides of a seam: no gap, no overlap
    scale = 1 / tiles.gain[..., None]
    values = np.concatenate((tiles.origin, high, tiles.origin, scale, shapes[..., ::-1]), -1)
    where = (*np.nonzero(present), (tiles.cell[..., 1] * 3 + tiles.cell[..., 0])[present])
    where = where[0], where[1], where[3]
    # output pixels are measured from the centre: small numbers lose less in float32
    back = np.linalg.inv(layers) @ np.array([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1]])
    drawn = (where, values[present], offsets[present], plan.hsv, plan.ratio)
    return _pack(back, tiles.lines, *drawn, height, width, 1 + mixed)


def of_letterboxes(origin: np.ndarray, shapes: np.ndarray, offsets: np.ndarray, height: int, width: int) -> Recipe:
    """The recipe that copies pictures, of `shapes` (B, 2) and at `offsets` (B,), to `origin` (B, 2) x, y on grey."""
    count = len(shapes)
    extent = shapes[:, ::-1]
    start = origin - np.array([width, height]) / 2
    values = np.concatenate((start, start + extent, start, np.ones((count, 1)), extent), -1)
    back = np.broadcast_to(np.eye(3), (count, 1, 3, 3))
    lines = np.broadcast_to(np.array([[-np.inf] * 2, [np.inf] * 2]), (count, 1, 2, 2))
    where = np.arange(count), np.zeros(count, np.int64), np.full(count, CELLS // 2)
    return _pack(back, lines, where, values, offsets, np.ones((count, 3)), np.ones(count), height, width, 1)


def _pack(
    back: np.ndarray,
    lines: np.ndarray,
    where: tuple[np.ndarray, np.ndarray, np.ndarray],
    values: np.ndarray,
    starts: np.ndarray,
    hsv: np.ndarray,
    ratio: np.ndarray,
    height: int,
    width: int,
    depth: int,
) -> Recipe:
    """Arrays of the stated layout; `where` are the batch, layer and cell of each row of `values` and `starts`."""
    count = len(back)
    layers = np.zeros((count, depth, CELL.start + CELLS * ACROSS), dtype=np.float32)
    layers[..., MATRIX] = back[:, :depth].reshape(count, depth, 9)
    layers[..., LINES] = lines[:, :depth].reshape(count, depth, 4)
    cells = layers[..., CELL].reshape(count, depth, CELLS, ACROSS)
    cells[...] = (np.inf, np.inf, 0, 0, 0, 0, 1, 1, 1)
    cells[where] = values
    layers[..., CELL] = cells.reshape(count, depth, CELLS * ACROSS)
    offsets = np.zeros((count, depth, CELLS), dtype=np.int64)
    offsets[where] = starts
    colour = np.concatenate((hsv, ratio[:, None]), -1).astype(np.float32)
    return Recipe(layers, colour, offsets, height, width, bool((hsv != 1).any()))
