"""The range test on a run's own model: it changes nothing, and what it finds is what `--lr0` would be."""

from __future__ import annotations

import copy
import shlex
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import lr_find
from benchmarks.compare import differences
from data.batch import Batch
from tests.trainer import Runs, assert_identical, at_step, rows, send
from training import options, range_test, start
from training.range_test import find_rate, peak_of
from training.session import Session
from utils import checkpoint


@pytest.fixture(scope="module")
def confident(module_runs: Runs) -> Path:
    """Weights that see a face everywhere: what a range test unlearns at once, whatever the pictures."""
    assert module_runs(epochs=1) == 0
    state = checkpoint.load(module_runs.run() / "weights" / "best.pt")
    for name, value in state["ema"].items():
        if name.startswith("model.24.m.") and name.endswith("bias"):
            value.view(3, -1)[:, 4] += 8
    path = module_runs.folder / "confident.pt"
    checkpoint.save(path, {key: state[key] for key in state if key not in ("format", "version")})
    return path


def test_it_changes_nothing_of_the_run(runs: Runs) -> None:
    run = start.new(options.parse(runs.flags("--optim adamw"), "train.py", "")[0])
    before = copy.deepcopy(run.state())
    generator = torch.random.get_rng_state()
    result = find_rate(run, 1e-6, 1e3, 12)
    assert len(result.rates) > 1
    assert not differences(before, run.state())
    assert torch.equal(generator, torch.random.get_rng_state())
    assert all(p.grad is None for p in run.model.parameters())


def test_a_weight_that_is_not_finite_has_a_stated_outcome(runs: Runs, confident: Path, capsys) -> None:
    state = checkpoint.load(confident)
    next(iter(state["ema"].values())).fill_(float("nan"))
    checkpoint.save("nan.pt", {key: state[key] for key in state if key not in ("format", "version")})
    assert runs("--weights nan.pt --lr0 find") == 2
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("error: --lr0 find: the loss is not finite at the first rate, 1e-07: check data and weights")
    assert not runs.run().exists()
    assert lr_find.main(runs.flags("--weights nan.pt", epochs=None)) == 1
    table = (runs.folder / "runs" / "lr_find" / "exp" / "lr_find.csv").read_text().splitlines()
    assert len(table) == 2


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--start 0", "range test from 0 to 10: give a start above 0"),
        ("--start 1 --end 0.1", "range test from 1 to 0.1: give a start above 0 and an end above it"),
        ("--steps 0", "range test of 0 steps, mode=exp: give at least 1 step"),
        ("--mode log", "argument --mode: unknown value 'log'"),
        ("--step 3", "unknown argument '--step'; did you mean '--steps'?"),
    ],
)
def test_bad_settings_are_one_line(runs: Runs, capsys, flags: str, line: str) -> None:
    assert lr_find.main(runs.flags(flags)) == 2
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"error: {line}")
    assert not (runs.folder / "runs").exists()


def test_a_data_set_smaller_than_a_batch(runs: Runs, capsys) -> None:
    assert lr_find.main(runs.flags("--steps 10 --start 1e-3", batch_size=64)) in (0, 1)
    assert "--batch-size 64 is more than the 11 pictures; using 11" in capsys.readouterr().out
    assert len(rows(runs.folder / "runs" / "lr_find" / "exp" / "lr_find.csv")) <= 10


@pytest.mark.parametrize(
    ("call", "error"),
    [(0, torch.OutOfMemoryError("CUDA out of memory")), (7, RuntimeError("unable to find an engine"))],
)
def test_memory_that_runs_out_splits_the_batches_as_in_training(
    runs: Runs, monkeypatch, caplog, call: int, error
) -> None:
    """The same test with the parts known from that step on, to the bit; `call` counts the backward passes."""
    flags = runs.flags(batch_size=4, nbs=16)

    def found(fail: bool) -> tuple[float, ...]:
        run = start.prepare(options.parse(flags, "train.py", "")[0])
        calls = iter(range(1000))

        def backward(self: torch.Tensor, **_: object) -> None:
            number = next(calls)
            if fail and number == call:
                raise error
            plain(self)

        def step(trial: Session, batch: Batch, scale: int) -> torch.Tensor:
            trial.progress.at_once = 2 if trial.progress.step >= call else 0
            return step_on(trial, batch, scale)

        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "backward", backward)
            if not fail:
                patch.setattr(range_test, "step_on", step)
            return find_rate(run, 1e-4, 1e-1, 9).losses

    plain, step_on = torch.Tensor.backward, range_test.step_on
    assert found(fail=True) == found(fail=False)
    said = [r.getMessage() for r in caplog.records if "memory" in r.getMessage()]
    assert said == [f"out of memory in step {call} with 4 pictures at once; continuing with parts of 2"]


@pytest.mark.parametrize("name", ["lr_find.csv", "lr_find.png"])
def test_a_disk_that_refuses_the_files_is_one_line(runs: Runs, capsys, name: str) -> None:
    """What the test found is said first: it need not be made again."""
    (runs.folder / "runs/lr_find/exp" / name).mkdir(parents=True)
    assert lr_find.main(runs.flags("--steps 20 --exist-ok", epochs=None)) == 1
    *before, last = capsys.readouterr().out.splitlines()
    assert any(line.startswith("the loss ") for line in before)
    assert last == "error: runs/lr_find/exp: Is a directory; make room or choose another --project"


@pytest.mark.slow
def test_the_printed_lines_can_be_run(runs: Runs, confident: Path, capsys) -> None:
    flags = f"--weights {confident} --obj 100 --optim adamw --steps 40 --start 1e-5 --lrf 0.1 --cos-lr"
    assert lr_find.main([*runs.flags(flags), "--warmup-epochs=1"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("python train.py ")]
    assert len(lines) == 3
    for line, policy in zip(lines, ("onecycle", "clr", "sgdr"), strict=True):
        asked, _ = options.parse(shlex.split(line)[2:], "train.py", "")
        assert (asked.run.lr_policy, asked.run.optim, asked.run.weights) == (policy, "adamw", str(confident))
        assert 1e-5 < asked.hyp.lr0 < 10


def test_what_auto_decides_is_of_the_rate_that_was_found(runs: Runs, monkeypatch, caplog) -> None:
    monkeypatch.setattr(start, "find_rate", lambda _: SimpleNamespace(outcome="", max_lr=0.5, steepest=0.1))
    asked = options.parse(runs.flags("--lr0 find --lr-policy clr", hyp=None, nbs=None), "train.py", "")[0]
    start.prepare(asked)
    assert asked.run.lr_arg[-1] == "base_lr=0.005"
    assert "lr-arg mode=triangular2 cycles=1 base_lr=0.005" in caplog.messages[-1]


@pytest.mark.slow
def test_find_and_the_number_it_found_are_the_same_run(runs: Runs, confident: Path, monkeypatch) -> None:
    """The one with the test is interrupted and resumed too: the rate is remembered, the test not run again."""
    found = {}
    monkeypatch.setattr(start, "peak_of", lambda result, policy: found.setdefault(policy, peak_of(result, policy)))
    flags = f"--weights {confident} --obj 100 --optim adamw --lr-policy clr"
    with monkeypatch.context() as patch:
        at_step(patch, 3, send(signal.SIGTERM))
        assert runs(f"{flags} --lr0 find --project found", epochs=2, nbs=2) == 143
    rate = found["clr"]
    assert runs.resume(runs.folder / "found" / "exp") == 0
    assert checkpoint.load(runs.folder / "found" / "exp" / "weights" / "last.pt")["options"]["hyp"]["lr0"] == rate
    assert runs(f"{flags} --lr0 {rate!r} --project given", epochs=2, nbs=2) == 0
    assert_identical(runs.folder / "found" / "exp", runs.folder / "given" / "exp", (".options.run.project",))
    assert max(row["x/lr1"] for row in rows(runs.folder / "found" / "exp" / "lr.csv")) <= rate
