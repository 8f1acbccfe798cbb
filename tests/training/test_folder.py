"""The run's folder: what a killed process left, and what --exist-ok removes."""

from __future__ import annotations

from pathlib import Path

import pytest

from training import folder
from utils.errors import UserError


def test_the_lock_sweeps_what_a_killed_process_was_writing(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    torn, whole = tmp_path / "weights" / ".last.pt.1-2.tmp", tmp_path / "weights" / "last.pt"
    torn.write_bytes(b"half")
    whole.write_bytes(b"whole")
    with folder.lock(tmp_path):
        assert not torn.exists()
        assert whole.read_bytes() == b"whole"


def test_a_second_holder_is_refused_and_sweeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    with folder.lock(tmp_path):
        under_way = tmp_path / "weights" / ".best.pt.1-2.tmp"
        under_way.write_bytes(b"half")
        with pytest.raises(UserError, match="another process is training here"):
            folder.lock(tmp_path)
        assert under_way.exists()
    with folder.lock(tmp_path):
        assert not under_way.exists()


def test_clearing_leaves_what_is_not_a_runs(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    ours = ["weights/last.pt", "weights/cycle3.pt", "results.csv", "lr.png", "train.log", "train_batch0.jpg"]
    theirs = ["weights/mine.pt", "notes.csv", "mine.yaml", "plot.png", "notes.txt", "holiday.jpg"]
    for name in ours + theirs:
        (tmp_path / name).write_text("x")
    folder.clear(tmp_path)
    assert [name for name in ours if (tmp_path / name).exists()] == []
    assert [name for name in theirs if not (tmp_path / name).exists()] == []
