"""The upright box around what annotation tools draw: polygons, ellipses, circles and turned boxes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

Corners = tuple[float, float, float, float]


def number(value: Any) -> float | None:
    """A number by its value, whatever its type: 1, "1", " 1.0 " and "1,0" are one; None where it is none."""
    if isinstance(value, bool) or value is None or (isinstance(value, str) and "_" in value):
        return None
    try:
        return float(value.strip().replace(",", ".") if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        return None


def numbers(values: Iterable[Any]) -> list[float] | None:
    """Every value as a number, or None where one is not."""
    found = [number(value) for value in values]
    known = [value for value in found if value is not None]
    return known if len(known) == len(found) else None


def size_of(width: Any, height: Any) -> tuple[float, float] | None:
    """A stated picture size, or None where a side is missing, zero or no number."""
    sides = numbers((width, height))
    return (sides[0], sides[1]) if sides and all(side > 0 for side in sides) else None


def around(points: Sequence[Sequence[float]]) -> Corners:
    """The box around points (x, y)."""
    x, y = [point[0] for point in points], [point[1] for point in points]
    if not all(math.isfinite(v) for v in (*x, *y)):
        return (math.nan,) * 4
    return min(x), min(y), max(x), max(y)


def points_of(values: Any) -> list[tuple[float, float]] | None:
    """Pairs of numbers as (x, y) points, or None where something else is among them."""
    if not isinstance(values, list) or not all(isinstance(point, list | tuple) and len(point) >= 2 for point in values):
        return None
    pairs = [numbers(point[:2]) for point in values]
    points = [(pair[0], pair[1]) for pair in pairs if pair is not None]
    return points if points and len(points) == len(pairs) else None


def turned(corners: Corners, degrees: float, about: tuple[float, float]) -> Corners:
    """The upright box around a box turned clockwise (as seen, y down) about a point."""
    if not degrees % 360:
        return corners
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x1, y1, x2, y2 = corners
    offsets = [(x - about[0], y - about[1]) for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))]
    return around([(about[0] + x * cos - y * sin, about[1] + x * sin + y * cos) for x, y in offsets])


def ellipse(x: float, y: float, rx: float, ry: float, degrees: float = 0.0) -> Corners:
    """The upright box around an ellipse with centre (x, y), turned clockwise."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    half_w, half_h = math.hypot(rx * cos, ry * sin), math.hypot(rx * sin, ry * cos)
    return x - half_w, y - half_h, x + half_w, y + half_h
