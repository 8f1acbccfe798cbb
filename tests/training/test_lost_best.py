"""A best.pt that the disk refused, and a process that ended before it was tried again."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compare import differences
from tests.trainer import Killed, Runs, assert_identical, at_step, kill
from training.session import Session
from utils import checkpoint

STEPS = 2  # of an epoch
FLAGS = "--warmup-epochs 0.5 --save-steps 1"
LOST = "whose weights are lost; the next better epoch's will be kept"


@pytest.fixture(scope="module")
def whole(module_runs: Runs) -> Path:
    """Three epochs that nothing interrupted."""
    assert module_runs(FLAGS) == 0
    return module_runs.run()


def rewrite(path: Path, **changed: object) -> None:
    """A checkpoint with other values."""
    state = checkpoint.load(path)
    checkpoint.save(path, {name: state[name] for name in state if name not in ("format", "version")} | changed)


def killed(runs: Runs, patch: pytest.MonkeyPatch, capsys, epoch: int) -> Path:
    """A run killed in the epoch after `epoch`, which was the best; returns best.pt, older by one."""

    def save_and_die(run: Session) -> None:
        run.save()
        run.saver.writer.wait()
        kill(run)

    with patch.context() as context:
        at_step(context, epoch * STEPS + 1, save_and_die)
        with pytest.raises(Killed):
            runs(FLAGS)
    best = runs.run() / "weights" / "best.pt"
    rewrite(best, epoch=epoch - 1)
    rewrite(best.with_name("last.pt"), best_epoch=epoch, best_fitness=2.0)
    capsys.readouterr()
    return best


def said(capsys: pytest.CaptureFixture) -> list[str]:
    """The lines on best.pt and on the best epoch."""
    lines = capsys.readouterr().out.splitlines()
    return [line for line in lines if "best.pt" in line or line.startswith("best epoch")]


def test_nothing_is_said_where_nothing_is_wrong(whole: Path, runs: Runs, monkeypatch, capsys) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, STEPS + 1, kill)
        with pytest.raises(Killed):
            runs(FLAGS)
    capsys.readouterr()
    assert runs.resume() == 0
    (line,) = said(capsys)
    assert line == f"best epoch {checkpoint.facts(whole / 'weights' / 'last.pt')['best_epoch']} of 3"
    assert_identical(whole, runs.run())


def test_weights_that_last_pt_still_holds_are_written_again(whole: Path, runs: Runs, monkeypatch, capsys) -> None:
    """The process ended at the end of the best epoch."""

    def end_epoch(self: Session, *found: object) -> None:
        plain(self, *found)
        self.saver.writer.wait()
        raise Killed

    plain = Session.end_epoch
    with monkeypatch.context() as patch:
        patch.setattr(Session, "end_epoch", end_epoch)
        with pytest.raises(Killed):
            runs(FLAGS)
    best = runs.run() / "weights" / "best.pt"
    lost = checkpoint.load(best)
    best.unlink()
    capsys.readouterr()
    with monkeypatch.context() as patch:
        at_step(patch, STEPS + 2, kill)  # once the first of the next epoch was saved
        with pytest.raises(Killed):
            runs.resume()
    assert said(capsys) == [f"warning: {best}: is missing, but epoch 1 was better; the next save writes its weights"]
    assert not differences(lost, checkpoint.load(best))
    assert runs.resume() == 0
    assert_identical(whole, runs.run())


@pytest.mark.parametrize("left", ["holds epoch 1", "is missing", "cannot be read"])
def test_weights_that_are_lost_are_said(runs: Runs, monkeypatch, capsys, left: str) -> None:
    """No later epoch is better: the run goes on to its end, whose figures are those of the weights that are there."""
    best = killed(runs, monkeypatch, capsys, epoch=2)
    if left == "is missing":
        best.unlink()
    elif left == "cannot be read":
        best.write_bytes(b"torn")
    assert runs.resume() == 0
    first, *_, last = said(capsys)
    assert first == f"warning: {best}: {left}, but epoch 2 was better, {LOST}"
    shown = 1 if left == "holds epoch 1" else 3
    assert last == f"best epoch 2 of 3, whose weights were not kept: the figures are of epoch {shown}'s"
    assert checkpoint.facts(best.with_name("last.pt"))["finished"]


def test_the_next_better_epoch_is_kept(runs: Runs, monkeypatch, capsys) -> None:
    best = killed(runs, monkeypatch, capsys, epoch=1)
    best.unlink()
    rewrite(best.with_name("last.pt"), best_fitness=-0.5)
    assert runs.resume() == 0
    first, last = said(capsys)
    assert first.endswith(LOST)
    assert last == f"best epoch {checkpoint.facts(best)['epoch']} of 3"
