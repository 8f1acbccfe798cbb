"""The pictures beside report.md: heatmap.png and curves.png."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ablation.marginals import HeatMap, heat_maps
from ablation.ranking import RANKED_BY, Cell, axes
from ablation.report.content import CURVES, HEAT
from ablation.report.figures import score
from ablation.report.tables import mean_of
from ablation.view import StudyView
from utils.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 6  # cells with a colour in curves.png; the others are grey
MOST_MAPS = 4
LINES = ("-", "--", ":", "-.")


def draw(study: StudyView, found: Sequence[Cell], chart: Mapping[str, Any], digits: int) -> list[str]:
    """Draw what there is to draw; the paths, relative to the study's folder."""
    drawn = []
    (study.folder / "pictures").mkdir(exist_ok=True)
    maps = heat_maps(found, axes(study.runs))[:MOST_MAPS]
    if maps and any(mean_of(cell) is not None for cell in found):
        _heat(maps, study.folder / HEAT, digits)
        drawn.append(HEAT)
    if chart["runs"]:
        _curves(chart, study.folder / CURVES)
        drawn.append(CURVES)
    return drawn


def _heat(maps: Sequence[HeatMap], out: Any, digits: int) -> None:
    columns = min(2, len(maps))
    rows = -(-len(maps) // columns)
    wide = max(len(m.columns) for m in maps) * 1.15 + 2.2
    drawing, panels = style.figure(
        wide * columns, max(2.2, rows * (max(len(m.rows) for m in maps) * 0.55 + 1.3)), rows, columns
    )
    grids = [np.array([[mean_of(c) for c in line] for line in m.grid], dtype=float) for m in maps]  # None as nan
    values = np.concatenate([grid.ravel() for grid in grids])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    for axis, found, grid in zip(panels, maps, grids, strict=False):
        width = high - low or 1.0
        axis.imshow(np.ma.masked_invalid((grid - low) / width * 0.55), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        style.title(axis, found.title.replace("$", r"\$") or f"Mean {RANKED_BY}")
        axis.grid(visible=False)
        axis.spines[:].set_visible(False)
        axis.set_xticks(range(len(found.columns)), _names(found.columns))
        axis.set_yticks(range(len(found.rows)), _names(found.rows))
        axis.tick_params(length=0)
        for (i, j), value in np.ndenumerate(grid):
            shown = score(value, digits) if np.isfinite(value) else "-"
            axis.text(j, i, shown, ha="center", va="center", color=style.INK)
    for axis in panels[len(maps) :]:
        axis.set_visible(False)
    style.save(drawing, out)


def _names(names: Sequence[str]) -> list[str]:
    return [style.plot_name(names, i) for i in range(len(names))]


def _curves(chart: Mapping[str, Any], out: Any) -> None:
    drawing, (metric, rate) = style.figure(10, 7, 2, 1, height_ratios=[2, 1], sharex=True)
    cells = sorted({run["cell"] for run in chart["runs"]}, reverse=True)
    bright = set(sorted(cells)[:SHOWN])
    for i in cells:
        runs = [run for run in chart["runs"] if run["cell"] == i]
        look = {"color": style.FAINT, "linewidth": 1.0, "zorder": 1}
        if i in bright:
            cell = chart["cells"][i]
            name = style.plot_name([cell["label"]], 0, 48)
            look = {"color": cell["light"], "linestyle": LINES[cell["dash"]], "linewidth": 1.8, "label": name}
        _mean(metric, runs, look)
        _rate(rate, runs, chart["rates"], look)
    note = f"mean over seeds; grey: the other {len(cells) - SHOWN} cells" if len(cells) > SHOWN else "mean over seeds"
    style.title(metric, f"{RANKED_BY} on the validation pictures", note)
    style.title(rate, "Learning rate of the weights")
    rate.set_xlabel("epochs trained", fontsize=9, color=style.MUTED)
    if metric.lines:
        handles, labels = metric.get_legend_handles_labels()
        style.legend(metric, handles=handles[::-1], labels=labels[::-1], loc="lower right")
    style.save(drawing, out)


def _mean(axis: Axes, runs: Sequence[Mapping[str, Any]], look: dict[str, Any]) -> None:
    at: dict[float, list[float]] = {}
    for run in runs:
        for x, y in zip(run["x"], run["y"][0] or [], strict=False):
            if y is not None:
                at.setdefault(x, []).append(y)
    if at:
        xs = sorted(at)
        axis.plot(xs, [float(np.mean(at[x])) for x in xs], marker="o" if len(xs) == 1 else "", **look)


def _rate(axis: Axes, runs: Sequence[Mapping[str, Any]], rates: Sequence[Any], look: dict[str, Any]) -> None:
    length = min((run["n"] for run in runs if run["n"]), default=None)
    for i in sorted({run["rates"] for run in runs if run["rates"] >= 0}):
        steps, weights = rates[i][0], rates[i][1]
        if length:
            values = np.array(weights, dtype=float)  # None as nan
            axis.plot(np.array(steps) / length, values, **{k: v for k, v in look.items() if k != "label"})
