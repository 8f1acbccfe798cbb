"""--cuda-graphs: who is refused, padding that changes nothing; on a GPU, graphed steps against eager ones."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import train
from benchmarks.stages import Watch
from tests.trainer import Runs
from training import graphs, options, start
from training.meter import LossMeter
from training.session import Session
from utils.console.signals import StopRequest
from utils.errors import UserError

GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
gpu = [pytest.param("cuda", marks=GPU)]


def make(runs: Runs, text: str = "", **changed) -> Session:
    return start.new(options.parse(runs.flags(text, **changed), "train.py", "")[0])


def test_a_cpu_is_refused(runs: Runs) -> None:
    with pytest.raises(UserError, match=r"^--cuda-graphs needs a CUDA device, the run is on cpu; leave it out$"):
        make(runs, "--cuda-graphs")


@pytest.mark.parametrize("flag", ["--multi-scale", "--rect", "--compile max"])
def test_shapes_that_vary_are_refused(runs: Runs, flag: str) -> None:
    asked, _ = options.parse(runs.flags(f"--cuda-graphs {flag}"), "train.py", "")
    with pytest.raises(UserError, match=flag):
        graphs.check(asked, torch.device("cuda", 0))


@given(st.integers(0, 5000))
def test_rows_hold_the_targets_in_few_sizes(targets: int) -> None:
    rows = graphs.rows_for(targets)
    assert max(targets, graphs.ROWS) <= rows <= max(2 * targets, graphs.ROWS)
    assert rows.bit_count() == 1


def test_padded_targets_give_the_same_gradient(runs: Runs) -> None:
    """What the graph is given in place of a batch: its targets in a longer tensor that held another batch's before."""
    run = make(runs, batch_size=4)
    other, batch = list(run.data.train.epoch(0))[:2]
    static = torch.empty(graphs.rows_for(0), 6)
    graphs.fill(static, other.targets)
    graphs.fill(static, batch.targets)
    run.model.eval().train()
    found = []
    for targets in (batch.targets, static):
        run.optimizer.zero_grad()
        terms = run.gradient(dataclasses.replace(batch, targets=targets))
        found.append([terms, *(p.grad for p in run.model.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def trained(runs: Runs, text: str) -> Session:
    run = make(runs, text, device="cuda", batch_size=4, epochs=3, warmup_epochs=1)
    for _ in range(3):
        train.train_one_epoch(run, Watch(run), StopRequest())
        run.progress.epoch, run.progress.batch, run.meter = run.progress.epoch + 1, 0, LossMeter(run.device)
    return run


@pytest.mark.parametrize("device", gpu)
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_graphed_steps_are_eager_ones(runs: Runs, device: str, dtype: str) -> None:
    """Under a rate that changes at every step; the bound is what the order of a GPU's sums makes of two eager runs."""
    eager, again, graphed = (
        trained(runs, f"--dtype {dtype} --lr-policy cosine {flag}") for flag in ("", "", "--cuda-graphs")
    )
    assert len(graphed.gradient.recordings) == 1
    assert graphed.rates() == eager.rates()

    def gap(a: Session, b: Session) -> float:
        pairs = zip(a.model.parameters(), b.model.parameters(), strict=True)
        return max(float((p.cpu() - q.cpu()).abs().max()) for p, q in pairs)

    moved = gap(eager, make(runs))
    assert gap(eager, graphed) <= max(10 * gap(eager, again), 1e-3 * moved)


@pytest.mark.parametrize("device", gpu)
def test_each_steps_rate_is_honoured(runs: Runs, device: str) -> None:
    """A graph that had frozen the rate would move the weights under a rate of 0."""
    run = make(runs, "--cuda-graphs --optim-arg nesterov=false --momentum 0 --weight-decay 0", device=device, nbs=2)
    batch = next(run.data.train.epoch(0)).to(run.device)
    run.model.train()
    for rate in (0.01, 0.0, 0.02):
        run.gradient(batch)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        before = [p.detach().clone() for p in run.model.parameters()]
        wanted = [p - rate * p.grad for p in run.model.parameters()]
        run.optimizer.step()
        run.optimizer.zero_grad(set_to_none=False)
        for p, q, old in zip(run.model.parameters(), wanted, before, strict=True):
            torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)
            assert rate > 0 or torch.equal(p, old)


@pytest.mark.parametrize("device", gpu)
@pytest.mark.parametrize("flag", ["", "--cuda-graphs"])
def test_an_epoch_never_waits_for_the_device(runs: Runs, device: str, flag: str) -> None:
    """Any wait is an error. The losses are read every ten batches, on purpose: this loop leaves the reading out."""
    run = make(runs, f"{flag} --dtype fp32", device=device, batch_size=4)
    watch = Watch(run)
    watch.watch = lambda batches: batches
    watch.step = lambda: None
    train.train_one_epoch(run, watch, StopRequest())  # makes what is made once: recordings, algorithms, optimizer state
    run.progress.batch = 0
    torch.cuda.set_sync_debug_mode("error")
    try:
        train.train_one_epoch(run, watch, StopRequest())
    finally:
        torch.cuda.set_sync_debug_mode("default")
