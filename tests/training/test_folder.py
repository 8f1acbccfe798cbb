"""The run's folder: what a killed process left, and what --exist-ok removes."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from training import folder
from utils import checkpoint
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


def test_a_file_system_without_locks_is_said_and_taken(tmp_path: Path, monkeypatch, caplog) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with folder.lock(tmp_path):
        pass
    assert f"{tmp_path}: cannot be locked here (No locks available)" in caplog.text
    assert not folder.is_locked(tmp_path)


def saved(project: Path, name: str, at: int, finished: bool = False, file: str = "last.pt") -> Path:
    """A run's checkpoint, as far as finding it goes, written at a time."""
    path = project / name / "weights" / file
    path.parent.mkdir(parents=True)
    checkpoint.save(path, {"kind": "run", "finished": finished})
    os.utime(path, (at, at))
    return path.with_name("last.pt")


def test_the_newest_unfinished_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run under"):
        folder.newest_unfinished(tmp_path)
    saved(tmp_path, "done", 50, finished=True)
    with pytest.raises(UserError, match=r"the one run under .* is finished; give"):
        folder.newest_unfinished(tmp_path)
    older, newer = saved(tmp_path, "older", 10), saved(tmp_path, "newer", 30)
    assert folder.newest_unfinished(tmp_path) == newer
    with folder.lock(tmp_path / "newer"):
        assert folder.newest_unfinished(tmp_path) == older
        with (
            folder.lock(tmp_path / "older"),
            pytest.raises(UserError, match="finished or being trained"),
        ):
            folder.newest_unfinished(tmp_path)
    torn = saved(tmp_path, "torn", 40, file="last.previous.pt")
    assert folder.newest_unfinished(tmp_path) == torn
    assert checkpoint.load(torn)["kind"] == "run"
    torn.write_bytes(b"cut")
    assert folder.newest_unfinished(tmp_path) == torn


@pytest.mark.parametrize("broken", ["runs", "runs/train", "runs/train/exp"])
@pytest.mark.parametrize("exist_ok", [False, True])
def test_a_link_to_nothing_on_the_way(tmp_path: Path, broken: str, exist_ok: bool) -> None:
    """Not searched for a free number for ever. The run's own name is taken by such a link as by anything."""
    link = tmp_path / broken
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match="a broken link; fix it, or choose another --project"):
        folder.create(str(tmp_path / "runs/train"), "exp", exist_ok)
