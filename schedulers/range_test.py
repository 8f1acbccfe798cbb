"""The learning-rate range test, on anything that gives a loss for a rate; and its picture and table."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from utils.console.wording import counted
from utils.errors import UserError
from utils.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIVERGED = 4.0  # times its best: where a loss counts as diverged
FEWEST = 20  # steps that a curve needs before it says anything
WINDOW = 0.05  # of the steps: what the smoothing averages over
LEAST_WINDOW = 4  # steps: what averages over fewer takes noise for a fall
CLEAR_FALL = 0.02  # of the first loss: a fall below this is none
CLEAR_NOISE = 2.0  # deviations of a step from the smoothed curve: likewise
EDGE = 0.1  # of the whole fall: where falling begins and where it ends
BASE_SHARE = 4  # clr's base is a third to a quarter of its maximum


@dataclass(frozen=True)
class RangeTest:
    """A range test's curve and what it says.

    `smoothed` weighs the losses on both sides of a step, so that its minimum does not lag; nan where the loss is not
    finite. `outcome` says in words how it went. The rates are None where the curve does not allow a suggestion.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    outcome: str
    mode: str = "exp"
    diverged: bool = False
    steepest: float | None = None  # where the loss falls fastest: a rate for a policy that starts at its peak
    largest: float | None = None  # the largest rate at which it still falls, before its minimum
    falling: tuple[float, float] | None = None  # from too small to learn, to diverging

    @property
    def max_lr(self) -> float | None:
        """The peak to give onecycle and clr."""
        return self.largest

    @property
    def base_lr(self) -> float | None:
        """The base to give clr."""
        return None if self.largest is None else self.largest / BASE_SHARE


def range_test(
    loss_at: Callable[[float], float],
    start: float = 1e-7,
    end: float = 10.0,
    steps: int = 100,
    mode: Literal["exp", "linear"] = "exp",
) -> RangeTest:
    """Raise the rate from `start` to `end` in `steps` steps until the loss diverges, and read the curve.

    Cyclical Learning Rates for Training Neural Networks, arXiv 1506.01186, sec. 3.3, and arXiv 1803.09820. `loss_at`
    takes one training step at a rate and returns its loss. It stops once the smoothed loss (a bias-corrected moving
    average) passes 4 times its best or the loss is not finite. Settings that make no test are UserErrors; a curve that
    allows no suggestion is none, its `outcome` says why.
    """
    if not 0 < start < end < math.inf:
        raise UserError(f"range test from {start:g} to {end:g}: give a start above 0 and an end above it")
    if steps < 1 or mode not in ("exp", "linear"):
        given = f"range test of {counted(steps, 'step')}, mode={mode}"
        raise UserError(f"{given}: give at least 1 step, mode exp or linear")
    rates, losses, diverged = [], [], False
    beta, average, best = _beta(steps), 0.0, math.inf
    for step in range(steps):
        done = step / max(steps - 1, 1)
        rate = start * (end / start) ** done if mode == "exp" else start + (end - start) * done
        loss = float(loss_at(rate))
        rates.append(rate)
        losses.append(loss)
        average = beta * average + (1 - beta) * loss
        corrected = average / (1 - beta ** (step + 1))
        best = min(best, corrected)
        diverged = not math.isfinite(loss) or corrected > best + (DIVERGED - 1) * abs(best)
        if diverged:
            break
    return _read(np.array(rates), np.array(losses), diverged, steps, mode)


def _beta(steps: int) -> float:
    return 1 - 1 / max(LEAST_WINDOW, WINDOW * steps)


def _smooth(losses: np.ndarray, steps: int) -> np.ndarray:
    """Two-sided exponential average of the finite losses, shape (n,).

    What has diverged, after the best, is cut first: it must not leak back over the minimum.
    """
    finite = np.isfinite(losses)
    smoothed = np.full(len(losses), np.nan)
    if finite.any():
        cut = losses[finite]
        low = cut.argmin()
        cut[low:] = np.minimum(cut[low:], cut[low] + (DIVERGED - 1) * abs(cut[low]))
        near = np.arange(len(cut))
        weights = _beta(steps) ** np.abs(near[:, None] - near)
        smoothed[finite] = weights @ cut / weights.sum(1)
    return smoothed


def _read(rates: np.ndarray, losses: np.ndarray, diverged: bool, steps: int, mode: str) -> RangeTest:
    smoothed = _smooth(losses, steps)
    curve = smoothed[np.isfinite(losses)]
    found: dict = {}
    if len(curve) == 0:
        outcome = f"the loss is not finite at the first rate, {rates[0]:.3g}: check data and weights, or start lower"
    elif steps < FEWEST:
        outcome = f"{counted(steps, 'step is', 'steps are')} too few to read a curve from; give at least {FEWEST}"
    else:
        low = int(curve.argmin())
        fall = curve[0] - curve[low]
        noise = float(np.std(losses[: low + 1] - curve[: low + 1]))
        fell = fall > max(CLEAR_FALL * abs(curve[0]), CLEAR_NOISE * noise)
        if fell and low >= 2:
            outcome, found = _suggest(rates, curve, low, diverged, steps, mode)
        elif steps // 4 <= (rise := _rise(losses[: len(curve)])) < len(losses) - 1:
            flat = f"the loss never fell: it is flat from {rates[0]:.3g} to {rates[rise]:.3g}, then rises"
            outcome = f"{flat}; no rate can be told from that: check data and weights, or use the optimizer's default"
        elif diverged:
            outcome = f"the loss diverges from the start, {rates[0]:.3g}, without having fallen; start lower"
        else:
            outcome = f"the loss never fell between {rates[0]:.3g} and {rates[-1]:.3g}; check the data, or end higher"
    tried, seen, smooth = (tuple(float(v) for v in values) for values in (rates, losses, smoothed))
    return RangeTest(tried, seen, smooth, outcome=outcome, mode=mode, diverged=bool(diverged), **found)


def _rise(losses: np.ndarray) -> int:
    """The last step whose loss is still in the range of the first quarter: from there on all are above it.

    Of the losses themselves, for a smoothed curve begins to rise long before.
    """
    first = losses[: max(LEAST_WINDOW, len(losses) // 4)]
    within = losses <= first.max() + CLEAR_FALL * abs(float(np.median(first)))
    return int(np.flatnonzero(within)[-1])


def _suggest(rates: np.ndarray, curve: np.ndarray, low: int, diverged: bool, steps: int, mode: str) -> tuple[str, dict]:
    fall = curve[0] - curve[low]
    # near its minimum the curve is flat, where a rate already does no good: stop where a tenth of the fall is left
    largest = int(np.flatnonzero(curve[: low + 1] >= curve[low] + EDGE * fall)[-1])
    slopes = np.gradient(curve[: low + 1])
    steepest = int(slopes[: largest + 1].argmin())
    begins = int(np.flatnonzero(curve[: low + 1] >= curve[0] - EDGE * fall)[-1])
    found = {
        "steepest": float(rates[steepest]),
        "largest": float(rates[largest]),
        "falling": (float(rates[min(begins, largest)]), float(rates[low])),
    }
    falls = f"the loss falls fastest at {rates[steepest]:.3g} and still falls at {rates[largest]:.3g}"
    if diverged:
        return f"{falls}; it diverged at {rates[-1]:.3g}", found
    return f"{falls}; it had not diverged at {rates[-1]:.3g}, a higher end may show more", found


def write_csv(result: RangeTest, out: Path) -> None:
    """Write a line a step: rate, loss, smoothed."""
    with open(out, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["rate", "loss", "smoothed"])
        rows.writerows(zip(result.rates, result.losses, result.smoothed, strict=True))


def plot_range_test(result: RangeTest, out: Path) -> None:
    """Draw the curve, its regions shaded (too small, falling, diverging) and the suggested rates marked."""
    drawing, (axes,) = style.figure(8, 4.8)
    axes.plot(result.rates, result.losses, ".", color=style.MUTED, alpha=0.6, markersize=4, label="loss of a step")
    axes.plot(result.rates, result.smoothed, color=style.colour(0), linewidth=1.8, label="smoothed")
    if result.mode == "exp":
        axes.set_xscale("log")
    curve = np.array(result.smoothed)
    if np.isfinite(curve).any():
        best, first = np.nanmin(curve), curve[np.isfinite(curve)][0]
        span = max(first - best, 1e-3 * abs(best), 1e-12)
        axes.set_ylim(best - 0.3 * span, first + 0.8 * span)
    if len(result.rates) > 1:
        axes.set_xlim(result.rates[0], result.rates[-1])
    if result.falling is not None:
        _mark(axes, result, *result.falling)
    style.title(axes, "Learning-rate range test")
    axes.set_xlabel(f"learning rate\n{result.outcome}", fontsize=9, color=style.MUTED)
    axes.set_ylabel("loss", fontsize=9, color=style.MUTED)
    drawing.legend(loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    style.save(drawing, out)


def _mark(axes: Axes, result: RangeTest, begins: float, lowest: float) -> None:
    regions = [(result.rates[0], begins, style.FAINT, "too small"), (begins, lowest, style.colour(2), "falling")]
    if result.diverged:
        regions.append((lowest, result.rates[-1], style.colour(1), "diverging"))
    for start, end, color, name in regions:
        axes.axvspan(start, end, color=color, alpha=0.4 if color == style.FAINT else 0.13, linewidth=0, label=name)
    look = {"linestyle": "--", "linewidth": 1.4}
    name = "max_lr"
    if result.steepest == result.max_lr:
        name = "max_lr and steepest"
    else:
        axes.axvline(result.steepest, color=style.colour(4), label=f"steepest {result.steepest:.3g}", **look)
    axes.axvline(result.max_lr, color=style.colour(1), label=f"{name} {result.max_lr:.3g}", **look)
