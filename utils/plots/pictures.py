"""A batch as one picture: a grid of its images with boxes and names in the colours of their classes."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from utils.files.atomic import write_atomic
from utils.plots import style

GAP = 3  # pixels between the images
ENLARGED = 320  # smaller images are enlarged up to this side, for their names to be read
Rectangle = tuple[float, float, float, float]


def pictures(
    images: Any,
    boxes: Sequence[Any],
    names: Sequence[str],
    out: Path | str,
    titles: Sequence[str] | None = None,
    limit: int = 16,
    max_side: int = 1920,
) -> np.ndarray:
    """Draw the first `limit` of (B, 3, H, W) uint8 RGB images as a grid no side of which exceeds `max_side` pixels.

    `boxes` has for each image a (k, 5) or (k, 6) array: x1, y1, x2, y2 in pixels of the image, class and, with six,
    score. A name that finds no room clear of the others is left out; the colour still tells the class. Writes the
    JPEG (or PNG, by its suffix) `out` and returns the grid, (h, w, 3) uint8 RGB.
    """
    images = style.array(images[:limit])
    if images.dtype != np.uint8:
        raise ValueError(f"images must be uint8, not {images.dtype}")
    count, _, height, width = images.shape
    columns = max(1, math.ceil(math.sqrt(count)))
    rows = max(1, math.ceil(count / columns))
    room = min(((max_side + GAP) / columns - GAP) / width, ((max_side + GAP) / rows - GAP) / height)
    scale = min(room, max(1.0, ENLARGED / max(width, height)))
    cell = max(1, int(width * scale)), max(1, int(height * scale))
    grid = Image.new("RGB", (columns * (cell[0] + GAP) - GAP, rows * (cell[1] + GAP) - GAP), "white")
    for i, image in enumerate(images):
        drawn = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).resize(cell, Image.Resampling.BOX)
        title = titles[i] if titles is not None and i < len(titles) else ""
        _annotate(drawn, style.array(boxes[i]), (cell[0] / width, cell[1] / height), names, title)
        grid.paste(drawn, (i % columns * (cell[0] + GAP), i // columns * (cell[1] + GAP)))
    buffer = io.BytesIO()
    grid.save(buffer, "PNG" if Path(out).suffix.lower() == ".png" else "JPEG", quality=92)
    write_atomic(out, buffer.getvalue())
    return np.asarray(grid)


def annotated(picture: np.ndarray, rows: Any, names: Sequence[str]) -> np.ndarray:
    """A copy of a picture (h, w, 3) uint8 RGB with boxes and names drawn; `rows` as those of `pictures`."""
    image = Image.fromarray(picture)
    _annotate(image, style.array(rows), (1.0, 1.0), names, "")
    return np.array(image)


def _annotate(
    image: Image.Image, boxes: np.ndarray, scale: tuple[float, float], names: Sequence[str], title: str
) -> None:
    """Draw boxes, then names, then the title onto one image of the grid."""
    draw = ImageDraw.Draw(image)
    side = min(image.size)
    font = ImageFont.truetype(style.font_path(), int(np.clip(side / 34, 9, 18)))
    line = max(1, round(side / 240))
    boxes = boxes.reshape(-1, boxes.shape[-1] if boxes.ndim == 2 else 5)
    boxes = boxes[np.isfinite(boxes).all(1)]
    corners = np.sort((boxes[:, :4] * np.array([*scale, *scale])).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    for box, row in zip(corners, boxes, strict=True):
        draw.rectangle(tuple(box.tolist()), outline=style.rgb(int(row[4])), width=line)
    centres = (corners[:, :2] + corners[:, 2:]) / 2
    taken: list[Rectangle] = []
    if title:
        taken.append(_title(draw, title, font, image.size))
    for i in _by_prominence(boxes, corners):
        label = style.plain_name(names, int(boxes[i, 4])) + (f" {boxes[i, 5]:.2f}" if boxes.shape[1] > 5 else "")
        room = draw.textlength(label, font=font) + 4, sum(font.getmetrics()) + 1
        place = _place(*room, corners[i], image.size, taken, centres)
        if place is not None:
            taken.append(place)
            colour = style.rgb(int(boxes[i, 4]))
            draw.rectangle(place, fill=colour)
            draw.text((place[0] + 2, (place[1] + place[3]) / 2), label, fill=style.ink(colour), font=font, anchor="lm")


def _by_prominence(boxes: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Indices of the rows, highest score first; without scores, largest first."""
    area = (corners[:, 2:] - corners[:, :2]).prod(1)
    return np.argsort(-(boxes[:, 5] if boxes.shape[1] > 5 else area), kind="stable")


def _place(
    width: float, height: float, box: np.ndarray, size: tuple[int, int], taken: list[Rectangle], centres: np.ndarray
) -> Rectangle | None:
    """A spot of `width` x `height` above a box, below it or inside it, or None.

    It lies within the image of `size`, meets none of the spots `taken` and hides no box's centre.
    """
    x1, y1, x2, y2 = box.tolist()
    left = min(max(x1, 0.0), size[0] - width - 1)
    right = max(min(x2, size[0] - 1.0) - width, 0.0)
    for x, y in ((left, y1 - height), (right, y1 - height), (left, y2), (right, y2), (left, y1), (right, y1)):
        spot = (x, y, x + width, y + height)
        inside = x >= 0 and y >= 0 and spot[2] <= size[0] and spot[3] <= size[1]
        hides = ((centres > spot[:2]) & (centres < spot[2:])).all(1).any()
        if inside and not hides and not any(_meet(spot, other) for other in taken):
            return spot
    return None


def _meet(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _title(draw: Any, title: str, font: Any, size: tuple[int, int]) -> Rectangle:
    """The image's title on a dark strip at its top left, cut at the left to fit; returns the strip."""
    text = style.plain_name((title,), 0, limit=200)
    while len(text) > 1 and draw.textlength(text, font=font) > size[0] - 8:
        text = "…" + text[2:]
    strip = (0.0, 0.0, draw.textlength(text, font=font) + 8, float(sum(font.getmetrics()) + 3))
    draw.rectangle(strip, fill=(30, 30, 30))
    draw.text((4, strip[3] / 2), text, fill="white", font=font, anchor="lm")
    return strip
