"""confusion_matrix.png: what each true class was taken for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BOTH, COUNTS = 12, 90  # up to so many rows a cell has room for the part and the count, or for the count


def confusion(matrix: Any, names: Sequence[str], out: Path | str) -> None:
    """Draw a (classes + 1, classes + 1) matrix of counts, rows predicted, columns true, last one background.

    Colours show the part of each column, so a column of colours adds to one; the numbers are parts and counts. The
    cell of background taken for background has no meaning and stays empty.
    """
    counts = style.array(matrix).astype(float)
    size = len(counts)
    total = counts.sum(0)
    parts = counts / np.where(total > 0, total, 1.0)
    texts = [*(style.plot_name(names, i) for i in range(size - 1)), "background"]
    most = 9 if size <= 20 else 0.24 * size + 4 if size <= COUNTS else 10
    side = float(np.clip(0.9 * size, 5, most))  # of the matrix, in inches
    edge = 0.075 * max(map(len, texts)) if size <= COUNTS else 0.3
    drawing, (axis,) = style.figure(side + edge + 1.6, side + edge + 0.8)
    shown = np.ma.masked_where(np.eye(size, dtype=bool) & (np.arange(size) == size - 1), parts)
    picture = axis.imshow(shown, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    notes = {size <= COUNTS: "counts; colours: parts of each column", size <= BOTH: "parts of each column (counts)"}
    style.title(axis, "Confusion matrix", notes.get(True, "parts of each column"))
    style.colorbar(picture, axis, shrink=0.7, aspect=35)
    _ticks(axis, texts)
    _numbers(axis, counts, parts, side / size)
    style.save(drawing, out)


def _ticks(axis: Axes, texts: list[str]) -> None:
    size = len(texts)
    axis.set_xlabel("true", fontsize=10, color=style.MUTED)
    axis.set_ylabel("predicted", fontsize=10, color=style.MUTED)
    axis.grid(visible=False)
    if size > COUNTS:  # names would be smaller than can be read: plain class numbers
        return
    font = 10 if size <= BOTH else 8
    longest = max(map(len, texts))
    turn = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if size <= BOTH else {"rotation": 90}
    turn = turn if longest * 0.09 > 5 / size else {}
    axis.set_xticks(range(size), texts, fontsize=font, **turn)
    axis.set_yticks(range(size), texts, fontsize=font)
    axis.tick_params(length=0)
    axis.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axis.grid(which="minor", color=style.FAINT, linewidth=0.5)
    axis.tick_params(which="minor", length=0)


def _numbers(axis: Axes, counts: np.ndarray, parts: np.ndarray, cell: float) -> None:
    """Write numbers into the cells, `cell` inches wide; empty cells stay empty."""
    size = len(counts)
    if size > COUNTS:
        return
    both = size <= BOTH
    font = float(np.clip(cell * (16 if both else 72 * 0.33), 4, 11))
    for row, column in zip(*np.nonzero(counts), strict=True):
        if row == column == size - 1:
            continue
        count, part = int(counts[row, column]), parts[row, column]
        text = f"{part:.2f}\n({count:,})" if both else _short(count)
        ink = "white" if part > 0.55 else style.INK
        axis.text(column, row, text, ha="center", va="center", fontsize=font, color=ink)


def _short(count: int) -> str:
    """A count in at most four characters."""
    if count < 10_000:
        return str(count)
    return f"{count / 1000:.0f}k" if count < 1_000_000 else f"{count / 1e6:.0f}M"
