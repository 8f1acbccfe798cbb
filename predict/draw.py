"""Boxes and names on a picture, fast enough for every frame of a video."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from utils.plots import style


def draw(
    picture: np.ndarray,
    rows: Any,
    names: Sequence[str],
    *,
    line_thickness: int | None = None,
    hide_labels: bool = False,
    hide_conf: bool = False,
) -> np.ndarray:
    """A copy of a picture (h, w, 3) uint8 RGB with its boxes; those of higher score lie above the others.

    rows: (n, 6) x1, y1, x2, y2, score, class. line_thickness: pixels; by default it grows with the picture.
    """
    out = np.ascontiguousarray(picture).copy()
    height, width = out.shape[:2]
    line = line_thickness or max(round((height + width) / 600), 2)
    for x1, y1, x2, y2, score, number in reversed(style.array(rows).tolist()):
        colour, corner = style.rgb(int(number)), (round(x1), round(y1))
        cv2.rectangle(out, corner, (round(x2), round(y2)), colour, line, cv2.LINE_AA)
        if not hide_labels:
            size = max(10, 6 * line + 2)
            parts = [_text(style.plain_name(names, int(number)), colour, size)]
            if not hide_conf:  # apart: names and scores are few, their pairs are many
                parts.append(_text(f"{score:.2f}", colour, size))
            _paste(out, np.concatenate(parts, 1), corner[0], corner[1])
    return out


@functools.lru_cache(4096)
def _text(text: str, colour: tuple[int, int, int], size: int) -> np.ndarray:
    """Text on its colour, (h, w, 3) uint8."""
    font = _font(size)
    height = sum(font.getmetrics()) + 2
    image = Image.new("RGB", (round(font.getlength(text)) + 6, height), colour)
    ImageDraw.Draw(image).text((3, height / 2), text, fill=style.ink(colour), font=font, anchor="lm")
    return np.array(image)


@functools.lru_cache(32)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(style.font_path(), size)


def _paste(out: np.ndarray, label: np.ndarray, left: int, bottom: int) -> None:
    """Put a label on top of a box, or inside where there is no room above; cut at the picture's edge."""
    width = out.shape[1]
    top = bottom - label.shape[0] if bottom >= label.shape[0] else bottom
    left, top = max(0, min(left, width - label.shape[1])), max(0, top)
    room = out[top : top + label.shape[0], left : left + label.shape[1]]
    room[:] = label[: room.shape[0], : room.shape[1]]
