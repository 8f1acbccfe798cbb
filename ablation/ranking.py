"""A study's cells, from the best to the worst, and how sure it is that each is worse than the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablation.statistics import Interval, Noise, Summary, margin, noise, summarise
from ablation.view import FINISHED, RunView

RANKED_BY, ALSO = "mAP50-95", "mAP50"
BEST, NO_EVIDENCE = "best", "no evidence of a difference"
WEAK = {-1: "weak evidence: lower", 1: "weak evidence: higher"}
CLEAR = {-1: "lower", 1: "higher"}


@dataclass(frozen=True)
class Cell:
    """The runs that differ in nothing but their seed. settings: without the seed. label: what sets it apart."""

    settings: Mapping[str, Any]
    label: str
    runs: tuple[RunView, ...]

    def values(self, metric: str = RANKED_BY) -> dict[str, float]:
        """The metric of each finished run, by seed."""
        found = {}
        for run in self.runs:
            value = run.metrics.get(metric) if run.status == FINISHED else None
            if value is not None and math.isfinite(value):
                found[text(run.settings.get("seed"))] = float(value)
        return found


@dataclass(frozen=True)
class Difference:
    """A cell less the best one, over the seeds that both have; without pairs mean is None, with one the intervals are.

    margin: what it must pass in size to be told from the noise whichever cell is best, None where that is unknown.
    """

    pairs: int
    mean: float | None
    interval: Interval | None
    student: Interval | None
    margin: float | None

    @property
    def verdict(self) -> str:
        """Evidence where the bootstrap interval does not hold zero; clear where Student's and the margin agree."""
        if self.mean is None or self.interval is None or self.student is None or self.interval.holds(0):
            return NO_EVIDENCE
        clear = not self.student.holds(0) and self.margin is not None and abs(self.mean) > self.margin
        return (CLEAR if clear else WEAK)[1 if self.mean > 0 else -1]


@dataclass(frozen=True)
class Entry:
    """A cell with finished runs. difference: to the best cell, None for the best itself."""

    cell: Cell
    summary: Summary
    also: Summary | None
    difference: Difference | None

    @property
    def verdict(self) -> str:
        """The difference to the best cell in words."""
        return self.difference.verdict if self.difference else BEST


@dataclass(frozen=True)
class Ranking:
    """Entries from the highest mean to the lowest, the cells without a finished run, and the study's noise."""

    entries: tuple[Entry, ...]
    pending: tuple[Cell, ...]
    noise: Noise | None

    @property
    def best(self) -> Entry | None:
        """The entry that the others are compared with; None before any run has finished."""
        return next((entry for entry in self.entries if entry.difference is None), None)


def text(value: Any) -> str:
    """A setting as it is shown: different ones differently."""
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, list | tuple):
        return " ".join(map(text, value)) or "-"
    return "-" if value is None else str(value)


def axes(runs: Sequence[RunView]) -> list[str]:
    """The settings that vary, the seed left out, in the order of the grid."""
    names = list(dict.fromkeys(name for run in runs for name in run.settings if name != "seed"))
    return [name for name in names if len({repr(run.settings.get(name)) for run in runs}) > 1]


def cells(runs: Sequence[RunView]) -> list[Cell]:
    """The runs gathered into cells, in the order of the grid."""
    varied = axes(runs)
    groups: dict[str, list[RunView]] = {}
    for run in runs:
        settings = [(name, value) for name, value in run.settings.items() if name != "seed"]
        groups.setdefault(repr(sorted(settings, key=lambda item: item[0])), []).append(run)
    found = []
    for group in groups.values():
        settings = {name: value for name, value in group[0].settings.items() if name != "seed"}
        found.append(Cell(settings, _label(settings, varied), tuple(group)))
    return found


def _label(settings: Mapping[str, Any], varied: Sequence[str]) -> str:
    plain = ("lr_policy", "optim")
    shown = [name for name in settings if name in varied or name in plain]
    return " · ".join(text(settings[n]) if n in plain else f"{n}={text(settings[n])}" for n in shown) or "all runs"


def rank(found: Sequence[Cell]) -> Ranking:
    """Rank cells by the mean of `RANKED_BY` over their finished seeds; the order of the grid breaks ties.

    The best is the first with two seeds or more, if any cell has two: one lucky run does not set the mark.
    """
    values = {i: cell.values() for i, cell in enumerate(found)}
    done = {i: summarise(list(v.values())) for i, v in values.items() if v}
    order = sorted(done, key=lambda i: -done[i].mean)
    spread = noise({i: values[i] for i in order})
    repeated = [i for i in order if done[i].n > 1]
    best = next(iter(repeated or order), None)
    entries = []
    for i in order:
        also = found[i].values(ALSO)
        difference = None if best is None or i == best else compare(values[i], values[best], spread)
        entries.append(Entry(found[i], done[i], summarise(list(also.values())) if also else None, difference))
    return Ranking(tuple(entries), tuple(cell for i, cell in enumerate(found) if i not in done), spread)


def compare(values: Mapping[str, float], best: Mapping[str, float], spread: Noise | None) -> Difference:
    """Values by seed less the best cell's. Differences count from 1e-12 on: below, they are rounding."""
    gaps = [round(value - best[seed], 12) for seed, value in values.items() if seed in best]
    if not gaps:
        return Difference(0, None, None, None, None)
    summary = summarise(gaps)
    least = margin(spread, len(gaps)) if spread else None
    return Difference(len(gaps), summary.mean, summary.interval, summary.student, least)
