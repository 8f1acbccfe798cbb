"""The picture of a schedule: the rate of each group, momentum, restarts, and where a run stands."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from schedulers.schedule import Schedule
from utils.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 20_000  # a picture shows no more
MOST_LINES = 8  # of a policy: with a rate of its own for each layer, only some are drawn
MUCH = 0.4  # of a first cycle: a warm-up from this share on is told


@dataclass(frozen=True)
class Curve:
    """What a schedule writes: `lr` has a sequence for each group by its name, as long as `steps`."""

    label: str
    steps: Sequence[int]
    lr: dict[str, list[float]]
    momentum: list[float | None]
    steps_per_epoch: int
    restarts: tuple[int, ...] = ()
    note: str = ""

    @property
    def epochs(self) -> list[float]:
        """`steps` in epochs."""
        return [step / self.steps_per_epoch for step in self.steps]


def curve(schedule: Schedule, label: str = "", most: int | None = MOST_POINTS) -> Curve:
    """Sample a schedule over its run: every step, or about `most` of them, both sides of each restart included."""
    policy = schedule.policy
    stride = 1 if most is None else -(-policy.total_steps // most)
    steps = set(range(0, policy.total_steps, stride)) | {policy.total_steps - 1}
    if stride > 1 and len(policy.restarts) < MOST_POINTS:
        steps |= {step - side for step in policy.restarts for side in (0, 1)}
    order = sorted(steps)
    rows = [schedule.values(step) for step in order]
    groups = [group.get("name", str(i)) for i, group in enumerate(schedule.optimizer.param_groups)]
    return Curve(
        label=label or policy.name,
        steps=order,
        lr={name: [row[i][0] for row in rows] for i, name in enumerate(groups)},
        momentum=[row[0][1] for row in rows],
        steps_per_epoch=policy.steps_per_epoch,
        restarts=policy.restarts,
        note=_warmup_note(schedule),
    )


def _warmup_note(schedule: Schedule) -> str:
    """Says so where the warm-up leaves little of the first of several cycles."""
    policy = schedule.policy
    share = schedule.warmup_steps / policy.restarts[0] if policy.restarts else 0.0
    return f"warm-up takes {100 * min(share, 1):.0f} % of {policy.name}'s first cycle" if share >= MUCH else ""


def plot(out: Path, curves: Sequence[Curve], *, now: int | None = None) -> None:
    """Draw rates above, momentum below, over epochs. Groups that coincide are one line; `now` is a step to mark."""
    drawing, (rates, momenta) = style.figure(8, 5.5, 2, 1, sharex=True, height_ratios=(2, 1))
    top = _top(curves)
    for i, item in enumerate(curves):
        _draw_rates(rates, item, style.colour(i), top)
        if any(value is not None for value in item.momentum):
            values = np.array(item.momentum, dtype=float)  # None as nan
            momenta.plot(item.epochs, values, color=style.colour(i))
        if len(item.restarts) <= 100:  # more would be a solid block
            for axes in (rates, momenta):
                for step in item.restarts:
                    axes.axvline(step / item.steps_per_epoch, color=style.colour(i), linestyle=":", linewidth=0.8)
    if now is not None:
        at = now / curves[0].steps_per_epoch
        momenta.axvline(at, color=style.INK, linewidth=1)
        rates.axvline(at, color=style.INK, linewidth=1, label=f"now: step {now}")
    style.title(rates, "Learning rate", "; ".join(item.note for item in curves if item.note))
    style.title(momenta, "Momentum")
    rates.set(ylim=(0, 1.1 * top or None))
    rates.yaxis.set_major_formatter("{x:.3g}")
    momenta.set_xlabel("epoch", color=style.MUTED, fontsize=9)
    longest = max((len(text) for text in rates.get_legend_handles_labels()[1]), default=0)
    columns = 3 if longest <= 36 else 2 if longest <= 56 else 1  # characters that fit the width
    drawing.legend(loc="outside lower center", ncols=columns, fontsize=9, frameon=False)
    style.save(drawing, out)


def _draw_rates(axes: Axes, item: Curve, color: str, top: float) -> None:
    together: dict[tuple[float, ...], list[str]] = {}
    for name, values in item.lr.items():
        together.setdefault(tuple(values), []).append(name)
    shown = list(together.items())
    shown = shown if len(shown) <= MOST_LINES else [*shown[: MOST_LINES - 2], *shown[-2:]]  # the lowest, the highest
    for dash, (values, groups) in zip(cycle(style.DASHES), shown, strict=False):
        label = item.label if len(together) == 1 else f"{item.label}: {_listed(groups)}"
        if max(values) > top:
            label += f" (from {values[0]:g}, off the top)"
        axes.plot(item.epochs, values, color=color, linestyle=dash, label=label, linewidth=1.6)


def _listed(groups: Sequence[str]) -> str:
    """`norm, weight x0.1` for groups called `norm x0.1` and `weight x0.1`."""
    parts = [name.partition(" ") for name in groups]
    same = len({rest for _, _, rest in parts}) == 1 and parts[0][2]
    return f"{', '.join(role for role, _, _ in parts)} {same}" if same else ", ".join(groups)


def _top(curves: Sequence[Curve]) -> float:
    """The highest rate to show: a bias warm-up that starts far above the peak would press everything else flat."""
    peaks = [[max(values) for values in item.lr.values()] for item in curves]
    usual = min(max(rates[:2]) for rates in peaks)  # norms and weights; the biases follow, and parts of slower rates
    return max(rate for rates in peaks for rate in rates if rate <= 3 * usual)


def write_csv(out: Path, curves: Sequence[Curve]) -> None:
    """Write a line a step of each curve: policy, step, epoch, the rate of each group, momentum."""
    groups = list(dict.fromkeys(name for item in curves for name in item.lr))
    with open(out, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["policy", "step", "epoch", *(f"lr/{name}" for name in groups), "momentum"])
        for item in curves:
            columns = [item.lr.get(name, [""] * len(item.steps)) for name in groups]
            for step, epoch, momentum, *lrs in zip(item.steps, item.epochs, item.momentum, *columns, strict=True):
                rows.writerow([item.label, step, epoch, *lrs, "" if momentum is None else momentum])
