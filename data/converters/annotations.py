"""What every reader hands over: pictures with boxes in pixels, the class names, and what was left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from data.pictures import check_picture, read_picture


@dataclass(frozen=True)
class Box:
    """A class and the corners of its box, in pixels from the picture's top left corner."""

    label: str
    corners: tuple[float, ...]


@dataclass(frozen=True)
class Picture:
    """A picture file, its name in the source, its size as shown in pixels, its boxes, and what became of the others."""

    name: str
    file: Path
    width: int
    height: int
    boxes: tuple[Box, ...]
    lost: tuple[str, ...] = ()
    counts: Counter[str] = field(default_factory=Counter)


@dataclass
class Annotations:
    """A whole source. `skipped` has a line for each thing left out; `counts` says how often a thing was done."""

    pictures: dict[str, Picture] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    skipped: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, where: str, picture: Picture | str) -> None:
        """Take in a picture, or the reason why there is none; `where` names the annotation in messages."""
        if isinstance(picture, Picture) and picture.name in self.pictures:
            picture = f"{picture.name} has an annotation already"
        if isinstance(picture, str):
            self.skipped.append(f"{where}: {picture}")
            return
        self.pictures[picture.name] = picture
        self.skipped += [f"{where}: {line}" for line in picture.lost]
        self.counts.update(picture.counts)


def contained(folder: Path, name: str) -> Path | None:
    """`folder / name`, or None where `name`, which comes out of a file, is absolute or climbs out of `folder`."""
    parts = PurePosixPath(name.replace("\\", "/"))
    outside = parts.is_absolute() or ".." in parts.parts or (parts.parts and parts.parts[0].endswith(":"))
    return None if outside or not parts.parts or "\0" in name else folder.joinpath(*parts.parts)


def shown_size(file: Path) -> tuple[int, int]:
    """(width, height) of a picture after its EXIF rotation; BadPictureError or OSError where it cannot be used."""
    height, width = check_picture(read_picture(file))
    return width, height


def place(name: str, file: Path, size: tuple[int, int], items: Iterable[tuple[str, Box | None]]) -> Picture:
    """A picture of `size` (width, height) with its boxes clipped to it; `items` are what to call a box, and the box."""
    boxes, lost, counts = [], [], Counter()
    for what, box in items:
        corners, reason = fit_box(box.corners, *size) if box else (None, "it lacks a class or a corner")
        if corners is None:
            lost.append(f"{what}: {reason}")
            continue
        fitted = Box(box.label, corners)
        if fitted in boxes:
            counts["boxes given twice, kept once"] += 1
            continue
        boxes.append(fitted)
        counts["boxes clipped to their picture"] += corners != box.corners
    return Picture(name, file, *size, tuple(boxes), tuple(lost), counts)


def fit_box(corners: tuple[float, ...], width: int, height: int) -> tuple[tuple[float, ...] | None, str]:
    """Clip x1, y1, x2, y2 to the picture; None and the reason where nothing is left of the box."""
    if not all(math.isfinite(v) for v in corners):
        return None, "a coordinate is not a number"
    x1, y1, x2, y2 = corners
    if x2 <= x1 or y2 <= y1:
        return None, "its box has no area"
    clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        return None, "its box lies outside the picture"
    return clipped, ""


def yolo_row(index: int, corners: tuple[float, ...], width: int, height: int) -> str:
    """One label line: class cx cy w h, normalised to the picture, 6 decimals."""
    x1, y1, x2, y2 = corners
    values = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    return " ".join((str(index), *(f"{v:.6f}" for v in values)))
