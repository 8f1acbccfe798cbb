"""A run killed after its last epoch was saved: a resume gives it its last validation and its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import val
from tests.trainer import Killed, Runs, assert_identical
from training.report import Report
from training.session import Session
from utils import plots

POINTS: dict[str, tuple[Any, str]] = {  # what is about to be done when the run is killed
    "results.png": (Report, "__exit__"),
    "validation": (val, "evaluate"),
    "curves": (plots, "curves"),
    "finished": (Session, "save"),
}


def files(run: Path) -> set[str]:
    """Names of a run's files, without those that a process leaves."""
    return {str(path.relative_to(run)) for path in run.rglob("*") if "tfevents" not in path.name}


@pytest.fixture(scope="module")
def whole(module_runs: Runs) -> Path:
    assert module_runs(epochs=2, noplots=None) == 0
    return module_runs.run()


def killed_before(patch: pytest.MonkeyPatch, owner: Any, name: str, epochs: int) -> None:
    """Kill where `name` is called first once all epochs are done and saved."""
    done: list[Session] = []
    ended, original = Session.end_epoch, getattr(owner, name)

    def end_epoch(self: Session, metrics: Any) -> None:
        ended(self, metrics)
        if self.progress.epoch == epochs:
            self.saver.writer.wait()
            done.append(self)

    def instead(*args: Any, **options: Any) -> Any:
        if done:
            raise Killed
        return original(*args, **options)

    patch.setattr(Session, "end_epoch", end_epoch)
    patch.setattr(owner, name, instead)


@pytest.mark.parametrize("point", [pytest.param(p, marks=[pytest.mark.slow] * (p != "curves")) for p in POINTS])
def test_the_resume_ends_it(
    point: str,
    runs: Runs,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    with monkeypatch.context() as patch:
        killed_before(patch, *POINTS[point], epochs=2)
        with pytest.raises(Killed):
            runs(epochs=2, noplots=None)
    capsys.readouterr()
    assert runs("--resume", noplots=None, epochs=2) == 0
    assert "where 2 epochs are trained: the final validation remains" in capsys.readouterr().out
    assert_identical(whole, runs.run())
    assert files(whole) <= files(runs.run())


def test_a_finished_run_without_its_pictures_gets_them(whole: Path, module_runs: Runs, capsys) -> None:
    """A disk refused them, say. With them it is refused, as finished."""
    capsys.readouterr()
    assert module_runs.resume(whole) == 2
    assert "is finished (2 epochs)" in capsys.readouterr().out
    had = files(whole)
    for name in ("confusion_matrix.png", "PR_curve.png", "results.png"):
        (whole / name).unlink()
    assert module_runs.resume(whole) == 0
    assert files(whole) == had
    assert module_runs.resume(whole) == 2
