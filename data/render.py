"""The CPU renderer: a plan applied to stored pictures with OpenCV.

Each tile is warped straight into its part of the output: an output pixel is sampled once, bilinearly, from the tile
that holds its centre, and no double-size canvas exists. The seams are exact: a tile owns the pixels whose centres lie
in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from data.geometry import corners, project, source_shapes, tile_labels, tile_matrices
from data.plan import Plan

GREY = 114


class Pictures(Protocol):
    """What a renderer reads from: `ImageStore`, or a list of arrays."""

    def __getitem__(self, i: int) -> np.ndarray: ...


def render(
    plan: Plan,
    pictures: Pictures,
    labels: Sequence[np.ndarray],
    height: int,
    width: int,
    size: int,
    out: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """One sample.

    Args:
        plan: of one picture (not a stack).
        pictures: picture number to (h, w, 3) uint8 RGB.
        labels: picture number to (k, 5) class, cx, cy, w, h normalised.
        height, width: of the output, pixels.
        size: to what a source's longest side is resized before the plan's own scale, pixels.
        out: (3, height, width) uint8 to draw into, each plane contiguous.

    Returns:
        (3, height, width) uint8 RGB and (m, 5) float32 labels normalised to it.
    """
    tiles = {at: pictures[int(plan.sources[at])] for at in zip(*np.nonzero(plan.sources >= 0), strict=True)}
    shapes = np.ones((*plan.sources.shape, 2), dtype=np.int64)
    for at, picture in tiles.items():
        shapes[at] = picture.shape[:2]
    matrices = tile_matrices(plan, shapes, height, width, size)

    back = np.linalg.inv(matrices)
    quads = project(matrices, corners(shapes[..., [0, 0, 1, 0]] * (0, 0, 1, 1)))

    # OpenCV warps four channels more than twice as fast as three.
    layers = np.full((2 if plan.ratio < 1 else 1, height, width, 4), GREY, dtype=np.uint8)
    for at, picture in tiles.items():
        warp_into(layers[at[0]], picture, back[at], quads[at])
    canvas = layers[0]
    if len(layers) == 2:
        canvas = cv2.addWeighted(canvas, float(plan.ratio), layers[1], 1 - float(plan.ratio), 0)
    canvas = jitter(canvas, plan.hsv)
    out = np.empty((3, height, width), dtype=np.uint8) if out is None else out
    planes(canvas, out)
    return out, tile_labels(plan.sources, labels, matrices, shapes, height, width)[0]


def labels_of(
    plan: Plan, shapes: np.ndarray, labels: Sequence[np.ndarray], height: int, width: int, size: int
) -> np.ndarray:
    """The labels (m, 5) that `render` gives, without a picture. `shapes`: (N, 2) height and width of the pictures."""
    sides = source_shapes(plan, shapes)
    return tile_labels(plan.sources, labels, tile_matrices(plan, sides, height, width, size), sides, height, width)[0]


def warp_into(canvas: np.ndarray, picture: np.ndarray, back: np.ndarray, quad: np.ndarray) -> None:
    """Draw a picture over the pixels of the canvas whose centres it covers.

    Args:
        canvas: (H, W, 4) uint8, drawn over.
        picture: (h, w, 3) uint8.
        back: (3, 3) the canvas's pixels to the picture's, depth positive over the picture.
        quad: (4, 2) the picture's corners on the canvas, in turn.
    """
    (left, top), (right, bottom) = first_centre(quad.min(0)), first_centre(quad.max(0))
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, canvas.shape[1]), min(bottom, canvas.shape[0])
    if left >= right or top >= bottom:
        return
    picture = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)
    view = canvas[top:bottom, left:right]
    if not (back[0, 1] or back[1, 0] or back[2, :2].any()):  # sides parallel to the canvas's
        _warp(picture, back, left, top, view)
        return
    part = np.empty_like(view)
    _warp(picture, back, left, top, part)
    cv2.copyTo(part, inside(quad, left, top, right, bottom), view)


def first_centre(edge: np.ndarray) -> list[int]:
    """First pixels with centres at or after these coordinates; the nudge makes two tiles round one edge alike."""
    return np.ceil(edge - 0.5 - 1e-6).astype(np.int64).tolist()


def inside(quad: np.ndarray, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """(bottom - top, right - left) uint8, 255 where a pixel's centre lies in the convex quadrilateral (4, 2)."""
    y = np.arange(top, bottom) + 0.5
    low, high = np.full(len(y), -np.inf), np.full(len(y), np.inf)
    edge = np.roll(quad, -1, 0) - quad
    turn = np.sign(edge[0, 0] * edge[1, 1] - edge[0, 1] * edge[1, 0])  # a flip reverses the corners' order
    for (x0, y0), (dx, dy) in zip(quad, edge * turn, strict=True):
        # Within: dx (y - y0) - dy (x - x0) >= 0, so that each edge bounds every row's span on one side.
        if abs(dy) < 1e-9:
            high[dx * (y - y0) < 0] = -np.inf
        elif dy < 0:
            low = np.maximum(low, x0 + (y - y0) * dx / dy)
        else:
            high = np.minimum(high, x0 + (y - y0) * dx / dy)
    low, high = (np.ceil(v - 0.5 - 1e-6).clip(left, right).astype(np.int32)[:, None] for v in (low, high))
    x = np.arange(left, right, dtype=np.int32)
    return ((x >= low) & (x < high)).view(np.uint8) * np.uint8(255)


def _warp(picture: np.ndarray, back: np.ndarray, left: int, top: int, out: np.ndarray) -> None:
    """Sample `picture` for every pixel of `out`, whose corner is at (left, top) of the canvas."""
    back = back.copy()
    # OpenCV counts from pixel centres: add half a pixel on the way in, take it off on the way out.
    back[:, 2] += back[:, 0] * (left + 0.5) + back[:, 1] * (top + 0.5)
    back[:2] -= 0.5 * back[2]
    flags, size = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (out.shape[1], out.shape[0])
    if back[2, :2].any():
        cv2.warpPerspective(picture, back, size, out, flags, cv2.BORDER_REPLICATE)
    else:
        cv2.warpAffine(picture, back[:2] / back[2, 2], size, out, flags, cv2.BORDER_REPLICATE)


def jitter(picture: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Hue, saturation and value multiplied by `gains` (3,): hue wraps, the others saturate.

    (H, W, 3 or 4) uint8 RGB to the same; a fourth channel may be dropped.
    """
    if (gains == 1).all():
        return picture
    level = np.arange(256)[:, None] * gains
    table = np.rint(level).clip(0, 255)
    table[:, 0] = np.rint(level[:, 0]) % 180  # OpenCV's hue of an 8-bit picture is in units of 2 degrees
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    cv2.LUT(hsv, table.astype(np.uint8)[None], hsv)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, hsv)


def planes(picture: np.ndarray, out: np.ndarray) -> None:
    """Copy (h, w, 3 or 4) into the planes of `out` (3, h, w), which may be a window of a larger array."""
    cv2.mixChannels([picture], list(out), [0, 0, 1, 1, 2, 2])
