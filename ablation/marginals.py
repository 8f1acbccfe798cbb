"""One setting at a time: its levels' means over all else that varies, and the grids that heat maps show."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ablation.ranking import Cell, text
from ablation.statistics import Summary, summarise

MOST_MAPS = 12


@dataclass(frozen=True)
class Level:
    """One level of a setting. cells, of: how many of its cells have finished runs, and how many it has.

    mean: over its finished cells, each counted once; None before any. by_seed: the summary, over the seeds that all its
    cells have finished, of the mean over cells; None where no seed has.
    """

    name: str
    cells: int
    of: int
    mean: float | None
    by_seed: Summary | None


@dataclass(frozen=True)
class HeatMap:
    """Cells laid out by two settings. title: the levels of the settings held fixed. corner: what rows and columns are.
    grid: rows x columns, None where the study has no such cell."""

    title: str
    corner: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    grid: tuple[tuple[Cell | None, ...], ...]


def levels(found: Sequence[Cell], axis: str) -> list[Level]:
    """The levels of a setting in the order of the grid, each averaged over the cells that have it."""
    groups: dict[str, list[dict[str, float]]] = {}
    for cell in found:
        groups.setdefault(text(cell.settings.get(axis)), []).append(cell.values())
    return [_level(name, group) for name, group in groups.items()]


def _level(name: str, group: list[dict[str, float]]) -> Level:
    done = [values for values in group if values]
    means = [sum(values.values()) / len(values) for values in done]
    common = sorted(set.intersection(*map(set, group)))
    by_seed = [sum(values[seed] for values in group) / len(group) for seed in common]
    mean = sum(means) / len(means) if means else None
    return Level(name, len(done), len(group), mean, summarise(by_seed) if by_seed else None)


def heat_maps(found: Sequence[Cell], varied: Sequence[str]) -> list[HeatMap]:
    """One map for each combination of the settings beyond the first two varied ones; the first `MOST_MAPS` of them.

    Where fewer than two vary, `lr_policy` and `optim` fill up.
    """
    fixed = [name for name in ("lr_policy", "optim") if name not in varied and any(name in c.settings for c in found)]
    pair = sorted([*varied, *fixed][:2], key=lambda name: (name == "optim", name != "lr_policy"))
    if len(pair) < 2:
        return []
    others = [name for name in varied if name not in pair]
    combinations = itertools.islice(itertools.product(*(_distinct(found, name) for name in others)), MOST_MAPS)
    made = [_heat_map(found, pair, others, combination) for combination in combinations]
    return [drawn for drawn in made if any(cell for line in drawn.grid for cell in line)]


def _distinct(found: Sequence[Cell], name: str) -> list[str]:
    return list(dict.fromkeys(text(cell.settings.get(name)) for cell in found))


def _heat_map(found: Sequence[Cell], pair: list[str], others: list[str], combination: tuple[Any, ...]) -> HeatMap:
    rows, columns = (tuple(_distinct(found, name)) for name in pair)
    here = {
        tuple(text(cell.settings.get(name)) for name in pair): cell
        for cell in found
        if tuple(text(cell.settings.get(name)) for name in others) == combination
    }
    title = ", ".join(f"{name} = {level}" for name, level in zip(others, combination, strict=True))
    grid = tuple(tuple(here.get((r, c)) for c in columns) for r in rows)
    return HeatMap(title, " × ".join(pair), rows, columns, grid)
