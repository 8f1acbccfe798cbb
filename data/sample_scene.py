"""One picture of the built-in sample: a background, heads at their places, things before them, and the light."""

from __future__ import annotations

import cv2
import numpy as np

from data.sample_faces import INCORRECT, SKINS, Pose, draw_head, vary

SHARES = (0.55, 0.30, 0.15)  # with, without, under the nose
LEAST = (14.0, 14.0, 32.0)  # head heights in pixels: a nose above a mask cannot be told in fewer


def draw_scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random scene: (h, w, 3) uint8 RGB, and labels (n, 5) float64 of class, cx, cy, w, h normalised; 1 <= n <= 8."""
    width, height = int(rng.integers(280, 401)), int(rng.integers(220, 301))
    picture = _background(rng, height, width)
    kinds, poses = _place(rng, height, width)
    for kind, pose in zip(kinds, poses, strict=True):
        draw_head(picture, pose, kind, rng)
    if rng.random() < 0.2:
        _bar(picture, rng)
    size = np.array([width, height, width, height])
    corners = np.clip(np.stack([pose.box() for pose in poses]), 0, size) / size
    boxes = np.concatenate(((corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]), 1)
    return _develop(picture, rng), np.column_stack((kinds, boxes))


def _place(rng: np.random.Generator, height: int, width: int) -> tuple[list[int], list[Pose]]:
    """Classes and poses from the highest chin to the lowest: drawn in this order no body covers a head."""
    count = int(rng.choice(np.arange(1, 9), p=(0.14, 0.18, 0.18, 0.14, 0.12, 0.1, 0.08, 0.06)))
    most = min(0.5 * height, 1.35 * height / np.sqrt(count))
    heads: list[tuple[int, Pose]] = []
    for attempt in range(40 * count):
        if len(heads) == count:
            break
        kind = int(rng.choice(3, p=SHARES))
        tall = max(np.exp(rng.uniform(np.log(16), np.log(most))) ** 0.7 * (0.5 * most) ** 0.3, LEAST[kind])
        pose = Pose(
            x=rng.uniform(0.04, 0.96) * width,
            y=rng.uniform(0.08, 0.88) * height,
            height=tall if attempt < 30 * count else LEAST[INCORRECT],
            ratio=rng.uniform(0.7, 0.86),
            tilt=float(np.clip(rng.normal(0, 0.16), -0.5, 0.5)),
            turn=float(np.clip(rng.normal(0, 0.28), -0.65, 0.65)),
            jaw=rng.uniform(0.18, 0.38),
        )
        if _fits(pose, [other for _, other in heads], height, width):
            heads.append((kind, pose))
    heads.sort(key=lambda head: head[1].y + head[1].height / 2)
    return [kind for kind, _ in heads], [pose for _, pose in heads]


def _fits(pose: Pose, others: list[Pose], height: int, width: int) -> bool:
    """At least 80 % inside the picture, and no other head shares over a fifth of the smaller one's box."""
    box = pose.box()
    if _shared(box, np.array([0, 0, width, height])) < 0.8:
        return False
    return all(_shared(box, other.box()) < 0.2 for other in others)


def _shared(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two boxes (4,) over the smaller one's area."""
    overlap = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(overlap / min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod()))


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(h, w, 3) uint8: a gradient or a texture, clutter on it, out of focus more or less."""
    if rng.random() < 0.5:
        corners = rng.integers(20, 235, (2, 2, 3)).astype(np.uint8)
    else:
        rows, columns = (int(v) for v in rng.integers(3, 24, 2))
        corners = np.clip(rng.integers(40, 215, 3) + rng.normal(0, 28, (rows, columns, 3)), 0, 255).astype(np.uint8)
    grey = corners.mean(-1, keepdims=True)
    corners = (grey + (corners - grey) * rng.uniform(0.1, 1)).astype(np.uint8)
    how = cv2.INTER_NEAREST if rng.random() < 0.25 else cv2.INTER_LINEAR
    picture = np.ascontiguousarray(cv2.resize(corners, (width, height), interpolation=how))
    for _ in range(rng.integers(3, 26)):
        _clutter(picture, rng)
    sigma = rng.choice((0.0, 0.8, 2.0, 4.0))
    return cv2.GaussianBlur(picture, (0, 0), sigma) if sigma else picture


def _clutter(picture: np.ndarray, rng: np.random.Generator) -> None:
    """A block, a blob, a stroke; blobs may be of skin colour, and must not be taken for heads."""
    height, width = picture.shape[:2]
    x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
    w, h = (int(v) for v in rng.integers(6, 90, 2))
    colour = tuple(int(v) for v in rng.integers(10, 245, 3))
    shape = rng.integers(4)
    if shape == 0:
        cv2.rectangle(picture, (x, y), (x + w, y + h), colour, -1)
    elif shape == 1:
        colour = vary(rng, SKINS[rng.integers(len(SKINS))]) if rng.random() < 0.4 else colour
        cv2.ellipse(picture, (x, y), (w // 2, h // 2), float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
    elif shape == 2:
        cv2.line(picture, (x, y), (x + 2 * w - 90, y + 2 * h - 90), colour, int(rng.integers(1, 9)), cv2.LINE_AA)
    else:
        corners = rng.integers(0, (max(w, 8), max(h, 8)), (4, 2)) + np.array([x, y])
        cv2.fillConvexPoly(picture, cv2.convexHull(corners.astype(np.int32)), colour, cv2.LINE_AA)


def _bar(picture: np.ndarray, rng: np.random.Generator) -> None:
    """A pole or a rail between the camera and the people."""
    height, width = picture.shape[:2]
    x, lean, thick = int(rng.integers(0, width)), int(rng.integers(-30, 31)), int(rng.integers(3, 9))
    a, b = ((x, 0), (x + lean, height)) if rng.random() < 0.6 else ((0, x % height), (width, x % height + lean))
    cv2.line(picture, a, b, tuple(int(v) for v in rng.integers(10, 200, 3)), thick, cv2.LINE_AA)


def _develop(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The light and the camera: shadow, brightness, contrast, colour cast, blur, noise."""
    height, width = picture.shape[:2]
    light = np.full((height, width, 1), rng.uniform(0.7, 1.2))
    if rng.random() < 0.35:
        angle, ys, xs = rng.uniform(-np.pi, np.pi), *np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        side = xs * np.cos(angle) + ys * np.sin(angle) - rng.uniform(-0.6, 0.6)
        light *= 1 - rng.uniform(0.2, 0.5) / (1 + np.exp(-side / rng.uniform(0.03, 0.4)))[..., None]
    cast = 1 + rng.normal(0, 0.05, 3)
    out = (picture - 118.0) * rng.uniform(0.75, 1.2) + 118.0
    out *= light * cast
    if rng.random() < 0.3:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 0.9))
    out += rng.normal(0, rng.uniform(0, 7), picture.shape)
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)
