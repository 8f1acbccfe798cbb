"""Labels that look wrong: too small to learn from, as large as the picture, slivers, given twice, outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from data.files import label_file
from data.index import Index
from data.labels import MAX_BYTES, TOLERANCE, parse_labels
from utils.console.log import progress

SMALL, MEDIUM = 32**2, 96**2  # square pixels from which on COCO calls a box medium, and large
TINY = 2.0  # pixels on a side at the training size; training drops what is no larger
HUGE = 0.95  # of the picture's area
SLIVER = 20.0  # times as long as wide
SAME = 0.9  # IoU from which on two boxes of a picture are one object
_TINY, _HUGE, _SLIVER, _TWICE, _TWO_CLASSES, _OUTSIDE = range(6)
BLOCK = 512  # rows compared with all others at a time


@dataclass(frozen=True, order=True)
class Suspect:
    """A row of a label file. The smaller `rank`, the worse."""

    rank: float
    picture: str
    line: int
    part: str = field(compare=False)
    what: str = field(compare=False)
    rows: np.ndarray = field(compare=False)  # (1 or 2, 5), as in `Index.labels`


@dataclass
class Suspects:
    """The worst of one kind, and how many there are."""

    title: str
    count: int = 0
    worst: list[Suspect] = field(default_factory=list)

    def add(self, suspect: Suspect, keep: int) -> None:
        """Count a row, and keep it while it is among the worst."""
        self.count += 1
        self.worst.append(suspect)
        if len(self.worst) > 4 * keep:
            self.cut(keep)

    def cut(self, keep: int) -> None:
        """Keep only the worst."""
        self.worst = sorted(self.worst)[:keep]


def sizes(index: Index) -> np.ndarray:
    """(M,) of each box 0, 1 or 2: small, medium or large by its area in pixels of the picture, as COCO has it."""
    areas = [
        rows[:, 3] * rows[:, 4] * float(h) * float(w) for rows, (h, w) in zip(index.labels, index.shapes, strict=True)
    ]
    return np.digitize(np.concatenate(areas or [np.zeros(0)]), (SMALL, MEDIUM))


def suspects(
    part: str, index: Index, names: Sequence[str], size: int, keep: int, poses: bool = False
) -> list[Suspects]:
    """Of each kind the `keep` worst rows of a part of the split; `size` is the training size in pixels."""
    kinds = [
        Suspects(f"under {TINY:g} px on a side at {size} px, which training drops"),
        Suspects(f"over {100 * HUGE:.0f} % of the picture"),
        Suspects(f"over {SLIVER:g} times as long as wide"),
        Suspects("one object twice in the same class"),
        Suspects("one object in two classes"),
        Suspects("left the picture, clipped to it"),
    ]
    for i in progress(range(len(index)), desc=f"{part} labels", total=len(index), unit="img"):
        path = label_file(index.files[i])
        if path is None:
            continue
        with open(path, "rb") as file:
            found = parse_labels(file.read(MAX_BYTES + 1), len(names), poses=poses)
        if not len(found.rows):
            continue
        h, w = (float(side) for side in index.shapes[i])
        for kind, row, other, rank, what in _picture(found.rows, found.overhang, w, h, size, names):
            rows = found.rows[[row] if other is None else [row, other]]
            suspect = Suspect(rank, index.files[i], int(found.lines[row]), part, what, rows)
            kinds[kind].add(suspect, keep)
    for kind in kinds:
        kind.cut(keep)
    return kinds


def _picture(rows: np.ndarray, overhang: np.ndarray, w: float, h: float, size: int, names: Sequence[str]) -> list:
    """Suspicious rows of one picture: (kind, row, other row or None, rank, in words)."""
    sides = rows[:, 3:] * (w, h)
    short, area, ratio = sides.min(1) * size / max(w, h), rows[:, 3] * rows[:, 4], sides.max(1) / sides.min(1)
    found = []

    def add(kind: int, chosen: np.ndarray, rank: np.ndarray) -> None:
        for row in np.nonzero(chosen)[0]:
            words = f"{names[int(rows[row, 0])]}, {sides[row, 0]:.1f} x {sides[row, 1]:.1f} of {w:.0f} x {h:.0f} px"
            words += f", {overhang[row] * 100:.1f} % of the side outside" if kind == _OUTSIDE else ""
            found.append((kind, int(row), None, float(rank[row]), words))

    add(_TINY, short <= TINY, short)
    add(_HUGE, area > HUGE, -area)
    add(_SLIVER, ratio > SLIVER, -ratio)
    add(_OUTSIDE, overhang > TOLERANCE, -overhang)
    for row, other, overlap in _pairs(rows):
        first, second = (names[int(rows[k, 0])] for k in (row, other))
        alike = first == second
        words = f"{first} and {'another' if alike else second} at IoU {overlap:.2f}"
        found.append((_TWICE if alike else _TWO_CLASSES, row, other, -overlap, words))
    return found


def _pairs(rows: np.ndarray) -> list[tuple[int, int, float]]:
    """Rows (later, earlier) of one picture whose boxes all but coincide, with their IoU."""
    pairs = []
    for start in range(0, len(rows), BLOCK):
        overlap = iou(rows[start : start + BLOCK], rows)
        before = np.arange(len(rows)) < start + np.arange(len(overlap))[:, None]
        later, earlier = np.nonzero((overlap >= SAME) & before)
        pairs += [(int(a) + start, int(b), float(overlap[a, b])) for a, b in zip(later, earlier, strict=True)]
    return pairs


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(k, m) intersection over union of labels (k, 5) and (m, 5) of one picture."""
    a, b = a[:, None, 1:].astype(np.float64), b[None, :, 1:].astype(np.float64)
    high = np.minimum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    low = np.maximum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
    both = (high - low).clip(0).prod(-1)
    return both / (a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - both)
