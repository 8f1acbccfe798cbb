"""Plans are pure functions of (seed, epoch, i), and what they draw has the stated distributions.

Draws are fixed by the seeds, so a distribution test passes always or never; a p-value under 1e-6 would say that the
definition is wrong, with one false alarm in a million choices of seed.
"""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from data.plan import Augment, Plan, batch_size_px, order, plan, plans, rectangle_order, stack
from utils.errors import UserError

ALARM = 1e-6
ALL = Augment(degrees=20, shear=8, perspective=0.0005, flipud=0.3, mosaic=0.7, mixup=0.4)


def same(a: Plan, b: Plan) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(Plan))


def drawn(augment: Augment, count: int, n: int = 1000) -> Plan:
    return stack([plan(3, 1, i, n, augment, first=0) for i in range(count)])


def uniform(values: np.ndarray, low: float, high: float) -> bool:
    return stats.kstest(np.ravel(values), "uniform", (low, high - low)).pvalue > ALARM


@settings(deadline=None)
@given(st.integers(-5, 2**63), st.integers(0, 10**6), st.permutations(range(6)))
def test_a_plan_depends_on_nothing_but_its_numbers(seed, epoch, turn):
    forward = [plan(seed, epoch, i, 6, ALL) for i in range(6)]
    other = {i: plan(seed, epoch, i, 6, ALL) for i in turn}
    assert all(same(forward[i], other[i]) for i in range(6))
    assert [int(p.sources[0, 0]) for p in forward] == order(seed, epoch, 6).tolist()


def test_seed_epoch_and_sample_each_change_the_plan():
    base = plan(0, 0, 0, 100, ALL, first=0)
    others = [plan(*key, 100, ALL, first=0) for key in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (2**64 - 1, 0, 0))]
    assert not any(np.isclose(base.centre, other.centre).any() for other in others)


@pytest.mark.parametrize("field", [f.name for f in fields(Augment) if f.name != "copy_paste"])
def test_one_hyper_parameter_changes_only_what_it_names(field):
    owner = {"degrees": "angle", "translate": "shift", "flipud": "flip", "fliplr": "flip"}
    owned = {"mosaic": {"sources", "quadrants"}, "mosaic9": {"sources", "quadrants"}, "mixup": {"sources", "ratio"}}
    mine = owned.get(field, {"hsv" if field.startswith("hsv") else owner.get(field, field)})
    given = replace(ALL, mosaic9=0.3)
    changed = replace(given, **{field: 0.0})
    seen = set()
    for i in range(40):
        a, b = plan(0, 0, i, 50, given), plan(0, 0, i, 50, changed)
        seen |= {f.name for f in fields(Plan) if not np.array_equal(getattr(a, f.name), getattr(b, f.name))}
    assert seen == mine


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_order_is_a_permutation_and_new_each_epoch(n):
    first, second = order(0, 0, n), order(0, 1, n)
    assert sorted(first) == list(range(n))
    assert first.dtype == np.int64
    assert n < 1000 or (first != second).mean() > 0.9


def test_rectangle_order_keeps_like_shapes_together_and_the_short_batch_last():
    aspect = np.random.default_rng(0).uniform(0.4, 2.5, 103)
    for epoch in range(5):
        chosen = rectangle_order(0, epoch, aspect, 10)
        assert sorted(chosen) == list(range(103))
        runs = [np.sort(aspect[chosen[k : k + 10]]) for k in range(0, 103, 10)]
        assert len(runs[-1]) == 3
        spans = sorted((run[0], run[-1]) for run in runs)
        assert all(a[1] <= b[0] for a, b in pairwise(spans))
        means = [run.mean() for run in runs[:-1]]
        assert means != sorted(means)


def test_batch_sizes_are_uniform_multiples_of_the_stride():
    sizes = [batch_size_px(0, 2, b, 320) for b in range(4000)]
    values, counts = np.unique(sizes, return_counts=True)
    assert values.tolist() == list(range(160, 481, 32))
    assert stats.chisquare(counts).pvalue > ALARM
    assert sizes[17] == batch_size_px(0, 2, 17, 320)
    assert {batch_size_px(0, 0, b, 32) for b in range(50)} == {32}
    assert {batch_size_px(0, 0, b, 64) for b in range(50)} == {64, 96}  # one place alone cannot be normalised


def test_draws_have_their_distributions():
    augment = replace(ALL, scale=0.4, translate=0.2, hsv_h=0.1)
    many = drawn(augment, 4000)
    assert uniform(many.centre, 0.5, 1.5)
    assert uniform(many.scale, 0.6, 1.4)
    assert uniform(many.shift, 0.3, 0.7)
    assert uniform(np.degrees(many.angle), -20, 20)
    assert uniform(np.degrees(many.shear), -8, 8)
    assert uniform(many.perspective, -0.0005, 0.0005)
    for column, half in enumerate((0.1, 0.7, 0.4)):
        assert uniform(many.hsv[:, column], 1 - half, 1 + half)
    mixed = many.ratio < 1
    assert stats.kstest(many.ratio[mixed], "beta", (32, 32)).pvalue > ALARM
    alone = many.quadrants[:, 0, 0] < 0
    for events, chance in ((mixed, 0.4), (~alone, 0.7), (many.flip[:, 0], 0.5), (many.flip[:, 1], 0.3)):
        assert stats.binomtest(int(events.sum()), len(events), chance).pvalue > ALARM


def test_draws_are_independent():
    many = drawn(replace(ALL, mosaic=1, mixup=1), 4000)
    columns = [many.centre.reshape(-1, 4), many.scale, many.shift.reshape(-1, 4), many.angle, many.hsv]
    columns += [many.shear.reshape(-1, 4), many.perspective.reshape(-1, 4), many.ratio[:, None], many.flip]
    correlation = np.corrcoef(np.concatenate(columns, 1).T)
    off = np.abs(correlation[np.triu_indices_from(correlation, 1)])
    limit = stats.norm.isf(ALARM / 2 / len(off)) / np.sqrt(4000)
    assert off.max() < limit


def test_other_tiles_are_drawn_evenly_and_the_first_one_sits_anywhere():
    many = drawn(replace(ALL, mosaic=1, mixup=1), 3000, n=7)
    others = many.sources.reshape(3000, 8)[:, 1:]
    assert stats.chisquare(np.bincount(others.ravel(), minlength=7)).pvalue > ALARM
    assert (np.sort(many.quadrants, -1) == np.arange(4)).all()
    assert stats.chisquare(np.bincount(many.quadrants[:, 0, 0])).pvalue > ALARM


def test_no_mosaic_no_mixup_is_one_picture():
    alone = plan(0, 0, 3, 9, Augment(mosaic=0, mixup=0))
    assert (alone.sources >= 0).sum() == 1
    assert (alone.quadrants[0] == -1).all()
    assert alone.ratio == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("mosaic", 1.5), ("hsv_h", -0.1), ("scale", 1.0), ("degrees", 400), ("fliplr", float("nan")), ("copy_paste", 0.1)],
)
def test_values_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(UserError, match=name):
        Augment(**{name: value})


@pytest.mark.parametrize("augment", [Augment(), ALL, Augment(mosaic9=1), Augment(mosaic=0.5, mixup=0.5, mosaic9=0.5)])
def test_plans_made_at_once_are_those_made_one_by_one(augment: Augment) -> None:
    samples = [7, 0, 3, 2**40, 5]
    first = np.array([4, 1, 8, 0, 2])
    alone = [plan(2**50, 6, i, 9, augment, first=k) for i, k in zip(samples, first.tolist(), strict=True)]
    expected, found = stack(alone), plans(2**50, 6, samples, 9, augment, first)
    for field in fields(Plan):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
