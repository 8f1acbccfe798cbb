"""The sections of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablation.marginals import heat_maps, levels
from ablation.ranking import Cell, Ranking, axes
from ablation.report import tables
from ablation.report.blocks import Block, Bullets, Chart, Code, Details, Picture, Section, Table, Text
from ablation.report.figures import decimals
from ablation.report.headline import caveats, headline
from ablation.view import FAILED, StudyView
from utils.console.wording import counted

CURVES, HEAT = "pictures/curves.png", "pictures/heatmap.png"


def sections(study: StudyView, found: list[Cell], ranking: Ranking, chart: Mapping[str, Any]) -> list[Section]:
    """All sections in reading order; those with nothing to say are left out."""
    made = [
        Section("result", "Result", (*headline(study, ranking), *([Bullets(study.notes)] if study.notes else []))),
        Section("ranking", "Ranking", _ranking(ranking)),
        Section("settings", "Setting by setting", _settings(study, found, decimals(ranking))),
        Section("curves", "Learning and rate curves", _curves(chart)),
        Section("cost", "Rates, time and memory", (tables.cost(found),)),
        Section("failures", "Failures", _failures(study)),
        Section("runs", "Runs and how to repeat them", _runs(study, decimals(ranking))),
        Section("setup", "Data, machine and versions", _setup(study)),
    ]
    return [section for section in made if section.blocks]


def _ranking(ranking: Ranking) -> tuple[Block, ...]:
    if not ranking.entries:
        return ()
    blocks: list[Block] = [tables.ranking(ranking)]
    if ranking.pending:
        names = ", ".join(cell.label for cell in ranking.pending)
        blocks.append(Text(f"Without a finished run: {names}.", "small"))
    second = (tables.check(ranking), tables.also(ranking))
    blocks += [caveats(ranking), Details("Student's intervals, and mAP50", second)]
    return tuple(blocks)


def _settings(study: StudyView, found: list[Cell], digits: int) -> tuple[Block, ...]:
    if not any(cell.values() for cell in found):
        return ()
    varied = axes(study.runs)
    blocks: list[Block] = list(tables.heat(heat_maps(found, varied), digits))
    if blocks:
        blocks.append(Picture(HEAT, "Heat map of the mean mAP50-95 of each cell"))
    blocks += [tables.marginal(axis, levels(found, axis), len(varied), digits) for axis in varied]
    return tuple(blocks)


def _curves(chart: Mapping[str, Any]) -> tuple[Block, ...]:
    if not chart["runs"]:
        return (Text("No run has written an epoch yet.", "small"),)
    notes = [Text(text, "small") for text in chart["notes"]]
    return (Chart(chart, CURVES, "Learning curves and learning rates of the cells"), *notes)


def _failures(study: StudyView) -> tuple[Block, ...]:
    failed = [run for run in study.runs if run.status == FAILED]
    if not failed:
        return ()
    blocks: list[Block] = [Text(f"{counted(len(failed), 'run')} of {len(study.runs)} failed; their last lines:")]
    for run in failed:
        blocks.append(Details(run.name, (Code(run.error.strip() or "nothing was recorded"),)))
    return tuple(blocks)


def _runs(study: StudyView, digits: int) -> tuple[Block, ...]:
    commands = "\n".join(run.command for run in study.runs)
    one = tuple(block for run in study.runs for block in (Text(run.name, "small"), Code(run.command)))
    return (
        Text("The whole study:"),
        Code(study.command),
        Details(f"Every run: settings and results ({len(study.runs)})", (tables.runs(study, digits),)),
        Details("Every run's command, all at once", (Code(commands),)),
        Details("Every run's command, one by one", one, page_only=True),
    )


def _setup(study: StudyView) -> tuple[Block, ...]:
    seeds = list(dict.fromkeys(str(run.settings.get("seed")) for run in study.runs))
    facts = [("study", study.name), ("data", study.data), ("seeds", ", ".join(seeds))]
    blocks: list[Block] = [_facts("The study", facts)]
    if study.fingerprint:
        blocks.append(_facts("Data fingerprint", list(study.fingerprint.items())))
    if study.machine:
        blocks.append(_facts("Machine and versions", list(study.machine.items())))
    if study.common:
        blocks.append(_facts("Options common to all runs", [(k, str(v)) for k, v in study.common.items()]))
    return tuple(blocks)


def _facts(caption: str, rows: list[tuple[str, str]]) -> Table:
    return Table(caption, ("what", "value"), tuple((name, str(value)) for name, value in rows))
