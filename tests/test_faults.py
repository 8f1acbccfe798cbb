"""Real training, killed by SIGKILL at instants spread over a whole run and resumed, ends as if nothing had been."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compare import weights
from benchmarks.faults import study
from benchmarks.killing import RUN
from tests.trainer import rows

KILLS = 10


@pytest.mark.slow
def test_killed_anywhere_and_resumed(tmp_path: Path) -> None:
    results = study(KILLS, tmp_path)
    assert results["different"] == {}
    assert results["identical"] == results["runs"] == KILLS
    assert results["kills"] >= KILLS
    places = sum(count > 0 for count in results["kills_by_steps_done"].values())
    assert places >= 3  # of nine; ten kills at random in fewer are one case in 100,000
    whole, trunk = (tmp_path / name / RUN for name in ("whole1", "whole3"))  # what all were compared with
    assert weights(whole) == {"last.pt", "best.pt", "average.pt", "cycle1.pt", "cycle2.pt"}
    assert weights(trunk) == {"last.pt", "best.pt", "average.pt", "stable.pt"}
    assert [len(rows(whole / name)) for name in ("results.csv", "lr.csv", "cycles.csv")] == [4, 8, 2]
