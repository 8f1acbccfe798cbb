"""labels.png: what a data set's boxes are like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUTLINES = 1000  # boxes drawn over one another; more only make a solid block
POINTS = 20_000


def labels(boxes: Any, names: Sequence[str], out: Path | str) -> None:
    """Draw (N, 5) labels, class and cx, cy, w, h as parts of the picture, to the PNG `out`.

    Four panels: instances of each class, box outlines about a common centre, where centres lie, widths against heights.
    """
    boxes = style.array(boxes).reshape(-1, 5)
    classes = boxes[:, 0].astype(int)
    drawing, axes = style.figure(13, 10, 2, 2)
    _histogram(axes[0], classes, names)
    style.title(axes[1], "Box outlines", f"about one centre, {min(len(boxes), OUTLINES):,} of {len(boxes):,}")
    style.title(axes[2], "Box centres", "boxes in each cell")
    style.title(axes[3], "Box sizes", "each dot a box")
    if len(boxes):
        _outlines(axes[1], boxes)
        _centres(axes[2], boxes)
        _sizes(axes[3], boxes)
    else:
        for axis in axes[1:]:
            style.say(axis, "no boxes")
    style.save(drawing, out, dpi=120)


def _histogram(axis: Axes, classes: np.ndarray, names: Sequence[str]) -> None:
    instances, kinds = "box" if len(classes) == 1 else "boxes", "class" if len(names) == 1 else "classes"
    style.title(axis, "Instances of each class", f"{len(classes):,} {instances}, {len(names)} {kinds}")
    counts = np.bincount(classes[classes >= 0], minlength=len(names))
    index = np.arange(len(counts))
    bars = axis.bar(index, counts, width=0.8, color=[style.colour(i) for i in index])
    axis.grid(axis="x", visible=False)
    axis.set_ylabel("boxes", fontsize=9, color=style.MUTED)
    axis.set_ylim(0, max(counts.max(initial=0), 1) * 1.12)
    axis.set_xlim(-0.6, max(len(counts), 1) - 0.4)
    if len(counts) <= 12:
        axis.bar_label(bars, [f"{count:,}" for count in counts], padding=2, fontsize=9, color=style.INK)
    if len(counts) <= 100:
        rotation = {"rotation": 90, "fontsize": max(5, 9 - len(counts) // 20)} if len(counts) > 6 else {"fontsize": 9}
        axis.set_xticks(index, [style.plot_name(names, i) for i in index], **rotation)
    else:
        axis.set_xlabel("class", fontsize=9, color=style.MUTED)


def _spread(boxes: np.ndarray, limit: int) -> np.ndarray:
    """At most `limit` of the rows, evenly spread over all."""
    return boxes[np.linspace(0, len(boxes) - 1, min(limit, len(boxes))).astype(int)]


def _unit_square(axis: Axes) -> None:
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    axis.set_aspect("equal", anchor="W")


def _outlines(axis: Axes, boxes: np.ndarray) -> None:
    from matplotlib.collections import PolyCollection

    drawn = _spread(boxes, OUTLINES)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    polygons = 0.5 + drawn[:, None, 3:5] * corners
    colours = [style.colour(int(c)) for c in drawn[:, 0]]
    alpha = float(np.clip(60 / len(drawn), 0.12, 0.8))
    look = {"facecolors": "none", "edgecolors": colours, "linewidths": 0.8, "alpha": alpha}
    axis.add_collection(PolyCollection(list(polygons), **look))
    _unit_square(axis)
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["-0.5", "-0.25", "0", "0.25", "0.5"])
    axis.set_yticks([0, 0.25, 0.5, 0.75, 1], ["-0.5", "-0.25", "0", "0.25", "0.5"])
    axis.set_xlabel("part of the picture's width", fontsize=9, color=style.MUTED)
    axis.set_ylabel("part of its height", fontsize=9, color=style.MUTED)


def _centres(axis: Axes, boxes: np.ndarray) -> None:
    bins = int(np.clip(np.sqrt(len(boxes)), 10, 50))
    heat, _, _ = np.histogram2d(boxes[:, 2], boxes[:, 1], bins=bins, range=((0, 1), (0, 1)))
    picture = axis.imshow(heat, extent=(0, 1, 1, 0), cmap="viridis", interpolation="nearest")
    axis.grid(visible=False)
    axis.set_anchor("W")
    bar = style.colorbar(picture, axis, shrink=0.8, aspect=30, anchor=(0.0, 0.5))
    bar.locator_params("y", integer=True)
    axis.set_xlabel("x, part of the picture's width", fontsize=9, color=style.MUTED)
    axis.set_ylabel("y from the top, part of its height", fontsize=9, color=style.MUTED)


def _sizes(axis: Axes, boxes: np.ndarray) -> None:
    drawn = _spread(boxes, POINTS)
    colours = [style.colour(int(c)) for c in drawn[:, 0]]
    alpha = float(np.clip(300 / len(drawn), 0.15, 0.7))
    axis.scatter(drawn[:, 3], drawn[:, 4], s=9, c=colours, alpha=alpha, linewidths=0, rasterized=True)
    _unit_square(axis)
    median = np.median(boxes[:, 3:5], 0)
    text = f"median {median[0]:.3f} x {median[1]:.3f}"
    axis.plot(*median, "+", color=style.INK, markersize=12, markeredgewidth=1.8, linestyle="none", label=text)
    style.legend(axis, loc="upper right")
    axis.set_xlabel("width, part of the picture's", fontsize=9, color=style.MUTED)
    axis.set_ylabel("height, part of the picture's", fontsize=9, color=style.MUTED)
