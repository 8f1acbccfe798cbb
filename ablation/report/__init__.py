"""The report of a study: `report.html`, one file that opens anywhere, and `report.md` with its pictures."""

from __future__ import annotations

from ablation.ranking import cells, rank
from ablation.report import content, markdown, page, pictures
from ablation.report.curves import chart_data
from ablation.report.figures import decimals
from ablation.view import StudyView
from utils.files.atomic import write_atomic


def write(study: StudyView) -> None:
    """Write `report.html`, `report.md` and `pictures/` into the study's folder, each file atomically.

    A study may be in the middle, have failures or a single run; files of runs that are missing, empty or being
    written leave gaps in the curves. Raises OSError where the folder cannot be written.
    """
    found = cells(study.runs)
    ranking = rank(found)
    chart = chart_data(found, ranking, study.runs)
    sections = content.sections(study, found, ranking, chart)
    drawn = pictures.draw(study, found, chart, decimals(ranking))
    title = f"Study {study.name}"
    write_atomic(study.folder / "report.md", markdown.render(title, sections, drawn))
    write_atomic(study.folder / "report.html", page.render(title, sections))
