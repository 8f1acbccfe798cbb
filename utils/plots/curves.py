"""Precision over recall, and F1, precision and recall over confidence: four PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.plots import style

NAMED = 20  # more classes than this are drawn grey and left out of the legend


def curves(metrics: Any, names: Sequence[str], folder: Path | str) -> None:
    """Write PR_curve.png, F1_curve.png, P_curve.png and R_curve.png into `folder`, from `utils.metrics.Metrics`.

    Of `metrics` it reads `map50`, `per_class` (index, ap50) and `curves`: `classes` (k,) the indices present,
    `confidence` (m,), `precision`, `recall` and `f1` (k, m), `pr` (k, r) the precision at r recalls evenly from 0 to 1,
    all at IoU 0.5. With no class present the pictures say so.
    """
    folder, data = Path(folder), metrics.curves
    classes = [] if data is None else [int(i) for i in style.array(data.classes)]
    ap50 = {int(row.index): float(row.ap50) for row in metrics.per_class}
    aps = [f"{ap50.get(i, float('nan')):.3f}" for i in classes]
    pr = _values(data, "pr", classes)
    recalls = np.linspace(0, 1, pr.shape[1])
    mean = f"all classes  {float(metrics.map50):.3f}"
    out, axes, note = folder / "PR_curve.png", ("recall", "precision"), "AP at IoU 0.5"
    _draw(out, "Precision over recall", note, axes, recalls, pr, classes, names, aps, mean)
    confidence = _values(data, "confidence", classes).ravel()
    for file, key, text in (("F1", "f1", "F1"), ("P", "precision", "Precision"), ("R", "recall", "Recall")):
        values = _values(data, key, classes)
        mean, star = _peak(confidence, values, key)
        notes = [f"{row.max():.3f}" for row in values] if key == "f1" else [""] * len(classes)
        out, axes = folder / f"{file}_curve.png", ("confidence", text if key == "f1" else key)
        note = "best F1 at IoU 0.5" if key == "f1" else "IoU 0.5"
        _draw(out, f"{text} over confidence", note, axes, confidence, values, classes, names, notes, mean, star)


def _values(data: Any, key: str, classes: list[int]) -> np.ndarray:
    return np.nan_to_num(style.array(getattr(data, key)).astype(float)) if classes else np.zeros((0, 2))


def _peak(confidence: np.ndarray, values: np.ndarray, key: str) -> tuple[str, tuple[float, float] | None]:
    """The mean curve's legend text; for F1 also its highest point."""
    if key != "f1" or not len(values):
        return "mean of the classes", None
    mean = values.mean(0)
    best = int(mean.argmax())
    return f"all classes  {mean[best]:.3f} at {confidence[best]:.3f}", (confidence[best], mean[best])


def _draw(
    out: Path,
    heading: str,
    note: str,
    axes: tuple[str, str],
    x: np.ndarray,
    values: np.ndarray,
    classes: list[int],
    names: Sequence[str],
    notes: list[str],
    mean: str,
    star: tuple[float, float] | None = None,
) -> None:
    drawing, (axis,) = style.figure(9, 6)
    style.title(axis, heading, note)
    axis.set(xlabel=axes[0], ylabel=axes[1], xlim=(0, 1), ylim=(0, 1.02))
    named = len(classes) <= NAMED
    for i, row, text in zip(classes, values, notes, strict=True):
        look = {"color": style.MUTED, "alpha": 0.25, "linewidth": 0.8}
        if named:
            label = f"{style.plot_name(names, i)}  {text}".rstrip()
            look = {"color": style.colour(i), "linestyle": style.dash(i), "linewidth": 1.4, "label": label}
        axis.plot(x, row, **look)
    if classes:
        if not named:
            axis.plot([], [], color=style.MUTED, alpha=0.5, linewidth=0.8, label=f"each of {len(classes)} classes")
        axis.plot(x, values.mean(0), color=style.INK, linewidth=3, label=mean, zorder=4)
        if star is not None:
            axis.plot(*star, "o", color="white", markeredgecolor=style.INK, markeredgewidth=1.5, markersize=8, zorder=5)
        style.legend(axis, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    else:
        style.say(axis, "no labelled class to measure")
    style.save(drawing, out)
