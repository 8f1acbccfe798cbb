"""Ours against torch's and against a plain transcription of the paper, over 200 steps of a changing schedule."""

from __future__ import annotations

import pytest
import torch

from optimizers.adamw import AdamW
from optimizers.sgdw import SGDW
from tests.optimizers.reference import PlainAdamW, PlainSGDW, largest_gap, sgdr, start, write

TOLERANCES = [(torch.float64, 1e-12), (torch.float32, 1e-6)]
DECAYS = [0.0, 0.0005, 0.3]


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgdw_without_decay_is_torchs_sgd(dtype, tolerance, nesterov):
    def theirs(params):
        return torch.optim.SGD(params, 0.05, 0.9, nesterov=nesterov)

    assert largest_gap(lambda p: SGDW(p, 0.05, 0.9, nesterov=nesterov), theirs, dtype, 0.05) < tolerance


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgdw_without_decay_is_torchs_fused_sgd_to_the_bit(nesterov):
    def theirs(params):
        return torch.optim.SGD(params, 0.05, 0.9, nesterov=nesterov, fused=True)

    assert largest_gap(lambda p: SGDW(p, 0.05, 0.9, nesterov=nesterov), theirs, torch.float32, 0.05) == 0


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize(("nesterov", "damp"), [(False, 0.0), (False, 0.3), (True, 0.0)])
@pytest.mark.parametrize("convention", ["torch", "paper"])
@pytest.mark.parametrize("maximize", [False, True])
def test_sgdw_is_the_plain_transcription(dtype, tolerance, decay, nesterov, damp, convention, maximize):
    def ours(params):
        options = {"nesterov": nesterov, "dampening": damp, "convention": convention, "maximize": maximize}
        return SGDW(params, 0.05, 0.9, decay, **options)

    def theirs(params):
        return PlainSGDW(params, 0.05, decay, paper=convention == "paper", nesterov=nesterov, damp=damp)

    assert largest_gap(ours, theirs, dtype, 0.05, sign=-1.0 if maximize else 1.0) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("amsgrad", [False, True])
def test_adamw_is_torchs(dtype, tolerance, decay, amsgrad):
    options = {"betas": (0.9, 0.999), "weight_decay": decay, "amsgrad": amsgrad}
    gap = largest_gap(lambda p: AdamW(p, 0.01, **options), lambda p: torch.optim.AdamW(p, 0.01, **options), dtype, 0.01)
    assert gap < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("convention", ["torch", "paper"])
@pytest.mark.parametrize("maximize", [False, True])
def test_adamw_is_the_plain_transcription(dtype, tolerance, decay, amsgrad, convention, maximize):
    def ours(params):
        options = {"weight_decay": decay, "amsgrad": amsgrad, "convention": convention, "maximize": maximize}
        return AdamW(params, 0.01, (0.9, 0.999), **options)

    def theirs(params):
        return PlainAdamW(params, 0.01, decay, paper=convention == "paper", amsgrad=amsgrad)

    assert largest_gap(ours, theirs, dtype, 0.01, sign=-1.0 if maximize else 1.0) < tolerance


@pytest.mark.parametrize("convention", ["torch", "paper"])
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgdw_with_values_in_tensors_does_the_same(convention, nesterov):
    values = [torch.tensor(v, dtype=torch.float64) for v in (0.05, 0.9, 0.3)]

    def theirs(params):
        return PlainSGDW(params, 0.05, 0.3, paper=convention == "paper", nesterov=nesterov, damp=0.0)

    def ours(params):
        return SGDW(params, *values, nesterov=nesterov, convention=convention)

    assert largest_gap(ours, theirs, torch.float64, 0.05) < 1e-12


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("maximize", [False, True])
def test_adamw_with_values_in_tensors_does_the_same(amsgrad, maximize):
    lr, beta1, decay = (torch.tensor(v, dtype=torch.float64) for v in (0.01, 0.9, 0.3))

    def ours(params):
        options = {"amsgrad": amsgrad, "maximize": maximize, "convention": "paper"}
        return AdamW(params, lr, (beta1, 0.999), weight_decay=decay, **options)

    def theirs(params):
        return PlainAdamW(params, 0.01, 0.3, paper=True, amsgrad=amsgrad)

    assert largest_gap(ours, theirs, torch.float64, 0.01, sign=-1.0 if maximize else 1.0) < 1e-12


@pytest.mark.parametrize("rule", [SGDW, AdamW])
def test_halving_the_base_rate_leaves_the_papers_decay_as_it_is(rule):
    """With no gradient only decay moves the weights: to where is a matter of the rate in torch's form alone."""

    def shrinkage(base: float, convention: str) -> float:
        params = start(torch.float64)
        first = params[0].detach().clone()
        optimizer = rule(params, base, weight_decay=0.01, convention=convention)
        schedule = sgdr(base, 100)
        for step in range(100):
            write(optimizer, *schedule(step))
            for p in params:
                p.grad = torch.zeros_like(p)
            optimizer.step()
        ratio = params[0].detach() / first
        assert ratio.max() - ratio.min() < 1e-9
        return ratio.mean().item()

    assert shrinkage(0.2, "paper") == pytest.approx(shrinkage(0.1, "paper"), abs=1e-12)
    assert 0.5 < shrinkage(0.2, "paper") < 0.7
    assert shrinkage(0.2, "torch") < shrinkage(0.1, "torch") - 0.03


def test_a_halved_rate_under_gradients_keeps_the_decay_term():
    """Weights of a run = its decay times the start + moves; the first is the same product at any base rate."""

    def final(base: float, offset: float) -> torch.Tensor:
        params = start(torch.float64)
        with torch.no_grad():
            for p in params:
                p += offset
        optimizer = SGDW(params, base, 0.9, 0.01, nesterov=True, convention="paper")
        for step in range(100):
            write(optimizer, *sgdr(base, 100)(step))
            for k, p in enumerate(params):
                p.grad = torch.full_like(p, float((step * 7 + k) % 5 - 2))
            optimizer.step()
        return params[0].detach()

    decay = [final(base, 1.0) - final(base, 0.0) for base in (0.2, 0.1)]
    torch.testing.assert_close(decay[0], decay[1], rtol=0, atol=1e-12)
    assert (final(0.2, 0.0) - final(0.1, 0.0)).abs().max() > 0.01
