"""Cycle ends: the EMA weights at each are kept and validated, wherever in an epoch they fall."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import torch

import val
from benchmarks.compare import differences
from models.load import load_detector
from schedulers import build
from tests.trainer import Runs, at_step, rows, send
from training.session import Session
from utils import checkpoint

PER_EPOCH = 6  # 11 pictures in batches of 2, nothing accumulated


@pytest.mark.parametrize(
    ("policy", "flags", "options"),
    [
        ("sgdr", "--lr-arg cycles=2 t_mult=2.6", {"cycles": 2, "t_mult": 2.6}),
        pytest.param("clr", "--lr-arg cycles=2", {"cycles": 2}, marks=pytest.mark.slow),
    ],
)
def test_each_cycle_leaves_weights_and_a_row(policy, flags, options, runs: Runs, monkeypatch) -> None:
    ends = build(policy, total_steps=2 * PER_EPOCH, steps_per_epoch=PER_EPOCH, lr0=0.01, **options).cycle_ends
    assert len(ends) == 2
    assert ends[-1] == 2 * PER_EPOCH
    held: dict[int, dict] = {}
    done = Session.step

    def step(self: Session) -> None:
        done(self)
        held[self.progress.step] = {k: v.clone() for k, v in self.ema.model.state_dict().items()}

    monkeypatch.setattr(Session, "step", step)
    assert runs(f"--lr-policy {policy} {flags} --single-cls", nbs=2, epochs=2) == 0
    table = rows(runs.run() / "cycles.csv")
    assert [(row["cycle"], row["step"], row["epoch"]) for row in table] == [
        (k + 1, end, pytest.approx(end / PER_EPOCH, rel=1e-5)) for k, end in enumerate(ends)
    ]
    for k, end in enumerate(ends):
        state = checkpoint.load(runs.run() / "weights" / f"cycle{k + 1}.pt")
        assert (state["kind"], state["step"]) == ("weights", end)
        assert all(torch.equal(value, held[end][name]) for name, value in state["ema"].items())
    assert len(rows(runs.run() / "results.csv")) == 2
    last = table[-1], rows(runs.run() / "results.csv")[-1]
    for name in ("metrics/mAP_0.5", "val/box_loss", "val/obj_loss"):
        assert last[0][name] == last[1][name]


def test_memory_that_runs_out_in_a_cycles_validation(runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Of the first of three cycles: each is counted once, has its own weights and its row, and nothing else differs."""
    flags = "--lr-policy sgdr --lr-arg cycles=3 t_mult=1"
    assert runs(flags, nbs=2, epochs=1) == 0
    evaluate, calls = val.evaluate, []

    def run_out(*args, **options):
        calls.append(args)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return evaluate(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(val, "evaluate", run_out)
        assert runs(flags, nbs=2, epochs=1) == 0
    assert "cycle 1: out of memory in its validation" in capsys.readouterr().out
    plain, found = (rows(runs.run(name) / "cycles.csv") for name in ("exp", "exp2"))
    assert [(row["cycle"], row["step"]) for row in found] == [(row["cycle"], row["step"]) for row in plain]
    assert len(found) == 3
    assert np.isnan(found[0]["metrics/mAP_0.5"])
    assert found[1:] == plain[1:]
    for name in ("cycle1.pt", "cycle2.pt", "cycle3.pt", "last.pt"):
        one, two = (checkpoint.load(runs.run(run) / "weights" / name) for run in ("exp", "exp2"))
        assert not [line for line in differences(one, two) if not line.startswith(".options.run.name")], name


def test_a_policy_without_cycles_leaves_none(runs: Runs) -> None:
    assert runs(epochs=1) == 0
    assert not list((runs.run() / "weights").glob("cycle*"))
    assert not (runs.run() / "cycles.csv").exists()


@pytest.mark.slow
def test_a_longer_run_keeps_counting(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, 4, send(signal.SIGTERM))
        assert runs("--lr-policy sgdr --lr-arg cycles=2 t_mult=1", nbs=2, epochs=1) == 143
    assert runs.resume(runs.run(), "--epochs 2") == 0  # now with its only restart at step 6
    assert [(row["cycle"], row["step"]) for row in rows(runs.run() / "cycles.csv")] == [(1, 3), (2, 6), (3, 12)]


def test_an_ensemble_of_cycles_can_be_evaluated(runs: Runs, capsys) -> None:
    assert runs("--lr-policy sgdr --lr-arg cycles=2 t_mult=1", nbs=2, epochs=1) == 0
    weights = [str(runs.run() / "weights" / f"cycle{k}.pt") for k in (1, 2)]
    assert load_detector(weights[0]).cfg == "narrow"
    assert val.main(["--weights", *weights, "--device", "cpu", "--workers", "0", "--noplots"]) == 0
