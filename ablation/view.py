"""What is known of a study at a moment: plain values, which the tables and the report are made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

METRICS = ("precision", "recall", "mAP50", "mAP50-95")
FINISHED, FAILED, RUNNING, WAITING = "finished", "failed", "running", "waiting"


@dataclass(frozen=True)
class RunView:
    """One run of a study.

    name: of its folder, unique in the study. settings: what varies over the study, in the order of the grid:
    `lr_policy`, `optim` and `seed` first; runs that differ in `seed` alone are repeats. status: FINISHED, FAILED,
    RUNNING or WAITING. metrics: `METRICS` of the best weights, `best_epoch` and `epochs`; empty before the end.
    lr0: the base rate that was used, None before the run began. seconds: of training and validation, summed over
    interruptions. memory_gb: peak, of the device. folder: the run's folder, where its results.csv and lr.csv are.
    command: what repeats this run by itself. error: a failed run's last lines.
    """

    name: str
    settings: dict[str, Any]
    status: str
    command: str
    folder: Path
    metrics: dict[str, float] = field(default_factory=dict)
    lr0: float | None = None
    seconds: float | None = None
    memory_gb: float | None = None
    error: str = ""


@dataclass(frozen=True)
class StudyView:
    """A study and its runs, in the order of the grid.

    common: the options all runs share, as given. fingerprint: of the training and validation data. machine: what it
    ran on and with which versions, as text by name. notes: lines the reader should know, such as how rates were found.
    """

    name: str
    folder: Path
    command: str
    data: str
    common: dict[str, Any]
    fingerprint: dict[str, str]
    machine: dict[str, str]
    notes: tuple[str, ...]
    runs: tuple[RunView, ...]
