"""Every policy against torch's scheduler of the same name, point for point over a whole run."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

import schedulers

LR0, EPOCHS, PER_EPOCH = 0.01, 30, 7
TOTAL = EPOCHS * PER_EPOCH
EXACT = 1e-12


def make(name: str, **options: Any) -> schedulers.Policy:
    return schedulers.build(name, total_steps=TOTAL, steps_per_epoch=PER_EPOCH, lr0=LR0, **options)


def by_torch(make_scheduler: Callable, fractional: bool = False, closed: bool = False) -> list[tuple[float, float]]:
    """(factor of LR0, momentum) of each step as a torch scheduler writes them."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR0, momentum=0.9)
    scheduler = make_scheduler(optimizer)
    points = []
    for step in range(TOTAL):
        group = optimizer.param_groups[0]
        if closed:
            scheduler.last_epoch = step
            points.append((scheduler._get_closed_form_lr()[0] / LR0, group["momentum"]))
            continue
        if fractional:
            scheduler.step(step / PER_EPOCH)
        points.append((float(group["lr"]) / LR0, group["momentum"]))
        if not fractional and step < TOTAL - 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # no optimizer step comes before it
                scheduler.step()
    return points


def assert_same(policy: schedulers.Policy, expected: list[tuple[float, float]], momentum: bool = False) -> None:
    for step, (lr, moment) in enumerate(expected):
        point = policy.at(step)
        assert point.lr == pytest.approx(lr, rel=EXACT, abs=EXACT), step
        if momentum:
            assert point.momentum == pytest.approx(moment, rel=EXACT, abs=EXACT), step
        else:
            assert point.momentum is None


@pytest.mark.parametrize(("t_0", "t_mult"), [(10, 1), (7, 1), (1, 2), (2, 2), (4, 2), (30, 1)])
def test_sgdr_is_cosine_annealing_warm_restarts(t_0: int, t_mult: int) -> None:
    expected = by_torch(
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, t_0, t_mult, eta_min=0.05 * LR0), fractional=True
    )
    policy = make("sgdr", t0=t_0, t_mult=t_mult, lrf=0.05)
    assert_same(policy, expected)
    jumps = tuple(t for t in range(1, TOTAL) if expected[t][0] > expected[t - 1][0])
    assert policy.restarts == jumps


@pytest.mark.parametrize(("t_max", "torch_t_max"), [(None, TOTAL - 1), (EPOCHS / 5, TOTAL // 5)])
def test_cosine_is_the_closed_form_of_cosine_annealing(t_max: float | None, torch_t_max: int) -> None:
    expected = by_torch(lambda o: lr_scheduler.CosineAnnealingLR(o, torch_t_max, eta_min=0.01 * LR0), closed=True)
    assert_same(make("cosine", t_max=t_max), expected)


@pytest.mark.parametrize("anneal", ["linear", "cos"])
@pytest.mark.parametrize(("phases", "pct_start"), [(3, 0.45), (3, 0.3), (3, 0.5), (2, 0.3), (2, 0.45)])
def test_onecycle_is_one_cycle_lr(phases: int, pct_start: float, anneal: str) -> None:
    expected = by_torch(
        lambda o: lr_scheduler.OneCycleLR(
            o,
            max_lr=0.08,
            total_steps=TOTAL,
            pct_start=pct_start,
            anneal_strategy=anneal,
            div_factor=10,
            final_div_factor=100,
            three_phase=phases == 3,
        )
    )
    policy = make("onecycle", max_lr=0.08, phases=phases, pct_start=pct_start, anneal=anneal)
    assert_same(policy, expected, momentum=True)


@pytest.mark.parametrize("momenta", [None, (0.8, 0.9)])
@pytest.mark.parametrize("half", [3, 5, 7.5])
@pytest.mark.parametrize(("mode", "gamma"), [("triangular", 1.0), ("triangular2", 1.0), ("exp_range", 0.99)])
def test_clr_is_cyclic_lr(mode: str, gamma: float, half: float, momenta: tuple[float, float] | None) -> None:
    low, high = momenta or (0.8, 0.9)
    expected = by_torch(
        lambda o: lr_scheduler.CyclicLR(
            o,
            base_lr=0.003,
            max_lr=0.012,
            step_size_up=half * PER_EPOCH,
            mode=mode,
            gamma=gamma,
            cycle_momentum=momenta is not None,
            base_momentum=low,
            max_momentum=high,
        )
    )
    options: dict[str, Any] = {"gamma": gamma} if mode == "exp_range" else {}
    if momenta is not None:
        options |= {"base_momentum": low, "max_momentum": high}
    policy = make("clr", base_lr=0.003, max_lr=0.012, step_epochs=half, mode=mode, **options)
    assert_same(policy, expected, momentum=momenta is not None)


@pytest.mark.parametrize("power", [0.5, 0.9, 1.0, 2.0])
def test_poly_is_the_closed_form_of_polynomial_lr(power: float) -> None:
    expected = by_torch(lambda o: lr_scheduler.PolynomialLR(o, TOTAL - 1, power), closed=True)
    assert_same(make("poly", power=power, lrf=0), expected)


def test_step_is_multi_step_lr() -> None:
    milestones = [12, 20, 25]
    steps = [epoch * PER_EPOCH for epoch in milestones]
    expected = by_torch(lambda o: lr_scheduler.MultiStepLR(o, steps, gamma=0.3), closed=True)
    assert_same(make("step", milestones=",".join(map(str, milestones)), gamma=0.3), expected)


def test_constant_is_constant_lr() -> None:
    assert_same(make("constant"), by_torch(lambda o: lr_scheduler.ConstantLR(o, factor=1.0), closed=True))


def test_published_onecycle_run_of_cifar10() -> None:
    """S. Gugger, "The 1cycle policy": 0.08 to 0.8 over epochs 0-41, back by 82, a hundredth of 0.08 by 95."""
    policy = schedulers.build(
        "onecycle", total_steps=9500, steps_per_epoch=100, lr0=0.8, pct_start=41 / 95, final_div=100
    )
    rates = [0.8 * policy.at(step).lr for step in range(9500)]
    assert rates[0] == pytest.approx(0.08)
    assert rates.index(max(rates)) == 4099
    assert max(rates) == pytest.approx(0.8)
    assert rates[8198] == pytest.approx(0.08)
    assert rates[-1] == pytest.approx(0.0008)
