"""--batch-size auto: the search, what a trial leaves alone, and where it ends up."""

from __future__ import annotations

import copy
import gc
import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.multiprocessing.reductions import StorageWeakRef

from benchmarks.compare import differences
from tests.trainer import Runs
from training import batch_size, options, start
from training.batch_size import largest
from training.session import Session
from utils import checkpoint
from utils.errors import UserError


@given(st.integers(1, 50), st.integers(0, 5000), st.integers(0, 6000))
def test_the_search_finds_the_largest_in_few_trials(low: int, more: int, limit: int) -> None:
    tried = []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= limit

    high = low + more
    found = largest(fits, low, high)
    assert found == (0 if limit < low else min(limit, high))
    assert len(tried) == len(set(tried)) <= 2 * (high // low).bit_length() + low.bit_length() + 1
    assert all(low <= size <= high for size in tried)
    assert max(tried) <= max(2 * found, low)


def made(runs: Runs, text: str = "", **changed) -> Session:
    return start.new(options.parse(runs.flags(text, **changed), "train.py", "")[0])


def test_a_trial_leaves_everything_as_it_was(runs: Runs) -> None:
    run = made(runs, "--optim adamw --multi-scale")
    before, random = copy.deepcopy(run.state()), torch.get_rng_state()
    assert batch_size.fits(run, 3)
    assert not differences(before, run.state())
    assert torch.equal(random, torch.get_rng_state())
    assert all(p.grad is None for p in run.model.parameters())
    assert batch_size.made_up(run, 3).images.shape == (3, 3, 96, 96)


@pytest.mark.parametrize("fails", [False, True])
def test_a_trials_copy_is_gone_before_the_next(runs: Runs, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    """Not when the garbage collector comes round: the next trial would find its memory taken."""
    run, held = made(runs, "--optim adamw"), []

    def step(self: Session) -> None:
        plain(self)
        values = [*self.model.parameters(), *self.ema.model.parameters()]
        values += [v for state in self.optimizer.state.values() for v in state.values()]
        held.extend(StorageWeakRef(value.untyped_storage()) for value in values)
        if fails:
            raise torch.OutOfMemoryError("CUDA out of memory")

    plain = Session.step
    monkeypatch.setattr(Session, "step", step)
    gc.disable()
    try:
        assert batch_size.fits(run, 2) is not fails
        assert held
        assert all(reference.expired() for reference in held)
    finally:
        gc.enable()


def test_a_trial_makes_the_optimizers_state_under_a_scaler_that_would_skip(runs: Runs, monkeypatch) -> None:
    """The first gradients under fp16 overflow: a scaler lowers its factor and takes no step."""
    run = made(runs, "--optim adamw")
    run.dtype = torch.float16
    plain, sizes = Session.step, []

    def step(self: Session) -> None:
        for p in self.model.parameters():
            p.grad.fill_(torch.inf)
        plain(self)
        sizes.append(sum(value.numel() for state in self.optimizer.state.values() for value in state.values()))

    monkeypatch.setattr(Session, "step", step)
    assert batch_size.fits(run, 1)
    assert min(sizes) >= 2 * sum(p.numel() for p in run.model.parameters())


def test_a_trial_that_runs_out_is_a_no(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(runs)
    plain = Session.gradient

    def gradient(self: Session, batch):
        if len(batch) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self, batch)

    monkeypatch.setattr(Session, "gradient", gradient)
    assert largest(lambda size: batch_size.fits(run, size), 1, 11) == 5


@pytest.mark.parametrize(("found", "accumulate"), [(5, 2), (8, 1)])
def test_what_was_found_is_the_runs_batch(runs: Runs, monkeypatch: pytest.MonkeyPatch, found: int, accumulate: int):
    """The run is to the last value the one that the same number gives, and its resume keeps the number."""
    monkeypatch.setattr(batch_size, "choose", lambda _: found)
    assert runs(batch_size="auto", name="auto", epochs=1) == 0
    assert runs(batch_size=found, name="given", epochs=1) == 0
    auto, given = (checkpoint.load(runs.run(name) / "weights" / "last.pt") for name in ("auto", "given"))
    assert auto["options"]["run"]["batch_size"] == found
    assert not [line for line in differences(auto, given) if not line.startswith(".options.run.name")]
    resumed = start.resume(options.parse(["--resume", str(runs.run("auto")), "--epochs", "2"], "train.py", "")[0])
    assert (resumed.options.run.batch_size, resumed.accumulate) == (found, accumulate)


def test_on_a_cpu_it_is_16_and_at_most_the_pictures(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "anneal")
    run = made(runs, batch_size="auto")
    assert run.options.run.batch_size == 11
    assert "--batch-size auto: 11 (the search needs a CUDA device)" in caplog.text
    assert "is more than" not in caplog.text
    assert [len(batch) for batch in run.data.train.epoch(0)] == [11]


@pytest.mark.parametrize("text", ["--batch-size -1", "--batch-size=-1", "--batch -1", "--batch_size auto"])
def test_yolov5s_minus_one_is_auto(text: str) -> None:
    assert options.parse(text.split(), "train.py", "")[0].run.batch_size == "auto"


@pytest.mark.parametrize("text", ["0", "-3", "many", "1.5"])
def test_mistakes(runs: Runs, text: str) -> None:
    with pytest.raises(UserError, match="batch-size"):
        options.parse(["--batch-size", text], "train.py", "")
