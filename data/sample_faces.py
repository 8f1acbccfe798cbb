"""Draws one head of the built-in sample: bare, masked, or with the mask under the nose.

Heads are drawn in head units: (0, 0) is the middle of the head, the crown lies at y = -1, the chin at y = 1, the
sides at x = -1 and x = 1. Features lie on a cylinder, so that turning the head moves them round to one side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

CLASSES = ("with_mask", "without_mask", "mask_weared_incorrect")
WITH, WITHOUT, INCORRECT = range(3)
Colour = tuple[int, ...]  # red, green, blue

SKINS = ((255, 219, 190), (241, 194, 155), (224, 172, 120), (198, 134, 86), (141, 85, 48), (92, 58, 38))
HAIRS = ((28, 22, 20), (58, 38, 26), (104, 66, 36), (172, 124, 66), (214, 180, 120), (150, 150, 150), (140, 52, 30))
MASKS = (
    *((120, 185, 225), (120, 185, 225), (235, 240, 242), (235, 240, 242), (30, 30, 34), (60, 90, 170), (80, 160, 120)),
    *((225, 130, 165), (190, 40, 50), (120, 120, 126), (230, 190, 70), (110, 70, 150)),
)


@dataclass(frozen=True)
class Pose:
    """Where a head is, in pixels, and how it is held: tilt in the picture's plane and turn to the side, in radians."""

    x: float
    y: float
    height: float
    ratio: float
    tilt: float
    turn: float
    jaw: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) head units to (n, 2) pixels."""
        half = self.height / 2
        x, y = points[:, 0] * half * self.ratio, points[:, 1] * half
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        return np.stack((self.x + x * cos - y * sin, self.y + x * sin + y * cos), 1)

    def wrap(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) points of a face looking ahead to where they are seen once the head is turned and the jaw narrow."""
        angle = np.clip(np.arcsin(np.clip(points[:, 0], -1, 1)) + self.turn, -np.pi / 2, np.pi / 2)
        return np.stack((np.sin(angle) * self._narrowing(points[:, 1]), points[:, 1]), 1)

    def outline(self) -> np.ndarray:
        """(64, 2) head units: the head without hat, neck and long hair."""
        angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        return np.stack((np.cos(angle) * self._narrowing(np.sin(angle)), np.sin(angle)), 1)

    def box(self) -> np.ndarray:
        """(4,) x1, y1, x2, y2 in pixels, tight to the head, possibly beyond the picture."""
        points = self.project(self.outline() * 1.02)
        return np.concatenate((points.min(0), points.max(0)))

    def _narrowing(self, y: np.ndarray) -> np.ndarray:
        return 1 - self.jaw * np.clip(y, 0, 1) ** 2


class Pen:
    """Draws shapes given in head units into an RGB uint8 picture, smoothed, placed to a sixteenth of a pixel."""

    def __init__(self, picture: np.ndarray, pose: Pose) -> None:
        self.picture, self.pose = picture, pose

    def fill(self, points: np.ndarray, colour: Colour) -> None:
        """A filled polygon: (n, 2) points in head units."""
        cv2.fillPoly(self.picture, [self._fixed(points)], colour, cv2.LINE_AA, 4)

    def line(self, points: np.ndarray, colour: Colour, width: float) -> None:
        """`width` is in head units; at least a pixel is drawn."""
        pixels = max(1, round(width * self.pose.height / 2))
        cv2.polylines(self.picture, [self._fixed(points)], False, colour, pixels, cv2.LINE_AA, 4)

    def dot(self, centre: tuple[float, float], size: tuple[float, float], colour: Colour) -> None:
        """An ellipse on the face with half axes `size`, turned with the head."""
        self.fill(self.pose.wrap(ellipse(*centre, *size)), colour)

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        return np.round(self.pose.project(points) * 16).astype(np.int32)


def ellipse(x: float, y: float, rx: float, ry: float, start: float = 0, stop: float = 2 * np.pi) -> np.ndarray:
    """(24, 2) points of an ellipse, or of the arc from `start` to `stop` radians (clockwise from the right)."""
    angle = np.linspace(start, stop, 24)
    return np.stack((x + rx * np.cos(angle), y + ry * np.sin(angle)), 1)


def vary(rng: np.random.Generator, colour: Colour, amount: int = 14) -> Colour:
    """A colour near `colour`."""
    return tuple(int(v) for v in np.clip(np.array(colour) + rng.integers(-amount, amount + 1, 3), 0, 255))


def shade(colour: Colour, factor: float) -> Colour:
    """`colour` made darker (factor under 1) or lighter."""
    return tuple(int(v) for v in np.clip(np.array(colour) * factor, 0, 255))


def draw_head(picture: np.ndarray, pose: Pose, kind: int, rng: np.random.Generator) -> None:
    """Draw a head of class `kind` with its shoulders into `picture` (h, w, 3) uint8 RGB."""
    pen = Pen(picture, pose)
    skin, hair = vary(rng, SKINS[rng.integers(len(SKINS))]), vary(rng, HAIRS[rng.integers(len(HAIRS))])
    _body(pen, skin, rng)
    if rng.random() < 0.35:
        pen.fill(ellipse(0, 0.15, 1.22, rng.uniform(1.1, 1.5)), hair)
    for side in (-1, 1):
        if side * pose.turn < 0.35:
            pen.fill(ellipse(side * 1.0, 0.0, 0.14, 0.24), shade(skin, 0.88))
    pen.fill(pose.outline(), skin)
    _light(pen, rng)
    if kind != WITH and rng.random() < 0.2:
        beard = [(-0.98, 0.1), (-0.7, 0.45), (0.7, 0.45), (0.98, 0.1), (0.8, 0.85), (0, 1), (-0.8, 0.85)]
        pen.fill(pose.wrap(np.array(beard)), hair)
    _features(pen, skin, hair, rng)
    _hair(pen, hair, rng)
    if kind != WITHOUT:
        _mask(pen, kind, rng)
    if kind != WITH:
        _nose(pen, skin)
    if rng.random() < 0.25:
        _glasses(pen, rng)
    if rng.random() < 0.22:
        _hat(pen, rng)
    if kind == WITHOUT and rng.random() < 0.15:
        _hand(pen, skin, rng, over_mouth=True)
    elif rng.random() < 0.06:
        _hand(pen, skin, rng, over_mouth=False)


def _body(pen: Pen, skin: Colour, rng: np.random.Generator) -> None:
    cloth = tuple(int(v) for v in rng.integers(20, 240, 3))
    wide = rng.uniform(1.7, 2.4)
    pen = Pen(pen.picture, replace(pen.pose, tilt=pen.pose.tilt / 2))
    pen.fill(np.array([(-0.5, 0.5), (0.5, 0.5), (0.55, 1.7), (-0.55, 1.7)]), shade(skin, 0.78))
    trunk = [(-0.6, 1.3), (0.6, 1.3), (wide, 1.75), (wide * 1.3, 14), (-wide * 1.3, 14), (-wide, 1.75)]
    pen.fill(np.array(trunk), cloth)
    if rng.random() < 0.2:  # a scarf: colour under the chin that is no mask
        pen.fill(ellipse(0, 1.3, 0.85, 0.36), tuple(int(v) for v in rng.integers(20, 240, 3)))


def _light(pen: Pen, rng: np.random.Generator) -> None:
    """Darken the face toward one side, so that skin is not flat."""
    x1, y1 = np.maximum(np.floor(pen.pose.box()[:2]).astype(int), 0)
    x2, y2 = np.ceil(pen.pose.box()[2:]).astype(int)
    region = pen.picture[y1:y2, x1:x2]
    if region.size == 0:
        return
    height, width = region.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    points = pen.pose.project(pen.pose.outline()) - (x1, y1)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    angle, depth = rng.uniform(-np.pi, np.pi), rng.uniform(0.1, 0.4)
    ys, xs = np.mgrid[:height, :width] / max(height, width)
    ramp = np.clip(0.5 + (xs - 0.5) * np.cos(angle) + (ys - 0.5) * np.sin(angle), 0, 1)
    region[:] = (region * (1 - depth * ramp * (mask / 255))[..., None]).astype(np.uint8)


def _features(pen: Pen, skin: Colour, hair: Colour, rng: np.random.Generator) -> None:
    """Brows, eyes and mouth."""
    iris = ((60, 40, 25), (40, 80, 110), (50, 90, 50))[rng.integers(3)]
    open_ = rng.uniform(0.04, 0.1)
    for side in (-1, 1):
        x = side * 0.4
        brow = np.array([(x - 0.2, -0.3), (x, -0.37), (x + 0.2, -0.3)])
        pen.line(pen.pose.wrap(brow), shade(hair, 0.8), 0.07)
        pen.dot((x, -0.12), (0.19, open_ + 0.02), shade(skin, 0.6))
        pen.dot((x, -0.12), (0.16, open_), (240, 240, 235))
        pen.dot((x + rng.uniform(-0.04, 0.04), -0.12), (0.085, min(0.085, open_)), iris)
    width, gap = rng.uniform(0.24, 0.4), rng.choice((0.05, 0.07, 0.13))
    lips = vary(rng, (178, 82, 80), 25)
    pen.dot((0, 0.6), (width, gap), lips)
    if gap > 0.1:
        pen.dot((0, 0.58), (width * 0.8, gap * 0.5), (245, 240, 235))
    else:
        pen.line(pen.pose.wrap(ellipse(0, 0.57, width, 0.05, 0.2, np.pi - 0.2)), shade(lips, 0.55), 0.03)


def _nose(pen: Pen, skin: Colour) -> None:
    bridge = np.array([(0.05, -0.1), (0.1, 0.12), (0.17, 0.27), (0.0, 0.34), (-0.17, 0.27)])
    pen.dot((0, 0.22), (0.17, 0.13), shade(skin, 1.1))
    pen.line(pen.pose.wrap(bridge), shade(skin, 0.62), 0.045)
    for side in (-1, 1):
        pen.dot((side * 0.08, 0.29), (0.045, 0.03), shade(skin, 0.35))


def _hair(pen: Pen, hair: Colour, rng: np.random.Generator) -> None:
    if rng.random() < 0.12:
        return
    line, side = rng.uniform(-0.7, -0.48), rng.uniform(-0.35, 0.1)
    crown = ellipse(0, 0, 1.02, 1.02, np.pi - side, 2 * np.pi + side)
    part = rng.uniform(-0.5, 0.5)
    fringe = np.array([(0.86, side), (0.76, line + 0.1), (part, line - 0.1), (-0.76, line + 0.1), (-0.86, side)])
    pen.fill(np.concatenate((crown, pen.pose.wrap(fringe))), hair)


def _mask(pen: Pen, kind: int, rng: np.random.Generator) -> None:
    """Over nose and mouth, or pulled down so that the nose is free."""
    colour = vary(rng, MASKS[rng.integers(len(MASKS))])
    top, cheek = (rng.uniform(-0.04, 0.1), rng.uniform(0.08, 0.2)) if kind == WITH else (0.43, rng.uniform(0.42, 0.5))
    between = (top + cheek) / 2 - 0.04
    edge = [(-0.93, cheek), (-0.45, between), (0, top), (0.45, between), (0.93, cheek)]
    under = [(0.95, 0.62), (0.72, 0.9), (0.36, 1.03), (0, 1.06), (-0.36, 1.03), (-0.72, 0.9), (-0.95, 0.62)]
    loop = shade(colour, 1.15) if sum(colour) > 150 else (70, 70, 74)
    for side in (-1, 1):
        for y in (cheek + 0.02, 0.66):
            pen.line(pen.pose.wrap(np.array([(side * 0.93, y), (side * 1.0, 0.0)])), loop, 0.035)
    shape = pen.pose.wrap(np.array(edge + under))
    pen.fill(shape, colour)
    dark = shade(colour, 0.72) if sum(colour) > 150 else (72, 72, 78)
    style = rng.choice(("pleats", "plain", "dots", "stripes", "valve"), p=(0.45, 0.2, 0.12, 0.12, 0.11))
    if style == "pleats":
        for y in np.linspace(max(top, cheek) + 0.16, 0.86, 3):
            pen.line(pen.pose.wrap(np.array([(-0.8, y - 0.03), (0, y + 0.04), (0.8, y - 0.03)])), dark, 0.03)
    elif style == "stripes":
        for x in np.linspace(-0.7, 0.7, 6):
            pen.line(pen.pose.wrap(np.array([(x, max(top, cheek) + 0.06), (x * 0.9, 0.9)])), dark, 0.06)
    elif style == "dots":
        for x, y in rng.uniform((-0.75, cheek + 0.12), (0.75, 0.92), (9, 2)):
            pen.dot((x, y), (0.07, 0.055), shade(colour, 0.5) if sum(colour) > 380 else (235, 235, 225))
    elif style == "valve":
        pen.dot((0.38, 0.68), (0.16, 0.13), dark)
    pen.line(np.concatenate((shape, shape[:1])), dark, 0.035)


def _glasses(pen: Pen, rng: np.random.Generator) -> None:
    frame = ((20, 20, 20), (110, 70, 30), (170, 170, 175))[rng.integers(3)]
    tinted = rng.random() < 0.25
    for side in (-1, 1):
        ring = pen.pose.wrap(ellipse(side * 0.42, -0.11, 0.31, 0.2))
        if tinted:
            pen.fill(ring, (35, 35, 40))
        pen.line(ring, frame, 0.05)
        pen.line(pen.pose.wrap(np.array([(side * 0.72, -0.13), (side, -0.08)])), frame, 0.05)
    pen.line(pen.pose.wrap(np.array([(-0.12, -0.13), (0.12, -0.13)])), frame, 0.05)


def _hat(pen: Pen, rng: np.random.Generator) -> None:
    colour, brim = tuple(int(v) for v in rng.integers(20, 235, 3)), rng.uniform(-0.6, -0.45)
    pen.fill(ellipse(0, brim, 1.08, 0.68, np.pi, 2 * np.pi), colour)
    if rng.random() < 0.5:
        pen.fill(ellipse(0.3 * np.sign(pen.pose.turn), brim, 1.25, 0.12), shade(colour, 0.75))


def _hand(pen: Pen, skin: Colour, rng: np.random.Generator, over_mouth: bool) -> None:
    """A hand before the face: a covered mouth is no mask, and a hand at the cheek hides part of anything."""
    side = rng.choice((-1, 1))
    x, y = (side * 0.15, 0.62) if over_mouth else (side * 0.85, rng.uniform(-0.2, 0.6))
    colour = shade(skin, rng.uniform(0.82, 1.05))
    pen.line(np.array([(side * 1.5, 2.6), (x + side * 0.3, y + 0.3)]), colour, 0.42)
    pen.fill(ellipse(x + side * 0.15, y + 0.12, 0.36, 0.28), colour)
    for k in range(4):
        tip = (x - side * rng.uniform(0.4, 0.55), y + 0.14 * k - 0.3)
        finger = np.array([(x + side * 0.2, y + 0.16 * k - 0.1), tip])
        pen.line(finger, colour, 0.14)
        pen.line(finger + np.array([0, 0.075]), shade(colour, 0.7), 0.02)
