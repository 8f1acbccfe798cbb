"""A plan and the pictures' shapes give one 3x3 matrix a tile, and the labels go through the same matrices.

Coordinates are those of boxes: pixel `k` covers `k` to `k + 1`, its centre is at `k + 0.5`. Everything broadcasts over
leading axes, so that a stacked plan gives a whole batch at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.plan import Plan

MIN_SIDE, MIN_AREA, MAX_ASPECT = 2.0, 0.1, 100.0  # of a label worth keeping: pixels, visible fraction, ratio
_FORESHORTENING = 0.75  # largest relative change of depth across a picture; at 1 its far side would be at infinity
_CELLS = np.array([(1, 1), *((x, y) for y in (0, 2) for x in (0, 2)), *((x, y) for y in range(3) for x in range(3))])


def _eye(shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(np.eye(3), (*shape, 3, 3)).copy()


def layer_matrices(plan: Plan, height: int, width: int) -> np.ndarray:
    """(..., LAYERS, 3, 3): canvas pixels, measured from the canvas's centre, to output pixels.

    In this order: perspective, rotation and scale, shear, shift, flips. A perspective that would fold the picture over
    is shortened to the largest that does not.
    """
    shape = plan.angle.shape
    reach = 1.5 * max(height, width)  # how far from the canvas's centre a mosaic's tile can extend
    depth = np.abs(plan.perspective).sum(-1, keepdims=True) * reach
    perspective = _eye(shape)
    perspective[..., 2, :2] = plan.perspective * np.minimum(1, _FORESHORTENING / np.maximum(depth, 1e-12))

    rotation, shear, shift = _eye(shape), _eye(shape), _eye(shape)
    cos, sin = plan.scale * np.cos(plan.angle), plan.scale * np.sin(plan.angle)
    rotation[..., 0, 0], rotation[..., 0, 1] = cos, sin
    rotation[..., 1, 0], rotation[..., 1, 1] = -sin, cos
    shear[..., 0, 1], shear[..., 1, 0] = np.tan(plan.shear[..., 0]), np.tan(plan.shear[..., 1])
    shift[..., :2, 2] = plan.shift * (width, height)

    flip = _eye(plan.flip.shape[:-1])
    sign = np.where(plan.flip, -1.0, 1.0)
    flip[..., 0, 0], flip[..., 1, 1] = sign[..., 0], sign[..., 1]
    flip[..., :2, 2] = plan.flip * (width, height)
    return flip[..., None, :, :] @ shift @ shear @ rotation @ perspective


@dataclass(frozen=True)
class Arrangement:
    """Where tiles lie on the canvas, in pixels from its centre; pairs are x, y.

    A layer is a grid of three by three cells between two lines an axis: a mosaic of nine; one of four, whose middle
    cells are empty, as both lines are one; a picture alone, in the middle cell without bounds.

    Attributes:
        cell: (..., T, 2) int64 column and row, 0 to 2.
        lines: (..., 2, 2) first and second line, of x and of y.
        origin: (..., T, 2) the tile's top left corner.
        extent: (..., T, 2) its size.
        gain: (..., T) canvas pixels a source pixel.
    """

    cell: np.ndarray
    lines: np.ndarray
    origin: np.ndarray
    extent: np.ndarray
    gain: np.ndarray


def source_shapes(plan: Plan, shapes: np.ndarray) -> np.ndarray:
    """(..., LAYERS, T, 2) height and width of a plan's sources, of pictures with `shapes` (N, 2); 1 where none is."""
    found = np.ones((*plan.sources.shape, 2), dtype=np.int64)
    present = plan.sources >= 0
    found[present] = shapes[plan.sources[present]]
    return found


def arrange(plan: Plan, shapes: np.ndarray, height: int, width: int, size: int) -> Arrangement:
    """The tiles of a plan, of sources with `shapes` (..., LAYERS, T, 2), each resized to a longest side of `size`.

    A mosaic of four meets in its centre. One of nine has around that centre a middle cell as wide as the widest
    picture of the middle column and as high as the highest of the middle row. Pictures touch the lines with the sides
    that face the middle, and are centred between them. None is cut, neither by a cell nor at the canvas's edge: what
    the transform brings into the output is shown.
    """
    extent = shapes[..., ::-1].astype(np.float64)  # width, height
    gain = size / extent.max(-1)
    extent = extent * gain[..., None]
    output = np.array([width, height], dtype=np.float64)
    kind = plan.quadrants[..., None]
    cell = _CELLS[plan.quadrants + 1]
    centre = (plan.centre[..., None, :] - 1) * output
    half = np.where((cell == 1) & (kind > 3), extent, 0).max(-2, keepdims=True) / 2  # of the middle cell
    first, second = centre - half, centre + half
    origin = np.where(cell == 0, first - extent, np.where(cell == 1, centre - extent / 2, second))
    # Centred on a whole pixel, so that a picture that is not otherwise moved is copied, not smoothed.
    origin = np.where(kind < 0, np.floor((output - extent) / 2 + 1e-6) - output / 2, origin)
    lines = np.concatenate((first, second), -2)
    lines = np.where(kind[..., :1, :] < 0, np.array([[-np.inf], [np.inf]]), lines)
    return Arrangement(cell, lines, origin, extent, gain)


def tile_matrices(plan: Plan, shapes: np.ndarray, height: int, width: int, size: int) -> np.ndarray:
    """(..., LAYERS, T, 3, 3): pixels of each tile's source to output pixels.

    `shapes`: (..., LAYERS, T, 2) height and width of the sources, anything positive where there is no tile.
    """
    return place(arrange(plan, shapes, height, width, size), layer_matrices(plan, height, width))


def place(tiles: Arrangement, layers: np.ndarray) -> np.ndarray:
    """(..., LAYERS, T, 3, 3): source pixels to output pixels, from `layer_matrices` (..., LAYERS, 3, 3)."""
    onto = _eye(tiles.gain.shape)
    onto[..., 0, 0] = onto[..., 1, 1] = tiles.gain
    onto[..., :2, 2] = tiles.origin
    return layers[..., None, :, :] @ onto


def project(matrices: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., k, 2) through matrices (..., 3, 3): (..., k, 2)."""
    moved = points @ np.swapaxes(matrices[..., :2], -1, -2) + matrices[..., None, :, 2]
    return moved[..., :2] / moved[..., 2:]


def corners(boxes: np.ndarray) -> np.ndarray:
    """(..., 4) x1, y1, x2, y2 to the four corners in turn, (..., 4, 2)."""
    return boxes[..., [0, 1, 2, 1, 2, 3, 0, 3]].reshape(*boxes.shape[:-1], 4, 2)


def transform_labels(
    labels: np.ndarray, matrices: np.ndarray, shapes: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Labels through their tiles' matrices, boxed and clipped to the output.

    Args:
        labels: (k, 5) class, cx, cy, w, h normalised to the source.
        matrices: (k, 3, 3) source pixels to output pixels.
        shapes: (k, 2) height and width of the source.
        height, width: of the output.

    Returns:
        (k, 5) float32 class, cx, cy, w, h normalised to the output, and (k,) bool: which are worth keeping (both sides
        over 2 px, over a tenth of the moved box in view, aspect ratio under 100).
    """
    extent = shapes[:, ::-1].astype(np.float64)
    middle, half = labels[:, 1:3] * extent, labels[:, 3:5] * extent / 2
    moved = project(matrices, corners(np.concatenate((middle - half, middle + half), 1)))
    low, high = moved.min(1), moved.max(1)
    area = (high - low).prod(1)
    output = np.array([width, height], dtype=np.float64)
    low, high = low.clip(0, output), high.clip(0, output)
    side = high - low
    aspect = side.max(1, initial=0) / np.maximum(side.min(1, initial=np.inf), 1e-9)
    keep = (side > MIN_SIDE).all(1) & (side.prod(1) > MIN_AREA * area) & (aspect < MAX_ASPECT)
    result = np.concatenate((labels[:, :1], (low + high) / 2 / output, side / output), 1)
    return result.astype(np.float32), keep


def tile_labels(
    sources: np.ndarray,
    labels: Sequence[np.ndarray],
    matrices: np.ndarray,
    shapes: np.ndarray,
    height: int,
    width: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The labels of all tiles that are worth keeping, in the tiles' order.

    Args:
        sources: (..., LAYERS, T) picture numbers, -1 where there is no tile.
        labels: picture number to (k, 5) class, cx, cy, w, h normalised.
        matrices, shapes: (..., LAYERS, T, 3, 3) and (..., LAYERS, T, 2) of the tiles.
        height, width: of the output.

    Returns:
        (m, 5) float32 class, cx, cy, w, h normalised to the output, and (m,) int64: which tile, counted through, each
        is from.
    """
    flat = sources.reshape(-1)
    at = np.flatnonzero(flat >= 0)
    rows = [labels[i] for i in flat[at].tolist()]
    tile = np.repeat(at, [len(found) for found in rows])
    if not len(tile):
        return np.zeros((0, 5), dtype=np.float32), tile
    flat_matrices, flat_shapes = matrices.reshape(-1, 3, 3)[tile], shapes.reshape(-1, 2)[tile]
    moved, keep = transform_labels(np.concatenate(rows), flat_matrices, flat_shapes, height, width)
    return moved[keep], tile[keep]
