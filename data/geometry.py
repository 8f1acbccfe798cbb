"""A plan and the pictures' shapes give one 3x3 matrix a tile, and the labels go through the same matrices.

Coordinates are those of boxes: pixel `k` covers `k` to `k + 1`, its centre is at `k + 0.5`. Everything broadcasts over
leading axes, so that a stacked plan gives a whole batch at once.
"""

from __future__ import annotations

import numpy as np

from data.plan import Plan

MIN_SIDE, MIN_AREA, MAX_ASPECT = 2.0, 0.1, 100.0  # of a label worth keeping: pixels, visible fraction, ratio
_FORESHORTENING = 0.75  # largest relative change of depth across a picture; at 1 its far side would be at infinity


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


def tile_matrices(plan: Plan, shapes: np.ndarray, height: int, width: int, size: int) -> np.ndarray:
    """(..., LAYERS, TILES, 3, 3): pixels of each tile's source to output pixels.

    `shapes`: (..., LAYERS, TILES, 2) height and width of the sources, anything positive where there is no tile. Each
    source is first resized so that its longest side is `size`. A mosaic's tile touches the centre with a corner and is
    not cut at the canvas's edge: what the transform brings into the output is shown.
    """
    extent = shapes[..., ::-1].astype(np.float64)  # width, height
    gain = size / extent.max(-1, keepdims=True)
    extent = extent * gain
    output = np.array([width, height], dtype=np.float64)
    quadrant = plan.quadrants
    before = np.stack(((quadrant % 2) == 0, quadrant < 2), -1)  # left of the centre, above it
    mosaic = (plan.centre[..., None, :] - 1) * output - before * extent
    # Centred on a whole pixel, so that a picture that is not otherwise moved is copied, not smoothed.
    alone = np.floor((output - extent) / 2 + 1e-6) - output / 2
    place = _eye(quadrant.shape)
    place[..., 0, 0] = place[..., 1, 1] = gain[..., 0]
    place[..., :2, 2] = np.where((quadrant < 0)[..., None], alone, mosaic)
    return layer_matrices(plan, height, width)[..., None, :, :] @ place


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
