"""Real training of several processes, killed at random and started again by torchrun, ends as if nothing had been."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.lost_ranks import study


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes in /proc")
def test_ranks_killed_at_random(tmp_path: Path) -> None:
    results = study(3, 2, tmp_path)
    assert results["different"] == {}
    assert results["kills"] == 3
    assert results["identical"] == results["runs"]
