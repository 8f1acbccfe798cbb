"""The table that a terminal shows while a study runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ablation.definition import Definition
from ablation.grid import expand
from ablation.progress import Screen
from ablation.study import Study


def test_a_terminal_of_80_columns_shows_how_far_and_how_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    asked = Definition({"seed": list(range(10))}, common={"epochs": 300})
    asked.grid |= {"momentum": [0.912345, 0.923456], "warmup_momentum": [0.71, 0.72]}
    asked.complete()
    study = Study(tmp_path, asked, expand(asked), "")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    screen = Screen(study)
    screen.began -= 7500
    name = study.cells[0].name
    folder = study.folder_of(study.cells[0])
    folder.mkdir(parents=True)
    (folder / "results.csv").write_text("epoch\n" + "0\n" * 299)
    screen.draw({name})
    run, whole = capsys.readouterr().out.splitlines()
    assert max(len(run), len(whole)) < 80
    assert "epoch 299/300" in run
    assert "2 h 5 min gone, ~81 h 3" in whole  # 11,701 of 12,000 epochs are left
    assert "min left; 0 finished, 0 failed, 1 running" in whole
