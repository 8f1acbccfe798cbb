"""Options: typed, listed, and refused in one line where they make no policy."""

from __future__ import annotations

from typing import Any

import pytest

import schedulers
from utils.config.key_value import type_name
from utils.errors import UserError

RUN = {"total_steps": 300, "steps_per_epoch": 10, "lr0": 0.01}


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("linear", {"lrf": -0.1}, "lrf=-0.1 must be at least 0"),
        ("linear", {"lrf": 2}, "lrf=2 must be at most 1"),
        ("linear", {"lrf": float("nan")}, "lrf=nan must be a finite number"),
        ("linear", {"lrf": "low"}, "lrf=low must be a finite number"),
        ("linear", {"granularity": "batch"}, "granularity=batch must be step or epoch"),
        ("cosine", {"t_max": 0}, "t_max=0 must be above 0"),
        ("cosine", {"t_max": 0.05}, "t_max=0.05 epochs is under one step"),
        ("sgdr", {"t0": 5, "cycles": 3}, "t0 and cycles both"),
        ("sgdr", {"cycles": 0}, "cycles=0 must be at least 1"),
        ("sgdr", {"cycles": 2.5}, "cycles=2.5 must be a whole number"),
        ("sgdr", {"cycles": 12}, "cycles=12 makes a first cycle of 0.073 steps"),
        ("sgdr", {"t0": 0.01}, "t0=0.01 makes a first cycle of 0.1 steps"),
        ("sgdr", {"t0": -1}, "t0=-1 must be above 0"),
        ("sgdr", {"t_mult": 0.5}, "t_mult=0.5 must be at least 1"),
        ("sgdr", {"gamma": 0}, "gamma=0 must be above 0"),
        ("clr", {"mode": "square"}, "mode=square must be triangular or triangular2 or exp_range"),
        ("clr", {"gamma": 0.99}, "gamma=0.99 has no effect with mode=triangular"),
        ("clr", {"step_epochs": 2, "cycles": 3}, "step_epochs and cycles both"),
        ("clr", {"step_epochs": 0.01}, "step_epochs=0.01 makes half a cycle of 0.1 steps"),
        ("clr", {"cycles": 200}, "cycles=200 makes half a cycle of 0.75 steps"),
        ("clr", {"max_lr": 0.001, "base_lr": 0.01}, "base_lr=0.01 is over max_lr=0.001"),
        ("clr", {"base_lr": 0.02}, "base_lr=0.02 is over max_lr=0.01"),
        ("clr", {"max_lr": -0.1}, "max_lr=-0.1 must be above 0"),
        ("clr", {"max_momentum": 0.9}, "give both or neither"),
        ("clr", {"base_momentum": 0.95, "max_momentum": 0.85}, "base_momentum=0.95 is over max_momentum=0.85"),
        ("step", {"milestones": "a"}, "milestones=a must be numbers with commas"),
        ("step", {"milestones": 30}, "milestones=30 must be numbers with commas"),
        ("step", {"milestones": "0.9,0.5"}, "milestones=0.9,0.5 must rise"),
        ("step", {"milestones": "0"}, "milestones=0 must be above 0"),
        ("step", {"milestones": "nan"}, "milestones=nan must be above 0"),
        ("poly", {"power": 0}, "power=0 must be above 0"),
        ("wsd", {"decay": 0}, "decay=0 must be above 0"),
        ("wsd", {"decay": 1.5}, "decay=1.5 must be at most 1"),
        ("wsd", {"shape": "exp"}, "shape=exp must be sqrt or linear or cosine"),
        ("onecycle", {"pct_start": 0.6}, "pct_start=0.6 leaves no room for the descent"),
        ("onecycle", {"pct_start": 0.001}, "leaves a phase of 0 steps"),
        ("onecycle", {"pct_start": 0.999, "phases": 2}, "leaves a phase of 0.3 steps"),
        ("onecycle", {"phases": 4}, "phases=4 must be 3 or 2"),
        ("onecycle", {"anneal": "step"}, "anneal=step must be linear or cos"),
        ("onecycle", {"div": 0}, "div=0 must be at least 1"),
        ("onecycle", {"max_momentum": 1.0}, "max_momentum=1.0 must be below 1"),
        ("onecycle", {"base_momentum": 0.99}, "base_momentum=0.99 is over max_momentum=0.95"),
    ],
)
def test_what_cannot_make_a_policy_says_why(name: str, options: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError) as caught:
        schedulers.build(name, **RUN, **options)
    text = str(caught.value)
    assert text.startswith(f"policy '{name}': ")
    assert why in text
    assert "\n" not in text


@pytest.mark.parametrize("wrong", [{"total_steps": 0}, {"steps_per_epoch": 0}, {"lr0": 0}, {"lr0": float("inf")}])
def test_a_run_that_is_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        schedulers.build("linear", **{**RUN, **wrong})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("onecycle", {"pct_start": 0.01}),
        ("onecycle", {"pct_start": 0.99, "phases": 2}),
        ("sgdr", {"cycles": 7}),
        ("clr", {"cycles": 9}),
    ],
)
@pytest.mark.parametrize("total", [1, 2, 3, 7, 19])
def test_a_run_of_a_few_steps_takes_the_nearest_shape(name: str, options: dict[str, Any], total: int) -> None:
    policy = schedulers.build(name, total_steps=total, steps_per_epoch=5, lr0=0.01, **options)
    assert max(policy.at(step).lr for step in range(total)) <= 1
    if name == "onecycle" and total > 2:
        assert max(policy.at(step).lr for step in range(total)) > 0.5


def test_unknown_names_and_options_name_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'onecycle'"):
        schedulers.build("one_cycle", **RUN)
    with pytest.raises(UserError, match="no option 'tmult'; did you mean 't_mult'"):
        schedulers.build("sgdr", **RUN, tmult=2)
    with pytest.raises(UserError, match="no option 'total_steps'"):
        schedulers.parse_args("sgdr", ["total_steps=3"])


def test_arguments_become_typed() -> None:
    assert schedulers.parse_args("sgdr", ["t_mult=1", "cycles=4", "t0=none"]) == {
        "t_mult": 1.0,
        "cycles": 4,
        "t0": None,
    }
    parsed = schedulers.parse_args("onecycle", ["phases=2", "anneal=cos", "max-lr=1e-1"])
    assert parsed == {"phases": 2, "anneal": "cos", "max_lr": 0.1}
    assert [type(value) for value in parsed.values()] == [int, str, float]


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        (["cycles"], "give key=value"),
        (["cycles=two"], "--lr-arg cycles=two: must be a whole number"),
        (["t_mult=x"], "--lr-arg t_mult=x: must be a number"),
        (["t_mult=nan"], "--lr-arg t_mult=nan: must be a finite number"),
        (["cycle=2"], "did you mean 'cycles'"),
        (["cycles=2", "cycles=3"], "given twice"),
    ],
)
def test_arguments_that_cannot_be_read(pairs: list[str], why: str) -> None:
    with pytest.raises(UserError, match=why):
        schedulers.parse_args("sgdr", pairs)


@pytest.mark.parametrize("name", ["clr", "constant", "cosine", "linear", "onecycle", "poly", "sgdr", "step", "wsd"])
def test_every_option_is_described_and_its_default_builds(name: str) -> None:
    text = schedulers.describe(name)
    for key, kind, default, help in schedulers.options(name):
        assert help
        assert f"{key}={default} ({type_name(kind)}) {help}" in text
        assert key not in RUN
    defaults = {key: default for key, _, default, _ in schedulers.options(name)}
    assert schedulers.build(name, **RUN, **defaults) == schedulers.build(name, **RUN)


def test_absolute_rates_become_factors_of_lr0() -> None:
    clr = schedulers.build("clr", **RUN, max_lr=0.04, base_lr=0.002, cycles=1)
    assert clr.at(0).lr == pytest.approx(0.2)
    assert clr.at(150).lr == pytest.approx(4)
    assert schedulers.build("onecycle", **RUN, max_lr=0.1).at(134).lr == pytest.approx(10)
