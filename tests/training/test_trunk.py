"""A run of policy wsd, extended from before its decay, is the longer run to the bit."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

import schedulers
from benchmarks.compare import differences
from tests.trainer import Killed, Runs, assert_identical, at_step, kill, rows, send
from training.averages import RunAverage
from training.hyp import Hyp
from training.options import Options
from training.progress import Progress
from training.run_options import RunOptions
from training.trunk import _depends, _put_back
from utils import checkpoint

# 6 steps an epoch; of 12 steps the last 5 decay, of 24 the last 10: one trunk ends inside epoch 2, the other in epoch 3
FLAGS = "--lr-policy wsd --lr-arg decay=0.4 --warmup-epochs 0.5 --single-cls --project"
STABLE, LONGER = 7, 14
BUT = (".options.run.project",)


@pytest.fixture(scope="module")
def longer(module_runs: Runs) -> Path:
    """The run of four epochs that is begun as one."""
    assert module_runs(f"{FLAGS} longer", nbs=2, epochs=4) == 0
    return module_runs.folder / "longer" / "exp"


@pytest.mark.parametrize("decay", [0.2, 0.4, 1.0])
@pytest.mark.parametrize("shape", ["sqrt", "linear", "cosine"])
def test_before_the_decay_the_length_changes_nothing(decay: float, shape: str) -> None:
    short, long = (
        schedulers.build("wsd", total_steps=n, steps_per_epoch=7, lr0=0.1, decay=decay, shape=shape) for n in (70, 140)
    )
    assert short.stable_steps == 70 - round(70 * decay)
    for step in range(short.stable_steps):
        assert short.at(step) == long.at(step)
    warm = [schedulers.warmup_steps(p, p.total_steps, 7, 3) for p in (short, long)]
    assert warm == ([21, 21] if decay < 1 else [0, 0])


def test_extended_it_is_the_longer_run(longer: Path, runs: Runs) -> None:
    assert runs(f"{FLAGS} again", nbs=2, epochs=2) == 0
    run = runs.folder / "again" / "exp"
    stable = checkpoint.load(run / "weights" / "stable.pt")
    assert (stable["kind"], stable["step"], stable["finished"]) == ("run", STABLE, False)
    decayed = checkpoint.load(run / "weights" / "best.pt")
    assert runs.resume(run / "weights" / "stable.pt", "--epochs 4") == 0
    assert checkpoint.load(run / "weights" / "stable.pt")["step"] == LONGER
    kept = run / "weights" / "decayed2.pt"
    if decayed["epoch"] == 2:  # else the best weights are of the trunk, and are the longer run's too
        assert checkpoint.load(kept)["ema"].keys() == decayed["ema"].keys()
        kept.unlink()
    assert_identical(longer, run, BUT)
    assert "the rate here was 0.01 and is 0.01" in (run / "train.log").read_text()


@pytest.mark.slow
def test_ten_epochs_extended_are_twenty(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the trunk of 10 epochs, at the end of that of 20, and at the very end: every bit."""
    flags, trunk = "--lr-policy wsd --optim adamw --single-cls --project", 48  # the first 8 epochs of 10, 6 steps each
    passing = runs.folder / "passing.pt"
    with monkeypatch.context() as patch:
        at_step(patch, trunk, lambda run: checkpoint.save(passing, run.state()))
        assert runs(f"{flags} whole", nbs=2, epochs=20) == 0
    assert runs(f"{flags} half", nbs=2, epochs=10) == 0
    whole, half = (runs.folder / name / "exp" for name in ("whole", "half"))
    states = checkpoint.load(passing), checkpoint.load(half / "weights" / "stable.pt")
    for key in ("model", "ema", "optimizer"):
        assert not differences(*(state[key] for state in states))
    assert [state["step"] for state in states] == [trunk, trunk]
    assert runs.resume(half / "weights" / "stable.pt", "--epochs 20") == 0
    assert [checkpoint.load(run / "weights" / "stable.pt")["step"] for run in (whole, half)] == [96, 96]
    for kept in half.glob("weights/decayed*.pt"):  # the best of the decay that was given up
        kept.unlink()
    assert_identical(whole, half, BUT)


def test_killed_after_the_trunk_was_kept(longer: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, LONGER + 1, kill)
        with pytest.raises(Killed):
            runs(f"{FLAGS} again", nbs=2, epochs=4)
    assert runs.resume(runs.folder / "again" / "exp") == 0
    assert_identical(longer, runs.folder / "again" / "exp", BUT)


def test_the_trunk_of_a_run_stopped_in_its_decay(longer: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """And stopped again before anything was saved: the files are as they were until then."""
    with monkeypatch.context() as patch:
        at_step(patch, STABLE + 1, send(signal.SIGTERM))
        assert runs(f"{FLAGS} again", nbs=2, epochs=2) == 143
    run = runs.folder / "again" / "exp"
    before = checkpoint.load(run / "weights" / "last.pt")["step"], (run / "weights" / "best.pt").read_bytes()
    with monkeypatch.context() as patch:
        at_step(patch, STABLE + 1, kill)
        with pytest.raises(Killed):
            runs.resume(run / "weights" / "stable.pt", "--epochs 4")
    assert (checkpoint.load(run / "weights" / "last.pt")["step"], (run / "weights" / "best.pt").read_bytes()) == before
    assert runs.resume(run / "weights" / "stable.pt", "--epochs 4") == 0
    assert_identical(longer, run, BUT)
    assert len(rows(run / "lr.csv")) == 24


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--optim sgdw --wd-norm 0.01", "--wd-norm depends on the run's length"),
        pytest.param("--close-mosaic 2", "--close-mosaic 2 has closed epoch 1 on", marks=pytest.mark.slow),
        pytest.param("--hyp auto", "--hyp auto chose its numbers for 2 epochs", marks=pytest.mark.slow),
        pytest.param("--warmup-epochs 3", "the warm-up is now 14 steps long", marks=pytest.mark.slow),
    ],
)
def test_what_depends_on_the_length_is_told(flags: str, told: str, runs: Runs, monkeypatch, capsys) -> None:
    at_step(monkeypatch, STABLE + 1, send(signal.SIGTERM))
    assert runs(f"{FLAGS} again {flags}", nbs=2, epochs=2) == 143
    run = runs.folder / "again" / "exp"
    assert runs.resume(run / "weights" / "stable.pt", "--epochs 4") == 143
    assert f"{told}; so the run continues, but is not the run of 4 epochs to the bit" in capsys.readouterr().out


def wsd(epochs: int, begins: int | None = None) -> schedulers.Schedule:
    """Ten steps an epoch, the last fifth of which decays; with a group that begins to train at an epoch."""
    policy = schedulers.build("wsd", total_steps=10 * epochs, steps_per_epoch=10, lr0=0.1)
    thawed = {} if begins is None else {"begins": begins, "rises": 3}
    return schedulers.Schedule(policy, SimpleNamespace(param_groups=[{"lr": 0.1, **thawed}]))


@pytest.mark.parametrize(
    ("epochs", "begins", "swa", "states", "told"),
    [
        (20, None, None, 0, ""),
        (9, None, None, 0, "the rate should have fallen from step 72 on"),
        (20, 2, None, 0, "the warm-up after --freeze-epochs depends on the run's length"),
        (20, 8, None, 0, ""),  # thawed where the trunk ends
        (20, None, 0.75, 0, ""),
        (12, None, 0.5, 3, "--average swa has taken in 3 states and should have taken in 2 by now"),
    ],
)
def test_what_of_ten_epochs_is_not_the_longer_runs(epochs, begins, swa, states: int, told: str) -> None:
    options = RunOptions(epochs=10, hyp="yolov5", average="swa" if swa else "off", average_from=swa or 0.75)
    average = RunAverage(options, wsd(epochs).policy)
    average.count = states
    place, before = Progress(epoch=7, step=80), Options(options, Hyp(), set())
    run = SimpleNamespace(options=before, schedule=wsd(epochs, begins), progress=place, average=average)
    assert _depends(before, run, wsd(10, begins)) == told


@pytest.mark.parametrize("held", [1, 4, None])
def test_the_best_of_the_decay_gets_a_name_of_its_own(held: int | None, tmp_path: Path) -> None:
    """Unless best.pt is the trunk's already, or there is none."""
    best = tmp_path / "best.pt"
    if held is not None:
        checkpoint.save(best, {"kind": "weights", "epoch": held})
    _put_back(best, {"kind": "weights", "epoch": 1})
    assert checkpoint.load(best)["epoch"] == 1
    assert {path.name for path in tmp_path.glob("decayed*")} == ({"decayed4.pt"} if held == 4 else set())
    _put_back(best, None)
    assert not best.exists()
    assert checkpoint.load(tmp_path / "decayed1.pt")["epoch"] == 1


def test_another_policy_has_no_trunk(runs: Runs) -> None:
    assert runs("--lr-policy constant", epochs=1) == 0
    assert not (runs.run() / "weights" / "stable.pt").exists()
