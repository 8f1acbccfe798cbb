"""A placeholder."""

from __future__ import annotations

from ablation.view import StudyView
from utils.files import write_atomic


def write(study: StudyView) -> None:
    write_atomic(study.folder / "report.md", "\n".join([study.name, *study.notes, *(run.name for run in study.runs)]))
