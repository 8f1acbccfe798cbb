"""On a CUDA device: agreement with the CPU, and steps inside a CUDA graph under a changing schedule."""

from __future__ import annotations

import pytest
import torch

from optimizers.adamw import AdamW
from optimizers.sgdw import SGDW
from tests.optimizers.plain_rules import PAIRS
from tests.optimizers.reference import PlainAdamW, PlainSGDW, gradients, largest_gap, sgdr, start, write

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def on_gpu(params):
    """Move the parameters in place, so that the caller's list sees the device's."""
    params[:] = [p.detach().cuda().requires_grad_() for p in params]
    return params


@pytest.mark.parametrize("convention", ["torch", "paper"])
@pytest.mark.parametrize("rule", [SGDW, AdamW])
def test_the_device_gives_what_the_transcription_gives(rule, convention):
    def ours(params):
        return rule(on_gpu(params), 0.01, weight_decay=0.1, convention=convention)

    def theirs(params):
        paper = convention == "paper"
        if rule is SGDW:
            return PlainSGDW(on_gpu(params), 0.01, 0.1, paper=paper, nesterov=False, damp=0.0)
        return PlainAdamW(on_gpu(params), 0.01, 0.1, paper=paper)

    assert largest_gap(ours, theirs, torch.float64, 0.01) < 1e-12


@pytest.mark.parametrize(("rule", "plain", "options"), PAIRS)
def test_the_device_gives_what_the_other_transcriptions_give(rule, plain, options):
    def ours(params):
        return rule(on_gpu(params), 0.01, weight_decay=0.1, **options)

    assert largest_gap(ours, lambda p: plain(on_gpu(p), 0.1, **options), torch.float64, 0.01) < 1e-12


@pytest.mark.parametrize("convention", ["torch", "paper"])
@pytest.mark.parametrize("rule", [SGDW, AdamW])
def test_steps_in_a_cuda_graph_follow_the_schedule(rule, convention):
    def make(params, device):
        lr, momentum, decay, beta2 = (
            torch.tensor(v, dtype=torch.float64, device=device) for v in (0.01, 0.9, 0.1, 0.999)
        )
        moments = {"momentum": momentum, "nesterov": True} if rule is SGDW else {"betas": (momentum, beta2)}
        return rule(params, lr, weight_decay=decay, convention=convention, **moments)

    eager, captured = start(torch.float64), on_gpu(start(torch.float64))
    expected, optimizer = make(eager, "cpu"), make(captured, "cuda")
    for p in captured:
        p.grad = torch.zeros_like(p)
    write(optimizer, 0.0, 0.0)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        optimizer.step()  # makes the state
    torch.cuda.synchronize()
    for p, fresh in zip(captured, start(torch.float64), strict=True):
        p.data.copy_(fresh)
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, torch.Tensor):
                value.zero_()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    for step in range(50):
        for p, q, g in zip(eager, captured, gradients(eager, step), strict=True):
            p.grad = g
            q.grad.copy_(g)
        for each in (expected, optimizer):
            write(each, *sgdr(0.01, 50)(step))
        expected.step()
        graph.replay()
    assert all(torch.allclose(p, q.cpu(), rtol=0, atol=1e-12) for p, q in zip(eager, captured, strict=True))
