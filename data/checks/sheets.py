"""Pictures with their boxes drawn, many on a sheet: samples of every class, and the labels that look wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data.checks.labels import Suspect
from data.index import Index
from data.letterbox import letterbox, letterbox_labels
from data.pictures import decode
from data.store import fitted, resized
from utils import plots

CELL = 480  # pixels of a picture on a sheet
ON_A_SHEET = 16


def samples(parts: Mapping[str, Index], names: Sequence[str], out: Path) -> None:
    """Draw pictures of the first part that has any boxes: one of each class, the rarest first, then others."""
    part, index = next(((part, index) for part, index in parts.items() if index.report.boxes), (None, None))
    if part is None:
        part, index = next(iter(parts.items()))
    entries = [
        (index.files[i], index.labels[i], Path(index.files[i]).name) for i in choose(index, len(names), ON_A_SHEET)
    ]
    _sheet(entries, names, out)


def choose(index: Index, classes: int, count: int) -> list[int]:
    """Numbers of up to `count` pictures: one with each class, the rarest first, then evenly spread ones."""
    having: list[list[int]] = [[] for _ in range(classes)]
    for i, rows in enumerate(index.labels):
        for c in np.unique(rows[:, 0]).astype(int).tolist():
            having[c].append(i)
    chosen: dict[int, None] = {}
    for pictures in sorted(filter(None, having), key=len):
        if len(chosen) < count and not chosen.keys() & set(pictures):
            chosen[pictures[len(pictures) // 2]] = None
    labelled = [i for i, rows in enumerate(index.labels) if len(rows)] or list(range(len(index)))
    spread = np.linspace(0, len(labelled) - 1, min(len(labelled), 4 * count)).astype(int)
    order = np.concatenate([spread[k::4] for k in range(4)])  # spread over all, however many there is room for
    for k in order.tolist():
        if len(chosen) < count:
            chosen[labelled[k]] = None
    return sorted(chosen)


def worst(suspects: Sequence[Suspect], titles: Sequence[str], names: Sequence[str], out: Path) -> None:
    """Draw the rows that look wrong, each alone on its picture."""
    entries = [
        (each.picture, each.rows, f"{Path(each.picture).name}: {title}")
        for each, title in zip(suspects, titles, strict=True)
    ]
    _sheet(entries[:ON_A_SHEET], names, out)


def _sheet(entries: Sequence[tuple[str, np.ndarray, str]], names: Sequence[str], out: Path) -> None:
    images, boxes = np.empty((len(entries), 3, CELL, CELL), np.uint8), []
    for image, (file, rows, _) in zip(images, entries, strict=True):
        picture = decode(file)
        height, width = picture.shape[:2]
        small = resized(picture, *fitted(height, width, CELL))
        moved = letterbox_labels(rows, small.shape[:2], letterbox(small, (height, width), image), CELL, CELL)
        corners = CELL * np.concatenate((moved[:, 1:3] - moved[:, 3:] / 2, moved[:, 1:3] + moved[:, 3:] / 2), 1)
        boxes.append(np.concatenate((corners, moved[:, :1]), 1))
    plots.pictures(images, boxes, names, out, titles=[title for *_, title in entries])
