"""Which run is gone on with when a launcher starts its processes again, told by the launchers that trained it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from training import launches

FIRST, SECOND, OTHER = "mask one 12 345", "mask two 12 345", "mask one 99 345"


def test_one_launcher_that_lives_is_enough(tmp_path: Path) -> None:
    runs = [tmp_path / name for name in ("a", "b", "c")]
    for number, (run, launchers) in enumerate(zip(runs, ([FIRST, SECOND], [OTHER], []), strict=True)):
        run.mkdir()
        launches.mark(run, [*launchers, ""])
        for path in run.iterdir():
            os.utime(path, (number, number))
    assert not list(runs[2].iterdir())  # nothing without a launcher
    assert launches.find(runs, [SECOND, "mask three 1 2"]) == runs[0]
    assert launches.find(runs, [SECOND, OTHER]) == runs[1]  # the later one
    assert launches.find(runs, ["mask one 12 346", ""]) is None
    assert launches.find([tmp_path / "none"], [FIRST]) is None


def test_a_launcher_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert launches.launcher() == ""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "mask")
    here = launches.launcher()
    assert here.startswith("mask ")
    assert str(os.getppid()) in here.split()
    monkeypatch.setattr(os, "getppid", os.getpid)
    assert launches.launcher() != here
