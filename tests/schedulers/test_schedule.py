"""The one writer of lr, momentum and normalised decay."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import schedulers
from schedulers import NormalisedDecay, Schedule
from utils.errors import UserError

RUN = {"total_steps": 100, "steps_per_epoch": 10, "lr0": 0.01}


def make_groups(lr: float = 0.01) -> list[dict[str, Any]]:
    decays = {"norm": 0.0, "weight": 5e-4, "bias": 0.0}
    return [
        {
            "params": [torch.nn.Parameter(torch.zeros(2))],
            "name": name,
            "lr": lr,
            "initial_lr": lr,
            "weight_decay": decay,
        }
        for name, decay in decays.items()
    ]


def sgd(momentum: float = 0.937) -> torch.optim.Optimizer:
    return torch.optim.SGD(make_groups(), lr=0.01, momentum=momentum, nesterov=True)


def written(optimizer: torch.optim.Optimizer, key: str = "lr") -> list[float]:
    return [float(group[key]) for group in optimizer.param_groups]


def test_warm_up_by_hand() -> None:
    policy = schedulers.build("linear", **RUN, lrf=1.0)  # constant, so that only the warm-up moves
    optimizer = sgd()
    schedule = Schedule(policy, optimizer, warmup_steps=4)
    expected = [
        ([0, 0, 0.1], 0.8),
        ([0.0025, 0.0025, 0.0775], 0.83425),
        ([0.005, 0.005, 0.055], 0.8685),
        ([0.0075, 0.0075, 0.0325], 0.90275),
        ([0.01, 0.01, 0.01], 0.937),
    ]
    for step, (lrs, momentum) in enumerate(expected):
        schedule.apply(step)
        assert written(optimizer) == pytest.approx(lrs)
        assert written(optimizer, "momentum") == pytest.approx([momentum] * 3)
    assert written(optimizer, "weight_decay") == [0.0, 5e-4, 0.0]


def test_warm_up_rises_to_the_falling_policy_and_not_past_it() -> None:
    policy = schedulers.build("cosine", **RUN)
    schedule = Schedule(policy, sgd(), warmup_steps=20)
    for step in range(100):
        lr = schedule.values(step)[0][0]
        assert lr == pytest.approx(0.01 * policy.at(step).lr * min(step / 20, 1))


def test_warm_up_length() -> None:
    linear, onecycle = (schedulers.build(name, **RUN) for name in ("linear", "onecycle"))
    assert schedulers.warmup_steps(linear, 1000, 10, 3) == 30
    assert schedulers.warmup_steps(linear, 100, 10, 3) == 20
    assert schedulers.warmup_steps(linear, 4, 10, 3) == 0
    assert schedulers.warmup_steps(linear, 1000, 10, 0.25) == 2
    assert schedulers.warmup_steps(onecycle, 1000, 10, 3) == 0


def test_warm_up_leaves_the_first_cycle_and_the_decay_alone() -> None:
    """30 epochs of 36 steps: sgdr's first cycle is the first 155 of them, wsd decays over the last 216."""
    run = {"total_steps": 1080, "steps_per_epoch": 36, "lr0": 0.01}
    sgdr, wsd = schedulers.build("sgdr", **run), schedulers.build("wsd", **run)
    assert sgdr.restarts[0] == 155
    assert schedulers.warmup_steps(sgdr, 1080, 36, 3) == 31
    assert schedulers.warmup_steps(sgdr, 1080, 36, 0.5) == 18
    assert schedulers.warmup_steps(schedulers.build("sgdr", **run, cycles=1), 1080, 36, 30) == 216
    assert schedulers.warmup_steps(wsd, 1080, 36, 3) == 108
    assert schedulers.warmup_steps(wsd, 1080, 36, 30) == 864


@settings(deadline=None)
@given(epochs=st.integers(1, 40), per_epoch=st.integers(1, 50), warm=st.floats(0, 40), t_mult=st.floats(1, 4))
def test_a_warm_up_takes_a_fifth_of_a_cycle_at_most(epochs: int, per_epoch: int, warm: float, t_mult: float) -> None:
    total = epochs * per_epoch
    sgdr = schedulers.build("sgdr", total_steps=total, steps_per_epoch=per_epoch, lr0=0.01, t_mult=t_mult)
    steps = schedulers.warmup_steps(sgdr, total, per_epoch, warm)
    assert 5 * steps <= (sgdr.restarts or (total,))[0]
    assert steps == min(round(warm * per_epoch), (sgdr.restarts or (total,))[0] // 5)


@pytest.mark.parametrize("name", ["onecycle", "clr"])
def test_a_policy_with_its_own_ramp_refuses_warm_up(name: str) -> None:
    with pytest.raises(UserError, match=f"policy '{name}' ramps up by itself"):
        Schedule(schedulers.build(name, **RUN), sgd(), warmup_steps=1)


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.AdamW])
def test_momentum_is_adams_first_beta(make: type[torch.optim.Optimizer]) -> None:
    policy = schedulers.build("onecycle", **RUN)
    optimizer = make(make_groups(), lr=0.01, betas=(0.9, 0.999))
    schedule = Schedule(policy, optimizer)
    for step in range(100):
        schedule.apply(step)
        assert [group["betas"] for group in optimizer.param_groups] == [(policy.at(step).momentum, 0.999)] * 3


def test_a_first_beta_may_be_a_whole_number() -> None:
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.01, "betas": (0, 0.99)}])
    Schedule(schedulers.build("linear", **RUN), optimizer, 10).apply(5)
    assert optimizer.param_groups[0]["betas"] == (0.4, 0.99)


def test_a_policy_that_leaves_momentum_leaves_it() -> None:
    optimizer = torch.optim.Adam(make_groups(), betas=(0.85, 0.99))
    schedule = Schedule(schedulers.build("sgdr", **RUN), optimizer)
    for step in range(100):
        schedule.apply(step)
        assert optimizer.param_groups[1]["betas"] == (0.85, 0.99)
    plain = torch.optim.Adagrad(make_groups())  # neither momentum nor betas
    Schedule(schedulers.build("onecycle", **RUN), plain).apply(45)
    assert "momentum" not in plain.param_groups[0]
    assert written(plain)[0] > 0.009


def test_groups_keep_their_ratios() -> None:
    optimizer = sgd()
    optimizer.param_groups[2]["initial_lr"] = 0.03
    schedule = Schedule(schedulers.build("clr", **RUN, max_lr=0.02), optimizer)
    for step in range(100):
        schedule.apply(step)
        norm, _, bias = written(optimizer)
        assert bias == pytest.approx(3 * norm)


def test_tensors_are_filled_in_place() -> None:
    groups = make_groups()
    for group in groups:
        group["lr"] = torch.tensor(0.01)
    optimizer = torch.optim.AdamW(groups, betas=(torch.tensor(0.9), torch.tensor(0.999)))
    held = [(group["lr"], group["betas"][0]) for group in optimizer.param_groups]
    Schedule(schedulers.build("onecycle", **RUN), optimizer).apply(44)
    for group, (lr, beta) in zip(optimizer.param_groups, held, strict=True):
        assert group["lr"] is lr
        assert group["betas"][0] is beta
        assert float(lr) == pytest.approx(0.01)
        assert float(beta) == pytest.approx(0.85)


@pytest.mark.parametrize("at", [3, 50])
def test_a_resume_goes_on_where_it_was(at: int) -> None:
    policy = schedulers.build("linear", **RUN)
    whole, first = sgd(), sgd()
    schedule = Schedule(policy, whole, warmup_steps=20)
    Schedule(policy, first, warmup_steps=20).apply(at)
    resumed = sgd()
    resumed.load_state_dict(first.state_dict())  # holds a warming momentum, which is not the target
    again = Schedule(policy, resumed, warmup_steps=20)
    for step in range(at + 1, 100):
        schedule.apply(step)
        again.apply(step)
        for key in ("lr", "momentum"):
            assert written(resumed, key) == written(whole, key)


def test_load_state_dict_after_the_schedule_was_made() -> None:
    optimizer = sgd()
    schedule = Schedule(schedulers.build("linear", **RUN), optimizer)
    optimizer.load_state_dict(sgd().state_dict() | {"state": {}})
    schedule.apply(99)
    assert written(optimizer) == pytest.approx([1e-4] * 3)


def test_normalised_decay_counts_the_current_cycle() -> None:
    # 10 epochs, cycles of 1, 2, 4 and (cut short) 8: lambda = 0.05 sqrt(64 / (640 T_i)), written into what decays only
    policy = schedulers.build("sgdr", **RUN, t0=1)
    optimizer = sgd()
    schedule = Schedule(policy, optimizer, wd_norm=NormalisedDecay(0.05, batch=64, images=640))
    for step, epochs in [(0, 1), (9, 1), (10, 2), (29, 2), (30, 4), (69, 4), (70, 8), (99, 8)]:
        schedule.apply(step)
        assert written(optimizer, "weight_decay") == [0.0, pytest.approx(0.05 * math.sqrt(0.1 / epochs)), 0.0]
    schedule = Schedule(schedulers.build("clr", **RUN), optimizer, wd_norm=NormalisedDecay(0.05, 64, 640))
    schedule.apply(50)
    assert written(optimizer, "weight_decay")[1] == pytest.approx(0.05 * math.sqrt(0.1 / 10))


def test_normalised_decay_needs_something_that_decays() -> None:
    groups = SimpleNamespace(param_groups=[{"lr": 0.1, "weight_decay": 0.0}])
    with pytest.raises(UserError, match="needs a group that decays"):
        Schedule(schedulers.build("linear", **RUN), groups, wd_norm=NormalisedDecay(0.05, 64, 640))


def test_facts_give_the_same_schedule_again() -> None:
    policy = schedulers.build("sgdr", **RUN, t_mult=1.5, cycles=2)
    schedule = Schedule(policy, sgd(), 7, warmup_bias_lr=0.05, wd_norm=NormalisedDecay(0.05, 64, 640))
    facts = schedulers.facts(schedule)
    again = schedulers.from_facts(facts, sgd(momentum=0.5))
    assert again.policy == policy
    assert schedulers.facts(again) == facts
    assert [again.values(step) for step in range(100)] == [schedule.values(step) for step in range(100)]
