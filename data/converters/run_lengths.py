"""Masks in COCO's run lengths (RLE): how many pixels are off, on, off, ..., column by column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from data.converters.shapes import number


def box_of(mask: dict[str, Any]) -> tuple[float, ...] | None:
    """The box around a mask `{"size": [height, width], "counts": ...}`; None where it is none or holds nothing."""
    size, counts = mask.get("size"), mask.get("counts")
    sides = [number(side) for side in size] if isinstance(size, list) and len(size) == 2 else [None]
    runs = unpack(counts) if isinstance(counts, str) else counts
    if None in sides or not isinstance(runs, list) or not all(isinstance(run, int) and run >= 0 for run in runs):
        return None
    height, width = map(int, sides)
    if sum(runs) != height * width:  # not the mask that was meant
        return None
    return _around(runs, height)


def unpack(text: str) -> list[int] | None:
    """Run lengths from their text: 6 bits a character, 5 of the number and one for more; from the fourth number on
    the difference to the last but one."""
    runs: list[int] = []
    value = shift = 0
    for code in text.encode("utf-8", "replace"):
        bits = code - 48
        if not 0 <= bits < 64:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs if shift == 0 else None


def _around(runs: Sequence[int], height: int) -> tuple[float, ...] | None:
    left = right = top = bottom = None
    start = 0
    for position, run in enumerate(runs):
        if position % 2 and run:
            (first, y1), (last, y2) = divmod(start, height), divmod(start + run - 1, height)
            if first != last:  # it goes on at the top of the next column
                y1, y2 = 0, height - 1
            left, right = first if left is None else left, last
            top, bottom = (y1, y2) if top is None or bottom is None else (min(top, y1), max(bottom, y2))
        start += run
    return None if left is None else (float(left), float(top), right + 1.0, bottom + 1.0)
