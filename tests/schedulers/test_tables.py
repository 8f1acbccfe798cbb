"""Rates worked by hand: a run of twelve steps of each policy, and the stairs of the original trainer."""

from __future__ import annotations

import math
from typing import Any

import pytest

import schedulers

R2, R3 = math.sqrt(2) / 2, math.sqrt(3) / 2


def run(name: str, total: int = 12, per_epoch: int = 4, lr0: float = 0.01, **options: Any) -> schedulers.Policy:
    return schedulers.build(name, total_steps=total, steps_per_epoch=per_epoch, lr0=lr0, **options)


def assert_rates(policy: schedulers.Policy, expected: list[float]) -> None:
    assert [policy.at(step).lr for step in range(len(expected))] == pytest.approx(expected, abs=1e-12)


def test_linear() -> None:
    # eleven equal falls of 0.09 from 1 to 0.01
    assert_rates(run("linear"), [1, 0.91, 0.82, 0.73, 0.64, 0.55, 0.46, 0.37, 0.28, 0.19, 0.1, 0.01])


def test_cosine() -> None:
    # t_max = 1.5 epochs = 6 steps: cos of 0, 30, 60, ... degrees, down for six steps and up again, lrf 0
    falls = [1, (1 + R3) / 2, 0.75, 0.5, 0.25, (1 - R3) / 2, 0]
    assert_rates(run("cosine", t_max=1.5, lrf=0), falls + falls[-2:0:-1])
    # thirteen steps by default: 15 degrees each; the quarter points are at 3, 6, 9
    policy = run("cosine", total=13, lrf=0.5)
    got = [policy.at(step).lr for step in (0, 3, 4, 6, 8, 9, 12)]
    assert got == pytest.approx([1, 0.75 + R2 / 4, 0.875, 0.75, 0.625, 0.75 - R2 / 4, 0.5], abs=1e-12)


def test_sgdr() -> None:
    # t0 = 1 epoch = 4 steps, then 8: quarters of the first half-cosine, eighths of the second
    eighths = [math.cos(math.pi * i / 8) for i in range(8)]
    expected = [1, (1 + R2) / 2, 0.5, (1 - R2) / 2, *((1 + c) / 2 for c in eighths)]
    policy = run("sgdr", t0=1, lrf=0)
    assert_rates(policy, expected)
    assert policy.restarts == (4,)
    assert policy.cycle_ends == (4, 12)
    # the same with half the peak in the second cycle
    assert_rates(run("sgdr", t0=1, lrf=0, gamma=0.5), expected[:4] + [f / 2 for f in expected[4:]])
    # `cycles` fills the run: 3 equal ones of 4 steps
    policy = run("sgdr", cycles=3, t_mult=1, lrf=0)
    assert_rates(policy, expected[:4] * 3)
    assert policy.restarts == (4, 8)


def test_clr() -> None:
    # one cycle by default: six steps from a quarter to 1 and six back
    rise = [0.25, 0.375, 0.5, 0.625, 0.75, 0.875]
    policy = run("clr")
    assert_rates(policy, [*rise, 1, 0.875, 0.75, 0.625, 0.5, 0.375])
    assert policy.restarts == ()
    assert policy.cycle_ends == (12,)
    # three cycles of four steps between 0 and 1
    assert_rates(run("clr", cycles=3, base_lr=0.0), [0, 0.5, 1, 0.5] * 3)
    policy = run("clr", cycles=3, base_lr=0.0, mode="triangular2", base_momentum=0.8, max_momentum=0.9)
    assert_rates(policy, [0, 0.5, 1, 0.5, 0, 0.25, 0.5, 0.25, 0, 0.125, 0.25, 0.125])
    assert [policy.at(t).momentum for t in (0, 1, 2, 6, 10)] == pytest.approx([0.9, 0.85, 0.8, 0.85, 0.875])
    assert policy.restarts == (4, 8)
    assert policy.cycle_ends == (4, 8, 12)
    # gamma 1/2: half after one step, a quarter at the peak, ...
    policy = run("clr", cycles=3, base_lr=0.0, mode="exp_range", gamma=0.5)
    assert_rates(policy, [0, 1 / 4, 1 / 4, 1 / 16, 0, 1 / 64, 1 / 64])


def test_onecycle() -> None:
    # pct 1/3: phases end at steps 3, 6, 11; 0.1 to 1, back, then five equal falls of 0.0198 to 0.001
    policy = run("onecycle", pct_start=1 / 3)
    assert_rates(policy, [0.1, 0.4, 0.7, 1, 0.7, 0.4, 0.1, 0.0802, 0.0604, 0.0406, 0.0208, 0.001])
    expected = [0.95, 0.95 - 0.1 / 3, 0.85 + 0.1 / 3, 0.85, 0.85 + 0.1 / 3, 0.95 - 0.1 / 3] + [0.95] * 6
    assert [policy.at(t).momentum for t in range(12)] == pytest.approx(expected, abs=1e-12)
    # two phases, pct 1/3: up to step 3, then eight equal falls
    policy = run("onecycle", phases=2, pct_start=1 / 3, final_div=10, max_lr=0.02)
    assert_rates(policy, [0.2, 0.8, 1.4, 2] + [2 - 1.98 * i / 8 for i in range(1, 9)])
    # cosine: a quarter of the way after a third of a phase
    policy = run("onecycle", pct_start=1 / 3, anneal="cos")
    assert_rates(policy, [0.1, 0.325, 0.775, 1, 0.775, 0.325, 0.1])


@pytest.mark.parametrize(
    ("name", "rates"), [("linear", [0.01, 0.0053448, 0.001]), ("cosine", [0.01, 0.0055, 0.00102466])]
)
def test_stairs_of_the_original_trainer(name: str, rates: list[float]) -> None:
    policy = run(name, total=30 * 36, per_epoch=36, lrf=0.1, granularity="epoch")
    for epoch, rate in zip((0, 15, 29), rates, strict=True):
        steps = {policy.at(step).lr for step in range(epoch * 36, epoch * 36 + 36)}
        assert len(steps) == 1
        assert 0.01 * steps.pop() == pytest.approx(rate, abs=5e-8)


def test_default_sgdr_restarts_need_not_fall_on_an_epochs_end() -> None:
    # thirty epochs of 36 steps: cycles of 1080/7, 2160/7 and 4320/7 steps begin at 154.3 and 462.9
    policy = run("sgdr", total=1080, per_epoch=36)
    assert policy.restarts == (155, 463)
    assert policy.cycle_epochs(154) == pytest.approx(30 / 7)
    assert policy.cycle_epochs(155) == pytest.approx(60 / 7)
    assert policy.cycle_epochs(1079) == pytest.approx(120 / 7)


@pytest.mark.parametrize(("epochs", "cycles"), [(1, 1), (8, 1), (30, 4), (100, 12)])
def test_default_clr_cycles_are_about_eight_epochs(epochs: int, cycles: int) -> None:
    policy = run("clr", total=epochs * 10, per_epoch=10)
    assert len(policy.cycle_ends) == cycles
    assert policy.cycle_ends[-1] == epochs * 10


@pytest.mark.parametrize(("total", "cycles"), [(9, 1), (29, 1), (30, 2), (69, 2), (70, 3), (1000, 3)])
def test_default_sgdr_has_no_cycle_under_ten_steps(total: int, cycles: int) -> None:
    assert len(run("sgdr", total=total).cycle_ends) == cycles


def test_constant() -> None:
    assert_rates(run("constant"), [1] * 12)


def test_poly() -> None:
    # eleven elevenths left of the way, ten, nine, ...; squared
    assert_rates(run("poly", power=2, lrf=0), [(left / 11) ** 2 for left in range(11, -1, -1)])
    # half the way down at step 6 of 0..12: 0.1 + 0.9 (1/2)^3
    assert run("poly", total=13, power=3, lrf=0.1).at(6).lr == pytest.approx(0.2125, abs=1e-12)
    assert_rates(run("poly", power=1), [run("linear").at(step).lr for step in range(12)])


def test_step() -> None:
    # 70 % and 90 % of twelve steps are 8.4 and 10.8
    assert_rates(run("step"), [1] * 9 + [0.1] * 2 + [0.01])
    # epochs of four steps: drops at steps 4 and 10; the second share counts of the run, 6
    assert_rates(run("step", milestones="1,2.5", gamma=0.5), [1] * 4 + [0.5] * 6 + [0.25] * 2)
    assert_rates(run("step", milestones="0.5", gamma=0.5), [1] * 6 + [0.5] * 6)


def test_wsd() -> None:
    # a third of twelve steps: 1 - sqrt of 0, 1/4, 1/2, 3/4
    assert_rates(run("wsd", decay=1 / 3, lrf=0), [1] * 8 + [1, 0.5, 1 - R2, 1 - R3])
    assert_rates(run("wsd", decay=1 / 3, lrf=0, shape="linear"), [1] * 8 + [1, 0.75, 0.5, 0.25])
    assert_rates(run("wsd", decay=1 / 3, lrf=0.5, shape="cosine"), [1] * 9 + [0.75 + R2 / 4, 0.75, 0.75 - R2 / 4])
    # the trunk of a run is that of one twice as long
    long, short = run("wsd", total=24), run("wsd")
    assert short.stable_steps == 10
    assert [long.at(step) for step in range(10)] == [short.at(step) for step in range(10)]
