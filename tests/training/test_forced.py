"""--resume --force with another rate or decay: applied, printed, remembered; and refused where it would do nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import yaml

from tests.trainer import Runs, assert_identical, at_step, rows, send
from utils import checkpoint


@pytest.fixture
def stopped(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of three epochs of two steps, stopped after the third step."""
    with monkeypatch.context() as patch:
        at_step(patch, 3, send(signal.SIGTERM))
        assert runs("--lr-policy linear --lr-arg lrf=0.5 --lr0 0.02 --warmup-epochs 0 --lr-scale head=0.5") == 143
    return runs.run()


def test_another_rate_and_decay_hold_from_there_on(stopped: Path, runs: Runs, capsys) -> None:
    before = [row["x/lr1"] for row in rows(stopped / "lr.csv")]
    capsys.readouterr()
    assert runs.resume(stopped, "--lr0 0.004 --lrf 0.1 --weight-decay 0.001 --force") == 0
    out = capsys.readouterr().out
    assert "lr0 0.02 becomes 0.004 (--force): the run continues, but as a different one" in out
    log = rows(stopped / "lr.csv")
    assert [row["x/lr1"] for row in log[:3]] == before == pytest.approx([0.02, 0.018, 0.016])
    expected = [0.004 * (1 - 0.9 * step / 5) for step in range(3, 6)]
    assert [row["x/lr1"] for row in log[3:]] == pytest.approx(expected)
    assert [row["x/lr3"] for row in log[3:]] == pytest.approx([rate / 2 for rate in expected])
    state = checkpoint.load(stopped / "weights" / "last.pt")
    groups = state["optimizer"]["param_groups"]
    assert [group["initial_lr"] for group in groups] == [0.004] * 3 + [0.002] * 2
    assert [group["weight_decay"] for group in groups] == pytest.approx([0, 0.001, 0, 0.001, 0])
    assert state["schedule"]["options"]["lrf"] == 0.1
    history = yaml.safe_load((stopped / "opt.yaml").read_text())["history"]
    assert history == [
        "epoch 2, step 3: lr0 0.02 becomes 0.004",
        "epoch 2, step 3: lrf 0.5 becomes 0.1",
        "epoch 2, step 3: weight_decay 0.0005 becomes 0.001",
    ]


def test_what_was_forced_is_the_runs_own_then(stopped: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resumed once more it goes on with it, exactly, and its history grows."""
    with monkeypatch.context() as patch:
        at_step(patch, 4, send(signal.SIGTERM))
        assert runs.resume(stopped, "--lr0 0.004 --force") == 143
    assert runs.resume(stopped, "--lr0 0.004") == 0
    assert len(checkpoint.load(stopped / "weights" / "last.pt")["options"]["run"]["history"]) == 1
    assert rows(stopped / "lr.csv")[-1]["x/lr1"] == pytest.approx(0.002)


def test_beside_more_epochs_the_rate_before_is_the_runs_own(
    stopped: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    at_step(monkeypatch, 4, send(signal.SIGTERM))
    assert runs.resume(stopped, "--lr0 0.004 --epochs 6 --force") == 143
    assert "epochs 3 become 6: the rate here was 0.014 and is 0.00345" in capsys.readouterr().out


def test_the_same_values_are_no_change(stopped: Path, runs: Runs) -> None:
    assert runs.resume(stopped, "--lr0 0.02 --force") == 0
    state = checkpoint.load(stopped / "weights" / "last.pt")
    assert state["options"]["run"]["history"] == []
    assert (
        runs("--lr-policy linear --lr-arg lrf=0.5 --lr0 0.02 --warmup-epochs 0 --lr-scale head=0.5 --name whole") == 0
    )
    assert_identical(runs.run("whole"), stopped, (".options.run.name", ".options.run.force"))


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--lr0 0.004", "--lr0 cannot change (the run has lr0 0.02; --force changes that)"),
        ("--lr0 0.004 --momentum 0.5 --force", "--lr0, --momentum cannot change"),
        ("--lr0 0.004 --momentum 0.5 --force", "; start a new run for that"),
        ("--lr0 find --force", "--lr0 cannot change (the run has lr0 0.02; start a new run for that)"),
        ("--lr0 -1 --force", "lr0 is -1.0; it must be a number of 0 or more"),
    ],
)
def test_what_may_not_change_is_refused(flags: str, told: str, stopped: Path, runs: Runs, capsys) -> None:
    assert runs.resume(stopped, flags) == 2
    assert told in capsys.readouterr().out.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("run", "flags", "told"),
    [
        ("--lr-policy constant", "--lrf 0.5", "--lrf would do nothing: policy 'constant' has no such option"),
        (
            "--optim sgdw --wd-norm 0.1",
            "--weight-decay 0.1",
            "--weight-decay would do nothing: --wd-norm sets the decay",
        ),
    ],
)
def test_what_the_run_has_no_use_for_is_refused(
    run: str, flags: str, told: str, runs: Runs, monkeypatch, capsys
) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, 1, send(signal.SIGTERM))
        assert runs(run) == 143
    assert runs.resume(runs.run(), f"{flags} --force") == 2
    assert told in capsys.readouterr().out.strip().splitlines()[-1]
