"""The curves of a study's runs, thinned so that hundreds of runs stay a small file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ablation.ranking import Cell, Ranking, axes, text
from ablation.report import colours
from ablation.view import RunView

METRICS = {
    "metrics/mAP_0.5:0.95": "mAP50-95",
    "metrics/mAP_0.5": "mAP50",
    "metrics/precision": "precision",
    "metrics/recall": "recall",
    "train/box_loss": "training box loss",
    "train/obj_loss": "training objectness loss",
    "train/cls_loss": "training class loss",
    "val/box_loss": "validation box loss",
    "val/obj_loss": "validation objectness loss",
    "val/cls_loss": "validation class loss",
}
RATES = {"x/lr1": "weights", "x/lr2": "biases", "x/lr0": "norms"}
EPOCH_POINTS, RATE_POINTS = 24_000, 40_000  # of all runs together, a metric and a group: the page stays under 5 MB


def read_table(path: Path) -> dict[str, np.ndarray]:
    """A numeric CSV file's columns, as (rows,) arrays; empty where the file is missing, empty or broken.

    A last line without its end is left out: a run may be writing it. That, and speed on files of a row a step, is why
    this is not `tracker.read_csv`, which names the broken line to the user whose file it is.
    """
    try:
        head, _, body = path.read_text(encoding="utf-8").rpartition("\n")[0].partition("\n")
        names = [name.strip() for name in head.split(",")]
        data = np.loadtxt(io.StringIO(body), delimiter=",", ndmin=2) if body.strip() else np.zeros((0, len(names)))
    except (OSError, ValueError):
        return {}
    return dict(zip(names, data.T, strict=True)) if data.shape == (len(data), len(names)) and len(data) else {}


def chart_data(found: Sequence[Cell], ranking: Ranking, runs: Sequence[RunView]) -> dict[str, Any]:
    """All the chart needs, as plain values.

    metrics, groups: [name]. cells: label, rank (from 1; 0: none finished), colour on light and on dark, dash, from best
    to worst. runs: the cell's place, seed, `n` steps an epoch, `x` epochs trained, `y` a list of values for each metric
    (None: not recorded), `rates` the place in `rates`, where each is the steps and the rates of each group.
    """
    order = [*(entry.cell for entry in ranking.entries), *ranking.pending] or list(found)
    varied = axes(runs)
    looks = colours.looks([[text(cell.settings.get(axis)) for axis in varied] for cell in order])
    ranks = {id(entry.cell): place for place, entry in enumerate(ranking.entries, 1)}
    cells = [
        {"label": cell.label, "rank": ranks.get(id(cell), 0), "light": look.light, "dark": look.dark, "dash": look.dash}
        for cell, look in zip(order, looks, strict=True)
    ]
    tables = {run.name: read_table(run.folder / "results.csv") for run in runs}
    steps = {run.name: read_table(run.folder / "lr.csv") for run in runs}
    stride = max(1, -(-sum(len(table.get("epoch", ())) for table in tables.values()) // EPOCH_POINTS))
    shared: dict[str, int] = {}
    rates: list[list[list[float]]] = []
    drawn = []
    for place, cell in enumerate(order):
        for run in cell.runs:
            curve = _curve(tables[run.name], stride)
            if curve is None:
                continue
            rate = _rates(steps[run.name], max(60, RATE_POINTS // max(1, len(runs))))
            key = repr(rate)
            if rate and key not in shared:
                shared[key] = len(rates)
                rates.append(rate)
            length = _steps_an_epoch(tables[run.name], steps[run.name])
            seed = text(run.settings.get("seed"))
            drawn.append({"cell": place, "seed": seed, "n": length, "rates": shared.get(key, -1), **curve})
    return {
        "metrics": list(METRICS.values()),
        "groups": list(RATES.values()),
        "cells": cells,
        "runs": drawn,
        "rates": rates,
        "notes": _notes(stride, len(runs) - len(drawn)),
    }


def _curve(table: dict[str, np.ndarray], stride: int) -> dict[str, Any] | None:
    """Every `stride`th epoch, the first and the last. The same epochs in every run, so that seeds can be averaged."""
    if "epoch" not in table:
        return None
    trained = table["epoch"] + 1
    kept = (trained % stride == 0) | (trained == trained.min()) | (trained == trained.max())
    values = [_plain(table[name][kept]) if name in table else None for name in METRICS]
    return {"x": _plain(trained[kept]), "y": values}


def _plain(values: np.ndarray) -> list[float | None]:
    """Four significant digits; None for what is not finite, which JSON cannot say."""
    short = [float(f"{value:.4g}") if np.isfinite(value) else None for value in values]
    return [int(value) if value is not None and value == int(value) else value for value in short]


def _rates(table: dict[str, np.ndarray], most: int) -> list[list[float | None]]:
    if "step" not in table or not any(name in table for name in RATES):
        return []
    curves = [table.get(name, np.full(len(table["step"]), np.nan)) for name in RATES]
    kept = thin(curves[0], most)
    return [[int(step) for step in table["step"][kept]], *(_plain(curve[kept]) for curve in curves)]


def thin(values: np.ndarray, most: int) -> np.ndarray:
    """Indices of at most about `most` of (n,) values that keep the curve's shape.

    The first, the last, and of each of most / 2 equal stretches the lowest and the highest: no peak or restart is lost.
    """
    if len(values) <= most:
        return np.arange(len(values))
    filled = np.nan_to_num(values)
    parts = np.array_split(np.arange(len(values)), max(1, (most - 2) // 2))
    ends = [part[[filled[part].argmin(), filled[part].argmax()]] for part in parts]
    return np.unique(np.concatenate([[0, len(values) - 1], *ends]))


def _steps_an_epoch(table: dict[str, np.ndarray], steps: dict[str, np.ndarray]) -> float | None:
    """Optimizer steps an epoch: exact for a run that ended with an epoch, else up to the part of one that was begun."""
    epochs = len(table.get("epoch", ()))
    return round((float(steps["step"].max()) + 1) / epochs, 4) if "step" in steps and epochs else None


def _notes(stride: int, missing: int) -> list[str]:
    notes = []
    if stride > 1:
        notes.append(f"The page holds every {stride}th epoch of each curve; results.csv of each run holds all.")
    if missing:
        why = "not begun, failed before the first, or unreadable"
        notes.append(f"{missing} of the runs have no epoch to show ({why}).")
    return notes
