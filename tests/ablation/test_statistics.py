"""Intervals against scipy and numbers worked by hand, what they cover, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablation.statistics import Interval, bootstrap_interval, margin, noise, student_interval, summarise

VALUES = st.lists(st.integers(0, 1000).map(lambda n: n / 1000), min_size=2, max_size=12)


def test_worked_by_hand() -> None:
    """1, 2, 6: mean 3, squares (4 + 1 + 9) / 2 = 7; t(0.975, 2) = 4.3027; half 4.3027 * 2.6458 / 1.7321 = 6.5724."""
    found = summarise([6, 1, 2])
    assert (found.n, found.mean) == (3, 3)
    assert found.sd == pytest.approx(7**0.5)
    assert found.interval == Interval(1, 6)  # each end is drawn three times in one of 27, over 2.5 %
    assert found.student.low == pytest.approx(3 - 6.5724, abs=1e-4)
    assert found.student.high == pytest.approx(3 + 6.5724, abs=1e-4)


def test_one_value_has_no_interval_and_none_no_summary() -> None:
    found = summarise([0.4])
    assert (found.n, found.mean, found.sd, found.interval, found.student) == (1, 0.4, None, None, None)
    for wrong in ([], [0.4, float("nan")]):
        with pytest.raises(ValueError, match="finite"):
            summarise(wrong)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 30])
def test_against_scipy(n: int) -> None:
    values = np.random.default_rng(n).normal(0.4, 0.02, n)
    ours, student = bootstrap_interval(values), student_interval(values)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=100_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    slack = 0.05 * (theirs.high - theirs.low)  # of the random resamples
    assert ours.low == pytest.approx(theirs.low, abs=slack)
    assert ours.high == pytest.approx(theirs.high, abs=slack)
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert (student.low, student.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("n", "expected"), [(2, 0.50), (3, 0.75), (5, 0.84), (10, 0.90)])
def test_coverage(n: int, expected: float) -> None:
    """The figures of `bootstrap_interval`'s docstring, and Student's 95 %, over 2000 draws of n normal values."""
    draws = np.random.default_rng(0).normal(0.4, 0.02, (2000, n))
    held = np.mean([bootstrap_interval(draw, resamples=2000).holds(0.4) for draw in draws])
    student = np.mean([student_interval(draw).holds(0.4) for draw in draws])
    assert held == pytest.approx(expected, abs=0.025)  # 2.2 standard errors at the widest
    assert student == pytest.approx(0.95, abs=0.015)


@given(VALUES, st.randoms(use_true_random=False))
def test_order_does_not_matter(values: list[float], random) -> None:
    shuffled = random.sample(values, len(values))
    assert summarise(values) == summarise(shuffled)


@given(VALUES, st.floats(-5, 5), st.floats(0.1, 10))
def test_shift_and_scale(values: list[float], shift: float, scale: float) -> None:
    before, after = summarise(values), summarise([scale * value + shift for value in values])
    assert after.mean == pytest.approx(scale * before.mean + shift, abs=1e-9)
    assert after.sd == pytest.approx(scale * before.sd, abs=1e-9)
    for name in ("interval", "student"):
        old, new = getattr(before, name), getattr(after, name)
        assert new.low == pytest.approx(scale * old.low + shift, abs=1e-9)
        assert new.high == pytest.approx(scale * old.high + shift, abs=1e-9)


@given(VALUES)
def test_an_interval_holds_its_mean_and_stays_in_the_range(values: list[float]) -> None:
    found = summarise(values)
    assert found.interval.low - 1e-12 <= found.mean <= found.interval.high + 1e-12
    assert min(values) - 1e-12 <= found.interval.low
    assert found.interval.high <= max(values) + 1e-12


def test_noise_by_hand() -> None:
    """Cells 0, 0 and 2, 4: levels -1.5, 1.5 and seeds -0.5, 0.5 about 1.5 leave 0.5, -0.5, -0.5, 0.5; freedom 1."""
    found = noise({0: {"0": 0, "1": 0}, 1: {"0": 2, "1": 4}})
    assert (found.freedom, found.cells) == (1, 2)
    assert found.sd == pytest.approx(1)


def test_noise_takes_no_notice_of_cells_and_seeds_levels() -> None:
    random = np.random.default_rng(3)
    rest = random.normal(0, 0.01, (4, 3))
    cells, seeds = random.normal(0, 1, (4, 1)), random.normal(0, 1, (1, 3))
    tables = [
        {i: {str(j): v for j, v in enumerate(row)} for i, row in enumerate(t)} for t in (rest, rest + cells + seeds)
    ]
    assert noise(tables[0]).sd == pytest.approx(noise(tables[1]).sd)
    del tables[0][2]["1"], tables[1][2]["1"]  # a failed run
    assert noise(tables[0]).sd == pytest.approx(noise(tables[1]).sd)
    assert noise(tables[0]).freedom == 5


@pytest.mark.parametrize("table", [{}, {0: {"0": 1.0, "1": 2.0}}, {0: {"0": 1.0}, 1: {"0": 2.0}}])
def test_no_noise_without_something_left(table: dict) -> None:
    assert noise(table) is None


def test_margin_against_tukey_on_independent_cells() -> None:
    """One seed level taken away costs freedom alone: with that freedom the margin is Tukey's formula."""
    spread = noise({i: {str(s): 0.4 + 0.01 * i + 0.001 * ((i * 7 + s * 3) % 5) for s in range(3)} for i in range(4)})
    assert spread.freedom == (4 - 1) * (3 - 1)
    q = stats.studentized_range.ppf(0.95, 4, 6)
    assert margin(spread, 3) == pytest.approx(q * spread.sd / 3**0.5)


@pytest.mark.slow
def test_equal_cells_pass_the_margin_in_one_study_of_twenty() -> None:
    """Studies of 20 equal cells and 3 seeds: the best and the worst differ by the margin in 5 % of them."""
    random = np.random.default_rng(0)
    false = 0
    for _ in range(400):
        table = random.normal(0.4, 0.01, (20, 3)) + random.normal(0, 0.01, (1, 3))
        spread = noise({i: {str(s): v for s, v in enumerate(row)} for i, row in enumerate(table)})
        means = table.mean(1)
        false += means.max() - means.min() > margin(spread, 3)
    assert 0.02 < false / 400 < 0.085  # three standard errors about 0.05
