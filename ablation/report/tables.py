"""The tables of a report."""

from __future__ import annotations

from collections.abc import Sequence

from ablation.marginals import HeatMap, Level
from ablation.ranking import ALSO, RANKED_BY, Cell, Difference, Ranking, text
from ablation.report.blocks import Table, Value
from ablation.report.figures import NONE, decimals, duration, gap, interval, rate, score
from ablation.statistics import Summary
from ablation.view import METRICS, StudyView


def ranking(found: Ranking) -> Table:
    """Rank, cell, mean, deviation, interval, seeds, difference to the best with its interval, verdict."""
    digits = decimals(found)
    ends = [end for entry in found.entries for end in _ends(entry.summary)]
    low, width = min(ends), max(ends) - min(ends)
    rows = []
    for place, entry in enumerate(found.entries, 1):
        mean, gaps = entry.summary, entry.difference
        left, right = _ends(mean)
        span = tuple((end - low) / width if width else 0.5 for end in (left, mean.mean, right))
        rows.append(
            (
                entry.cell.label,
                str(place),
                Value(score(mean.mean, digits), kind="strong"),
                score(mean.sd, digits),
                Value(interval(mean.interval, digits) if mean.interval else "one seed", span=span),
                f"{mean.n} of {len(entry.cell.runs)}",
                gap(gaps.mean, digits) if gaps else NONE,
                _paired(gaps, digits) if gaps else NONE,
                Value(entry.verdict, kind=entry.verdict.split(":")[0].replace(" ", "-")),
            )
        )
    columns = ("cell", "rank", f"mean {RANKED_BY}", "sd", "95 % interval", "seeds")
    gaps = ("less the best", "its 95 % interval", "verdict")
    return Table(f"Cells by mean {RANKED_BY} on the validation pictures", columns + gaps, tuple(rows), _numeric(1, 7))


def _ends(summary: Summary) -> tuple[float, float]:
    return (summary.interval.low, summary.interval.high) if summary.interval else (summary.mean, summary.mean)


def _paired(gaps: Difference, digits: int) -> str:
    if gaps.interval:
        return interval(gaps.interval, digits, signed=True)
    return "one pair" if gaps.pairs else "no pair"


def _numeric(first: int, last: int) -> frozenset[int]:
    return frozenset(range(first, last + 1))


def check(found: Ranking) -> Table:
    """The intervals by Student's distribution, beside the margin."""
    digits = decimals(found)
    rows = []
    for entry in found.entries:
        gaps = entry.difference
        rest = (NONE,) * 4
        if gaps:
            student = interval(gaps.student, digits, signed=True)
            rest = (str(gaps.pairs), gap(gaps.mean, digits), student, score(gaps.margin, digits))
        mean, student = score(entry.summary.mean, digits), interval(entry.summary.student, digits)
        rows.append((entry.cell.label, mean, student, *rest))
    columns = ("cell", RANKED_BY, "Student interval", "pairs", "less the best", "its Student interval", "margin")
    return Table(f"Student's 95 % intervals of {RANKED_BY}, as a check", columns, tuple(rows), _numeric(1, 6))


def also(found: Ranking) -> Table:
    """The other metric, in the same order."""
    digits = decimals(found)
    rows = []
    for entry in found.entries:
        if (mean := entry.also) is not None:
            scores = [score(value, digits) for value in (mean.mean, mean.sd)]
            intervals = [interval(value, digits) for value in (mean.interval, mean.student)]
            rows.append((entry.cell.label, *scores, *intervals, str(mean.n)))
    columns = ("cell", f"mean {ALSO}", "sd", "95 % interval", "Student interval", "seeds")
    return Table(f"{ALSO}, in the order of {RANKED_BY}", columns, tuple(rows), _numeric(1, 5))


def heat(maps: Sequence[HeatMap], digits: int) -> list[Table]:
    """Each map as a table of means, coloured from the lowest to the highest of all maps."""
    cells = [cell for found in maps for line in found.grid for cell in line]
    means = [value for cell in cells if (value := mean_of(cell)) is not None]
    low, width = min(means, default=0.0), max(means, default=0.0) - min(means, default=0.0)
    made = []
    for found in maps:
        rows = []
        for name, line in zip(found.rows, found.grid, strict=True):
            values = [(cell, mean_of(cell)) for cell in line]
            heats = [None if mean is None else (mean - low) / width if width else 0.5 for _, mean in values]
            shown = [Value(_cell_text(*value, digits), heat) for value, heat in zip(values, heats, strict=True)]
            rows.append((name, *shown))
        title = f"Mean {RANKED_BY} of each cell" + (f": {found.title}" if found.title else "")
        made.append(Table(title, (found.corner, *found.columns), tuple(rows), _numeric(1, len(found.columns))))
    return made


def mean_of(cell: Cell | None) -> float | None:
    """The cell's mean over its finished seeds."""
    values = cell.values() if cell else {}
    return sum(values.values()) / len(values) if values else None


def _cell_text(cell: Cell | None, mean: float | None, digits: int) -> str:
    if cell is None:
        return "not run"
    done, of = len(cell.values()), len(cell.runs)
    return NONE if mean is None else score(mean, digits) + (f" ({done} of {of})" if done < of else "")


def marginal(axis: str, found: Sequence[Level], varied: int, digits: int) -> Table:
    """The levels of one setting, averaged over the others."""
    rows = []
    for level in found:
        summary = level.by_seed
        shown = interval(summary.interval, digits) if summary and summary.interval else NONE
        rows.append((level.name, score(level.mean, digits), shown, f"{level.cells} of {level.of}"))
    rest = ", each the mean over the finished cells that have it" if varied > 1 else ""
    columns = (axis, f"mean {RANKED_BY}", "95 % interval over seeds", "cells finished")
    return Table(f"By {axis}{rest}", columns, tuple(rows), _numeric(1, 3))


def cost(found: Sequence[Cell]) -> Table:
    """Time and memory of each cell: means and totals over its runs."""
    rows = []
    for cell in found:
        times = [run.seconds for run in cell.runs if run.seconds is not None]
        memory = [run.memory_gb for run in cell.runs if run.memory_gb is not None]
        rates = list(dict.fromkeys(rate(run.lr0) for run in cell.runs if run.lr0 is not None))
        mean = duration(sum(times) / len(times)) if times else NONE
        peak = f"{max(memory):.2f} GB" if memory else NONE
        total = duration(sum(times)) if times else NONE
        rows.append((cell.label, ", ".join(rates) or NONE, mean, total, peak))
    columns = ("cell", "base rate used", "mean time a run", "time in all", "peak memory")
    caption = "Training and validation; times of runs that shared a device are not comparable"
    return Table(caption, columns, tuple(rows), _numeric(1, 4))


def runs(study: StudyView, digits: int) -> Table:
    """One row a run, in the order of the grid."""
    names = list(dict.fromkeys(name for run in study.runs for name in run.settings))
    rows = []
    for run in study.runs:
        settings = [text(run.settings.get(name)) for name in names]
        scores = [score(run.metrics.get(name), digits) for name in METRICS]
        best, epochs = (f"{run.metrics[n]:g}" if n in run.metrics else NONE for n in ("best_epoch", "epochs"))
        memory = NONE if run.memory_gb is None else f"{run.memory_gb:.2f}"
        end = [best, epochs, rate(run.lr0), duration(run.seconds), memory]
        rows.append((run.name, *settings, Value(run.status, kind=run.status), *scores, *end))
    tail = ("best epoch", "epochs", "base rate", "time", "memory (GB)")
    columns = ("run", *names, "status", *METRICS, *tail)
    return Table(
        "Metrics are those of each run's best weights", columns, tuple(rows), _numeric(len(names) + 2, len(columns) - 1)
    )
