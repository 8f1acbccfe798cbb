"""results.png: how losses, metrics and learning rates went over a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.errors import UserError
from utils.plots import style
from utils.tracker import read_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSSES = (("box", "Box loss"), ("obj", "Objectness loss"), ("cls", "Class loss"))
FITNESS = {"metrics/mAP_0.5": 0.1, "metrics/mAP_0.5:0.95": 0.9}
GROUPS = (("x/lr0", "norms"), ("x/lr1", "weights"), ("x/lr2", "biases"))


def results(
    csv_path: Path | str, out: Path | str, marks: Sequence[float] = (), changes: Sequence[tuple[float, str]] = ()
) -> None:
    """Draw a `results.csv`, also one written by YOLOv5, to the PNG `out`.

    A row stands at the number of epochs trained when it was measured, its epoch + 1. `marks` are the ends of
    learning-rate cycles in epochs trained (fractions allowed), drawn as vertical lines. `changes` are what else
    changed in the run: epochs trained, and what; those past the last row are left out.
    """
    rows = read_csv(csv_path)
    names = list(rows[0]) if rows else []
    if rows and "epoch" not in names:
        raise UserError(f"{csv_path}:1: no column named 'epoch'; give the results.csv of a run")
    table = {name: np.array([row[name] for row in rows]) for name in names}
    drawing, axes = style.figure(13.5, 7, 2, 3)
    for axis, (key, text) in zip(axes, LOSSES, strict=False):
        style.title(axis, text, "per picture")
        _curves(axis, table, ((f"train/{key}_loss", "training"), (f"val/{key}_loss", "validation")))
        _limits(axis, table, (f"train/{key}_loss", f"val/{key}_loss"))
    style.title(axes[3], "Precision and recall", "at the best mean F1")
    _curves(axes[3], table, (("metrics/precision", "precision"), ("metrics/recall", "recall")))
    style.title(axes[4], "Mean average precision", "validation")
    _curves(axes[4], table, (("metrics/mAP_0.5", "IoU 0.5"), ("metrics/mAP_0.5:0.95", "IoU 0.5 to 0.95")))
    _best(axes[4], table)
    for axis in axes[3:5]:
        _unit_limits(axis)
    _rates(axes[5], table)
    for axis in axes:
        _finish(axis, table, marks, changes)
    style.save(drawing, out)


def smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean of (n,) values over neighbouring epochs, `sigma` epochs wide; skips values that are not finite."""
    if sigma <= 0 or len(values) < 3:
        return values
    distance = np.arange(len(values))[:, None] - np.arange(len(values))
    finite = np.isfinite(values)
    weights = np.exp(-0.5 * (distance / sigma) ** 2) * finite
    total = weights.sum(1)
    mean = weights @ np.where(finite, values, 0.0) / np.where(total > 1e-12, total, 1.0)
    return np.where(total > 1e-12, mean, np.nan)


def _curves(axis: Axes, table: dict[str, np.ndarray], series: Sequence[tuple[str, str]]) -> None:
    for i, (name, text) in enumerate(series):
        values = table.get(name)
        if values is None or not np.isfinite(values).any():
            continue
        epochs = table["epoch"] + 1
        size = float(np.clip(120 / len(epochs), 4.5, 9))
        axis.plot(epochs, values, ".", color=style.colour(i), alpha=0.4, markersize=size, markeredgewidth=0)
        line = smooth(values, min(2.0, len(values) / 20))
        axis.plot(epochs, line, color=style.colour(i), linewidth=1.8, label=text)


def _limits(axis: Axes, table: dict[str, np.ndarray], names: Sequence[str]) -> None:
    """Show losses from 0 up to nearly all points: the first epochs and spikes may leave the picture."""
    values = np.concatenate([table[name] for name in names if name in table] or [np.zeros(0)])
    values = values[np.isfinite(values)]
    if values.size and not values.any():  # as of a set without labels
        axis.set_ylim(0, 1)
    elif values.size and values.max() > 0:
        usual, most = float(np.quantile(values, 0.97)), float(values.max())
        axis.set_ylim(0, 1.08 * (most if most < 3 * usual else 1.5 * usual))


def _unit_limits(axis: Axes) -> None:
    """From 0 to 1, or to the next tenth above the best value where that leaves less empty."""
    highest = max((float(np.nanmax(line.get_ydata())) for line in axis.lines), default=1.0)
    axis.set_ylim(0, min(1.0, np.ceil(highest * 10 + 0.5) / 10) + 0.005)


def _best(axis: Axes, table: dict[str, np.ndarray]) -> None:
    """A star at the epoch whose weights best.pt holds."""
    if not all(name in table and np.isfinite(table[name]).any() for name in FITNESS):
        return
    fitness = sum(weight * table[name] for name, weight in FITNESS.items())
    best = int(np.nanargmax(fitness))
    value, trained = table["metrics/mAP_0.5:0.95"][best], int(table["epoch"][best]) + 1
    text = f"best {value:.3f}, epoch {trained}"
    axis.plot(trained, value, "*", color=style.INK, markersize=10, markeredgecolor="white", label=text, zorder=5)


def _rates(axis: Axes, table: dict[str, np.ndarray]) -> None:
    """Rates as they were, not smoothed; wide lines below narrow ones, for the groups mostly coincide.

    The axis fits norms and weights: in a warm-up the biases start many times higher, which the title then says.
    """
    style.title(axis, "Learning rate", "at the end of each epoch")
    shown = [(name, text) for name, text in GROUPS if name in table and np.isfinite(table[name]).any()]
    marker = "." if len(table.get("epoch", ())) < 3 else ""
    for i, (name, text) in enumerate(shown):
        look = {"linewidth": (4.5, 2.5, 1.2)[i], "linestyle": "--" if i == 2 else "-", "markersize": (14, 9, 5)[i]}
        axis.plot(table["epoch"] + 1, table[name], label=text, marker=marker, color=style.colour((5, 0, 1)[i]), **look)
    if len(shown) < len(GROUPS):
        return
    highest = [float(np.nanmax(table[name])) for name, _ in GROUPS]
    usual = max(highest[:2])
    axis.set_ylim(0, (usual or highest[2] or 1.0) * 1.3)  # room for the legend above the curves
    if highest[2] > 1.3 * usual > 0:
        style.title(axis, "Learning rate", f"biases warm up from {highest[2]:.3g}")


def _finish(
    axis: Axes, table: dict[str, np.ndarray], marks: Sequence[float], changes: Sequence[tuple[float, str]]
) -> None:
    axis.set_xlabel("epochs trained", fontsize=9, color=style.MUTED)
    if not axis.lines:
        style.say(axis, "not recorded" if table else "no epoch recorded yet")
        return
    rates = axis.get_title(loc="left") == "Learning rate"
    for i, mark in enumerate(marks):
        text = "cycle end" if rates and i == 0 else None
        axis.axvline(mark, color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1, label=text)
    end = max([float(table["epoch"].max()) + 1, *marks])
    for i, (at, text) in enumerate((at, text) for at, text in changes if at < end):
        dash = style.DASHES[1:][i % (len(style.DASHES) - 1)]
        axis.axvline(at, color=style.INK, linewidth=1.2, linestyle=dash, zorder=1, label=text if rates else None)
    axis.set_xlim(min(0.0, end - 1), end * 1.02 + 0.01)
    axis.locator_params("x", integer=True)
    style.legend(axis, **({"loc": "upper right", "ncols": 2} if rates else {}))
