"""The range test on losses whose answer is known."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedulers.range_test import plot_range_test, range_test, write_csv
from utils.errors import UserError
from utils.plots import style


class Curve:
    """Flat below `falls`, falling as a logistic in log rate, diverging beyond `diverges`."""

    def __init__(self, falls: float = 1e-3, diverges: float = 0.3, noise: float = 0.0, scale: float = 1.0) -> None:
        self.falls, self.diverges, self.scale, self.noise = falls, diverges, scale, noise
        self.random = np.random.default_rng(0)
        self.asked: list[float] = []

    def __call__(self, rate: float) -> float:
        self.asked.append(rate)
        fall = 3 / (1 + (self.falls / rate) ** 2)
        loss = 4 - fall + (rate / self.diverges) ** 3 + self.noise * self.random.standard_normal()
        return self.scale * loss


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.15])
def test_finds_the_known_rates(noise: float) -> None:
    curve = Curve(noise=noise)
    result = range_test(curve)
    assert result.rates == tuple(curve.asked)
    assert result.rates[-1] < 2  # stopped at divergence, not at 10
    # the steepest point of a logistic is its middle; a step is a factor of 1.2
    assert abs(math.log10(result.steepest / 1e-3)) < (0.1 if noise == 0 else 0.35)
    # by hand: a tenth of the fall is left near 3e-3; the minimum, where 6 (falls / rate)^2 = 3 (rate / diverges)^3
    lowest = (2 * 1e-6 * 0.3**3) ** 0.2
    assert result.steepest < result.largest < lowest * 1.2
    assert 2e-3 < result.max_lr < lowest * 1.2
    assert result.max_lr / 4 <= result.base_lr <= result.max_lr / 3
    assert result.falling[0] < result.steepest < result.falling[1]
    assert "diverged at" in result.outcome
    # neither lag nor a divergence that leaks back: the smoothed curve keeps to the known one on its way down
    for rate, smoothed in zip(result.rates, result.smoothed, strict=True):
        if rate < 0.02:
            assert abs(smoothed - Curve()(rate)) < 0.4


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-5, 1e-2), st.floats(30, 1000), st.floats(1e-3, 1e3), st.integers(60, 300))
def test_suggestions_follow_the_curve_whatever_its_scale(falls: float, ratio: float, scale: float, steps: int) -> None:
    result = range_test(Curve(falls, falls * ratio, scale=scale), steps=steps)
    step = math.log10(1e8) / (steps - 1)
    assert abs(math.log10(result.steepest / falls)) < 0.1 + 2 * step
    assert falls <= result.largest < falls * ratio
    plain = range_test(Curve(falls, falls * ratio), steps=steps)
    assert (plain.steepest, plain.largest, plain.rates) == (result.steepest, result.largest, result.rates)


losses = st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None)
@given(losses, st.sampled_from(["exp", "linear"]))
def test_any_losses_give_a_stated_outcome(values: list[float], mode: str) -> None:
    feed = iter(values)
    result = range_test(lambda rate: next(feed), start=1e-5, end=1.0, steps=len(values), mode=mode)
    assert result.outcome
    assert "\n" not in result.outcome
    assert len(result.rates) == len(result.losses) == len(result.smoothed) <= len(values)
    assert all(math.isfinite(value) for value in result.losses[:-1])  # it stops at the first that is not
    assert all(before < after for before, after in zip(result.rates, result.rates[1:], strict=False))
    if result.largest is not None:
        assert result.rates[0] <= result.steepest <= result.largest < result.rates[-1] or len(result.rates) < 2
        assert result.falling[0] <= result.largest <= result.falling[1]
    else:
        assert result.steepest is result.max_lr is result.base_lr is result.falling is None


def test_rates_are_exponential_or_linear() -> None:
    flat = lambda rate: 1.0  # noqa: E731
    assert range_test(flat, 1e-7, 10, 9).rates == pytest.approx([10.0**k for k in range(-7, 2)])
    assert range_test(flat, 1, 5, 5, "linear").rates == pytest.approx([1, 2, 3, 4, 5])
    assert range_test(flat, 1e-3, 10, 1).rates == (1e-3,)


def test_divergence_is_four_times_the_best() -> None:
    values = iter([1.0] * 40 + [3.9] * 40 + [4.2] * 40)
    result = range_test(lambda rate: next(values), steps=120)
    assert result.losses[-1] > 3.9
    assert 80 < len(result.losses) < 120


@pytest.mark.parametrize(
    ("loss_at", "steps", "outcome"),
    [
        (lambda rate: float("nan"), 100, "not finite at the first rate"),
        (lambda rate: float("inf"), 100, "not finite at the first rate"),
        (lambda rate: math.exp(1 + 1e5 * rate), 100, "never fell|diverges from the start"),
        (lambda rate: 2.0 + rate, 100, "never fell"),
        (lambda rate: 2.0, 100, "never fell"),
        (Curve(), 19, "19 steps are too few to read a curve from; give at least 20"),
        (Curve(), 1, "1 step is too few"),
    ],
)
def test_bad_settings_give_a_stated_outcome(loss_at: object, steps: int, outcome: str) -> None:
    result = range_test(loss_at, end=1e-3 if steps == 100 else 10, steps=steps)
    assert any(part in result.outcome for part in outcome.split("|"))
    assert result.max_lr is None


def test_a_start_that_already_diverges() -> None:
    result = range_test(Curve(falls=1e-3, diverges=0.3), start=0.9, end=10)
    assert result.outcome.startswith("the loss diverges from the start, 0.9")
    assert result.max_lr is None


@pytest.mark.parametrize("steps", [20, 40, 100, 200])
@pytest.mark.parametrize("edge", [1e-3, 1e-1, 1.0])
@pytest.mark.parametrize("noise", ["none", "uniform", "by turns"])
def test_flat_then_rising_says_so(steps: int, edge: float, noise: str) -> None:
    """Where the rise begins is stated to a factor of ten; it is neither the start's fault nor a suggestion."""
    for seed in range(5):
        random, count = np.random.default_rng(seed), iter(range(1000))
        by_turns = (0.3, -0.2, 0.1, -0.3)

        def loss_at(rate: float) -> float:
            odd = {"none": 0.0, "uniform": random.uniform(-0.2, 0.2), "by turns": by_turns[next(count) % 4]}[noise]  # noqa: B023
            return 0.15 * (1 + odd) * max(1.0, rate / edge) ** 2

        result = range_test(loss_at, steps=steps)
        assert "never fell: it is flat from 1e-07 to" in result.outcome
        assert edge / 10 < float(result.outcome.split(" to ")[1].split(",")[0]) < 10 * edge
        assert result.max_lr is None


def test_a_nan_after_a_fall_counts_as_divergence() -> None:
    curve = Curve()
    result = range_test(lambda rate: curve(rate) if rate < 0.02 else float("nan"))
    assert math.isnan(result.losses[-1])
    assert result.outcome.endswith(f"it diverged at {result.rates[-1]:.3g}")
    assert 1e-3 < result.max_lr < 0.02


@pytest.mark.parametrize("steps", [10, 19, 20, 30, 60, 100])
def test_noise_alone_is_no_fall(steps: int) -> None:
    for seed in range(50):
        random = np.random.default_rng(seed)
        assert range_test(lambda rate: 4 + 0.5 * random.standard_normal(), steps=steps).max_lr is None  # noqa: B023


@pytest.mark.parametrize("steps", [20, 25, 40])
def test_a_short_test_finds_the_known_rates_through_noise(steps: int) -> None:
    """To a factor of two and a half, which is about a step of 20 over eight decades."""
    for seed in range(20):
        curve = Curve(noise=0.1)
        curve.random = np.random.default_rng(seed)
        result = range_test(curve, steps=steps)
        assert 4e-4 < result.steepest < 2.5e-3
        assert 1e-3 < result.max_lr < 2.5e-2


def test_an_end_that_is_too_low_says_so() -> None:
    result = range_test(Curve(), end=2e-3)
    assert "had not diverged" in result.outcome


@pytest.mark.parametrize(("start", "end", "steps", "mode"), [(0, 1, 9, "exp"), (1, 1, 9, "exp"), (1, 2, 0, "exp")])
def test_settings_that_make_no_test(start: float, end: float, steps: int, mode: str) -> None:
    with pytest.raises(UserError, match="range test"):
        range_test(lambda rate: 1.0, start, end, steps, mode)


@pytest.mark.parametrize(("end", "diverging"), [(10.0, True), (5e-2, False)])
def test_the_picture_shows_what_there_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: float, diverging: bool
) -> None:
    figures = []
    monkeypatch.setattr(style, "save", lambda figure, out: figures.append(figure))
    result = range_test(Curve(), end=end)
    assert result.diverged == diverging
    plot_range_test(result, tmp_path / "a.png")
    plot_range_test(dataclasses.replace(result, steepest=result.max_lr), tmp_path / "b.png")
    apart, together = ([text.get_text() for text in figure.legends[0].get_texts()] for figure in figures)
    assert ("diverging" in apart) == diverging
    assert apart[-2:] == [f"steepest {result.steepest:.3g}", f"max_lr {result.max_lr:.3g}"]
    assert together[-1] == f"max_lr and steepest {result.max_lr:.3g}"
    assert len(together) == len(apart) - 1


def test_files(tmp_path: Path) -> None:
    result = range_test(Curve(noise=0.1))
    write_csv(result, tmp_path / "lr_find.csv")
    with open(tmp_path / "lr_find.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["rate"]) for row in rows] == list(result.rates)
    assert [float(row["loss"]) for row in rows] == list(result.losses)
    nothing = range_test(lambda rate: float("nan"))
    for name, drawn in {"good": result, "nan": nothing, "few": range_test(Curve(), steps=3)}.items():
        plot_range_test(drawn, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 1000
