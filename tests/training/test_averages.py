"""--ema and --average: which steps count, BatchNorm's statistics anew, and an exact resume in the middle."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import schedulers
from data.batch import Batch
from tests.trainer import Killed, Runs, assert_identical, at_step, kill, rows, send
from training.averages import RunAverage, estimate_statistics
from training.run_options import RunOptions
from training.session import Session
from training.validate import finish_average
from utils import checkpoint
from utils.errors import UserError

SWA = "--average swa --average-from 0.3 --lr-policy constant --single-cls"  # of 3 epochs of 2 steps: after 2, 4, 6
CPU = torch.device("cpu")


def points(epochs: int, per_epoch: int = 4, policy: str = "linear", **options) -> set[int]:
    made = schedulers.build(policy, total_steps=epochs * per_epoch, steps_per_epoch=per_epoch, lr0=0.01)
    return set(RunAverage(RunOptions(**options), made).points)


@settings(deadline=None)
@given(epochs=st.integers(1, 200), per_epoch=st.integers(1, 50), share=st.floats(0, 0.999))
def test_swa_counts_the_epochs_after_its_share(epochs: int, per_epoch: int, share: float) -> None:
    found = points(epochs, per_epoch, average="swa", average_from=share)
    assert found == {k * per_epoch for k in range(1, epochs + 1) if k / epochs > share}
    assert epochs * per_epoch in found


def test_which_steps_count() -> None:
    assert points(100) == set()
    assert sorted(points(100, 1, average="swa")) == list(range(76, 101))
    ends = schedulers.build("sgdr", total_steps=120, steps_per_epoch=4, lr0=0.01).cycle_ends
    assert points(30, policy="sgdr", average="cycles") == set(ends)
    with pytest.raises(UserError, match=r"--average cycles: policy 'linear' has no cycles; give --average swa"):
        points(30, average="cycles")


def test_statistics_are_those_of_all_pictures() -> None:
    """In parts of different sizes, with one layer kept, momentum as it was."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)).eval()
    images = torch.randint(0, 256, (8, 3, 4, 4), dtype=torch.uint8)
    cuts = (slice(0, 3), slice(3, 3), slice(3, 8))
    batches = [Batch(images[cut], torch.zeros(0, 6), torch.arange(8)[cut]) for cut in cuts]
    kept = {name: value.clone() for name, value in model[2].state_dict().items()}
    assert estimate_statistics(model, batches, CPU, torch.float32, kept=["2"]) == 8
    with torch.no_grad():
        out = model[0](images / 255)
    torch.testing.assert_close(model[1].running_mean, out.mean((0, 2, 3)))
    variance = (3 * out[:3].var((0, 2, 3)) + 5 * out[3:].var((0, 2, 3))) / 8  # each batch's own, as in training
    torch.testing.assert_close(model[1].running_var, variance)
    assert all(torch.equal(value, kept[name]) for name, value in model[2].state_dict().items())
    assert [(norm.momentum, norm.training) for norm in model[1:]] == [(0.1, False)] * 2


@pytest.fixture(scope="module")
def whole(module_runs: Runs) -> Path:
    """A run of three epochs with an average of the ends of all of them."""
    assert module_runs(SWA) == 0
    return module_runs.run()


def test_the_average_is_kept_and_told(whole: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict] = []
    for step in (2, 4, 6):
        at_step(monkeypatch, step, lambda run: seen.append({k: v.clone() for k, v in run.model.state_dict().items()}))
    assert runs(SWA) == 0
    state = checkpoint.load(whole / "weights" / "average.pt")
    assert (state["kind"], state["averaged"], state["epoch"]) == ("weights", 3, 3)
    for name, value in state["ema"].items():
        if "running" not in name and value.is_floating_point():
            torch.testing.assert_close(value, torch.stack([held[name] for held in seen]).mean(0))
    assert any(not torch.equal(state["ema"][n], seen[-1][n]) for n in seen[-1] if "running_mean" in n)
    assert "average of 3 states, statistics of 11 pictures: mAP50 " in (whole / "train.log").read_text()


@pytest.mark.parametrize("step", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_resumed_while_averaging(step: int, whole: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, step, send(signal.SIGTERM))
        assert runs(SWA) == 143
    assert checkpoint.load(runs.run() / "weights" / "last.pt")["average"]["count"] == step // 2
    assert runs.resume() == 0
    assert_identical(whole, runs.run())


def test_killed_before_the_average_is_estimated(whole: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("training.validate.estimate_statistics", lambda *_, **__: kill(_))
        with pytest.raises(Killed):
            runs(SWA)
    assert runs.resume(runs.run()) == 0
    assert_identical(whole, runs.run())


def test_cycle_ends_are_averaged(runs: Runs) -> None:
    assert runs("--average cycles --lr-policy sgdr --lr-arg cycles=2 t_mult=1", nbs=2, epochs=2) == 0
    assert checkpoint.load(runs.run() / "weights" / "average.pt")["averaged"] == 2
    assert len(rows(runs.run() / "cycles.csv")) == 2


def test_frozen_layers_keep_their_statistics_in_the_average_too(runs: Runs) -> None:
    assert runs("--freeze backbone --average swa --average-from 0", epochs=1) == 0
    average, last = (checkpoint.load(runs.run() / "weights" / f"{name}.pt") for name in ("average", "last"))
    differing = {name for name, value in average["ema"].items() if not torch.equal(value, last["model"][name])}
    layers = {int(name.split(".")[1]) for name in differing if "running" in name}
    assert layers
    assert min(layers) == 10


def test_an_extended_run_begins_its_average_later(runs: Runs) -> None:
    """What was averaged of the short run is not of the last quarter of the long one."""
    assert runs("--average swa --average-from 0.5 --lr-policy constant", epochs=1) == 0
    assert checkpoint.load(runs.run() / "weights" / "last.pt")["average"]["count"] == 1
    assert runs.resume(runs.run(), "--epochs 3") == 0
    assert checkpoint.load(runs.run() / "weights" / "last.pt")["average"]["count"] == 2


def test_another_batch_size_keeps_what_was_averaged(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an epoch of 3 steps, which has 6 from then on."""
    flags = "--average swa --average-from 0 --lr-policy constant --noval"
    with monkeypatch.context() as patch:
        at_step(patch, 4, send(signal.SIGTERM))
        assert runs(flags, epochs=2, batch_size=4, nbs=2) == 143
    assert runs.resume(runs.run(), "--batch-size 2") == 0
    assert checkpoint.load(runs.run() / "weights" / "average.pt")["averaged"] == 2


def test_a_run_that_ends_before_its_average_begins_says_so(caplog) -> None:
    options = SimpleNamespace(run=RunOptions(average="swa"))
    finish_average(SimpleNamespace(average=SimpleNamespace(count=0, points={9}), options=options), None)
    assert caplog.messages == ["--average swa: nothing was averaged, the run ended before it began"]


def test_without_an_average_the_weights_themselves_are_validated(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def same(run: Session) -> None:
        live = run.model.state_dict()
        assert all(torch.equal(value, live[name]) for name, value in run.ema.model.state_dict().items())

    at_step(monkeypatch, 1, same)
    at_step(monkeypatch, 2, same)
    assert runs("--ema 0", epochs=1) == 0
    state = checkpoint.load(runs.run() / "weights" / "last.pt")
    assert all(torch.equal(value, state["model"][name]) for name, value in state["ema"].items())
    assert "average" not in state


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--ema 1", "--ema 1.0: must be"),
        ("--ema-tau 0", "--ema-tau 0.0: must be"),
        ("--ema 0 --ema-tau 5", "--ema-tau would do nothing: --ema 0 keeps no average"),
        ("--average-from 0.5", "--average-from would do nothing: it goes with --average swa alone"),
        ("--average cycles", "policy 'linear' has no cycles"),
    ],
)
def test_what_makes_no_average_is_refused(flags: str, told: str, runs: Runs, capsys) -> None:
    assert runs(flags) == 2
    assert told in capsys.readouterr().out
