"""What holds of every policy on a run of any length."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schedulers
from utils.errors import UserError

NAMES = ["clr", "constant", "cosine", "linear", "onecycle", "poly", "sgdr", "step", "wsd"]
FALLING = ["clr", "cosine", "linear", "onecycle", "poly", "sgdr", "wsd"]  # gently, down to a lowest rate
lengths = st.one_of(st.integers(1, 40), st.integers(1, 3000))
per_epochs = st.integers(1, 200)
rates = st.floats(1e-6, 1.0)
share = st.floats(0, 1)

OPTIONS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "linear": st.fixed_dictionaries({"lrf": share, "granularity": st.sampled_from(["step", "epoch"])}),
    "cosine": st.fixed_dictionaries(
        {"lrf": share, "granularity": st.sampled_from(["step", "epoch"]), "t_max": st.none() | st.floats(1, 400)}
    ),
    "sgdr": st.fixed_dictionaries(
        {"lrf": share, "t_mult": st.floats(1, 4), "gamma": st.floats(0.1, 1), "t0": st.none() | st.floats(1, 400)}
    ),
    "clr": st.fixed_dictionaries(
        {
            "mode": st.sampled_from(["triangular", "triangular2", "exp_range"]),
            "step_epochs": st.none() | st.floats(1, 400),
            "base_lr": st.just(0.0) | st.none(),
            "base_momentum": st.just(0.8),
            "max_momentum": st.just(0.95),
        }
    ),
    "onecycle": st.fixed_dictionaries(
        {"anneal": st.sampled_from(["linear", "cos"]), "phases": st.sampled_from([2, 3]), "div": st.floats(1, 100)}
    ),
    "constant": st.just({}),
    "poly": st.fixed_dictionaries({"lrf": share, "power": st.floats(0.01, 100)}),
    "step": st.fixed_dictionaries(
        {
            "milestones": st.lists(st.floats(0.01, 0.99), min_size=1).map(lambda m: ",".join(map(str, sorted(m)))),
            "gamma": st.floats(0.01, 1),
        }
    ),
    "wsd": st.fixed_dictionaries(
        {"lrf": share, "decay": st.floats(0.001, 1), "shape": st.sampled_from(["sqrt", "linear", "cosine"])}
    ),
}
policies = st.sampled_from(NAMES).flatmap(lambda name: st.tuples(st.just(name), st.just({}) | OPTIONS[name]))


@settings(max_examples=150, deadline=None)
@given(policies, lengths, per_epochs, rates)
def test_finite_bounded_and_pure(policy: tuple[str, dict[str, Any]], total: int, per_epoch: int, lr0: float) -> None:
    name, options = policy
    make = lambda: schedulers.build(name, total_steps=total, steps_per_epoch=per_epoch, lr0=lr0, **options)  # noqa: E731
    built = make()
    points = [built.at(step) for step in range(total)]
    for point in points:
        assert math.isfinite(point.lr)
        assert -1e-12 <= point.lr <= 1 + 1e-12
        assert point.momentum is None or 0.8 - 1e-12 <= point.momentum <= 0.95 + 1e-12
    # pure: another order, and another instance, give the very same points
    assert [built.at(step) for step in reversed(range(total))] == points[::-1]
    assert make() == built
    assert make().at(total // 2) == points[total // 2]
    assert list(built.restarts) == sorted(set(built.restarts))
    assert all(0 < step < total for step in built.restarts)
    assert built.cycle_ends in ((), (*built.restarts, total))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FALLING), st.integers(100, 5000), per_epochs)
def test_each_default_ends_within_a_step_of_its_lowest_rate(name: str, total: int, per_epoch: int) -> None:
    policy = schedulers.build(name, total_steps=total, steps_per_epoch=per_epoch, lr0=0.01)
    lowest = {"clr": 0.25, "onecycle": 0.001}.get(name, 0.01)
    before, last = policy.at(total - 2).lr, policy.at(total - 1).lr
    assert lowest - 1e-12 <= last < before
    assert last - lowest <= before - last + 1e-12
    assert min(policy.at(step).lr for step in range(total)) >= lowest - 1e-12


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("total", [1, 2, 3])
def test_runs_of_a_few_steps_start_as_the_long_ones_do(name: str, total: int) -> None:
    policy = schedulers.build(name, total_steps=total, steps_per_epoch=1, lr0=0.01)
    long = schedulers.build(name, total_steps=1000, steps_per_epoch=1, lr0=0.01)
    assert policy.at(0) == long.at(0)
    rates = [policy.at(step).lr for step in range(total)]
    if total > 1 and name in ("clr", "cosine", "linear", "onecycle", "poly", "sgdr"):
        rises = name in ("onecycle", "clr")
        assert (rates[1] > rates[0]) == rises
        assert rates[1] != rates[0]


@settings(max_examples=50, deadline=None)
@given(st.integers(100, 3000), st.integers(1, 8), st.floats(1, 3))
def test_sgdr_cycles_fill_the_run(total: int, cycles: int, t_mult: float) -> None:
    if total * (t_mult - 1 or 1) < t_mult**cycles * 1.01 or total < cycles:
        return  # a first cycle under a step is refused, tested with the options
    policy = schedulers.build("sgdr", total_steps=total, steps_per_epoch=10, lr0=0.01, cycles=cycles, t_mult=t_mult)
    assert len(policy.cycle_ends) == cycles
    spans = [policy.cycle_epochs(step) for step in (0, *policy.restarts)]
    assert sum(spans) == pytest.approx(total / 10)
    for before, after in itertools.pairwise(spans):
        assert after / before == pytest.approx(t_mult)


def test_extreme_options_neither_overflow_nor_hang() -> None:
    build = lambda name, **o: schedulers.build(name, total_steps=1000, steps_per_epoch=10, lr0=0.01, **o)  # noqa: E731
    assert build("sgdr", t0=1.0, t_mult=1e300).restarts == (10,)
    assert math.isfinite(build("clr", mode="exp_range", gamma=1e-300).at(999).lr)
    with pytest.raises(UserError, match="first cycle"):
        build("sgdr", cycles=10**9)
